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
        let mut record = AuditRecord::new(self.record(), outcome).because(String::from(recorded(self.text())));
        record.target = self.target().map(String::from);
        record
    }
}

/// The text without the words of the server that was asked: it may repeat the path, the query, or anything else.
fn recorded(text: &str) -> &str {
    const STATUS: &str = "Failed to fetch: ";
    let end = match (text.strip_prefix(STATUS), text.find(" MIME type: ")) {
        (Some(rest), _) if rest.starts_with(|c: char| c.is_ascii_digit()) => STATUS.len() + 3,
        (_, Some(at)) => at + " MIME type".len(),
        _ => text.len(),
    };
    text.get(..end).unwrap_or(text)
}

impl fmt::Display for FetchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for FetchFault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_holds_no_words_of_the_server() {
        for (told, recorded) in [
            ("Failed to fetch: 404 /private?token=x", "Failed to fetch: 404"),
            ("Failed to fetch: 404", "Failed to fetch: 404"),
            ("Failed to fetch: cannot connect", "Failed to fetch: cannot connect"),
            (
                "Unsupported file MIME type: text/my-secret",
                "Unsupported file MIME type",
            ),
            ("Too many redirects (limit: 3)", "Too many redirects (limit: 3)"),
        ] {
            let record = FetchFault::rejected(told, None).audit();
            assert_eq!(record.reason.as_deref(), Some(recorded));
        }
    }
}
