//! The surface in virtual time, with providers of the tests' own.

mod commands;
mod doors;
mod messages;
mod tokens;

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::*;
use crate::effect::{Completion, Effect};
use crate::machine::{Output, Peer};
use crate::outbox::Parcel;
use crate::policy::forwarded;
use crate::providers::{NotConfigured, Switched, Unconfigured, is_model};
use crate::random::Seed;
use crate::report::ControlFact;
use crate::secret::Secret;
use crate::settings::ProviderKey;
use crate::time::{Instant, UnixMillis};

const SECRET: &str = "control-plane-test-secret-0123456789abcdef";
const START: u64 = 1_795_187_180_000;
const LOCAL: &str = "127.0.0.1:50000";

/// Providers of which only those with a key can be switched to.
struct Fake {
    active: ProviderKey,
    models: BTreeMap<ProviderKey, String>,
    with_key: Vec<ProviderKey>,
    asked: Vec<u64>,
}

impl Steering for Fake {
    fn active(&self) -> ActiveProvider {
        ActiveProvider {
            key: self.active,
            model: self.models[&self.active].clone(),
            configured: self.with_key.contains(&self.active),
        }
    }

    fn switch(&mut self, to: ProviderKey, model: Option<&str>) -> Result<Switched, NotConfigured> {
        if let Some(model) = model.filter(|model| !is_model(model)) {
            return Err(NotConfigured::Model(model.into()));
        }
        if !self.with_key.contains(&to) {
            let why = Unconfigured::KeyMissing(to.key_variable());
            return Err(NotConfigured::Provider { key: to, why });
        }
        if let Some(model) = model {
            self.models.insert(to, model.into());
        }
        let previous = core::mem::replace(&mut self.active, to);
        Ok(Switched {
            previous,
            active: to,
            model: self.models[&to].clone(),
        })
    }

    fn check_health(&mut self, _: Now, _: &mut Calls, _: &mut Random, ticket: u64) {
        self.asked.push(ticket);
    }
}

struct World {
    settings: Arc<Settings>,
    now: Now,
    random: Random,
    auth: Authenticator,
    outbox: Outbox,
    calls: Calls,
    reports: Vec<Report>,
    audit: Vec<AuditRecord>,
    providers: Fake,
    control: Control,
}

/// A client as the gateway would keep it.
struct Client {
    conn: ConnId,
    session: Session,
}

fn client(address: &str) -> forwarded::Client {
    forwarded::Client::of_peer(Peer::Tcp(address.parse().unwrap()))
}

fn settings(control: ControlSettings) -> Settings {
    Settings {
        control: Some(control),
        ..Settings::default()
    }
}

fn with_secret() -> ControlSettings {
    ControlSettings {
        jwt_secret: Some(Secret::new(SECRET.into())),
        ..ControlSettings::default()
    }
}

impl World {
    fn new() -> Self {
        Self::with(settings(with_secret()))
    }

    fn with(settings: Settings) -> Self {
        let now = Now {
            monotonic: Instant::from_millis(1_000),
            wall: UnixMillis(START),
        };
        let (mut random, mut calls) = (Random::new(Seed([7; 32])), Calls::default());
        let (mut reports, mut audit) = (Vec::new(), Vec::new());
        let control = Control::new(&settings, now, &mut random, &mut calls, &mut reports, &mut audit);
        let models = ProviderKey::ALL.map(|key| (key, settings.providers.get(key).model.clone()));
        Self {
            control: control.unwrap(),
            auth: Authenticator::new(&settings.auth, &mut random),
            settings: Arc::new(settings),
            now,
            random,
            outbox: Outbox::new(1_572_864),
            calls,
            reports,
            audit,
            providers: Fake {
                active: ProviderKey::Gemini,
                models: models.into(),
                with_key: alloc::vec![ProviderKey::Kimi],
                asked: Vec::new(),
            },
        }
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Control, &mut Context<'_>) -> T) -> T {
        let mut cx = Context {
            now: self.now,
            settings: &self.settings,
            random: &mut self.random,
            auth: &mut self.auth,
            outbox: &mut self.outbox,
            calls: &mut self.calls,
            reports: &mut self.reports,
            audit: &mut self.audit,
            providers: &mut self.providers,
        };
        act(&mut self.control, &mut cx)
    }

    fn pass(&mut self, seconds: u64) {
        let time = Duration::from_secs(seconds);
        self.now.monotonic = self.now.monotonic.plus(time);
        self.now.wall = self.now.wall.plus(time);
    }

    fn connect(&mut self, number: u64, address: &str) -> Client {
        let conn = ConnId::new(number).unwrap();
        let client = client(address);
        let session = self.act(|control, cx| control.opened(cx, conn, client, None));
        Client { conn, session }
    }

    /// Sends a message; what the client gets, a close as `close CODE REASON`.
    fn say(&mut self, client: &mut Client, text: &str) -> Vec<String> {
        let Client { conn, session } = client;
        self.act(|control, cx| control.message(cx, *conn, session, Some(text)));
        self.heard_by(client.conn)
    }

    /// Sends a command with the active token.
    fn command(&mut self, client: &mut Client, cmd: &str, more: &str) -> String {
        let token = self.token();
        let answers = self.say(client, &alloc::format!(r#"{{"token":"{token}","cmd":"{cmd}"{more}}}"#));
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.concat()
    }

    fn token(&self) -> String {
        self.control.tokens.active.token.reveal().into()
    }

    fn heard_by(&mut self, conn: ConnId) -> Vec<String> {
        self.outbox.take_for(conn).map(heard).unwrap_or_default()
    }

    /// Files that are to be written, each written at once.
    fn write_files(&mut self) -> Vec<(String, String, u32)> {
        let mut files = Vec::new();
        while let Some(output) = self.calls.take_output() {
            let Output::Start { effect, what } = output else {
                continue;
            };
            let Effect::WriteFile { path, bytes, mode } = *what else {
                continue;
            };
            files.push((path, String::from_utf8(bytes.to_vec()).unwrap(), mode));
            self.calls.finish(effect);
            self.act(|control, cx| control.completed(cx, effect, Ok(Completion::Done)));
        }
        files
    }

    fn facts(&mut self) -> Vec<ControlFact> {
        let facts = self.reports.drain(..).filter_map(|report| match report {
            Report::Control(fact) => Some(fact),
            _ => None,
        });
        facts.collect()
    }
}

/// The frames of a parcel.
fn heard(parcel: Parcel) -> Vec<String> {
    let mut heard = Vec::new();
    let mut rest = &parcel.bytes[..];
    while let [first, length, tail @ ..] = rest {
        let (length, tail) = match *length {
            126 => (usize::from(u16::from_be_bytes([tail[0], tail[1]])), &tail[2..]),
            127 => panic!("longer than a test needs"),
            short => (usize::from(short), tail),
        };
        let (body, after) = tail.split_at(length);
        heard.push(match first & 15 {
            1 => String::from_utf8(body.to_vec()).unwrap(),
            9 => "ping".to_string(),
            other => alloc::format!("opcode {other}"),
        });
        rest = after;
    }
    if let Some((code, reason)) = parcel.close {
        heard.push(alloc::format!("close {} {reason}", code.0));
    }
    heard
}
