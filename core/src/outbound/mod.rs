//! HTTP requests to other servers, over links that the gateway dials. This page is the language: what is asked for, and
//! what is told. Whether a server may be asked is decided by whoever asks; this layer never follows a redirect, never
//! resolves a name that was resolved before, and sends credentials to no other place than it was told.
//! Spec: `spec/contract.md`, `spec/hardening.md`.

mod exchanges;
mod request;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;

pub use exchanges::{Asker, Exchanges, MAX_ADDRESSES, MAX_EXCHANGES};

use crate::http::Method;
use crate::secret::Secret;
use crate::url::{Host, Scheme, Url};

/// One request to another server.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The server's addresses, or where to ask for them.
    pub to: Destination,
    /// The method, URL, fields and body.
    pub request: ClientRequest,
    /// How much it may cost.
    pub limits: ExchangeLimits,
}

/// Where the server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Destination {
    /// A server that the settings name: its name is resolved when it is dialled.
    Named,
    /// These addresses and no others, tried in this order: they were judged, and the name is not asked for again.
    Pinned(Vec<SocketAddr>),
}

/// A request as this layer writes it. The layer adds `Host`, `Content-Length`, `Accept-Encoding`, `Connection` and `User-Agent`.
#[derive(Clone, Debug)]
pub struct ClientRequest {
    /// GET and so on.
    pub method: Method,
    /// Where to: the scheme decides about TLS, the host is what the certificate must be for.
    pub url: Url,
    /// Further fields.
    pub headers: Vec<(&'static str, String)>,
    /// Fields that are secret, for example `Authorization`.
    pub credentials: Vec<(&'static str, Secret)>,
    /// The body.
    pub body: Bytes,
}

/// What one exchange may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExchangeLimits {
    /// To resolve the name.
    pub resolve: Duration,
    /// To connect, TLS included.
    pub connect: Duration,
    /// From the start to the end of the response's head.
    pub head: Duration,
    /// From the start to the end of the body.
    pub total: Duration,
    /// The most bytes of the body, decoded.
    pub max_body_bytes: u64,
}

/// What an exchange tells, in this order: one head, any number of pieces of body, the end; or a fault instead of any of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExchangeEvent {
    /// The head of the response; interim ones are passed over.
    Head(ClientResponse),
    /// A piece of the body, decoded: at least one byte, at most 64 KiB.
    Body(Bytes),
    /// The body is complete. Nothing follows.
    End,
    /// It is over. Nothing follows.
    Failed(ExchangeFault),
}

/// The head of a response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientResponse {
    /// The status code, 200 to 599.
    pub status: u16,
    /// The reason phrase, as it came.
    pub reason: String,
    /// The fields in their order, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl ClientResponse {
    /// The first field of this name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(field, _)| field == name);
        named.next().map(|(_, value)| value.as_str())
    }
}

/// Why an exchange failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExchangeFault {
    /// The name could not be resolved.
    Unresolved,
    /// No address could be connected to; what the system said.
    Unreachable(String),
    /// The certificate or the handshake is no good; what the system said.
    Tls(String),
    /// A limit of time passed.
    TimedOut,
    /// The body is larger than it may be: the limit, and the size if the head told it.
    TooLarge {
        /// The limit.
        limit: u64,
        /// What `Content-Length` said.
        announced: Option<u64>,
    },
    /// The response breaks the rules of HTTP: which.
    Malformed(&'static str),
    /// The connection ended too early. `before_head`: not a byte of the response had come.
    Cut {
        /// Whether the request may not have been served at all.
        before_head: bool,
    },
    /// Whoever asked cancelled it.
    Cancelled,
    /// There are too many exchanges already.
    Busy,
}

impl fmt::Display for ExchangeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved => f.write_str("the name cannot be resolved"),
            Self::Unreachable(detail) => write!(f, "cannot connect: {detail}"),
            Self::Tls(detail) => write!(f, "TLS: {detail}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::TooLarge { limit, .. } => write!(f, "the response is larger than {limit} bytes"),
            Self::Malformed(rule) => write!(f, "the response is not HTTP: {rule}"),
            Self::Cut { .. } => f.write_str("the connection ended too early"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Busy => f.write_str("too many requests to other servers"),
        }
    }
}

impl ClientRequest {
    /// Whether TLS is put on the connection.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        matches!(self.url.scheme, Scheme::Https)
    }

    /// The name or address that a certificate must be for.
    #[must_use]
    pub fn server_name(&self) -> String {
        match &self.url.host {
            Host::Name(name) => name.clone(),
            Host::Address(address) => alloc::format!("{address}"),
        }
    }
}
