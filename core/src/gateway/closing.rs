//! How connections end: in order when the peer takes part, by a deadline when it does not.

use alloc::borrow::Cow;
use alloc::string::ToString;
use core::time::Duration;

use bytes::BytesMut;

use super::Gateway;
use super::connection::{Connection, Counted, Session, Stage};
use super::deadlines::Timer;
use super::exchange::Exchange;
use crate::id::ConnId;
use crate::machine::{CloseHow, Output};
use crate::report::Report;
use crate::time::Now;
use crate::websocket::CloseCode;

/// How long a peer may take to answer a close frame, or to take the last bytes and close.
const LINGER: Duration = Duration::from_secs(5);
/// The same while the gateway is going away.
const LINGER_AT_SHUTDOWN: Duration = Duration::from_secs(1);

impl Gateway {
    /// The last bytes are in the outbox: once they are delivered the write direction ends, and the peer has a while to
    /// take them.
    pub(super) fn flush_after(&mut self, now: Now, id: ConnId, connection: &mut Connection) {
        if !connection.is_ending() {
            self.linger(now, connection);
            self.retire(now, id, connection, Stage::Flushing);
            self.flush.push(id);
        }
    }

    /// Our close frame goes out after what `bytes` holds; the peer has a while to answer it.
    pub(super) fn close_websocket(
        &mut self,
        now: Now,
        id: ConnId,
        connection: &mut Connection,
        (code, reason): (CloseCode, Cow<'static, str>),
        bytes: &mut BytesMut,
    ) {
        let Stage::WebSocket(stage) = &mut connection.stage else {
            return;
        };
        if !stage.socket.is_open() {
            return;
        }
        stage.socket.close(code, &reason, bytes);
        self.record_close(id, connection);
        let Stage::WebSocket(stage) = &mut connection.stage else {
            return;
        };
        let session = core::mem::replace(&mut stage.session, Session::Over);
        self.session_over(now, id, &session);
        self.reports.push(Report::Closed {
            conn: id,
            reason: reason.to_string(),
        });
        self.release(connection);
        self.linger(now, connection);
    }

    /// The peer has a while to do its part.
    fn linger(&self, now: Now, connection: &mut Connection) {
        let patience = if self.draining.is_some() {
            LINGER_AT_SHUTDOWN
        } else {
            LINGER
        };
        connection.deadlines.set(Timer::Linger, now.monotonic.plus(patience));
    }

    /// The peer took too long, or is not there: the connection is dropped with what is unsent.
    pub(super) fn abort(&mut self, now: Now, id: ConnId, connection: &mut Connection) {
        self.retire(now, id, connection, Stage::Ended);
        self.outputs.push_back(Output::Close {
            conn: id,
            how: CloseHow::Abort,
        });
    }

    /// The connection's protocol is over, whatever still arrives.
    fn retire(&mut self, now: Now, id: ConnId, connection: &mut Connection, next: Stage) {
        self.record_close(id, connection);
        match core::mem::replace(&mut connection.stage, next) {
            Stage::WebSocket(stage) => self.session_over(now, id, &stage.session),
            // Nobody waits for the answer: the tool is given up.
            Stage::Http(stage) if matches!(stage.exchange, Exchange::Working) => {
                self.with_tools(now, |tools, cx| tools.closed(cx, id));
            }
            Stage::Http(stage) => self.relay_left(id, &stage.exchange),
            Stage::Flushing | Stage::Ended => {}
        }
        self.release(connection);
    }

    fn session_over(&mut self, now: Now, id: ConnId, session: &Session) {
        match session {
            Session::Operator(session) => {
                self.operator.closed(id, session);
                let refused = session.refused();
                if refused > 1 {
                    self.reports.push(Report::Refusals {
                        conn: id,
                        // The first was reported when it came.
                        count: refused - 1,
                    });
                }
            }
            Session::Control(session) => {
                self.with_control(now, |control, cx| control.closed(cx, id, session));
            }
            Session::Agent => {
                self.with_relay(now, |relay, cx| relay.agent_closed(cx, id));
            }
            Session::Over => {}
        }
    }

    /// Nothing is held back for a client that takes nothing more.
    fn release(&mut self, connection: &mut Connection) {
        for upstream in core::mem::take(&mut connection.held) {
            self.proceed(upstream);
        }
    }

    /// The connection is gone: nothing of it is kept.
    pub(super) fn gone(&mut self, now: Now, id: ConnId) {
        let Some(mut connection) = self.connections.remove(id) else {
            return;
        };
        self.retire(now, id, &mut connection, Stage::Ended);
        self.deadlines.forget(id, &mut connection.deadlines);
        match connection.counted {
            Counted::No(_) => self.turned_away_open = self.turned_away_open.saturating_sub(1),
            Counted::Pending(group) => self.admission.closed(group, true),
            Counted::Open(group) => self.admission.closed(group, false),
        }
    }
}
