//! The security audit: facts about a gateway and its machine in, findings out. Whoever runs it gathers the facts; nothing
//! is read or changed here. Spec: `spec/hardening.md`.

mod access;
mod checks;
mod facts;
mod files;
mod finding;
mod urls;

#[cfg(test)]
mod tests;

pub use facts::{Bind, Facts, FileFact, FileRole, Firewall, Probe, Suppression, TailnetPublishing, TokenFacts};
pub use finding::{AuditReport, Finding, Severity, Summary};

use alloc::vec::Vec;

/// Looks at the facts. The findings come in the order critical, warn, info, and inside each in the order of the checks.
#[must_use]
pub fn audit(facts: &Facts<'_>) -> AuditReport {
    let mut findings = Vec::new();
    for check in checks::ALL {
        check(facts, &mut findings);
    }
    AuditReport::new(facts, findings)
}
