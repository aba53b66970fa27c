//! HTTP as the relay's parts see it: a whole request in, an answer out. Which bytes make a request, and how an answer is
//! framed, is the business of the layers below.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use bytes::Bytes;

use crate::http::{Headers, Method, Status};
use crate::id::ConnId;

/// A whole request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where the answer goes.
    pub conn: ConnId,
    /// The method.
    pub method: Method,
    /// The path, as it was sent: `percent::decode` a segment before it is validated.
    pub path: &'a str,
    /// The query without `?`.
    pub query: &'a str,
    /// The fields.
    pub headers: &'a Headers,
    /// Who asks, behind trusted proxies; `None` on a Unix socket.
    pub client: Option<IpAddr>,
    /// The whole body, at most [`RelayLimits::body_bytes`](crate::settings::RelayLimits::body_bytes).
    pub body: &'a [u8],
    /// Whether it asks for an upgrade to WebSocket.
    pub wants_websocket: bool,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Reply {
    /// This, at once.
    Now(Answer),
    /// An answer that comes later, through `Relay::take_answer`.
    Later,
    /// A stream of events: the head goes out now, the events through `Relay::take_events`.
    Events(EventStream),
    /// The upgrade is granted; the layers below check the WebSocket's own fields.
    Upgrade(Socket),
}

/// An event stream that begins. The fields of both kinds are the same: `text/event-stream`, `no-cache`, `X-Accel-Buffering: no`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventStream {
    /// What goes out with the head.
    pub first: Bytes,
}

/// Which WebSocket begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Socket {
    /// An agent's, for this device.
    Agent(super::ids::DeviceId),
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status.
    pub status: Status,
    /// The content type; empty for an answer without a body.
    pub content_type: &'static str,
    /// Further fields.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// A JSON answer.
    #[must_use]
    pub fn json<T: serde::Serialize>(status: Status, value: &T) -> Self {
        let mut body = bytes::BytesMut::new();
        crate::json::write_value(&mut body, value);
        Self {
            status,
            content_type: "application/json; charset=utf-8",
            headers: Vec::new(),
            body: body.freeze(),
        }
    }

    /// `{"error":"<text>"}`.
    #[must_use]
    pub fn error(status: Status, text: &str) -> Self {
        #[derive(serde::Serialize)]
        struct Error<'a> {
            error: &'a str,
        }
        Self::json(status, &Error { error: text })
    }

    /// `{"error":"<code>","error_description":"<text>"}`.
    #[must_use]
    pub fn described(status: Status, code: &str, text: &str) -> Self {
        #[derive(serde::Serialize)]
        struct Described<'a> {
            error: &'a str,
            error_description: &'a str,
        }
        Self::json(
            status,
            &Described {
                error: code,
                error_description: text,
            },
        )
    }

    /// An answer without a body.
    #[must_use]
    pub const fn empty(status: Status) -> Self {
        Self {
            status,
            content_type: "",
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// The same with one more field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Who makes a request: what the access token says, verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The subject.
    pub uid: super::ids::Uid,
    /// The e-mail claim in the form in which it is compared.
    pub email: Option<super::ids::Email>,
    /// Whether the identity provider has verified it; always in demo mode.
    pub email_verified: bool,
    /// The e-mail as it was written.
    pub email_written: Option<String>,
    /// The name claim.
    pub name: Option<String>,
    /// The scopes, as they were granted.
    pub scope: String,
    /// When the token ends, in seconds since 1970: streams and sockets end then.
    pub expires_at: u64,
    /// The token's own id.
    pub token_id: String,
    /// The login that it came from; `None` for client credentials.
    pub login: Option<String>,
}
