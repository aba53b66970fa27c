//! The audit journal: who came, what they were let do, what was refused. One JSON object a line, each chained to the one
//! before it by SHA-256, so that a line that is changed, removed or put in shows. Never in it: tokens, passwords,
//! prompts, arguments, bodies, paths and queries of URLs. Spec: `spec/audit.md`.

mod chain;
mod journal;
mod record;
mod sampling;
mod waiting;

pub use chain::{Flaw, FlawKind, Verified, Verifier};
pub use journal::Journal;
pub use record::{AuditEvent, AuditOutcome, AuditRecord, ClientName, Surface};
