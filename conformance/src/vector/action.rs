//! The primitive steps: what a vector can do and expect once its shorthand is written out.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis_core::machine::DrainHow;
use serde_json::{Map, Value};

use super::Step;
use super::program::Run;

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
    /// Break the connection, so that the gateway hears of it at once.
    Reset,
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
    /// Write a file on the gateway's machine, its owner's alone, with the folders that lead to it.
    Write {
        /// The file; `${NAME}` in it is replaced.
        path: String,
        /// What; the same.
        text: String,
    },
    /// Remove a file from the gateway's machine; `${NAME}` in it is replaced.
    Remove(String),
    /// Give a file or folder these permission bits.
    Mode {
        /// Which; `${NAME}` in it is replaced.
        path: String,
        /// The bits.
        mode: u32,
    },
    /// Run the program to its end.
    Run(Box<Run>),
    /// Whether the client answers pings and close frames of its own accord.
    Manners(bool),
    /// Ask the gateway to finish.
    Drain(DrainHow),
    /// Give the gateway other settings (SIGHUP): these keys replace those of the vector.
    Reload(Map<String, Value>),
    /// Expect that the gateway has ended, with this exit code where there is a process.
    ExpectExit(i32),
    /// Expect that the gateway dials, and answer it; the link has the step's name from then on.
    ExpectDial(DialPattern),
    /// Expect that the gateway has dialled nothing that no step has expected, and looked no name up but those told.
    ExpectNoDial,
    /// Expect how often names were looked up altogether.
    ExpectLookups(Map<String, Value>),
    /// On a link that the gateway dialled: expect an HTTP request.
    ExpectRequest(RequestPattern),
    /// On such a link: answer it.
    Respond(Respond),
    /// Expect something of a file.
    ExpectFile(FilePattern),
    /// Expect words in what the gateway logs, or that they are not there.
    ExpectLog {
        /// Texts that must be there.
        has: Vec<String>,
        /// Texts that must not.
        lacks: Vec<String>,
    },
    /// Read the control plane's token file; the token is bound to this name, its claims to `NAME.jti` and the like.
    Token(String),
    /// Make a token.
    Mint(Mint),
    /// Have the device of the OpenClaw dialect sign.
    Device {
        /// The signature is bound to this name; the device's id, key and time to `NAME.id`, `NAME.key` and `NAME.at`.
        bind: String,
        /// The text; `${NAME}` in it is replaced.
        text: String,
        /// What is added to the time, in milliseconds.
        offset: i64,
    },
    /// Make a token that an Ed25519 key signs, or spoil one.
    Jwt(Jwt),
    /// Expect a token to say this.
    JwtOf {
        /// The token; `${NAME}` in it is replaced.
        token: String,
        /// A pattern for its header.
        header: Value,
        /// A pattern for its claims.
        claims: Value,
    },
    /// Bind the claims of the token that is bound to this name to `NAME.sub` and the like.
    Claims(String),
    /// Expect the head of a stream of server-sent events; events from then on.
    Streaming {
        /// Headers that must be there, besides the usual ones.
        headers: Vec<(String, Value)>,
    },
    /// Expect an event: a pattern for `id`, `event` and `data` (as JSON). Heartbeats before it are passed over.
    Event(Value),
    /// Expect a comment on such a stream.
    Comment(Value),
    /// Expect that the stream ends in order; HTTP again from then on.
    StreamEnd,
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
    pub body: Body,
}

/// The body of an HTTP request.
#[derive(Clone, Debug)]
pub enum Body {
    /// Text in which `$repeat:` and `${NAME}` are replaced.
    Text(String),
    /// JSON; gives a Content-Type.
    Json(Value),
    /// A form: names and values, percent-encoded; gives a Content-Type.
    Form(Map<String, Value>),
}

/// What the gateway is expected to dial, and what becomes of it.
#[derive(Clone, Debug)]
pub struct DialPattern {
    /// The name of an upstream, or an address with a port.
    pub to: String,
    /// A pattern for the TLS server name; `"$absent"`: no TLS.
    pub tls: Value,
    /// What the other end does.
    pub answer: DialAnswer,
}

/// What becomes of a dial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DialAnswer {
    /// It is accepted.
    Accept,
    /// It is accepted, by an end that has this address.
    AcceptAs(SocketAddr),
    /// It is refused.
    Refuse,
    /// The certificate is not good.
    Untrusted,
    /// Nobody answers.
    Ignore,
}

/// What a request that the gateway sends must be.
#[derive(Clone, Debug)]
pub struct RequestPattern {
    /// The method.
    pub method: String,
    /// A pattern for the request target.
    pub target: Value,
    /// Names with patterns for their values.
    pub headers: Vec<(String, Value)>,
    /// A pattern for the body as JSON.
    pub json: Option<Value>,
    /// The body as text.
    pub text: Option<String>,
}

/// An HTTP response of an upstream.
#[derive(Clone, Debug)]
pub struct Respond {
    /// The status line after `HTTP/1.`: `1 200 OK`.
    pub status_line: String,
    /// Headers, besides those of the body's framing.
    pub headers: Vec<(String, Option<String>)>,
    /// The body.
    pub body: Body,
    /// The body is sent as a gzip stream.
    pub gzip: bool,
    /// How it is framed.
    pub framing: Framing,
}

/// How a response's body is framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// With its length.
    Length,
    /// In chunks of so many bytes.
    Chunked(usize),
    /// By the end of the connection, which follows.
    Close,
}

/// What is expected of a file.
#[derive(Clone, Debug)]
pub struct FilePattern {
    /// The file; `${NAME}` in it is replaced.
    pub path: String,
    /// A pattern for its text as one JSON value.
    pub json: Option<Value>,
    /// A pattern for its text, without the last line's end.
    pub text: Option<Value>,
    /// Its permission bits.
    pub mode: Option<u32>,
    /// It must not be there.
    pub absent: bool,
    /// Patterns of records, in this order; others may lie between.
    pub has: Vec<Value>,
    /// Texts that must not be in the file.
    pub lacks: Vec<String>,
}

/// A token to make.
#[derive(Clone, Debug)]
pub struct Mint {
    /// What it is bound to.
    pub bind: String,
    /// Changes to the usual header.
    pub header: Value,
    /// Changes to the usual claims; `$now+N` is a time in seconds.
    pub claims: Value,
    /// The header and payload as text, instead of the two above.
    pub raw: Option<(String, String)>,
    /// The secret; the usual one when `None`.
    pub secret: Option<String>,
    /// How it is signed.
    pub signature: Signature,
}

/// A token to make of an Ed25519 key, or of another token.
#[derive(Clone, Debug)]
pub struct Jwt {
    /// What it is bound to.
    pub bind: String,
    /// How it is made.
    pub made: Made,
}

/// How such a token is made.
#[derive(Clone, Debug)]
pub enum Made {
    /// Signed.
    Signed {
        /// The key's name.
        key: String,
        /// How: `eddsa`, or in a way that must be refused.
        how: String,
        /// The header.
        header: Value,
        /// The claims; `$now+N` is a time in seconds.
        claims: Value,
        /// Both as texts instead.
        raw: Option<(String, String)>,
    },
    /// Another token with another character at one place.
    Altered {
        /// The token; `${NAME}` in it is replaced.
        of: String,
        /// The place; negative ones are counted from the end.
        at: i64,
    },
}

/// How a token is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signature {
    /// With HMAC-SHA-256.
    Hs256,
    /// With HMAC-SHA-512.
    Hs512,
    /// The third part is empty.
    Empty,
    /// The last character of a good one is another.
    Altered,
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
    /// Texts that must be in the body.
    pub contains: Vec<String>,
    /// Texts that must not.
    pub lacks: Vec<String>,
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
    /// Spaces fill the payload up to so many bytes.
    pub pad_to: usize,
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
