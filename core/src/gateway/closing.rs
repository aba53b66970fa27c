//! How connections end: in order when the peer takes part, by a deadline when it does not.

use core::time::Duration;

use super::Gateway;
use super::connection::{Connection, Counted, Stage};
use super::deadlines::Timer;
use crate::id::ConnId;
use crate::machine::{CloseHow, Output};
use crate::report::Report;
use crate::time::Now;

/// How long a peer may take to answer a close frame, or to take the last bytes and close.
const LINGER: Duration = Duration::from_secs(5);
/// The same while the gateway is going away.
const LINGER_AT_SHUTDOWN: Duration = Duration::from_secs(1);

impl Gateway {
    /// The last bytes are in the outbox: once they are delivered the write direction ends, and the peer has a while to
    /// take them.
    pub(super) fn flush_after(&mut self, now: Now, id: ConnId, connection: &mut Connection) {
        if !connection.flushing {
            connection.flushing = true;
            self.linger(now, connection);
            self.retire(id, connection);
            self.flush.push(id);
        }
    }

    /// A close frame goes out: the peer has a while to answer it.
    pub(super) fn linger(&self, now: Now, connection: &mut Connection) {
        let patience = if self.draining.is_some() {
            LINGER_AT_SHUTDOWN
        } else {
            LINGER
        };
        connection.deadlines.set(Timer::Linger, now.monotonic.plus(patience));
    }

    /// The peer took too long, or is not there: the connection is dropped with what is unsent.
    pub(super) fn abort(&mut self, id: ConnId, connection: &mut Connection) {
        connection.flushing = true;
        connection.sealed = true;
        self.retire(id, connection);
        self.outputs.push_back(Output::Close {
            conn: id,
            how: CloseHow::Abort,
        });
    }

    /// The connection's protocol is over, whatever still arrives.
    pub(super) fn retire(&mut self, id: ConnId, connection: &mut Connection) {
        if let Stage::Operator(stage) = core::mem::replace(&mut connection.stage, Stage::Ended) {
            self.operator.closed(&stage.session);
            let refused = stage.session.refused();
            if refused > 1 {
                self.reports.push(Report::Refusals {
                    conn: id,
                    // The first was reported when it came.
                    count: refused - 1,
                });
            }
        }
        for effect in core::mem::take(&mut connection.held_effects) {
            self.calls.proceed(effect);
        }
    }

    /// The connection is gone: nothing of it is kept.
    pub(super) fn gone(&mut self, id: ConnId) {
        let Some(mut connection) = self.connections.remove(&id) else {
            return;
        };
        self.retire(id, &mut connection);
        self.deadlines.forget(id, &mut connection.deadlines);
        match connection.counted {
            Counted::No => self.turned_away_open = self.turned_away_open.saturating_sub(1),
            Counted::Pending(group) => self.admission.closed(group, true),
            Counted::Open(group) => self.admission.closed(group, false),
        }
    }
}
