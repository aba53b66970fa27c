//! Why a fetch brought nothing, in the words that whoever named the URL is told. They hold nothing that the resolver or
//! the network said: which addresses a name has inside is nobody's business.

use alloc::string::String;
use core::fmt;

use crate::audit::{AuditEvent, AuditOutcome, AuditRecord};
use crate::policy::ssrf::Denial;
use crate::url::Url;

/// Why a fetch brought nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetchFault {
    /// The policy said no: nothing was dialled for this hop.
    Denied {
        /// `ssrf_blocked` or `url_denied`.
        record: AuditEvent,
        /// For the journal: scheme, host and port of what was refused, as far as it could be read.
        target: Option<String>,
        /// What is told.
        text: String,
    },
    /// It was allowed and did not work: size, type, redirects, time, or the server.
    Rejected {
        /// `fetch_rejected`.
        record: AuditEvent,
        /// For the journal: scheme, host and port.
        target: Option<String>,
        /// What is told.
        text: String,
    },
}

impl FetchFault {
    pub(super) fn denied(denial: &Denial, target: Option<&Url>) -> Self {
        Self::Denied {
            record: denial.record(),
            target: target.map(Url::origin),
            text: alloc::format!("{denial}"),
        }
    }

    pub(super) fn rejected(text: impl Into<String>, target: Option<&Url>) -> Self {
        Self::Rejected {
            record: AuditEvent::FetchRejected,
            target: target.map(Url::origin),
            text: text.into(),
        }
    }

    /// What is told.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Denied { text, .. } | Self::Rejected { text, .. } => text,
        }
    }

    /// The event of the audit journal.
    #[must_use]
    pub const fn record(&self) -> AuditEvent {
        match self {
            Self::Denied { record, .. } | Self::Rejected { record, .. } => *record,
        }
    }

    /// For the journal: scheme, host and port, as far as they could be read.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Denied { target, .. } | Self::Rejected { target, .. } => target.as_deref(),
        }
    }
}

impl FetchFault {
    /// The record for the journal; whoever asked adds the connection and the request.
    #[must_use]
    pub fn audit(&self) -> AuditRecord {
        let outcome = match self {
            Self::Denied { .. } => AuditOutcome::Denied,
            Self::Rejected { .. } => AuditOutcome::Failed,
        };
        let mut record = AuditRecord::new(self.record(), outcome).because(String::from(self.text()));
        record.target = self.target().map(String::from);
        record
    }
}

impl fmt::Display for FetchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for FetchFault {}
