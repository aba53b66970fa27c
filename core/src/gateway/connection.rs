//! One connection as the gateway keeps it: small, since most of them are idle.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::deadlines::ConnectionDeadlines;
use super::exchange::Exchange;
use crate::http::{Limits, ServerConnection};
use crate::machine::Peer;
use crate::outbox::Upstream;
use crate::policy::address::AddressGroup;
use crate::policy::forwarded::Client;
use crate::surfaces::{control, operator};
use crate::time::{Instant, UnixMillis};
use crate::websocket::WebSocket;

/// A connection that was accepted.
#[derive(Debug)]
pub(super) struct Connection {
    /// The other end of the socket.
    pub(super) peer: Peer,
    /// Who asks: the peer, or whom a trusted proxy names. This is who limits, locks and records mean.
    pub(super) client: Client,
    pub(super) opened_at: UnixMillis,
    pub(super) stage: Stage,
    pub(super) deadlines: ConnectionDeadlines,
    /// Bytes handed to the adapter that the socket has not taken.
    pub(super) unsent: usize,
    pub(super) counted: Counted,
    pub(super) reading_paused: bool,
    /// Pings without an answer.
    pub(super) unanswered_pings: u8,
    /// What goes on once the client has taken what waits for it.
    pub(super) held: Vec<Upstream>,
}

/// What a connection speaks, and how far its end has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// HTTP/1.1, until an upgrade.
    Http(Box<HttpStage>),
    /// WebSocket, with a surface's session on it.
    WebSocket(Box<WebSocketStage>),
    /// Nothing more: the last bytes are in the outbox, and then the write direction ends.
    Flushing,
    /// Nothing at all: nothing is written, and what arrives is discarded until the end.
    Ended,
}

/// A connection that speaks HTTP.
#[derive(Debug)]
pub(super) struct HttpStage {
    pub(super) http: ServerConnection,
    /// How far the answer to the request that was read is.
    pub(super) exchange: Exchange,
}

/// A connection that was upgraded.
#[derive(Debug)]
pub(super) struct WebSocketStage {
    pub(super) socket: WebSocket,
    pub(super) session: Session,
    /// Bytes that arrived while no message may be taken. Reading is paused then, so one read or two fill it.
    pub(super) held: Vec<u8>,
}

/// Whose messages these are.
#[derive(Debug)]
pub(super) enum Session {
    /// The operator protocol.
    Operator(operator::Session),
    /// The control plane.
    Control(Box<control::Session>),
    /// An agent of the relay.
    Agent,
    /// Nobody's: our close frame went out, and the peer's is awaited.
    Over,
}

/// How the connection counts in the admission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Counted {
    /// Not: it is open only to be told why it is not served.
    No(TurnedAway),
    /// As one that has not finished a handshake.
    Pending(Option<AddressGroup>),
    /// As one that has.
    Open(Option<AddressGroup>),
}

/// Why a connection is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TurnedAway {
    /// There is no room, or the gateway is going away.
    NoRoom,
    /// Its network is not allowed.
    Stranger,
}

impl Connection {
    pub(super) fn new(peer: Peer, opened_at: UnixMillis, counted: Counted, heads: Limits) -> Self {
        // How large a body may be depends on the path, which is looked at once the head is there.
        let limits = Limits {
            max_body_bytes: usize::MAX,
            ..heads
        };
        Self {
            peer,
            client: Client::of_peer(peer),
            opened_at,
            stage: Stage::Http(Box::new(HttpStage {
                http: ServerConnection::new(limits),
                exchange: Exchange::Nothing,
            })),
            deadlines: ConnectionDeadlines::default(),
            unsent: 0,
            counted,
            reading_paused: false,
            unanswered_pings: 0,
            held: Vec::new(),
        }
    }

    /// Whether anything may still be written. Nothing follows a close frame or the last response, whoever still has
    /// something to say.
    pub(super) const fn is_writable(&self) -> bool {
        match &self.stage {
            Stage::Http(_) | Stage::Flushing => true,
            Stage::WebSocket(stage) => !matches!(stage.session, Session::Over),
            Stage::Ended => false,
        }
    }

    /// Whether the end was asked for.
    pub(super) const fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Flushing | Stage::Ended)
    }

    /// What the input caused for the connection is handed over.
    pub(super) fn handed_over(&mut self) {
        if matches!(self.stage, Stage::Flushing) {
            self.stage = Stage::Ended;
        }
    }
}

impl Session {
    /// Whether the client has proved who it is.
    pub(super) const fn is_ready(&self) -> bool {
        match self {
            Self::Operator(session) => session.is_ready(),
            Self::Control(session) => session.is_authenticated(),
            Self::Agent => true,
            Self::Over => false,
        }
    }

    /// When the next message may be taken.
    pub(super) const fn not_before(&self) -> Instant {
        match self {
            Self::Operator(session) => session.not_before(),
            Self::Control(session) => session.not_before(),
            Self::Agent | Self::Over => Instant::ZERO,
        }
    }
}
