//! A plain WebSocket echo on the core's HTTP and WebSocket layers, for suites that others wrote (Autobahn and the like):
//! every text and binary message comes back as it went in, up to 64 MiB and in any number of fragments.
//!
//! It has no authentication, so it is meant for loopback.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;
use portcullis_core::http::{self, Fields, Limits, Response, ServerConnection, Status};
use portcullis_core::id::ConnId;
use portcullis_core::machine::{CloseHow, Input, Machine, Output};
use portcullis_core::time::{Instant, Now};
use portcullis_core::websocket::handshake::{HandshakeFault, accept};
use portcullis_core::websocket::{CloseCode, Event, Opcode, WebSocket, send};

/// The largest message.
pub const MAX_MESSAGE: usize = 64 << 20;
/// Unsent bytes at which reading pauses; it resumes at half of that.
const HIGH_WATER: usize = 1 << 20;
/// How long a peer may take to end a connection that we have closed.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// Connections at a time; further ones are closed at once.
const MAX_CONNECTIONS: usize = 10_000;

/// The machine.
#[derive(Debug, Default)]
pub struct Echo {
    conns: BTreeMap<ConnId, Conn>,
    outputs: VecDeque<Output>,
    draining: bool,
    drained: bool,
}

#[derive(Debug)]
struct Conn {
    state: State,
    out: BytesMut,
    unsent: usize,
    paused: bool,
    /// Set when it is closing: when it is dropped at the latest.
    abort_at: Option<Instant>,
}

#[derive(Debug)]
enum State {
    Http(Box<ServerConnection>),
    Messages(Box<WebSocket>),
}

impl Conn {
    /// Takes bytes; whether the connection is to be closed.
    fn received(&mut self, mut bytes: &mut [u8], now: Now) -> bool {
        if self.abort_at.is_some() {
            return false;
        }
        match &mut self.state {
            State::Messages(socket) => messages(socket, &mut bytes, &mut self.out),
            State::Http(connection) => {
                connection.received(bytes);
                self.requests(now)
            }
        }
    }

    fn requests(&mut self, now: Now) -> bool {
        loop {
            let State::Http(connection) = &mut self.state else {
                return false;
            };
            match connection.poll(&mut self.out) {
                http::Event::NeedInput | http::Event::Paused => return false,
                http::Event::Body(_) | http::Event::BodyEnd => {}
                http::Event::Ended => return true,
                http::Event::Refused(fault) => {
                    answer(connection, fault.status(), &[], now, &mut self.out);
                }
                http::Event::Request(request) => match accept(&request) {
                    Ok(key) => {
                        let headers = [("Sec-WebSocket-Accept", key.as_str())];
                        let Some(mut rest) =
                            connection.switch_protocols("websocket", Fields::of(&headers), &mut self.out)
                        else {
                            return true;
                        };
                        let mut socket = Box::new(WebSocket::new(MAX_MESSAGE));
                        let closing = messages(&mut socket, &mut &mut rest[..], &mut self.out);
                        self.state = State::Messages(socket);
                        return closing;
                    }
                    Err(HandshakeFault::NotAnUpgrade) => {
                        let upgrade = [("Upgrade", "websocket"), ("Connection", "Upgrade")];
                        answer(connection, Status::UPGRADE_REQUIRED, &upgrade[..1], now, &mut self.out);
                    }
                    Err(HandshakeFault::BadVersion) => {
                        answer(
                            connection,
                            Status::UPGRADE_REQUIRED,
                            &[("Sec-WebSocket-Version", "13")],
                            now,
                            &mut self.out,
                        );
                    }
                    Err(HandshakeFault::BadRequest | HandshakeFault::BadKey) => {
                        answer(connection, Status::BAD_REQUEST, &[], now, &mut self.out);
                    }
                },
            }
        }
    }
}

fn answer(connection: &mut ServerConnection, status: Status, headers: &[(&str, &str)], now: Now, out: &mut BytesMut) {
    connection.respond(
        &Response {
            status,
            headers: Fields::of(headers),
            body: b"",
            date: now.wall,
        },
        out,
    );
}

/// Echoes what is in `bytes`; whether the connection is to be closed.
fn messages(socket: &mut WebSocket, bytes: &mut &mut [u8], out: &mut BytesMut) -> bool {
    while let Some(event) = socket.next(bytes, out) {
        match event {
            Event::Text(text) => send::frame(out, Opcode::Text, text.as_bytes()),
            Event::Binary(payload) => send::frame(out, Opcode::Binary, payload),
            Event::Alive | Event::Pong(_) => {}
            Event::Closed | Event::Failed(_) => return true,
        }
    }
    false
}

impl Echo {
    /// Hands over what a connection has written, and closes it when it is to be closed.
    fn flush(&mut self, conn: ConnId, close: bool, now: Now) {
        let Some(state) = self.conns.get_mut(&conn) else { return };
        if !state.out.is_empty() {
            let bytes = state.out.split().freeze();
            state.unsent += bytes.len();
            self.outputs.push_back(Output::Transmit { conn, bytes });
        }
        if close && state.abort_at.is_none() {
            state.abort_at = Some(now.monotonic.plus(CLOSE_PATIENCE));
            self.outputs.push_back(Output::Close {
                conn,
                how: CloseHow::Flush,
            });
        }
        self.steer(conn);
    }

    /// Pauses and resumes reading by what is unsent.
    fn steer(&mut self, conn: ConnId) {
        let Some(state) = self.conns.get_mut(&conn) else { return };
        if !state.paused && state.unsent > HIGH_WATER && state.abort_at.is_none() {
            state.paused = true;
            self.outputs.push_back(Output::PauseReading { conn });
        } else if state.paused && (state.unsent <= HIGH_WATER / 2 || state.abort_at.is_some()) {
            state.paused = false;
            self.outputs.push_back(Output::ResumeReading { conn });
        }
    }

    fn opened(&mut self, conn: ConnId) {
        let http = Box::new(ServerConnection::new(Limits::default()));
        let refuse = self.draining || self.conns.len() >= MAX_CONNECTIONS;
        let state = Conn {
            state: State::Http(http),
            out: BytesMut::new(),
            unsent: 0,
            paused: false,
            abort_at: None,
        };
        self.conns.insert(conn, state);
        if refuse {
            self.outputs.push_back(Output::Close {
                conn,
                how: CloseHow::Abort,
            });
        }
    }

    fn drain(&mut self, now: Now) {
        self.draining = true;
        self.outputs.push_back(Output::StopAccepting);
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            if let Some(Conn {
                state: State::Messages(socket),
                out,
                ..
            }) = self.conns.get_mut(&conn)
            {
                socket.close(CloseCode::GOING_AWAY, "server shutdown", out);
            }
            self.flush(conn, true, now);
        }
    }

    fn tick(&mut self, now: Now) {
        for (conn, state) in &mut self.conns {
            if state.abort_at.is_some_and(|at| at <= now.monotonic) {
                // Asked once; the runtime tells when it is gone.
                state.abort_at = Some(Instant::from_micros(u64::MAX));
                self.outputs.push_back(Output::Close {
                    conn: *conn,
                    how: CloseHow::Abort,
                });
            }
        }
    }
}

impl Machine for Echo {
    fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Opened { conn, .. } => self.opened(conn),
            Input::Received { conn, bytes } => {
                let close = self
                    .conns
                    .get_mut(&conn)
                    .is_some_and(|state| state.received(bytes, now));
                self.flush(conn, close, now);
            }
            Input::ReadClosed { conn } => self.flush(conn, true, now),
            Input::Sent { conn, bytes } => {
                if let Some(state) = self.conns.get_mut(&conn) {
                    state.unsent = state.unsent.saturating_sub(bytes);
                }
                self.steer(conn);
            }
            Input::Gone { conn, .. } => drop(self.conns.remove(&conn)),
            Input::Drain { .. } => self.drain(now),
            Input::Tick => self.tick(now),
            Input::Completed { .. } | Input::Progress { .. } | Input::Reconfigured { .. } => {}
        }
    }

    fn poll(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        if self.draining && self.conns.is_empty() && !self.drained {
            self.drained = true;
            return Output::Drained { clean: true };
        }
        let never = Instant::from_micros(u64::MAX);
        let wake_at = self
            .conns
            .values()
            .filter_map(|state| state.abort_at)
            .filter(|at| *at != never)
            .min();
        Output::Idle { wake_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::play::play;
    use crate::split::Split;
    use crate::vector::from_text;
    use crate::world::core::CoreWorld;

    #[test]
    fn messages_come_back_whole_in_every_splitting() {
        let text = r#"{"vectors": [{"name": "echo", "proves": ["-"], "why": "Messages come back.", "steps": [
            {"upgrade": true}, {"text": "first"}, {"switching": {}}, {"expectText": "first"},
            {"frame": {"opcode": 2, "fin": false, "hex": "00ff"}}, {"ping": "p"}, {"frame": {"opcode": 0, "text": "x", "repeat": 70000}},
            {"expectPong": "p"}, {"wait": 1},
            {"frame": {"opcode": 1, "text": "y", "repeat": 2000000}}, {"drop": true},
            {"on": "d", "websocket": true}, {"on": "d", "frame": {"opcode": 1, "text": "y", "repeat": 2000000}},
            {"on": "d", "expectText": {"text": "y", "repeat": 2000000}},
            {"on": "d", "frame": {"opcode": 3, "text": ""}}, {"on": "d", "expectClose": [1002]}, {"on": "d", "end": true},
            {"on": "e", "http": {"target": "/"}}, {"on": "e", "response": {"status": 426, "headers": {"upgrade": "websocket"}}},
            {"on": "f", "websocket": true}, {"drain": true}, {"on": "f", "expectClose": [1001, "server shutdown"]}, {"on": "f", "end": true}
        ]}]}"#;
        for split in [Split::AsSent, Split::Joined, Split::Random(5)] {
            let vectors = from_text("echo", text).unwrap();
            let mut world = CoreWorld::new(Box::new(|_| Box::new(Echo::default())), split);
            for vector in &vectors {
                play(vector, &mut world).unwrap_or_else(|failure| panic!("{split:?}: {failure}"));
            }
            assert_eq!(world.complaints(), &[] as &[String], "{split:?}");
        }
    }
}
