//! One connection as the gateway keeps it: small, since most of them are idle.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::deadlines::ConnectionDeadlines;
use crate::http::{Limits, ServerConnection};
use crate::id::EffectId;
use crate::machine::Peer;
use crate::policy::address::AddressGroup;
use crate::surfaces::operator::Session;
use crate::time::UnixMillis;
use crate::websocket::WebSocket;

/// A connection that was accepted.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: Peer,
    pub(super) opened_at: UnixMillis,
    pub(super) stage: Stage,
    pub(super) deadlines: ConnectionDeadlines,
    /// Bytes handed to the adapter that the socket has not taken.
    pub(super) unsent: usize,
    pub(super) counted: Counted,
    /// Nothing is written any more: a close frame or the last response went out.
    pub(super) sealed: bool,
    /// A close was asked for: [`CloseHow::Flush`](crate::machine::CloseHow), or an abort.
    pub(super) flushing: bool,
    pub(super) reading_paused: bool,
    /// Pings without an answer.
    pub(super) unanswered_pings: u8,
    /// Effects that go on once the client has taken what waits for it.
    pub(super) held_effects: Vec<EffectId>,
}

/// What a connection speaks.
#[derive(Debug)]
pub(super) enum Stage {
    /// HTTP/1.1, until an upgrade.
    Http(Box<ServerConnection>),
    /// WebSocket, with the operator protocol on it.
    Operator(Box<OperatorStage>),
    /// Nothing: what arrives is discarded until the end.
    Ended,
}

/// A connection that was upgraded.
#[derive(Debug)]
pub(super) struct OperatorStage {
    pub(super) socket: WebSocket,
    pub(super) session: Session,
    /// Bytes that arrived while no message may be taken. Reading is paused then, so one read or two fill it.
    pub(super) held: Vec<u8>,
}

/// How the connection counts in the admission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Counted {
    /// Not: it was turned away.
    No,
    /// As one that has not finished a handshake.
    Pending(Option<AddressGroup>),
    /// As one that has.
    Open(Option<AddressGroup>),
}

impl Connection {
    pub(super) fn new(peer: Peer, opened_at: UnixMillis, max_body_bytes: usize, counted: Counted) -> Self {
        let limits = Limits {
            max_body_bytes,
            ..Limits::default()
        };
        Self {
            peer,
            opened_at,
            stage: Stage::Http(Box::new(ServerConnection::new(limits))),
            deadlines: ConnectionDeadlines::default(),
            unsent: 0,
            counted,
            sealed: false,
            flushing: false,
            reading_paused: false,
            unanswered_pings: 0,
            held_effects: Vec::new(),
        }
    }

    /// Nothing may be written once the protocol is over, whoever still has something to say.
    pub(super) fn seal_if_over(&mut self) {
        self.sealed |= match &self.stage {
            Stage::Http(_) => false,
            Stage::Operator(stage) => !stage.socket.is_open(),
            Stage::Ended => true,
        };
    }
}
