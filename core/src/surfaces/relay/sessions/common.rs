//! What all sessions share: how much each user holds, who listens, which sessions are to be written, and the one way an
//! event goes.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::BytesMut;

use super::backlog;
use super::key::SessionKey;
use super::listeners::Listeners;
use super::record::{Session, UNDELIVERED};
use crate::limits::repeats::Repeats;
use crate::store::Durability;
use crate::surfaces::relay::context::RelayContext;
use crate::surfaces::relay::ids::Uid;
use crate::surfaces::relay::ledger::Change;
use crate::time::Instant;

/// How long changes that a crash may take wait for each other.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// Events of all sessions of one user.
const MAX_EVENT_BYTES: usize = 67_108_864;
/// Answers of all sessions of one user that are kept for repetitions, and those that each session may keep in any case.
const MAX_ANSWERS: usize = 20_000;
const MIN_ANSWERS: usize = 8;
/// Messages of one user that wait for agents.
pub(super) const MAX_QUEUED_BYTES: usize = 16_777_216;

/// What all sessions share.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub(super) users: BTreeMap<Uid, Holding>,
    /// What all of them hold.
    pub(super) all: Holding,
    /// Sessions of everybody that have events: the health endpoint tells it, and looks at none of them for it.
    pub(super) with_events: usize,
    pub(super) listeners: Listeners,
    pub(super) dirty: Vec<SessionKey>,
    pub(super) flush_at: Option<Instant>,
    pub(super) sweep_at: Option<Instant>,
    /// Handshakes that were refused, as far as the journal is told.
    pub(super) refusals: Repeats,
    /// Where events are written before they are cut off.
    scratch: BytesMut,
}

/// How much a user holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Holding {
    pub(super) sessions: u32,
    pub(super) event_bytes: usize,
    pub(super) queued_bytes: usize,
    /// Answers that are kept for repetitions.
    pub(super) answers: usize,
}

impl Holding {
    fn changed(self, before: Self, after: Self) -> Self {
        let sum = |all: usize, before: usize, after: usize| (all + after).saturating_sub(before);
        Self {
            sessions: (self.sessions + after.sessions).saturating_sub(before.sessions),
            event_bytes: sum(self.event_bytes, before.event_bytes, after.event_bytes),
            queued_bytes: sum(self.queued_bytes, before.queued_bytes, after.queued_bytes),
            answers: sum(self.answers, before.answers, after.answers),
        }
    }
}

impl Common {
    pub(super) fn holding(&self, uid: &Uid) -> Holding {
        self.users.get(uid).copied().unwrap_or_default()
    }

    pub(super) fn hold(&mut self, uid: &Uid, change: impl FnOnce(&mut Holding)) {
        let before = self.holding(uid);
        let mut after = before;
        change(&mut after);
        self.all = self.all.changed(before, after);
        match self.users.get_mut(uid) {
            Some(_) if after.sessions == 0 => {
                self.users.remove(uid);
                self.all = self.all.changed(after, Holding::default());
            }
            Some(holding) => *holding = after,
            None => {
                self.users.insert(uid.clone(), after);
            }
        }
    }

    /// How many answers a session may keep that keeps so many now.
    pub(super) fn room_for_answers(&self, cx: &RelayContext<'_>, uid: &Uid, own: usize) -> usize {
        let others = self.holding(uid).answers.saturating_sub(own);
        let left = MAX_ANSWERS.saturating_sub(others).max(MIN_ANSWERS);
        (cx.relay.limits.idempotency_per_session as usize).min(left)
    }

    /// A session changed in a way that is written with the next flush.
    pub(super) fn touch(&mut self, now: Instant, session: &mut Session) {
        if !core::mem::replace(&mut session.is_dirty, true) {
            self.dirty.push(session.key());
            self.flush_at.get_or_insert_with(|| now.plus(FLUSH_EVERY));
        }
    }

    /// Appends an event, which `write` writes on one line of about `size` bytes, and tells those who listen.
    pub(super) fn append(
        &mut self,
        cx: &mut RelayContext<'_>,
        session: &mut Session,
        size: usize,
        write: impl FnOnce(&mut BytesMut),
    ) {
        // One allocation for each event, as large as it will be: the backlog keeps it.
        self.scratch.reserve(size + 256);
        let limits = cx.relay.limits;
        let held = self.holding(&session.kept.initiator).event_bytes;
        let others = held.saturating_sub(session.backlog.bytes());
        let limits = backlog::Limits {
            events: limits.events_per_session as usize,
            bytes: (limits.event_bytes_per_session as usize)
                .min(MAX_EVENT_BYTES.saturating_sub(others))
                .min((limits.event_bytes as usize).saturating_sub(self.all.event_bytes - held + others)),
        };
        let (text, delta) = session.backlog.push(&mut self.scratch, limits, write);
        // The newest event stays in any case: a session that has events has them to its end.
        self.with_events += usize::from(delta.before == 0);
        self.hold(&session.kept.initiator, |holding| {
            holding.event_bytes = (holding.event_bytes + delta.after).saturating_sub(delta.before);
        });
        session.kept.updated_at = cx.now.wall;
        self.touch(cx.now.monotonic, session);
        let listeners = &mut self.listeners;
        session.listeners.retain(|conn| {
            // It reads what is older first and comes to this one by itself.
            if listeners.is_behind(*conn) {
                return true;
            }
            let taken = cx.streams.push(*conn, &text);
            if !taken {
                // It comes back with its cursor.
                cx.streams.end(*conn);
                listeners.remove(*conn);
            }
            taken
        });
    }

    /// Forgets what waits for a session's agent.
    pub(super) fn drop_undelivered(&mut self, cx: &mut RelayContext<'_>, session: &mut Session) {
        let mut bytes = 0;
        let key = session.key();
        for message in core::mem::take(&mut session.undelivered) {
            bytes += message.frame.len();
            let record = key.record_of(message.place);
            cx.ledger
                .change(UNDELIVERED, record, Change::Delete, Durability::Durable);
        }
        self.hold(&session.kept.initiator, |holding| {
            holding.queued_bytes = holding.queued_bytes.saturating_sub(bytes);
        });
    }

    /// Ends all streams of a session.
    pub(super) fn end_listeners(&mut self, cx: &mut RelayContext<'_>, session: &mut Session) {
        for conn in session.listeners.drain(..) {
            cx.streams.end(conn);
            self.listeners.remove(conn);
        }
    }
}
