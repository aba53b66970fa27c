//! What the relay's parts may use while they handle one input.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::ledger::Ledger;
use crate::audit::AuditRecord;
use crate::calls::Calls;
use crate::outbound::Exchanges;
use crate::outbox::Outbox;
use crate::random::Random;
use crate::report::Report;
use crate::settings::{RelaySettings, Settings};
use crate::time::Now;

/// What the relay's parts may use while they handle one input.
pub struct RelayContext<'a> {
    /// The time.
    pub now: Now,
    /// All settings.
    pub settings: &'a Arc<Settings>,
    /// The relay's own.
    pub relay: &'a RelaySettings,
    /// Unguessable bytes.
    pub random: &'a mut Random,
    /// WebSocket messages.
    pub outbox: &'a mut Outbox,
    /// Effects.
    pub calls: &'a mut Calls,
    /// Requests to other servers.
    pub exchanges: &'a mut Exchanges,
    /// Records on disk.
    pub ledger: &'a mut Ledger,
    /// Facts for the log.
    pub reports: &'a mut Vec<Report>,
    /// Records for the audit journal.
    pub audit: &'a mut Vec<AuditRecord>,
}
