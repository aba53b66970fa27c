//! What a part of the relay may use while it handles one input. It holds borrowed things only and does nothing.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::ledger::Ledger;
use super::streams::Streams;
use crate::audit::AuditRecord;
use crate::calls::Calls;
use crate::outbound::Exchanges;
use crate::outbox::Outbox;
use crate::random::Random;
use crate::report::Report;
use crate::settings::{RelaySettings, Settings};
use crate::time::Now;

/// What may be used during one input.
pub struct RelayContext<'a> {
    /// The time.
    pub now: Now,
    /// The settings in force.
    pub settings: &'a Arc<Settings>,
    /// The relay's own part of them.
    pub relay: &'a RelaySettings,
    /// Randomness.
    pub random: &'a mut Random,
    /// Where messages for agents go.
    pub outbox: &'a mut Outbox,
    /// Where effects are started.
    pub calls: &'a mut Calls,
    /// Requests to other servers.
    pub exchanges: &'a mut Exchanges,
    /// Where records go, and the answers that wait for them.
    pub ledger: &'a mut Ledger,
    /// Where events for listeners go.
    pub streams: &'a mut Streams,
    /// Where facts for the log go.
    pub reports: &'a mut Vec<Report>,
    /// Where records for the audit journal go.
    pub audit: &'a mut Vec<AuditRecord>,
}
