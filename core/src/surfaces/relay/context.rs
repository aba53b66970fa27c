//! What a part of the relay may use while it handles one input. It holds borrowed things only and decides nothing.

use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::ledger::Ledger;
use super::streams::Streams;
use crate::audit::{AuditEvent, AuditOutcome, AuditRecord, Surface};
use crate::calls::Calls;
use crate::id::ConnId;
use crate::limits::repeats::Repeats;
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

impl RelayContext<'_> {
    /// Puts a record into the audit journal: what happened on this connection, from this address where it is known.
    pub fn record(
        &mut self,
        event: AuditEvent,
        outcome: AuditOutcome,
        (conn, client): (ConnId, Option<IpAddr>),
        what: impl Into<Cow<'static, str>>,
    ) {
        let record = AuditRecord::new(event, outcome).on(conn, Surface::Relay);
        self.audit.push(record.from_ip(client).because(what));
    }

    /// The same for something that was refused and that somebody may try again and again: at a bounded rate, so that nobody
    /// drives other records out of the journal. The next record tells how many were left out.
    pub fn record_refusal(
        &mut self,
        repeats: &mut Repeats,
        event: AuditEvent,
        (conn, client): (ConnId, Option<IpAddr>),
        what: impl Into<Cow<'static, str>>,
    ) {
        let Some(left_out) = repeats.tell(self.now.monotonic) else {
            return;
        };
        let mut record = AuditRecord::new(event, AuditOutcome::Denied).on(conn, Surface::Relay);
        record.count = (left_out > 0).then_some(left_out);
        self.audit.push(record.from_ip(client).because(what));
    }
}
