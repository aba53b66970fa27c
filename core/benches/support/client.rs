//! The client's half, ready-made, for the benches. It measures nothing.
#![allow(dead_code, reason = "each bench uses a part")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use portcullis_core::effect::{Completion, Effect, Fault, FaultKind, Outcome};
use portcullis_core::gateway::Gateway;
use portcullis_core::id::{ConnId, EffectId, ListenerId};
use portcullis_core::machine::{GoneReason, Input, Machine, Output, Peer};
use portcullis_core::random::Seed;
use portcullis_core::secret::Secret;
use portcullis_core::settings::Settings;
use portcullis_core::store::{Reply, StoreReply};
use portcullis_core::time::{Instant, Now, UnixMillis};

/// The one token.
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// The opening handshake of a client on this machine.
pub(crate) const UPGRADE: &str = "GET /gateway HTTP/1.1\r\nHost: 127.0.0.1:18789\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A text message from a client, in one frame.
pub(crate) fn masked(payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![0x81];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            frame.push(0xfe);
            frame.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0xff);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The first frame of a client.
pub(crate) fn connect() -> Vec<u8> {
    masked(
        format!(
            r#"{{"type":"req","id":"1","method":"connect","params":{{"minProtocol":1,"maxProtocol":1,"client":{{"id":"bench","version":"1","platform":"linux","mode":"cli"}},"scopes":["operator.read"],"auth":{{"token":"{TOKEN}"}}}}}}"#
        )
        .as_bytes(),
    )
}

/// A gateway without a limit on requests, in virtual time, and the world around it.
pub(crate) struct Bench {
    gateway: Gateway,
    now: Now,
    next: ConnId,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let mut settings = Settings::default();
        settings.auth.tokens = Some(vec![Secret::new(TOKEN.to_owned())]);
        settings.gateway.rate_limit_per_minute = u32::MAX;
        let now = Now {
            monotonic: Instant::ZERO,
            wall: UnixMillis(1_795_264_496_000),
        };
        let mut bench = Self {
            gateway: Gateway::new(Arc::new(settings), Seed([7; 32]), now),
            now,
            next: ConnId::FIRST,
        };
        bench.handle(Input::Tick);
        bench
    }

    /// A new TCP connection.
    pub(crate) fn open(&mut self) -> ConnId {
        let conn = self.next;
        self.next = conn.next();
        let peer = Peer::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000)));
        self.handle(Input::Opened {
            conn,
            listener: ListenerId(0),
            peer,
        });
        conn
    }

    /// A client that finished the handshake.
    pub(crate) fn client(&mut self) -> ConnId {
        let conn = self.open();
        self.send(conn, UPGRADE.as_bytes());
        assert!(self.send(conn, &connect()) > 0);
        conn
    }

    /// The socket is closed.
    pub(crate) fn gone(&mut self, conn: ConnId) {
        self.handle(Input::Gone {
            conn,
            why: GoneReason::Closed,
        });
    }

    /// One read of these bytes; how many bytes are answered.
    pub(crate) fn send(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        self.receive(conn, &mut bytes.to_vec())
    }

    /// The same, with bytes that may be changed in place.
    pub(crate) fn receive(&mut self, conn: ConnId, bytes: &mut [u8]) -> usize {
        let sent = self.handle(Input::Received { conn, bytes });
        if sent > 0 {
            self.handle(Input::Sent { conn, bytes: sent });
        }
        sent
    }

    fn handle(&mut self, input: Input<'_>) -> usize {
        // A microsecond goes by.
        self.now.monotonic = Instant::from_micros(self.now.monotonic.as_micros() + 1);
        self.gateway.handle(self.now, input);
        let mut sent = 0;
        let mut started = Vec::new();
        loop {
            match self.gateway.poll() {
                Output::Transmit { bytes, .. } => sent += bytes.len(),
                Output::Start { effect, what } => started.push((effect, answer(&what))),
                Output::Close { conn, .. } => panic!("the gateway closed {conn}"),
                Output::Idle { .. } | Output::Drained { .. } => break,
                _ => {}
            }
        }
        self.complete(started);
        sent
    }

    fn complete(&mut self, started: Vec<(EffectId, Outcome)>) {
        for (effect, outcome) in started {
            self.handle(Input::Completed { effect, outcome });
        }
    }
}

/// An empty store, and nothing else.
fn answer(effect: &Effect) -> Outcome {
    match effect {
        Effect::Store(_) => Ok(Completion::Stored(StoreReply::Applied(vec![
            Reply::Records(Vec::new()),
        ]))),
        Effect::RealPath { path } => Ok(Completion::Path(path.clone())),
        _ => Err(Fault {
            kind: FaultKind::Unavailable,
            detail: String::new(),
        }),
    }
}
