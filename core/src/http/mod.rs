//! HTTP/1.1 without sockets or clocks. This page is the server's side: bytes in, events out; responses in, bytes out
//! (the client's is [`client`]).
//! Strict on what arrives: what two readers could frame differently is refused and the connection closed.
//! It decides nothing about what a request means. Spec: `spec/http.md`.
//!
//! ```
//! use bytes::BytesMut;
//! use portcullis_core::http::{Event, Fields, Limits, Response, ServerConnection, Status};
//! use portcullis_core::time::UnixMillis;
//!
//! let mut connection = ServerConnection::new(Limits::default());
//! let mut out = BytesMut::new();
//! connection.received(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
//! let Event::Request(request) = connection.poll(&mut out) else { panic!("a whole request arrived") };
//! assert_eq!(request.target().path(), "/health");
//! let response = Response { status: Status::OK, headers: Fields::NONE, body: b"well", date: UnixMillis(0) };
//! connection.respond(&response, &mut out);
//! assert!(out.ends_with(b"Content-Length: 4\r\n\r\nwell"));
//! ```

mod body;
mod chunked;
pub mod client;
mod connection;
mod date;
mod fault;
mod fields;
mod framing;
mod head;
mod request;
mod response;
mod scan;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use connection::ServerConnection;
pub use fault::PeerFault;
pub use fields::{Fields, Preset};
pub use request::{BodyKind, Headers, Method, Repeated, Request, Target, TargetForm, Version};
pub use response::{Response, ResponseHead, Status};

/// The longest head that any setting allows.
pub const MAX_HEAD: usize = u16::MAX as usize;
/// The most fields that any setting allows.
pub const MAX_FIELDS: usize = 128;
/// The most bytes of an unwanted request body that are read and dropped to keep a connection.
pub const MAX_DRAINED: u64 = 65_536;

/// Bounds on what a peer may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest request line, without its line end.
    pub max_request_line: usize,
    /// The longest head: request line, fields and empty line. At most [`MAX_HEAD`] counts.
    pub max_head_bytes: usize,
    /// The most fields. At most [`MAX_FIELDS`] counts.
    pub max_headers: usize,
    /// The longest request body, decoded.
    pub max_body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_line: 8_192,
            max_head_bytes: 16_384,
            max_headers: 100,
            max_body_bytes: 1_048_576,
        }
    }
}

/// What [`ServerConnection::poll`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Nothing before more bytes arrive.
    NeedInput,
    /// A request head. Exactly one response is owed for it.
    Request(Request),
    /// A piece of the request's body: at least one byte.
    Body(Bytes),
    /// The end of the request's body. Comes once for each request with [`Request::has_body`].
    BodyEnd,
    /// The peer broke a rule; comes once. Answer with [`ServerConnection::respond`] and the fault's
    /// [`status`](PeerFault::status), then close. (When a streaming response is under way, `respond` does nothing.)
    Refused(PeerFault),
    /// The request is read; nothing further is read before its response is finished.
    Paused,
    /// Nothing will be read any more: the peer closed in order, the last response was given, or a rule was broken.
    /// Close once everything written is flushed.
    Ended,
}

/// What a connection is doing: changes of it set and clear time-outs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Between requests; no byte of the next one has arrived.
    Idle,
    /// A part of a head has arrived.
    Head,
    /// The peer owes (the rest of) a body; no response has begun.
    Body,
    /// We owe a response.
    Responding,
    /// A streaming response is under way.
    Streaming,
    /// The response is finished; the rest of the request's body is being dropped.
    Draining,
    /// To be closed once everything written is flushed; also after a change of protocol.
    Closing,
}
