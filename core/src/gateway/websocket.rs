//! WebSocket on a connection: messages to the surface, keepalive, and the rate at which refused requests are answered.
//! Spec: `spec/websocket.md`, `spec/operator.md` section 8.

use alloc::string::ToString;

use super::Gateway;
use super::connection::{Connection, Counted, Session, Stage, WebSocketStage};
use super::deadlines::Timer;
use crate::id::ConnId;
use crate::machine::Output;
use crate::report::Report;
use crate::time::Now;
use crate::websocket::{CloseCode, Event};

/// What reading a piece of the stream led to.
#[derive(PartialEq, Eq)]
enum Read {
    All,
    /// The close handshake is complete, or the peer broke the protocol and our close frame is in the outbox.
    Over,
}

impl Gateway {
    /// Bytes came on a connection that speaks WebSocket.
    pub(super) fn drive_websocket(&mut self, now: Now, id: ConnId, connection: &mut Connection, bytes: &mut [u8]) {
        let Stage::WebSocket(stage) = &mut connection.stage else {
            return;
        };
        if connection.deadlines.gate().is_some() {
            return stage.held.extend_from_slice(bytes);
        }
        let was_ready = stage.session.is_ready();
        let read = self.read_messages(now, id, connection, bytes);
        let Stage::WebSocket(stage) = &mut connection.stage else {
            return;
        };
        if !was_ready && stage.session.is_ready() {
            self.handshake_finished(now, connection);
        }
        Self::keep_control_deadline(connection);
        if read == Read::Over {
            self.flush_after(now, id, connection);
        }
    }

    fn read_messages(&mut self, now: Now, id: ConnId, connection: &mut Connection, bytes: &mut [u8]) -> Read {
        let peer = connection.peer;
        let Stage::WebSocket(stage) = &mut connection.stage else {
            return Read::All;
        };
        let WebSocketStage { socket, session, held } = &mut **stage;
        let mut rest = bytes;
        loop {
            let gate = session.not_before();
            if gate > now.monotonic {
                held.extend_from_slice(rest);
                connection.deadlines.set_gate(Some(gate));
                if !connection.reading_paused {
                    connection.reading_paused = true;
                    self.outputs.push_back(Output::PauseReading { conn: id });
                }
                return Read::All;
            }
            let Some(event) = socket.next(&mut rest, self.outbox.bytes(id)) else {
                return Read::All;
            };
            connection.unanswered_pings = 0;
            let text = match event {
                Event::Text(text) => Some(text),
                Event::Binary(bytes) => core::str::from_utf8(bytes).ok(),
                Event::Alive => {
                    if let Session::Control(session) = session {
                        session.heard();
                    }
                    continue;
                }
                Event::Pong(content) => {
                    match session {
                        Session::Control(session) => session.heard(),
                        Session::Agent => {
                            self.with_relay(now, |relay, cx| relay.agent_pong(cx, id, content));
                        }
                        Session::Operator(_) | Session::Over => {}
                    }
                    continue;
                }
                Event::Closed => return Read::Over,
                Event::Failed(fault) => {
                    if let Session::Control(session) = session {
                        self.with_control(now, |control, cx| control.failed(cx, id, session, fault.reason()));
                    }
                    self.reports.push(Report::Closed {
                        conn: id,
                        reason: fault.reason().to_string(),
                    });
                    return Read::Over;
                }
            };
            match session {
                Session::Operator(session) => {
                    let (operator, mut cx) = self.operator(now);
                    let was_ready = session.is_ready();
                    operator.message(&mut cx, id, peer, session, text);
                    if !was_ready && session.is_ready() {
                        socket.set_max_message(self.settings.gateway.max_payload_bytes);
                    }
                }
                Session::Control(session) => {
                    let was_ready = session.is_authenticated();
                    self.with_control(now, |control, cx| control.message(cx, id, session, text));
                    if !was_ready && session.is_authenticated() {
                        let limits = self
                            .control
                            .as_ref()
                            .map(|control| control.settings().max_message_bytes);
                        socket.set_max_message(limits.unwrap_or_default().1);
                    }
                }
                Session::Agent => {
                    // What is no text is no JSON either.
                    let text = text.unwrap_or_default();
                    self.with_relay(now, |relay, cx| relay.agent_message(cx, id, text));
                }
                Session::Over => {}
            }
            if self.outbox.is_closing(id) {
                return Read::All;
            }
        }
    }

    fn handshake_finished(&mut self, now: Now, connection: &mut Connection) {
        if let Counted::Pending(group) = connection.counted {
            self.admission.finished(group);
            connection.counted = Counted::Open(group);
        }
        if let Stage::WebSocket(stage) = &connection.stage
            && let Session::Operator(_) = &stage.session
        {
            let at = now.monotonic.plus(self.settings.gateway.tick_interval);
            connection.deadlines.set(Timer::Tick, at);
        }
    }

    /// The time has come to take messages again.
    pub(super) fn gate_opened(&mut self, now: Now, id: ConnId, connection: &mut Connection) {
        connection.deadlines.set_gate(None);
        if let Stage::WebSocket(stage) = &mut connection.stage {
            let mut held = core::mem::take(&mut stage.held);
            self.drive_websocket(now, id, connection, &mut held);
        }
        if connection.deadlines.gate().is_none() && connection.reading_paused {
            connection.reading_paused = false;
            self.outputs.push_back(Output::ResumeReading { conn: id });
        }
    }

    /// No `connect` came in time.
    pub(super) fn handshake_timed_out(&mut self, id: ConnId) {
        self.outbox.close(id, CloseCode::POLICY, "handshake timeout");
    }

    /// A `tick` and a ping are due; a peer that answered none of the last two is not there.
    pub(super) fn tick(&mut self, now: Now, id: ConnId, connection: &mut Connection) {
        if connection.unanswered_pings >= 2 {
            self.reports.push(Report::Closed {
                conn: id,
                reason: "no answer to pings".to_string(),
            });
            return self.abort(now, id, connection);
        }
        connection.unanswered_pings += 1;
        if let Stage::WebSocket(stage) = &connection.stage
            && let Session::Operator(session) = &stage.session
        {
            let (operator, mut cx) = self.operator(now);
            operator.tick(&mut cx, id, session);
        }
        self.outbox.ping(id);
        connection
            .deadlines
            .set(Timer::Tick, now.monotonic.plus(self.settings.gateway.tick_interval));
    }
}
