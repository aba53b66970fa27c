//! One record of the journal, and how it is written. What peers wrote is cut and escaped here; nothing else may be in it.

use alloc::borrow::Cow;
use alloc::string::String;
use core::net::IpAddr;

use serde::Serialize;

use crate::id::ConnId;

/// The most bytes of a text that a peer chose.
const MAX_PEER_TEXT: usize = 200;

/// What happened. The vocabulary is closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditEvent {
    /// A client's connection was taken on.
    ConnOpen,
    /// A connection or an upgrade was refused.
    ConnRejected,
    /// A credential was right.
    AuthOk,
    /// A credential was missing or wrong.
    AuthFailed,
    /// Somebody was locked out.
    AuthLocked,
    /// A connection ended.
    ConnClose,
    /// A request was answered.
    Request,
    /// A tool was called.
    ToolInvoke,
    /// A tool was not allowed.
    ToolDenied,
    /// A URL led to an address that is closed.
    SsrfBlocked,
    /// A URL was not allowed: list, scheme, port, user info.
    UrlDenied,
    /// A fetch was given up: size, type, redirects, time.
    FetchRejected,
    /// The settings changed.
    ConfigChanged,
    /// A token was made.
    TokenGenerated,
    /// A token was replaced.
    TokenRotated,
    /// Another provider was chosen.
    ProviderSwitched,
    /// A code, a refresh token or a client was refused at the relay's token endpoint.
    TokenRefused,
    /// A code or refresh token of the relay came a second time: its login ended.
    TokenReused,
    /// A login of the relay was ended before its time.
    LoginEnded,
    /// A device was registered at the relay.
    DeviceRegistered,
    /// A device of the relay got another identity key.
    IdentityKeyReplaced,
    /// A device of the relay was removed.
    DeviceRemoved,
    /// An agent of the relay connected.
    AgentConnected,
    /// An agent of the relay is gone.
    AgentDisconnected,
    /// An agent's proof was refused in a handshake of the relay.
    HandshakeRefused,
    /// Somebody was invited to a device of the relay.
    GrantInvited,
    /// An invitation to a device was accepted.
    GrantAccepted,
    /// A grant for a device was taken back.
    GrantRevoked,
    /// A grant for a device was given back.
    GrantLeft,
    /// Draining began.
    DrainStart,
    /// Draining ended.
    DrainEnd,
    /// Work was cut short.
    TurnLost,
    /// The gateway started.
    Start,
    /// The gateway stops.
    Stop,
    /// Records were lost because they could not be written; `count` says how many.
    RecordsLost,
}

impl AuditEvent {
    /// Whether strangers can cause it as often as they like, so that it is sampled.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        matches!(
            self,
            Self::AuthFailed | Self::TokenRefused | Self::TokenReused | Self::HandshakeRefused
        )
    }
}

/// How it ended. The vocabulary is closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// It was done.
    Ok,
    /// It was not allowed.
    Denied,
    /// It did not work.
    Failed,
}

/// Where it happened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// The operator's WebSocket.
    Ws,
    /// The control plane's WebSocket.
    Control,
    /// The relay.
    Relay,
    /// Plain HTTP.
    Http,
    /// A command on the gateway's own machine.
    Cli,
}

/// Who a client says it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ClientName {
    /// Its id.
    #[serde(serialize_with = "cut")]
    pub id: String,
    /// How it is used.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cut_some")]
    pub mode: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cut_some")]
    pub version: Option<String>,
}

/// One record. The journal adds time, number and chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// What happened.
    pub event: AuditEvent,
    /// The connection.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "conn")]
    pub conn_id: Option<ConnId>,
    /// The request's id.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cut_some")]
    pub request_id: Option<String>,
    /// The run's id.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cut_some")]
    pub run_id: Option<String>,
    /// The client's address, behind trusted proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// The address at the other end of the socket, where it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// The `Origin` field.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cut_some")]
    pub origin: Option<String>,
    /// The `Host` field.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cut_some")]
    pub host: Option<String>,
    /// The `User-Agent` field.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cut_some")]
    pub user_agent: Option<String>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surface: Option<Surface>,
    /// Who, by its own word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientName>,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// Why, or what of: a constant of the code or a checked name; never what a peer wrote in full.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cut_cow")]
    pub reason: Option<Cow<'static, str>>,
    /// Scheme, host and port of a URL.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cut_some")]
    pub target: Option<String>,
    /// How many: of records lost, of failures that were left out before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

impl AuditRecord {
    /// A record of this event with nothing else in it.
    #[must_use]
    pub const fn new(event: AuditEvent, outcome: AuditOutcome) -> Self {
        Self {
            event,
            conn_id: None,
            request_id: None,
            run_id: None,
            ip: None,
            peer: None,
            origin: None,
            host: None,
            user_agent: None,
            surface: None,
            client: None,
            outcome,
            reason: None,
            target: None,
            count: None,
        }
    }

    /// The same with a reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// The same on this connection.
    #[must_use]
    pub const fn on(mut self, conn: ConnId, surface: Surface) -> Self {
        self.conn_id = Some(conn);
        self.surface = Some(surface);
        self
    }

    /// The same from this address.
    #[must_use]
    pub const fn from_ip(mut self, ip: Option<IpAddr>) -> Self {
        self.ip = ip;
        self
    }
}

/// The start of a text, ending at a character; control characters are escaped by JSON.
fn start(text: &str) -> &str {
    let mut end = text.len().min(MAX_PEER_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn cut<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(start(text))
}

#[expect(clippy::ref_option, reason = "serde hands the field over as it is")]
fn cut_some<S: serde::Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(start(text.as_deref().unwrap_or_default()))
}

#[expect(clippy::ref_option, reason = "serde hands the field over as it is")]
fn cut_cow<S: serde::Serializer>(text: &Option<Cow<'static, str>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(start(text.as_deref().unwrap_or_default()))
}

#[expect(clippy::ref_option, reason = "serde hands the field over as it is")]
fn conn<S: serde::Serializer>(id: &Option<ConnId>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&id.unwrap_or(ConnId::FIRST))
}
