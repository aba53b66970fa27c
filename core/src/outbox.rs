//! What one input causes for connections, gathered per connection, so that it leaves in one write. Surfaces put messages in;
//! the gateway takes the parcels out, and only it knows what a connection's limits are.

use alloc::borrow::Cow;
use alloc::collections::VecDeque;

use bytes::BytesMut;

use crate::id::{ChatId, ConnId, EffectId};
use crate::websocket::{CloseCode, send};

/// Why a client that takes too little is closed.
pub const SLOW_CONSUMER: &str = "slow consumer";

/// Room for most messages.
const MESSAGE: usize = 256;

/// The parcels of one input.
#[derive(Debug)]
pub struct Outbox {
    parcels: VecDeque<Parcel>,
    /// The most bytes of messages in one parcel before a further one.
    limit: usize,
}

/// What streams to a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upstream {
    /// An effect: it tells one thing at a time and waits for leave to go on.
    Effect(EffectId),
    /// A chat with a provider: it goes on by itself unless it is held.
    Chat(ChatId),
}

/// Everything for one connection.
#[derive(Debug)]
pub struct Parcel {
    /// The connection.
    pub conn: ConnId,
    /// Bytes, ready for the wire.
    pub bytes: BytesMut,
    /// A WebSocket close frame to send after them.
    pub close: Option<(CloseCode, Cow<'static, str>)>,
    /// How many requests that were in flight these bytes answer.
    pub answers: u32,
    /// What may go on once the client has taken most of what waits for it.
    pub then_proceed: Option<Upstream>,
}

impl Outbox {
    /// An empty one. One input may answer many requests of a client, so a parcel is bounded like what waits for the client:
    /// when `limit` bytes of messages lie in it and a further one comes, the client is closed as a slow consumer.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            parcels: VecDeque::new(),
            limit,
        }
    }

    /// Takes another limit.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The bytes for a connection, to append to.
    pub fn bytes(&mut self, conn: ConnId) -> &mut BytesMut {
        &mut self.parcel(conn).bytes
    }

    /// Appends a text message, which `write` writes; nothing once the connection is being closed.
    pub fn text(&mut self, conn: ConnId, write: impl FnOnce(&mut BytesMut)) {
        self.text_of(conn, MESSAGE, write);
    }

    /// The same for a message that needs about so much room.
    pub fn text_of(&mut self, conn: ConnId, room: usize, write: impl FnOnce(&mut BytesMut)) {
        let limit = self.limit;
        let parcel = self.parcel(conn);
        if parcel.close.is_none() && parcel.bytes.len() > limit {
            parcel.close = Some((CloseCode::POLICY, SLOW_CONSUMER.into()));
        }
        if parcel.close.is_none() {
            parcel.bytes.reserve(room);
            send::text_with(&mut parcel.bytes, write);
        }
    }

    /// Appends a ping.
    pub fn ping(&mut self, conn: ConnId) {
        self.ping_with(conn, &[]);
    }

    /// Appends a ping with this content, at most 125 bytes, which the pong brings back.
    pub fn ping_with(&mut self, conn: ConnId, content: &[u8]) {
        send::frame(self.bytes(conn), crate::websocket::Opcode::Ping, content);
    }

    /// A request that was in flight is answered by what was appended.
    pub fn answered(&mut self, conn: ConnId) {
        self.parcel(conn).answers += 1;
    }

    /// Closes the WebSocket after what was appended. The first close wins.
    pub fn close(&mut self, conn: ConnId, code: CloseCode, reason: impl Into<Cow<'static, str>>) {
        let parcel = self.parcel(conn);
        if parcel.close.is_none() {
            parcel.close = Some((code, reason.into()));
        }
    }

    /// Whether a close was put in for this connection.
    #[must_use]
    pub fn is_closing(&self, conn: ConnId) -> bool {
        self.parcels
            .iter()
            .any(|parcel| parcel.conn == conn && parcel.close.is_some())
    }

    /// Lets what streams go on once the client has taken most of what waits for it.
    pub fn proceed_when_taken(&mut self, conn: ConnId, upstream: Upstream) {
        self.parcel(conn).then_proceed = Some(upstream);
    }

    /// Takes a parcel out, the oldest first.
    pub fn take(&mut self) -> Option<Parcel> {
        self.parcels.pop_front()
    }

    /// Takes the parcel of one connection out.
    pub fn take_for(&mut self, conn: ConnId) -> Option<Parcel> {
        let at = self.parcels.iter().rposition(|parcel| parcel.conn == conn)?;
        self.parcels.remove(at)
    }

    /// One input concerns one connection or a few, so a search from the end finds it at once.
    fn parcel(&mut self, conn: ConnId) -> &mut Parcel {
        let at = self
            .parcels
            .iter()
            .rposition(|parcel| parcel.conn == conn)
            .unwrap_or_else(|| {
                self.parcels.push_back(Parcel {
                    conn,
                    bytes: BytesMut::new(),
                    close: None,
                    answers: 0,
                    then_proceed: None,
                });
                self.parcels.len() - 1
            });
        #[allow(clippy::indexing_slicing, reason = "`at` was found or pushed in this function")]
        &mut self.parcels[at]
    }
}
