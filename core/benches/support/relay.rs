//! The relay's devices and sessions as a gateway drives them, with a store that forgets: for benches and the fuzzer.
#![allow(clippy::expect_used, reason = "what is constant here cannot be wrong")]

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use ed25519_dalek::{Signer, SigningKey};
use portcullis_core::calls::Calls;
use portcullis_core::effect::{Completion, Effect};
use portcullis_core::http::{Event, Headers, Limits, Method, ServerConnection};
use portcullis_core::id::ConnId;
use portcullis_core::machine::Output;
use portcullis_core::outbound::Exchanges;
use portcullis_core::outbox::Outbox;
use portcullis_core::random::{Random, Seed};
use portcullis_core::secret::Secret;
use portcullis_core::settings::{AllowedOrigins, RelayAuth, RelayLimits, RelaySettings, Settings};
use portcullis_core::store::{Op, Reply as Done, StoreReply, Version};
use portcullis_core::surfaces::relay::context::RelayContext;
use portcullis_core::surfaces::relay::devices::Devices;
use portcullis_core::surfaces::relay::envelope::Direction;
use portcullis_core::surfaces::relay::http::{Caller, Reply, Request};
use portcullis_core::surfaces::relay::ids::{DeviceId, Email, Uid};
use portcullis_core::surfaces::relay::ledger::Ledger;
use portcullis_core::surfaces::relay::sessions::Sessions;
use portcullis_core::surfaces::relay::streams::{StreamOutput, Streams};
use portcullis_core::surfaces::relay::transcript::Transcript;
use portcullis_core::time::{Instant, Now, UnixMillis};

const CLIENT_KEY: &str = "B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw=";
const AGENT_KEY: &str = "iDGGuAC0HVzwQpaV2ps8xPMo680YSm5IL6V4wQPwbHc=";
/// The agent's connection.
pub(crate) const AGENT: u64 = 1;
/// The listener's.
pub(crate) const LISTENER: u64 = 2;
/// The client's, for requests.
const CLIENT: u64 = 3;
/// Where messages go.
pub(crate) const MESSAGES: &str = "/gateway/v1/sessions/s-01/messages";

/// A device with its agent, a session that is acknowledged, and its listener.
pub(crate) struct Bench {
    now: Now,
    relay: RelaySettings,
    settings: Arc<Settings>,
    devices: Devices,
    sessions: Sessions,
    caller: Caller,
    random: Random,
    outbox: Outbox,
    calls: Calls,
    exchanges: Exchanges,
    ledger: Ledger,
    streams: Streams,
    headers: Headers,
}

fn conn(number: u64) -> ConnId {
    ConnId::new(number).expect("not zero")
}

fn headers() -> Headers {
    let mut connection = ServerConnection::new(Limits::default());
    connection.received(b"GET / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\r\n");
    match connection.poll(&mut BytesMut::new()) {
        Event::Request(request) => request.headers().clone(),
        other => panic!("{other:?}"),
    }
}

fn settings(encrypted: bool) -> RelaySettings {
    RelaySettings {
        public_base_url: String::new(),
        standalone: true,
        loopback_only: true,
        allow_origins: AllowedOrigins::Any,
        redirect_allowlist: Vec::new(),
        oauth_redirect_uris: Vec::new(),
        client_ids: Vec::new(),
        client_name: String::new(),
        frontend_url: None,
        signing_key: Secret::new("reference-signing-key-0123456789abcdef".into()),
        audience: String::new(),
        access_token_ttl: Duration::from_secs(3_600),
        auth_code_ttl: Duration::from_secs(300),
        refresh_token_ttl: Duration::from_secs(1),
        agent_token_ttl: Duration::from_secs(86_400),
        refresh_absolute_ttl: Duration::from_secs(1),
        state_backend: String::new(),
        auth: RelayAuth::Demo,
        rate_window: Duration::from_secs(60),
        oauth_limit: 30,
        idempotency_ttl: Duration::from_secs(300),
        require_encrypted_frames: encrypted,
        transport_token_secret: None,
        transport_token_ttl: Duration::from_secs(3_600),
        strict_transport: false,
        limits: RelayLimits::default(),
    }
}

impl Bench {
    /// Everything is there.
    pub(crate) fn new(encrypted: bool) -> Self {
        let (relay, mut calls) = (settings(encrypted), Calls::default());
        let mut bench = Self {
            now: Now {
                monotonic: Instant::from_millis(1_000),
                wall: UnixMillis(1_795_187_180_000),
            },
            settings: Arc::new(Settings::default()),
            devices: Devices::new(&mut calls),
            sessions: Sessions::new(&relay, &mut calls),
            relay,
            caller: Caller {
                uid: Uid("ann".into()),
                email: Email::parse("ann@example.org"),
                email_verified: true,
                email_written: Some("ann@example.org".into()),
                name: Some("Ann".into()),
                scope: String::new(),
                expires_at: u64::MAX / 1_000,
                token_id: String::new(),
                login: None,
            },
            random: Random::new(Seed([7; 32])),
            outbox: Outbox::new(1_572_864),
            calls,
            exchanges: Exchanges::default(),
            ledger: Ledger::default(),
            streams: Streams::default(),
            headers: headers(),
        };
        bench.settle();
        bench.begin();
        bench
    }

    fn begin(&mut self) {
        let identity = SigningKey::from_bytes(&[1; 32]);
        let key = STANDARD.encode(identity.verifying_key().as_bytes());
        let body = format!(r#"{{"public_key":"{key}"}}"#);
        self.ask(Method::Put, "/gateway/v1/devices/dev_1/identity-key", &body);
        let device = DeviceId::parse("dev_1").expect("an id");
        let caller = self.caller.clone();
        self.act(|devices, sessions, cx| sessions.agent_opened(cx, devices, conn(AGENT), &caller, device));
        let body = format!(
            r#"{{"device_id":"dev_1","handshake_id":"h-01","client_ephemeral_public_key":"{CLIENT_KEY}","client_session_nonce":"n"}}"#
        );
        self.ask(Method::Post, "/gateway/v1/sessions/s-01/handshake/client-init", &body);
        let transcript = Transcript {
            session_id: "s-01",
            handshake_id: "h-01",
            client_key: CLIENT_KEY,
            client_nonce: "n",
            agent_key: AGENT_KEY,
        };
        let hash = transcript.hash();
        let signature = STANDARD.encode(identity.sign(&hash).to_bytes());
        let hash = STANDARD.encode(hash);
        self.agent_says(&format!(
            r#"{{"type":"session.handshake.ack","session_id":"s-01","agent_ephemeral_public_key":"{AGENT_KEY}","agent_identity_signature":"{signature}","transcript_hash":"{hash}"}}"#
        ));
        let caller = self.caller.clone();
        let headers = self.headers.clone();
        let request = Request {
            conn: conn(LISTENER),
            path: "/gateway/v1/sessions/s-01/events",
            ..request(&headers, Method::Get)
        };
        let reply = self.act(|devices, sessions, cx| sessions.handle(cx, devices, &caller, &request));
        assert!(matches!(reply, Some(Reply::Events(_))), "{reply:?}");
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Devices, &mut Sessions, &mut RelayContext<'_>) -> T) -> T {
        let mut cx = RelayContext {
            now: self.now,
            settings: &self.settings,
            relay: &self.relay,
            random: &mut self.random,
            outbox: &mut self.outbox,
            calls: &mut self.calls,
            exchanges: &mut self.exchanges,
            ledger: &mut self.ledger,
            streams: &mut self.streams,
            reports: &mut Vec::new(),
            audit: &mut Vec::new(),
        };
        act(&mut self.devices, &mut self.sessions, &mut cx)
    }

    /// A request; what is answered at once.
    pub(crate) fn ask(&mut self, method: Method, path: &str, body: &str) -> Option<Reply> {
        let (caller, headers) = (self.caller.clone(), self.headers.clone());
        let request = Request {
            path,
            body: body.as_bytes(),
            ..request(&headers, method)
        };
        let reply = self.act(|devices, sessions, cx| {
            let served = devices.handle(cx, &caller, &request);
            served.or_else(|| sessions.handle(cx, devices, &caller, &request))
        });
        self.settle();
        reply
    }

    /// A frame of the agent.
    pub(crate) fn agent_says(&mut self, text: &str) {
        self.act(|devices, sessions, cx| sessions.agent_message(cx, devices, conn(AGENT), text));
    }

    /// What goes to the agent, ready for its socket, which takes it at once.
    pub(crate) fn agent_bytes(&mut self) -> BytesMut {
        let parcel = self.outbox.take_for(conn(AGENT));
        let bytes = parcel.map(|parcel| parcel.bytes).unwrap_or_default();
        let length = bytes.len();
        self.act(|_, sessions, cx| sessions.agent_sent(cx, conn(AGENT), length));
        bytes
    }

    /// What goes to the listener, whose socket takes it at once.
    pub(crate) fn listener_bytes(&mut self) -> BytesMut {
        match self.streams.take_output() {
            Some((conn, StreamOutput::Bytes(bytes))) => {
                self.streams.sent(conn, bytes.len());
                bytes
            }
            _ => BytesMut::new(),
        }
    }

    /// Everything that is written is written at once, and forgotten.
    pub(crate) fn settle(&mut self) {
        loop {
            self.ledger.flush(&mut self.calls);
            while self.ledger.take_answer().is_some() {}
            let Some(output) = self.calls.take_output() else { return };
            let Output::Start { effect, what } = output else {
                continue;
            };
            let Effect::Store(batch) = *what else { continue };
            self.calls.finish(effect);
            let replies = batch.ops.into_iter().map(|op| match op {
                Op::Scan { .. } => Done::Records(Vec::new()),
                Op::Put { .. } => Done::Written(Version(1)),
                Op::Delete { .. } => Done::Removed,
                Op::Get { .. } => Done::Record(None),
            });
            let outcome = Ok(Completion::Stored(StoreReply::Applied(replies.collect())));
            let mut reports = Vec::new();
            if self.ledger.owns(effect) {
                self.ledger.completed(self.now, &mut reports, outcome);
            } else if self.devices.owns(effect) {
                self.devices.completed(self.now, &mut reports, effect, outcome);
            } else {
                let relay = &self.relay;
                self.sessions.completed(relay, self.now, &mut reports, effect, outcome);
            }
        }
    }
}

fn request(headers: &Headers, method: Method) -> Request<'_> {
    Request {
        conn: conn(CLIENT),
        method,
        path: "",
        query: "",
        headers,
        client: None,
        body: b"",
        wants_websocket: false,
    }
}

/// A sealed message of about 500 bytes.
pub(crate) fn sealed(direction: Direction, seq: u64) -> String {
    let nonce = direction.nonce(seq);
    let nonce = std::str::from_utf8(&nonce).expect("base64");
    let (name, body) = (direction.name(), "AAAA".repeat(60));
    format!(
        r#"{{"type":"session.result","session_id":"s-01","message_id":"m-{seq}","encrypted":true,"alg":"aes-256-gcm","direction":"{name}","seq":{seq},"nonce":"{nonce}","ciphertext":"{body}","tag":"re3L12fgFjNKBFurSL7tdw==","aad":"c2Vzcw=="}}"#
    )
}
