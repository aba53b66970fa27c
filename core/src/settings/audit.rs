//! The audit journal. Spec: `spec/hardening.md`.

use alloc::string::String;

use crate::audit::AuditEvent;

/// Where the journal is and how large it may become. [`Settings::audit`](super::Settings::audit) is `None` where there is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditSettings {
    /// The journal's file (absolute); rotated ones lie beside it.
    pub path: String,
    /// A file that is larger is rotated.
    pub max_bytes: u64,
    /// Rotated files that are kept.
    pub max_files: u32,
    /// Connections that open and close are recorded.
    pub connections: bool,
    /// Requests are recorded.
    pub requests: bool,
}

impl AuditSettings {
    /// The usual journal at this path.
    #[must_use]
    pub const fn at(path: String) -> Self {
        Self {
            path,
            max_bytes: 104_857_600,
            max_files: 5,
            connections: true,
            requests: true,
        }
    }

    /// Whether such events are recorded at all. What happens often is asked for first, so that a record nobody wants is not
    /// even made.
    #[must_use]
    pub const fn wants(&self, event: AuditEvent) -> bool {
        match event {
            AuditEvent::ConnOpen | AuditEvent::ConnClose => self.connections,
            AuditEvent::Request => self.requests,
            _ => true,
        }
    }
}
