//! The primitive steps: what a vector can do and expect once its shorthand is written out.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::Step;

/// One thing to do or to expect.
#[derive(Clone, Debug)]
pub enum Action {
    /// Open the connection; every other step opens it where it is not open yet.
    Open {
        /// Where it comes from.
        peer: Option<SocketAddr>,
    },
    /// Send these bytes as they are.
    Send(Vec<u8>),
    /// Send an HTTP request.
    Http(Request),
    /// Expect an HTTP response.
    Response(ResponsePattern),
    /// Send a WebSocket opening handshake.
    Upgrade(Upgrade),
    /// Expect the 101 that accepts it; frames from then on.
    Switching {
        /// Headers that must be there, with patterns for their values.
        headers: Vec<(String, Value)>,
    },
    /// Send one WebSocket frame.
    Frame(Frame),
    /// Send a JSON value as a text message.
    Json(Value),
    /// Expect a text message that is JSON and matches.
    Expect(Value),
    /// Expect a text or binary message with this content.
    ExpectMessage {
        /// Whether it is text.
        text: bool,
        /// The content.
        payload: Payload,
    },
    /// Expect a ping (`true`) or pong (`false`) with this content.
    ExpectControl {
        /// Which of both.
        ping: bool,
        /// The content; any when `None`.
        payload: Option<String>,
    },
    /// Expect a close frame.
    ExpectClose(ClosePattern),
    /// Expect `agent.stream` events until their chunks make this text.
    Stream {
        /// Pattern of the run's id.
        run: Value,
        /// `stdout` or `stderr`.
        stream: String,
        /// All of the text.
        text: String,
    },
    /// Expect the end of the stream.
    End,
    /// Expect nothing for so long.
    Silence(Duration),
    /// Let time pass.
    Wait(Duration),
    /// End the client's sending direction.
    HalfClose,
    /// Drop the connection.
    Drop,
    /// Whether the client reads.
    Reading(bool),
    /// Expect that the gateway reads from this connection, or that it has stopped to.
    ExpectReading(bool),
    /// Append to a file of the gateway's machine, as something else than the gateway would.
    Append {
        /// The file; `${NAME}` in it is replaced.
        path: String,
        /// What; the same.
        text: String,
    },
    /// Make a symbolic link on the gateway's machine.
    Link {
        /// Where it is; `${NAME}` in it is replaced.
        path: String,
        /// What it points to.
        to: String,
    },
    /// Whether the client answers pings and close frames of its own accord.
    Manners(bool),
    /// Ask the gateway to finish (SIGTERM).
    Drain,
    /// Kill the gateway and start another on the same state directory.
    Restart,
    /// Do steps several times; `$n` in them is the number of the round, from 1.
    Repeat {
        /// How often.
        times: u32,
        /// What.
        steps: Vec<Step>,
    },
}

/// An HTTP request.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET and so on.
    pub method: String,
    /// The request target.
    pub target: String,
    /// Headers; `Host` is added unless it is here (with `null` it is left out).
    pub headers: Vec<(String, Option<String>)>,
    /// The body; gives a Content-Length when it is not empty.
    pub body: String,
}

/// A WebSocket opening handshake.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// The path.
    pub target: String,
    /// Headers that replace (or, with `null`, remove) or join the usual ones.
    pub headers: Vec<(String, Option<String>)>,
}

/// What a response must be.
#[derive(Clone, Debug)]
pub struct ResponsePattern {
    /// The status code.
    pub status: u16,
    /// Names with patterns for their values.
    pub headers: Vec<(String, Value)>,
    /// A pattern for the body as JSON.
    pub json: Option<Value>,
    /// The body as text.
    pub text: Option<String>,
    /// Whether it answers a HEAD request, so that no body follows.
    pub head: bool,
}

/// One WebSocket frame to send.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The FIN bit.
    pub fin: bool,
    /// RSV1 to RSV3 as a number from 0 to 7.
    pub rsv: u8,
    /// The opcode.
    pub opcode: u8,
    /// The payload.
    pub payload: Payload,
    /// Whether it is masked, as a client must.
    pub masked: bool,
    /// A length to announce instead of the payload's own.
    pub length: Option<u64>,
    /// Bytes for the length field: 7, 16 or 64 bits; the shortest when `None`.
    pub length_bits: Option<u8>,
}

/// Bytes of a frame or message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Text in which `$ref:`, `$n` and the like are replaced.
    Text(String),
    /// Bytes as they are.
    Bytes(Vec<u8>),
}

/// What a close frame must be.
#[derive(Clone, Debug)]
pub struct ClosePattern {
    /// The code; `None`: the frame has no payload.
    pub code: Option<u16>,
    /// The reason; any when `None`.
    pub reason: Option<String>,
}
