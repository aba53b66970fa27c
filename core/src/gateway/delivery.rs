//! From the outbox to the adapter: one write for each connection and input, the slow-consumer rule, close frames.
//! Spec: `spec/operator.md` section 5.

use super::Gateway;
use super::connection::{Connection, Session, Stage};
use crate::id::ConnId;
use crate::machine::{CloseHow, Output};
use crate::outbox::{Parcel, SLOW_CONSUMER};
use crate::time::Now;
use crate::websocket::CloseCode;

impl Gateway {
    /// Hands everything in the outbox over.
    pub(super) fn deliver(&mut self, now: Now) {
        while let Some(parcel) = self.outbox.take() {
            let id = parcel.conn;
            match self.connections.take(id) {
                Some(mut connection) => {
                    self.deliver_to(now, &mut connection, parcel);
                    self.keep(id, connection);
                }
                // The client is gone: nobody holds back what streams to it.
                None => {
                    if let Some(upstream) = parcel.then_proceed {
                        self.proceed(upstream);
                    }
                }
            }
        }
        while let Some(conn) = self.flush.pop() {
            // The peer's end can only be seen by reading.
            if let Some(connection) = self.connections.get_mut(conn)
                && core::mem::take(&mut connection.reading_paused)
            {
                self.outputs.push_back(Output::ResumeReading { conn });
            }
            self.outputs.push_back(Output::Close {
                conn,
                how: CloseHow::Flush,
            });
        }
    }

    pub(super) fn deliver_to(&mut self, now: Now, connection: &mut Connection, parcel: Parcel) {
        let Parcel {
            conn,
            mut bytes,
            mut close,
            answers,
            then_proceed,
        } = parcel;
        if let Stage::WebSocket(stage) = &mut connection.stage
            && let Session::Operator(session) = &mut stage.session
        {
            session.answered(answers);
        }
        if !connection.is_writable() {
            bytes.clear();
        }
        // An HTTP client that does not take its answers is not read from, so that none of them is lost.
        let is_http = matches!(connection.stage, Stage::Http(_));
        if !bytes.is_empty() && connection.unsent > self.settings.gateway.max_buffered_bytes && !is_http {
            bytes.clear();
            close = Some((CloseCode::POLICY, SLOW_CONSUMER.into()));
        }
        if let Some(close) = close {
            self.close_websocket(now, conn, connection, close, &mut bytes);
        }
        // What the protocol still owed is in these bytes; nothing may follow a close.
        connection.handed_over();
        if !bytes.is_empty() {
            connection.unsent += bytes.len();
            self.relay_handed(conn, connection, bytes.len());
            self.metrics.bytes.add(1, bytes.len() as u64);
            self.outputs.push_back(Output::Transmit {
                conn,
                bytes: bytes.freeze(),
            });
        }
        if is_http && !connection.reading_paused && !self.has_room(connection) {
            connection.reading_paused = true;
            self.outputs.push_back(Output::PauseReading { conn });
        }
        if let Some(upstream) = then_proceed {
            if !self.has_room(connection) {
                self.hold(upstream);
            }
            connection.held.push(upstream);
        }
        self.release_upstreams(connection);
    }

    /// The socket took some bytes.
    pub(super) fn sent(&mut self, now: Now, id: ConnId, bytes: usize) {
        self.relay_sent(now, id, bytes);
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.unsent = connection.unsent.saturating_sub(bytes);
        if !connection.held.is_empty() || connection.reading_paused {
            let Some(mut connection) = self.connections.take(id) else {
                return;
            };
            self.release_upstreams(&mut connection);
            // With a gate closed, its opening resumes.
            if connection.reading_paused
                && connection.deadlines.gate().is_none()
                && self.has_room(&connection)
                && !connection.is_backed_up()
            {
                connection.reading_paused = false;
                self.outputs.push_back(Output::ResumeReading { conn: id });
            }
            self.connections.put_back(id, connection);
        }
    }

    /// The client has taken three quarters of what may wait for it.
    pub(super) fn has_room(&self, connection: &Connection) -> bool {
        connection.unsent <= self.settings.gateway.max_buffered_bytes / 4
    }

    /// What streams to a client goes on when it has room.
    fn release_upstreams(&mut self, connection: &mut Connection) {
        if self.has_room(connection) || !connection.is_writable() {
            for upstream in connection.held.drain(..) {
                self.proceed(upstream);
            }
        }
    }
}
