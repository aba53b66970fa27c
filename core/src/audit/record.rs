//! One record of the journal, and how it is written. What peers wrote is cut and escaped here; nothing else may be in it.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt::{self, Write};
use core::net::IpAddr;

use bytes::{BufMut, BytesMut};

use crate::id::ConnId;
use crate::json::{write_number, write_string};

/// The most bytes of a text that a peer chose.
const MAX_PEER_TEXT: usize = 200;

/// What happened. The vocabulary is closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AuditOutcome {
    /// It was done.
    Ok,
    /// It was not allowed.
    Denied,
    /// It did not work.
    Failed,
}

/// Where it happened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
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
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClientName {
    /// Its id.
    pub id: String,
    /// How it is used.
    pub mode: Option<String>,
    /// Its version.
    pub version: Option<String>,
}

/// One record. The journal adds time, number and chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditRecord {
    /// What happened.
    pub event: AuditEvent,
    /// The connection.
    pub conn_id: Option<ConnId>,
    /// The request's id.
    pub request_id: Option<String>,
    /// The run's id.
    pub run_id: Option<String>,
    /// The client's address, behind trusted proxies.
    pub ip: Option<IpAddr>,
    /// The address at the other end of the socket, where it is another.
    pub peer: Option<IpAddr>,
    /// The `Origin` field.
    pub origin: Option<String>,
    /// The `Host` field.
    pub host: Option<String>,
    /// The `User-Agent` field.
    pub user_agent: Option<String>,
    /// Where.
    pub surface: Option<Surface>,
    /// Who, by its own word.
    pub client: Option<ClientName>,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// Why, or what of: a constant of the code or a checked name; never what a peer wrote in full.
    pub reason: Option<Cow<'static, str>>,
    /// Scheme, host and port of a URL.
    pub target: Option<String>,
    /// How many: of records lost, of failures that were left out before this one.
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

impl AuditEvent {
    /// Its name in the journal.
    const fn name(self) -> &'static str {
        match self {
            Self::ConnOpen => "conn_open",
            Self::ConnRejected => "conn_rejected",
            Self::AuthOk => "auth_ok",
            Self::AuthFailed => "auth_failed",
            Self::AuthLocked => "auth_locked",
            Self::ConnClose => "conn_close",
            Self::Request => "request",
            Self::ToolInvoke => "tool_invoke",
            Self::ToolDenied => "tool_denied",
            Self::SsrfBlocked => "ssrf_blocked",
            Self::UrlDenied => "url_denied",
            Self::FetchRejected => "fetch_rejected",
            Self::ConfigChanged => "config_changed",
            Self::TokenGenerated => "token_generated",
            Self::TokenRotated => "token_rotated",
            Self::ProviderSwitched => "provider_switched",
            Self::TokenRefused => "token_refused",
            Self::TokenReused => "token_reused",
            Self::LoginEnded => "login_ended",
            Self::DeviceRegistered => "device_registered",
            Self::IdentityKeyReplaced => "identity_key_replaced",
            Self::DeviceRemoved => "device_removed",
            Self::AgentConnected => "agent_connected",
            Self::AgentDisconnected => "agent_disconnected",
            Self::HandshakeRefused => "handshake_refused",
            Self::GrantInvited => "grant_invited",
            Self::GrantAccepted => "grant_accepted",
            Self::GrantRevoked => "grant_revoked",
            Self::GrantLeft => "grant_left",
            Self::DrainStart => "drain_start",
            Self::DrainEnd => "drain_end",
            Self::TurnLost => "turn_lost",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::RecordsLost => "records_lost",
        }
    }

    /// Whether it is everyday traffic, of which many records may wait a moment to be written together. Anything that was
    /// refused, cut short or changed is not.
    pub(super) const fn is_routine(self) -> bool {
        matches!(
            self,
            Self::ConnOpen
                | Self::ConnClose
                | Self::AuthOk
                | Self::Request
                | Self::AgentConnected
                | Self::AgentDisconnected
        )
    }
}

impl AuditRecord {
    /// Writes its members in their order, without the braces.
    pub(super) fn write(&self, out: &mut BytesMut) {
        out.put_slice(b"\"event\":\"");
        out.put_slice(self.event.name().as_bytes());
        out.put_u8(b'"');
        shown(out, "connId", self.conn_id);
        text(out, "requestId", self.request_id.as_deref());
        text(out, "runId", self.run_id.as_deref());
        shown(out, "ip", self.ip);
        shown(out, "peer", self.peer);
        text(out, "origin", self.origin.as_deref());
        text(out, "host", self.host.as_deref());
        text(out, "userAgent", self.user_agent.as_deref());
        let surface = self.surface.map(|surface| match surface {
            Surface::Ws => "ws",
            Surface::Control => "control",
            Surface::Http => "http",
            Surface::Relay => "relay",
            Surface::Cli => "cli",
        });
        text(out, "surface", surface);
        if let Some(client) = &self.client {
            out.put_slice(b",\"client\":{\"id\":");
            write_string(out, start(&client.id));
            text(out, "mode", client.mode.as_deref());
            text(out, "version", client.version.as_deref());
            out.put_u8(b'}');
        }
        let outcome = match self.outcome {
            AuditOutcome::Ok => "ok",
            AuditOutcome::Denied => "denied",
            AuditOutcome::Failed => "failed",
        };
        text(out, "outcome", Some(outcome));
        text(out, "reason", self.reason.as_deref());
        text(out, "target", self.target.as_deref());
        if let Some(count) = self.count {
            key(out, "count");
            write_number(out, count);
        }
    }
}

fn key(out: &mut BytesMut, name: &str) {
    out.put_slice(b",\"");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\":");
}

fn text(out: &mut BytesMut, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        key(out, name);
        write_string(out, start(text));
    }
}

/// For names and addresses of our own making, in which nothing needs an escape.
fn shown(out: &mut BytesMut, name: &str, value: Option<impl fmt::Display>) {
    if let Some(value) = value {
        key(out, name);
        // Memory takes whatever it is given.
        let _ = write!(out, "\"{value}\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn written(record: &AuditRecord) -> String {
        let mut out = BytesMut::new();
        record.write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    /// AU-2, AU-5.
    #[test]
    fn every_member_in_its_place() {
        let some = |text: &str| Some(text.to_string());
        let record = AuditRecord {
            request_id: some("r1"),
            run_id: some("run"),
            ip: Some("192.0.2.7".parse().unwrap()),
            peer: Some("::1".parse().unwrap()),
            origin: some("https://a.example"),
            host: some("b.example"),
            user_agent: some("say \"hi\"\u{1}\n"),
            client: Some(ClientName {
                id: "c".repeat(300),
                mode: some("cli"),
                version: None,
            }),
            target: some("https://c.example:443"),
            count: Some(3),
            ..AuditRecord::new(AuditEvent::FetchRejected, AuditOutcome::Failed)
                .because("why")
                .on(ConnId::FIRST, Surface::Ws)
        };
        let client = "c".repeat(MAX_PEER_TEXT);
        let conn = ConnId::FIRST;
        assert_eq!(
            written(&record),
            alloc::format!(
                r#""event":"fetch_rejected","connId":"{conn}","requestId":"r1","runId":"run","ip":"192.0.2.7","peer":"::1","origin":"https://a.example","host":"b.example","userAgent":"say \"hi\"\u0001\n","surface":"ws","client":{{"id":"{client}","mode":"cli"}},"outcome":"failed","reason":"why","target":"https://c.example:443","count":3"#
            )
        );
    }

    #[test]
    fn most_members_are_left_out() {
        let record = AuditRecord::new(AuditEvent::Start, AuditOutcome::Ok);
        assert_eq!(written(&record), r#""event":"start","outcome":"ok""#);
    }

    #[test]
    fn a_cut_leaves_whole_characters() {
        assert_eq!(start(&"é".repeat(150)).len(), 200);
        assert_eq!(start(&alloc::format!("a{}", "é".repeat(150))).len(), 199);
    }
}
