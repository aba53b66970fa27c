//! The OAuth server in virtual time, over a store in memory and an identity provider that is played by hand.

mod authorize;
mod token;
mod upstream;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::audit::AuditRecord;
use crate::calls::Calls;
use crate::effect::{DialTo, Fault, FaultKind, SignatureCheck};
use crate::http::{Event, Headers, Limits, ServerConnection};
use crate::machine::{Output, Peer};
use crate::outbound::Exchanges;
use crate::outbox::Outbox;
use crate::random::{Random, Seed};
use crate::secret::Secret;
use crate::settings::{AllowedOrigins, RelayLimits, Settings};
use crate::store::{Key, Record, Version};
use crate::surfaces::relay::ledger::Ledger;
use crate::surfaces::relay::streams::Streams;
use crate::time::UnixMillis;

pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(super) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(super) const START: u64 = 1_800_000_000;
pub(super) const CALLBACK: &str = "http://localhost:61696/callback";

pub(super) fn settings(auth: RelayAuth) -> RelaySettings {
    RelaySettings {
        public_base_url: "http://localhost:8080".into(),
        allow_origins: AllowedOrigins::Any,
        redirect_allowlist: [CALLBACK, "urn:ietf:wg:oauth:2.0:oob", "http://localhost:8080/console"]
            .map(String::from)
            .to_vec(),
        oauth_redirect_uris: alloc::vec![CALLBACK.into()],
        client_ids: ["commands-agent", "commands-desktop-public"].map(String::from).to_vec(),
        client_name: "Commands.com Gateway".into(),
        frontend_url: None,
        signing_key: Secret::new("reference-signing-key-0123456789abcdef".into()),
        audience: "commands-gateway".into(),
        access_token_ttl: Duration::from_secs(3_600),
        auth_code_ttl: Duration::from_secs(300),
        refresh_token_ttl: Duration::from_secs(86_400),
        agent_token_ttl: Duration::from_secs(86_400),
        refresh_absolute_ttl: Duration::from_secs(10 * 86_400),
        state_backend: "memory".into(),
        auth,
        standalone: true,
        loopback_only: false,
        identity_networks: Vec::new(),
        rate_window: Duration::from_secs(60),
        oauth_limit: 30,
        idempotency_ttl: Duration::from_secs(300),
        require_encrypted_frames: true,
        transport_token_secret: None,
        transport_token_ttl: Duration::from_secs(3_600),
        strict_transport: false,
        limits: RelayLimits::default(),
    }
}

/// An answer, easy to look at.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) body: String,
    headers: Vec<(&'static str, String)>,
}

impl Told {
    pub(super) fn header(&self, name: &str) -> &str {
        let mut named = self.headers.iter().filter(|(header, _)| *header == name);
        named.next().map_or("", |(_, value)| value)
    }

    /// A member of a JSON body.
    pub(super) fn get(&self, name: &str) -> String {
        let value: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        match &value[name] {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// A parameter of the target.
    pub(super) fn parameter(&self, name: &str) -> String {
        let (_, query) = self.header("Location").split_once('?').unwrap_or_default();
        Form::read(query, "", b"").get(name).into()
    }
}

pub(super) struct World {
    pub(super) oauth: OAuth,
    pub(super) relay: RelaySettings,
    pub(super) now: Now,
    pub(super) store: BTreeMap<Key, (Bytes, Option<UnixMillis>)>,
    /// Batches are not answered.
    pub(super) is_disk_stuck: bool,
    /// Reading the records fails.
    pub(super) is_disk_broken: bool,
    /// Paths and what they hold; `None`: 500.
    pub(super) documents: BTreeMap<String, String>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) asked: Vec<String>,
    pub(super) checked: Vec<SignatureCheck>,
    pub(super) is_signature_right: bool,
    pub(super) audit: Vec<AuditRecord>,
    pub(super) reports: Vec<Report>,
    settings: Arc<Settings>,
    random: Random,
    outbox: Outbox,
    calls: Calls,
    exchanges: Exchanges,
    ledger: Ledger,
    streams: Streams,
    conns: u64,
}

impl World {
    pub(super) fn new(auth: RelayAuth) -> Self {
        let mut world = Self::unloaded(auth);
        world.load();
        assert!(world.oauth.is_ready());
        world
    }

    pub(super) fn unloaded(auth: RelayAuth) -> Self {
        let relay = settings(auth);
        Self {
            oauth: OAuth::new(&relay),
            relay,
            now: Now {
                monotonic: Instant::from_millis(1_000),
                wall: UnixMillis(START * 1_000),
            },
            store: BTreeMap::new(),
            is_disk_stuck: false,
            is_disk_broken: false,
            documents: BTreeMap::new(),
            addresses: alloc::vec!["8.8.8.8".parse().unwrap()],
            asked: Vec::new(),
            checked: Vec::new(),
            is_signature_right: true,
            audit: Vec::new(),
            reports: Vec::new(),
            settings: Arc::new(Settings::default()),
            random: Random::new(Seed([7; 32])),
            outbox: Outbox::new(65_536),
            calls: Calls::default(),
            exchanges: Exchanges::default(),
            ledger: Ledger::default(),
            streams: Streams::default(),
            conns: 1_000,
        }
    }

    pub(super) fn with<T>(&mut self, act: impl FnOnce(&mut OAuth, &mut RelayContext<'_>) -> T) -> T {
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
            reports: &mut self.reports,
            audit: &mut self.audit,
        };
        act(&mut self.oauth, &mut cx)
    }

    pub(super) fn load(&mut self) {
        self.with(OAuth::load);
        self.settle();
    }

    /// Everything in memory is gone, the disk is not.
    pub(super) fn crash(&mut self) {
        self.oauth = OAuth::new(&self.relay);
        (self.calls, self.ledger) = (Calls::default(), Ledger::default());
        self.is_disk_stuck = false;
        self.load();
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        self.now.monotonic = self.now.monotonic.plus(Duration::from_secs(seconds));
        self.now.wall = self.now.wall.plus(Duration::from_secs(seconds));
        self.store
            .retain(|_, (_, until)| until.is_none_or(|until| self.now.wall < until));
        if self.oauth.next_deadline().is_some_and(|at| at <= self.now.monotonic) {
            self.with(OAuth::on_deadline);
        }
        self.exchanges.on_deadline(self.now, &mut self.calls);
        self.ledger.on_deadline(self.now);
        self.settle();
    }

    /// Carries out what is asked for, until nothing is.
    pub(super) fn settle(&mut self) {
        loop {
            if !self.is_disk_stuck {
                self.ledger.flush(&mut self.calls);
            }
            if let Some((_, id, event)) = self.exchanges.take_event() {
                self.with(|oauth, cx| oauth.exchange_event(cx, id, event));
            } else if let Some(output) = self.exchanges.take_output() {
                self.served(output);
            } else if let Some(output) = self.calls.take_output() {
                if let Output::Start { effect, what } = output {
                    self.carry_out(effect, *what);
                }
            } else {
                return;
            }
        }
    }

    fn carry_out(&mut self, effect: EffectId, what: Effect) {
        let owner = self.calls.finish(effect).unwrap();
        let outcome = match what {
            Effect::Store(_) if self.is_disk_broken => Err(Fault {
                kind: FaultKind::Unavailable,
                detail: String::new(),
            }),
            Effect::Store(batch) => Ok(Completion::Stored(self.apply(batch))),
            Effect::Resolve { .. } => Ok(Completion::Resolved(self.addresses.clone())),
            Effect::Dial(dial) => {
                let DialTo::Tcp(address) = dial.to else {
                    panic!("{dial:?}")
                };
                self.conns += 1;
                let conn = ConnId::new(self.conns).unwrap();
                let peer = Peer::Tcp(address);
                Ok(Completion::Dialled { conn, peer })
            }
            Effect::VerifySignature(check) => {
                self.checked.push(check);
                Ok(Completion::Verified(self.is_signature_right))
            }
            other => panic!("{other:?}"),
        };
        if owner == Owner::Outbound {
            self.exchanges.completed(self.now, &mut self.calls, effect, outcome);
        } else if self.ledger.owns(effect) {
            self.ledger.completed(self.now, &mut self.reports, outcome);
        } else {
            assert!(self.oauth.owns(effect));
            self.with(|oauth, cx| oauth.completed(cx, effect, outcome));
        }
    }

    /// The server answers what it is asked.
    fn served(&mut self, output: Output) {
        let Output::Transmit { conn, bytes, .. } = output else {
            return;
        };
        let head = String::from_utf8(bytes.to_vec()).unwrap();
        let Some(path) = head.split(' ').nth(1).filter(|_| head.starts_with("GET ")) else {
            return;
        };
        self.asked.push(path.into());
        let answer = match self.documents.get(path) {
            Some(body) => format!(
                "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=600\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
            None => "HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n".into(),
        };
        self.exchanges.received(self.now, conn, &mut answer.into_bytes());
    }

    fn apply(&mut self, batch: Batch) -> StoreReply {
        let apply = |op: Op| match op {
            Op::Put {
                key, value, expires_at, ..
            } => {
                self.store.insert(key, (value, expires_at));
                StoreAnswer::Written(Version(1))
            }
            Op::Delete { key, .. } => {
                self.store.remove(&key);
                StoreAnswer::Removed
            }
            Op::Scan { table, .. } => {
                let found = self.store.iter().filter(|(key, _)| key.table == table);
                let record = |(key, (value, _)): (&Key, &(Bytes, Option<UnixMillis>))| Record {
                    id: key.id.clone(),
                    version: Version(1),
                    value: value.clone(),
                };
                StoreAnswer::Records(found.map(record).collect())
            }
            Op::Get { .. } => StoreAnswer::Record(None),
        };
        StoreReply::Applied(batch.ops.into_iter().map(apply).collect())
    }

    /// The answer to a request; `None`: it comes later.
    pub(super) fn ask(&mut self, method: Method, target: &str, fields: &[(&str, &str)], body: &str) -> Option<Told> {
        let headers = headers(fields);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let conn = ConnId::FIRST;
        let request = Request {
            conn,
            method,
            path,
            query,
            headers: &headers,
            client: Some("192.0.2.1".parse().unwrap()),
            body: body.as_bytes(),
            wants_websocket: false,
        };
        let reply = self.with(|oauth, cx| oauth.handle(cx, &request)).expect("its path");
        match reply {
            Reply::Now(answer) => Some(told(answer)),
            Reply::Later => {
                self.settle();
                self.answer()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn answer(&mut self) -> Option<Told> {
        let answer = self.oauth.take_answer().or_else(|| self.ledger.take_answer());
        if let Some((conn, answer)) = &answer {
            self.oauth.answered(*conn, answer.status);
            self.with(OAuth::take_back);
        }
        answer.map(|(conn, answer)| {
            assert_eq!(conn, ConnId::FIRST);
            told(answer)
        })
    }

    pub(super) fn get(&mut self, target: &str, fields: &[(&str, &str)]) -> Told {
        self.ask(Method::Get, target, fields, "").unwrap()
    }

    pub(super) fn post(&mut self, path: &str, form: &str) -> Told {
        self.ask(Method::Post, path, &[FORM], form).unwrap()
    }

    /// A code for this e-mail.
    pub(super) fn code(&mut self, email: &str) -> String {
        let told = self.post(
            "/oauth/authorize",
            &format!("{}&demo_email={email}&response_mode=json", asking()),
        );
        assert_eq!(told.status, 200, "{told:?}");
        told.get("code")
    }

    /// The tokens of a new login.
    pub(super) fn login(&mut self, email: &str) -> Told {
        let code = self.code(email);
        self.exchange(&code)
    }

    pub(super) fn exchange(&mut self, code: &str) -> Told {
        let form = format!(
            "grant_type=authorization_code&code={code}&code_verifier={VERIFIER}&client_id=commands-agent&redirect_uri={CALLBACK}"
        );
        self.post("/oauth/token", &form)
    }

    pub(super) fn refresh(&mut self, token: &str) -> Told {
        self.post(
            "/oauth/token",
            &format!("grant_type=refresh_token&refresh_token={token}"),
        )
    }

    pub(super) fn judge(&self, token: &str) -> Result<Caller, TokenFault> {
        self.oauth.verify(self.now, token)
    }
}

pub(super) const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// The OAuth parameters of a good request.
pub(super) fn asking() -> String {
    format!(
        "response_type=code&client_id=commands-agent&redirect_uri={CALLBACK}&state=s%201&code_challenge={CHALLENGE}&code_challenge_method=S256"
    )
}

fn told(answer: Answer) -> Told {
    let mut headers: Vec<(&'static str, String)> = Vec::new();
    for (name, value) in answer.headers {
        headers.push((name, value.into_owned()));
    }
    headers.push(("Content-Type", answer.content_type.into()));
    Told {
        status: answer.status.code(),
        body: String::from_utf8(answer.body.to_vec()).unwrap(),
        headers,
    }
}

fn headers(fields: &[(&str, &str)]) -> Headers {
    let mut connection = ServerConnection::new(Limits::default());
    let mut head = String::from("GET / HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    connection.received(head.as_bytes());
    match connection.poll(&mut bytes::BytesMut::new()) {
        Event::Request(request) => request.headers().clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn discovery_keys_and_registration() {
    let mut world = World::new(RelayAuth::Demo);
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
        "/oauth/.well-known/openid-configuration",
    ] {
        let told = world.get(path, &[]);
        assert_eq!(told.status, 200);
        assert_eq!(
            told.body,
            r#"{"issuer":"http://localhost:8080","authorization_endpoint":"http://localhost:8080/oauth/authorize","token_endpoint":"http://localhost:8080/oauth/token","jwks_uri":"http://localhost:8080/.well-known/jwks.json","response_types_supported":["code"],"grant_types_supported":["authorization_code","refresh_token","client_credentials"],"token_endpoint_auth_methods_supported":["none"],"code_challenge_methods_supported":["S256"],"scopes_supported":["profile","email"]}"#
        );
    }
    for path in ["/.well-known/jwks.json", "/oauth/.well-known/jwks.json"] {
        let told = world.get(path, &[]);
        assert_eq!(
            told.body,
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"7lPmtrj8Lv4KWfHo9xp-qjDKnAyV45rW2NFZ73upWR0","use":"sig","alg":"EdDSA","kid":"DuMrApYr9_4"}]}"#
        );
    }
    let told = world.post("/register", "{\"redirect_uris\":[\"http://x\"]");
    assert_eq!(told.status, 200);
    assert_eq!(
        told.body,
        r#"{"client_id":"commands-agent","client_name":"Commands.com Gateway","token_endpoint_auth_method":"none","redirect_uris":["http://localhost:61696/callback","urn:ietf:wg:oauth:2.0:oob"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"]}"#
    );
    let mut oidc = World::new(upstream::oidc());
    let grants = oidc
        .get("/.well-known/openid-configuration", &[])
        .get("grant_types_supported");
    assert_eq!(grants, r#"["authorization_code","refresh_token"]"#);
}

#[test]
fn other_paths_and_methods() {
    let mut world = World::new(RelayAuth::Demo);
    let headers = headers(&[]);
    let request = Request {
        conn: ConnId::FIRST,
        method: Method::Get,
        path: "/oauth/token/",
        query: "",
        headers: &headers,
        client: None,
        body: b"",
        wants_websocket: false,
    };
    assert!(world.with(|oauth, cx| oauth.handle(cx, &request)).is_none());
    for (method, path, allow) in [
        (Method::Post, "/.well-known/jwks.json", "GET, HEAD"),
        (Method::Get, "/register", "POST"),
        (Method::Put, "/oauth/authorize", "GET, HEAD, POST"),
        (Method::Get, "/oauth/token", "POST"),
        (Method::Delete, "/oauth/token/revoke", "POST"),
    ] {
        let told = world.ask(method, path, &[], "").unwrap();
        assert_eq!((told.status, told.header("Allow")), (405, allow), "{path}");
        assert_eq!(told.body, r#"{"code":405,"error":"Method Not Allowed"}"#);
    }
}

#[test]
fn thirty_calls_in_a_window_over_all_three_paths_and_nothing_else_counts() {
    let mut world = World::new(RelayAuth::Demo);
    for _ in 0..10 {
        assert_eq!(world.post("/oauth/token", "").status, 400);
        assert_eq!(world.post("/oauth/token/revoke", "").status, 200);
        assert_eq!(world.get("/oauth/authorize", &[]).status, 400);
        assert_eq!(world.post("/register", "").status, 200);
    }
    for path in ["/oauth/token", "/oauth/token/revoke", "/oauth/authorize"] {
        let told = world.post(path, "");
        assert_eq!((told.status, told.header("Retry-After")), (429, "2"));
        assert_eq!(told.body, r#"{"error":"too_many_requests"}"#);
    }
    assert_eq!(world.post("/register", "").status, 200);
    world.wait(2);
    assert_eq!(world.post("/oauth/token", "").status, 400);
    assert_eq!(world.post("/oauth/token", "").status, 429);
}

#[test]
fn nothing_is_judged_before_the_records_are_read() {
    let mut world = World::unloaded(RelayAuth::Demo);
    world.is_disk_broken = true;
    world.load();
    let told = world.post("/oauth/token", "");
    assert_eq!((told.status, told.header("Retry-After")), (503, "1"));
    assert!(!world.oauth.is_ready() && world.reports.len() == 1);
    world.is_disk_broken = false;
    world.wait(1);
    assert!(world.oauth.is_ready());
    assert_eq!(world.post("/oauth/token", "").status, 400);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_request_panics(
        path in "/oauth/(authorize|token|token/revoke)",
        query in "((grant_type|code|refresh_token|token|client_id|redirect_uri|scope|demo_email|id_token)=(authorization_code|refresh_token|client_credentials|[a-zA-Z0-9%+._-]{0,60})&){0,8}",
        body in any::<String>(),
        kind in "(application/x-www-form-urlencoded|multipart/form-data; boundary=[a-z]{0,3}|text/plain)",
        is_demo in any::<bool>(),
    ) {
        let mut world = World::new(if is_demo { RelayAuth::Demo } else { upstream::oidc() });
        for method in [Method::Get, Method::Head, Method::Post] {
            let told = world.ask(method, &format!("{path}?{query}"), &[("Content-Type", &kind)], &body);
            prop_assert!(told.is_some_and(|told| told.status < 500 || told.status == 503));
        }
    }
}

#[test]
fn a_challenge_is_the_digest_of_its_verifier() {
    assert_eq!(URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER)), CHALLENGE);
}
