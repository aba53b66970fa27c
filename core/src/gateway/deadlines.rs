//! Deadlines: one for each connection, with the reason why it is set, in one table for the whole gateway. Moving a deadline
//! later costs nothing: the entry in the table stays where it is and is looked at again when it comes up.

use alloc::collections::BTreeSet;

use crate::id::ConnId;
use crate::time::Instant;

/// Why a connection has a deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Timer {
    /// The next request of a kept-alive HTTP connection must begin.
    Idle,
    /// The head of an HTTP request must be complete.
    Header,
    /// The body of an HTTP request must be complete.
    Body,
    /// An answer that is held back is told.
    Answer,
    /// The client must have said `connect`.
    Handshake,
    /// The next `tick` and ping are due.
    Tick,
    /// A session of the control plane wants to be looked at.
    Control,
    /// The peer must have taken what it was sent, and closed.
    Linger,
}

/// The deadlines of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ConnectionDeadlines {
    timer: Option<(Timer, Instant)>,
    /// When messages may be taken again.
    gate: Option<Instant>,
    /// Where the table looks next for this connection.
    scheduled: Option<Instant>,
}

impl ConnectionDeadlines {
    /// Why the connection has a deadline, and when.
    pub(super) const fn timer(&self) -> Option<(Timer, Instant)> {
        self.timer
    }

    pub(super) const fn gate(&self) -> Option<Instant> {
        self.gate
    }

    pub(super) const fn set(&mut self, timer: Timer, at: Instant) {
        self.timer = Some((timer, at));
    }

    /// The connection has no deadline but its gate.
    pub(super) const fn clear(&mut self) {
        self.timer = None;
    }

    pub(super) const fn set_gate(&mut self, gate: Option<Instant>) {
        self.gate = gate;
    }

    fn next(&self) -> Option<Instant> {
        Instant::first(self.timer.map(|(_, at)| at), self.gate)
    }
}

/// The table of all connections' deadlines.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeSet<(Instant, ConnId)>);

impl Deadlines {
    /// Makes sure that the connection is looked at in time.
    pub(super) fn schedule(&mut self, conn: ConnId, deadlines: &mut ConnectionDeadlines) {
        let Some(next) = deadlines.next() else { return };
        if deadlines.scheduled.is_none_or(|scheduled| next < scheduled) {
            self.forget(conn, deadlines);
            deadlines.scheduled = Some(next);
            self.0.insert((next, conn));
        }
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self, conn: ConnId, deadlines: &mut ConnectionDeadlines) {
        if let Some(scheduled) = deadlines.scheduled.take() {
            self.0.remove(&(scheduled, conn));
        }
    }

    /// A connection whose time has come; the caller marks it with [`Self::taken`] and looks what is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<ConnId> {
        let (at, conn) = *self.0.first()?;
        if at > now {
            return None;
        }
        self.0.pop_first();
        Some(conn)
    }

    /// The entry of this connection was popped.
    pub(super) const fn taken(deadlines: &mut ConnectionDeadlines) {
        deadlines.scheduled = None;
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_is_free_earlier_moves_and_each_connection_has_one_entry() {
        let (mut table, mut one) = (Deadlines::default(), ConnectionDeadlines::default());
        let conn = ConnId::FIRST;
        let at = Instant::from_millis;
        one.set(Timer::Idle, at(60));
        table.schedule(conn, &mut one);
        one.set(Timer::Header, at(10));
        table.schedule(conn, &mut one);
        one.set(Timer::Idle, at(90));
        table.schedule(conn, &mut one);
        assert_eq!((table.0.len(), table.next()), (1, Some(at(10))));
        one.set_gate(Some(at(5)));
        table.schedule(conn, &mut one);
        assert_eq!((table.0.len(), table.next()), (1, Some(at(5))));
        assert_eq!(table.pop_due(at(4)), None);
        assert_eq!(table.pop_due(at(5)), Some(conn));
        Deadlines::taken(&mut one);
        one.set_gate(None);
        table.schedule(conn, &mut one);
        assert_eq!(table.next(), Some(at(90)));
        table.forget(conn, &mut one);
        assert_eq!(table.next(), None);
    }
}
