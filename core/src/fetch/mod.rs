//! What a URL that a client named holds. This page is the language between whoever asks and whoever fetches.
//! Spec: `spec/hardening.md`.

use alloc::string::String;

use bytes::Bytes;

use crate::audit::AuditEvent;
use crate::url::Url;

/// What a fetch is for: each kind has limits of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SourceKind {
    /// `input_file`.
    File,
    /// `input_image`.
    Image,
    /// The tool `web_fetch`.
    Web,
}

/// Who gets the event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FetchAsker {
    /// The tools.
    Tools,
    /// The operator surface.
    Operator,
}

/// What was fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// The last hop.
    pub url: Url,
    /// Its status.
    pub status: u16,
    /// The media type, lower case, without parameters.
    pub mime: String,
    /// The body, decoded.
    pub bytes: Bytes,
}

/// Why a fetch brought nothing. The text is for whoever asked: it tells no resolved address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetchFault {
    /// Policy said no.
    Denied {
        /// `ssrf_blocked` or `url_denied`.
        record: AuditEvent,
        /// For whoever asked.
        text: String,
    },
    /// It was tried and given up.
    Rejected {
        /// `fetch_rejected`.
        record: AuditEvent,
        /// For whoever asked.
        text: String,
    },
}
