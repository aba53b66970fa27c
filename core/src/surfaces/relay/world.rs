//! Devices and sessions in virtual time with a disk in memory, as the tests of both use them.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::{Bytes, BytesMut};

use super::context::RelayContext;
use super::devices::Devices;
use super::http::{Answer, Caller, Reply, Request};
use super::ids::{DeviceId, Email, Uid};
use super::ledger::Ledger;
use super::sessions::Sessions;
use super::streams::{StreamOutput, Streams};
use crate::audit::AuditRecord;
use crate::calls::Calls;
use crate::effect::{Completion, Effect, Fault, FaultKind};
use crate::http::{Event, Headers, Limits, Method, ServerConnection};
use crate::id::ConnId;
use crate::machine::Output;
use crate::outbound::Exchanges;
use crate::outbox::Outbox;
use crate::random::{Random, Seed};
use crate::report::Report;
use crate::secret::Secret;
use crate::settings::{AllowedOrigins, RelayAuth, RelayLimits, RelaySettings, Settings};
use crate::store::{Key, Op, Record, Reply as StoreReplyOne, StoreReply, Version};
use crate::time::{Instant, Now, UnixMillis};

pub(super) const START: u64 = 1_795_187_180_000;

/// Everything that a gateway would hold.
pub(super) struct World {
    pub(super) relay: RelaySettings,
    pub(super) now: Now,
    pub(super) devices: Devices,
    pub(super) sessions: Sessions,
    pub(super) disk: BTreeMap<Key, Bytes>,
    pub(super) disk_works: bool,
    settings: Arc<Settings>,
    random: Random,
    outbox: Outbox,
    calls: Calls,
    exchanges: Exchanges,
    ledger: Ledger,
    streams: Streams,
    pub(super) reports: Vec<Report>,
    pub(super) audit: Vec<AuditRecord>,
    next_conn: u64,
    answers: BTreeMap<ConnId, Answer>,
    heard: BTreeMap<ConnId, String>,
    frames: BTreeMap<ConnId, Vec<String>>,
    /// Whether agents' sockets take what they are sent.
    pub(super) sockets_take: bool,
    /// Whether agents answer pings.
    pub(super) agents_pong: bool,
    /// What agents' sockets have not taken.
    sockets: BTreeMap<ConnId, BytesMut>,
}

/// What a request led to.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) conn: ConnId,
    pub(super) status: u16,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(super) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_string()
    }

    pub(super) fn is(&self, status: u16, error: &str) {
        assert_eq!(
            (self.status, self.error()),
            (status, error.to_string()),
            "{}",
            self.body
        );
    }
}

pub(super) fn caller(uid: &str) -> Caller {
    let email = alloc::format!("{uid}@Example.org");
    Caller {
        uid: Uid(uid.into()),
        email: Email::parse(&email),
        email_verified: true,
        email_written: Some(email),
        name: Some(uid.to_uppercase()),
        scope: String::new(),
        expires_at: START / 1_000 + 1_000_000,
        token_id: String::new(),
        login: None,
    }
}

pub(super) fn relay_settings() -> RelaySettings {
    RelaySettings {
        public_base_url: "https://relay.test".into(),
        loopback_only: true,
        allow_origins: AllowedOrigins::Any,
        redirect_allowlist: Vec::new(),
        oauth_redirect_uris: Vec::new(),
        client_ids: alloc::vec!["commands-agent".into()],
        client_name: String::new(),
        frontend_url: None,
        signing_key: Secret::new("reference-signing-key-0123456789abcdef".into()),
        audience: String::new(),
        access_token_ttl: Duration::from_secs(3_600),
        auth_code_ttl: Duration::from_secs(300),
        refresh_token_ttl: Duration::from_secs(1),
        agent_token_ttl: Duration::from_secs(86_400),
        refresh_absolute_ttl: Duration::from_secs(1),
        state_backend: "memory".into(),
        auth: RelayAuth::Oidc {
            issuer: String::new(),
            client_id: String::new(),
        },
        standalone: true,
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

impl World {
    pub(super) fn new() -> Self {
        Self::with(relay_settings())
    }

    pub(super) fn with(relay: RelaySettings) -> Self {
        let mut calls = Calls::default();
        let mut world = Self {
            devices: Devices::new(&mut calls),
            sessions: Sessions::new(&relay, &mut calls),
            relay,
            now: Now {
                monotonic: Instant::from_millis(1_000),
                wall: UnixMillis(START),
            },
            disk: BTreeMap::new(),
            disk_works: true,
            settings: Arc::new(Settings::default()),
            random: Random::new(Seed([7; 32])),
            outbox: Outbox::new(1_572_864),
            calls,
            exchanges: Exchanges::default(),
            ledger: Ledger::default(),
            streams: Streams::default(),
            reports: Vec::new(),
            audit: Vec::new(),
            next_conn: 100,
            answers: BTreeMap::new(),
            heard: BTreeMap::new(),
            frames: BTreeMap::new(),
            sockets_take: true,
            agents_pong: true,
            sockets: BTreeMap::new(),
        };
        world.settle();
        assert!(world.devices.is_ready() && world.sessions.is_ready());
        world
    }

    /// The process is killed and begins again with what is on disk. Agents and listeners are gone.
    pub(super) fn crash(&mut self) {
        let mut calls = Calls::default();
        self.devices = Devices::new(&mut calls);
        self.sessions = Sessions::new(&self.relay, &mut calls);
        self.calls = calls;
        self.ledger = Ledger::default();
        self.streams = Streams::default();
        while self.outbox.take().is_some() {}
        self.sockets.clear();
        self.settle();
    }

    pub(super) fn act<T>(&mut self, act: impl FnOnce(&mut Devices, &mut Sessions, &mut RelayContext<'_>) -> T) -> T {
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
        let done = act(&mut self.devices, &mut self.sessions, &mut cx);
        // What the front door does between the parts.
        while let Some((device, uid)) = self.devices.take_revoked() {
            self.sessions.revoked(&mut cx, &device, &uid);
        }
        while let Some(device) = self.devices.take_removed() {
            self.sessions.removed(&mut cx, &mut self.devices, &device);
        }
        done
    }

    /// Carries out everything that waits: the disk, the sockets, the streams.
    pub(super) fn settle(&mut self) {
        loop {
            self.ledger.flush(&mut self.calls);
            while let Some((conn, output)) = self.streams.take_output() {
                let heard = self.heard.entry(conn).or_default();
                match output {
                    StreamOutput::Bytes(bytes) => {
                        heard.push_str(core::str::from_utf8(&bytes).unwrap());
                        self.streams.sent(conn, bytes.len());
                        let limit = self.relay.limits.stream_buffer_bytes as usize;
                        self.sessions.listen_on(&mut self.streams, limit, conn);
                    }
                    StreamOutput::End => heard.push_str("END"),
                }
            }
            self.take_frames();
            while let Some((conn, answer)) = self.sessions.take_answer().or_else(|| self.ledger.take_answer()) {
                self.answers.insert(conn, answer);
            }
            if !self.disk_works {
                return;
            }
            let Some(output) = self.calls.take_output() else { return };
            if let Output::Start { effect, what } = output
                && let Effect::Store(batch) = *what
            {
                self.calls.finish(effect);
                let replies = batch.ops.into_iter().map(|op| self.carry_out(op)).collect();
                let outcome = Ok(Completion::Stored(StoreReply::Applied(replies)));
                self.finished(effect, outcome);
            }
        }
    }

    fn finished(&mut self, effect: crate::id::EffectId, outcome: Result<Completion, Fault>) {
        if self.ledger.owns(effect) {
            self.ledger.completed(self.now, &mut self.reports, outcome);
        } else if self.devices.owns(effect) {
            self.devices.completed(self.now, &mut self.reports, effect, outcome);
        } else {
            self.sessions
                .completed(&self.relay, self.now, &mut self.reports, effect, outcome);
        }
    }

    /// The first read of each table fails.
    pub(super) fn fail_reads(&mut self) {
        while let Some(Output::Start { effect, .. }) = self.calls.take_output() {
            self.calls.finish(effect);
            let fault = Fault {
                kind: FaultKind::Unavailable,
                detail: String::new(),
            };
            self.finished(effect, Err(fault));
        }
    }

    fn carry_out(&mut self, op: Op) -> StoreReplyOne {
        match op {
            Op::Put { key, value, .. } => {
                self.disk.insert(key, value);
                StoreReplyOne::Written(Version(1))
            }
            Op::Delete { key, .. } => {
                self.disk.remove(&key);
                StoreReplyOne::Removed
            }
            Op::Scan { table, .. } => {
                let records = self.disk.iter().filter(|(key, _)| key.table == table);
                let records = records.map(|(key, value)| Record {
                    id: key.id.clone(),
                    version: Version(1),
                    value: value.clone(),
                });
                StoreReplyOne::Records(records.collect())
            }
            Op::Get { .. } => StoreReplyOne::Record(None),
        }
    }

    fn take_frames(&mut self) {
        while let Some(parcel) = self.outbox.take() {
            let conn = parcel.conn;
            self.sessions.agent_handed(conn, parcel.bytes.len());
            let socket = self.sockets.entry(conn).or_default();
            socket.extend_from_slice(&parcel.bytes);
            if let Some((code, reason)) = parcel.close {
                self.take_from(conn);
                let frames = self.frames.entry(conn).or_default();
                frames.push(alloc::format!("close {} {reason}", code.0));
            }
        }
        if self.sockets_take {
            for conn in self.sockets.keys().copied().collect::<Vec<_>>() {
                self.take_from(conn);
            }
        }
    }

    /// An agent's socket takes what waits for it, and the agent reads it; it answers pings.
    fn take_from(&mut self, conn: ConnId) {
        let bytes = self.sockets.remove(&conn).unwrap_or_default();
        let length = bytes.len();
        let (frames, pings) = read_frames(bytes);
        self.frames.entry(conn).or_default().extend(frames);
        self.act(|_, sessions, cx| sessions.agent_sent(cx, conn, length));
        if self.agents_pong {
            for ping in pings {
                self.act(|_, sessions, cx| sessions.agent_pong(cx, conn, &ping));
            }
        }
    }

    /// How much may wait for a client's socket.
    pub(super) fn set_max_buffered(&mut self, bytes: usize) {
        Arc::make_mut(&mut self.settings).gateway.max_buffered_bytes = bytes;
    }

    pub(super) fn conn(&mut self) -> ConnId {
        self.next_conn += 1;
        ConnId::new(self.next_conn).unwrap()
    }

    /// A request with these further fields; what was answered at once or when everything was written.
    pub(super) fn ask_with(&mut self, who: &Caller, line: &str, fields: &str, body: &str) -> Asked {
        let conn = self.conn();
        let (method, target) = line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = headers(fields, body);
        let request = Request {
            conn,
            method: match method {
                "GET" => Method::Get,
                "PUT" => Method::Put,
                "POST" => Method::Post,
                "DELETE" => Method::Delete,
                other => panic!("{other}"),
            },
            path,
            query,
            headers: &headers,
            client: None,
            body: body.as_bytes(),
            wants_websocket: fields.contains("Upgrade: websocket"),
        };
        let reply = self.act(|devices, sessions, cx| {
            let served = devices.handle(cx, who, &request);
            served.or_else(|| sessions.handle(cx, devices, who, &request))
        });
        self.settle();
        let answer = match reply {
            None => {
                return Asked {
                    conn,
                    status: 0,
                    body: String::new(),
                };
            }
            Some(Reply::Events(stream)) => {
                let first = core::str::from_utf8(&stream.first).unwrap().to_string();
                return Asked {
                    conn,
                    status: 200,
                    body: first,
                };
            }
            Some(Reply::Upgrade(_)) => {
                return Asked {
                    conn,
                    status: 101,
                    body: String::new(),
                };
            }
            Some(Reply::Now(answer)) => Some(answer),
            Some(Reply::Later) => self.answers.remove(&conn),
        };
        let Some(answer) = answer else {
            return Asked {
                conn,
                status: 1,
                body: "not answered yet".into(),
            };
        };
        Asked {
            conn,
            status: answer.status.code(),
            body: core::str::from_utf8(&answer.body).unwrap().to_string(),
        }
    }

    pub(super) fn ask(&mut self, who: &Caller, line: &str, body: &str) -> Asked {
        self.ask_with(who, line, "", body)
    }

    /// The answer that was not there yet.
    pub(super) fn answered_later(&mut self, conn: ConnId) -> Option<(u16, String)> {
        let answer = self.answers.remove(&conn)?;
        Some((
            answer.status.code(),
            core::str::from_utf8(&answer.body).unwrap().to_string(),
        ))
    }

    /// What a listener heard since the last time.
    pub(super) fn heard(&mut self, conn: ConnId) -> String {
        self.settle();
        self.heard.remove(&conn).unwrap_or_default()
    }

    pub(super) fn agent(&mut self, who: &Caller, device: &str) -> ConnId {
        let conn = self.conn();
        let device = DeviceId::parse(device).unwrap();
        self.act(|devices, sessions, cx| sessions.agent_opened(cx, devices, conn, who, device));
        self.settle();
        conn
    }

    pub(super) fn agent_says(&mut self, conn: ConnId, text: &str) -> Vec<String> {
        self.act(|devices, sessions, cx| sessions.agent_message(cx, devices, conn, text));
        self.frames(conn)
    }

    pub(super) fn agent_leaves(&mut self, conn: ConnId) {
        // What its socket has not taken is lost with it.
        self.sockets.remove(&conn);
        self.act(|devices, sessions, cx| sessions.agent_closed(cx, devices, conn));
        self.settle();
    }

    /// What an agent was sent since the last time.
    pub(super) fn frames(&mut self, conn: ConnId) -> Vec<String> {
        self.settle();
        self.frames.remove(&conn).unwrap_or_default()
    }

    pub(super) fn listener_leaves(&mut self, conn: ConnId) {
        self.streams.closed(conn);
        self.devices.closed(conn);
        self.sessions.closed(conn);
    }

    /// Time passes; everything that is due happens when it is due.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.monotonic.plus(time);
        loop {
            let next = [
                self.devices.next_deadline(),
                self.sessions.next_deadline(),
                self.ledger.next_deadline(),
            ];
            let next = next.into_iter().flatten().min().filter(|next| *next <= end);
            let to = next.unwrap_or(end).max(self.now.monotonic);
            self.now.wall = self.now.wall.plus(to.since(self.now.monotonic));
            self.now.monotonic = to;
            if next.is_none() {
                return self.settle();
            }
            self.ledger.on_deadline(self.now);
            self.act(|devices, sessions, cx| {
                devices.on_deadline(cx);
                sessions.on_deadline(cx, devices);
            });
            self.settle();
        }
    }

    pub(super) fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// How many records a table has.
    pub(super) fn records(&self, table: &str) -> usize {
        self.disk.keys().filter(|key| key.table == table).count()
    }
}

fn headers(fields: &str, body: &str) -> Headers {
    let kind = if body.is_empty() || fields.contains("Content-Type") {
        ""
    } else {
        "Content-Type: application/json\r\n"
    };
    let text = alloc::format!("GET / HTTP/1.1\r\nHost: relay.test\r\n{kind}{fields}\r\n");
    let mut connection = ServerConnection::new(Limits::default());
    connection.received(text.as_bytes());
    match connection.poll(&mut BytesMut::new()) {
        Event::Request(request) => request.headers().clone(),
        other => panic!("{other:?}"),
    }
}

/// The texts and the contents of pings.
fn read_frames(bytes: BytesMut) -> (Vec<String>, Vec<Vec<u8>>) {
    let (mut frames, mut pings) = (Vec::new(), Vec::new());
    let mut rest = &bytes[..];
    while let [first, length, tail @ ..] = rest {
        let (length, tail) = match *length {
            126 => (usize::from(u16::from_be_bytes([tail[0], tail[1]])), &tail[2..]),
            127 => (
                usize::try_from(u64::from_be_bytes(tail[..8].try_into().unwrap())).unwrap(),
                &tail[8..],
            ),
            short => (usize::from(short), tail),
        };
        let (body, after) = tail.split_at(length);
        if *first == 0x89 {
            pings.push(body.to_vec());
        } else {
            frames.push(core::str::from_utf8(body).unwrap().to_string());
        }
        rest = after;
    }
    (frames, pings)
}
