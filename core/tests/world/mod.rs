//! A world around one gateway: sockets, effects and a store in memory, and time that only moves when told. It carries out
//! what the gateway asks for and holds every step against the contract of `machine.rs`. It decides nothing about protocols.
//! The fuzz crate includes this file, so that it names only the public face.
#![allow(dead_code, reason = "each test and fuzz target uses its own part")]

pub(crate) mod client;
pub(crate) mod script;
pub(crate) mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portcullis_core::effect::{
    Completion, DialTo, Effect, ExitStatus, Fault, FaultKind, Outcome, OutputStream, Progress,
};
use portcullis_core::gateway::Gateway;
use portcullis_core::id::{ConnId, EffectId, ListenerId};
use portcullis_core::machine::{CloseHow, DrainHow, GoneReason, Input, Machine, Output, Peer};
use portcullis_core::random::Seed;
use portcullis_core::secret::Secret;
use portcullis_core::settings::{Agent, AgentKind, ProviderKey, Settings};
use portcullis_core::time::{Instant, Now, UnixMillis};
use portcullis_core::url::Url;

pub(crate) const TOKEN: &str = "a-token-of-the-world";
/// More outputs than one input of these tests can cause.
const MAX_OUTPUTS: usize = 20_000;
/// The longest message of these tests, with what one read of HTTP requests is answered with.
const MAX_MESSAGE: usize = 65_536;

/// One socket.
#[derive(Debug, Default)]
pub(crate) struct Socket {
    /// Everything that was transmitted.
    pub(crate) written: Vec<u8>,
    pub(crate) unsent: usize,
    pub(crate) paused: bool,
    pub(crate) flushing: bool,
    pub(crate) aborted: bool,
    pub(crate) read_closed: bool,
    pub(crate) gone: bool,
    /// The gateway dialled it, to this address.
    pub(crate) dialled: Option<SocketAddr>,
    pub(crate) client: client::Client,
}

/// An effect that was started and has not completed.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) what: Effect,
    pub(crate) told: bool,
    pub(crate) cancelled: bool,
}

/// How an effect is made to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// As asked for.
    Well,
    /// With a fault.
    Badly,
    /// With a completion that belongs to another effect.
    Wrongly,
}

pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) settings: Settings,
    pub(crate) now: Now,
    pub(crate) wake_at: Option<Instant>,
    pub(crate) sockets: BTreeMap<ConnId, Socket>,
    pub(crate) running: BTreeMap<EffectId, Running>,
    started: BTreeSet<EffectId>,
    pub(crate) store: store::Store,
    pub(crate) reports: Vec<String>,
    pub(crate) stopped_accepting: bool,
    pub(crate) drained: bool,
    /// What the end said of the work.
    pub(crate) ended_clean: bool,
    next: ConnId,
}

/// Small limits, so that a short script reaches them.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.auth.tokens = Some(vec![Secret::new(TOKEN.into())]);
    settings.auth.max_attempts = 3;
    settings.gateway.max_buffered_bytes = 4_096;
    settings.gateway.max_payload_bytes = 2_048;
    settings.gateway.max_in_flight = 3;
    settings.gateway.max_connections = 8;
    settings.gateway.refusal_burst = 3;
    settings.gateway.refusals_per_second = 10;
    settings.gateway.max_refused_per_minute = 12;
    settings.gateway.rate_limit_per_minute = 40;
    settings.operator.idempotency_max_entries = 4;
    settings.agents.max_concurrent_runs = 2;
    settings.agents.max_queued_runs = 3;
    settings.agents.max_output_bytes = 2_048;
    let mut program = Agent::built_in("/work");
    program.id = "program".into();
    program.kind = AgentKind::Command {
        program: "agent".into(),
        args: Vec::new(),
    };
    settings.agents.agents.push(program);
    let mut model = Agent::built_in("/work");
    model.id = "model".into();
    model.kind = AgentKind::Provider {
        provider: Some(ProviderKey::Kimi),
        model: None,
        system_prompt: Some("be brief".into()),
        max_history_bytes: 4_096,
    };
    settings.agents.agents.push(model);
    settings.providers.kimi.api_key = Some(Secret::new("sk-of-the-world".into()));
    if let Ok(url) = Url::parse("http://127.0.0.1:4000/v1") {
        settings.providers.kimi.base_url = url;
    }
    settings
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        let now = Now {
            monotonic: Instant::from_millis(1_000),
            wall: UnixMillis(1_795_262_400_000),
        };
        let gateway = Gateway::new(Arc::new(settings.clone()), Seed([7; 32]), now);
        let mut world = Self {
            gateway,
            settings,
            now,
            wake_at: None,
            sockets: BTreeMap::new(),
            running: BTreeMap::new(),
            started: BTreeSet::new(),
            store: store::Store::default(),
            reports: Vec::new(),
            stopped_accepting: false,
            drained: false,
            ended_clean: false,
            next: ConnId::FIRST,
        };
        world.carry_out();
        world
    }

    /// One input, and everything that it causes.
    pub(crate) fn step(&mut self, input: Input<'_>) {
        if self.drained {
            return;
        }
        self.gateway.handle(self.now, input);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        for _ in 0..MAX_OUTPUTS {
            match self.gateway.poll() {
                Output::Idle { wake_at } => {
                    if let Some(at) = wake_at {
                        assert!(at > self.now.monotonic, "a deadline that is over is asked for again");
                    }
                    self.wake_at = wake_at;
                    return;
                }
                Output::Drained { clean } => {
                    assert!(self.stopped_accepting, "drained without having been asked");
                    self.drained = true;
                    self.ended_clean = clean;
                    return;
                }
                output => self.one(output),
            }
        }
        panic!("the gateway never comes to rest");
    }

    fn one(&mut self, output: Output) {
        let max_unsent = self.settings.gateway.max_buffered_bytes * 2 + MAX_MESSAGE;
        match output {
            Output::Transmit { conn, bytes } => {
                let socket = self.open(conn);
                assert!(!bytes.is_empty(), "{conn}: nothing to transmit");
                assert!(!socket.flushing && !socket.aborted, "{conn}: bytes after the close");
                socket.unsent += bytes.len();
                assert!(socket.unsent <= max_unsent, "{conn}: {} bytes unsent", socket.unsent);
                socket.written.extend_from_slice(&bytes);
            }
            Output::PauseReading { conn } => {
                let paused = &mut self.open(conn).paused;
                assert!(!*paused, "{conn}: paused twice");
                *paused = true;
            }
            Output::ResumeReading { conn } => {
                let paused = &mut self.open(conn).paused;
                assert!(*paused, "{conn}: resumed without a pause");
                *paused = false;
            }
            Output::Close { conn, how } => {
                let socket = self.open(conn);
                match how {
                    CloseHow::Flush => {
                        assert!(!socket.flushing && !socket.aborted, "{conn}: closed twice");
                        assert!(
                            socket.read_closed || !socket.paused,
                            "{conn}: the peer's end would not be seen"
                        );
                        socket.flushing = true;
                    }
                    CloseHow::Abort => socket.aborted = true,
                }
            }
            Output::Start { effect, what } => {
                assert!(self.started.insert(effect), "{effect} was started twice");
                let what = *what;
                self.running.insert(
                    effect,
                    Running {
                        what,
                        told: false,
                        cancelled: false,
                    },
                );
            }
            Output::Continue { effect } => {
                let running = self.running.get_mut(&effect);
                let running = running.unwrap_or_else(|| panic!("{effect} is over and asked to continue"));
                assert!(running.told, "{effect} told nothing and is asked to continue");
                running.told = false;
            }
            Output::Cancel { effect } => {
                let running = self.running.get_mut(&effect);
                let running = running.unwrap_or_else(|| panic!("{effect} is over and cancelled"));
                assert!(!running.cancelled, "{effect} is cancelled twice");
                running.cancelled = true;
            }
            Output::StopAccepting => {
                assert!(!self.stopped_accepting, "told twice to stop accepting");
                self.stopped_accepting = true;
            }
            Output::Report(report) => self.reports.push(report.to_string()),
            Output::Idle { .. } | Output::Drained { .. } => {}
        }
    }

    fn open(&mut self, conn: ConnId) -> &mut Socket {
        let socket = self.sockets.get_mut(&conn);
        let socket = socket.unwrap_or_else(|| panic!("{conn} was never opened"));
        assert!(!socket.gone, "{conn} is gone");
        socket
    }

    /// A peer connects.
    pub(crate) fn connect(&mut self, address: &str) -> ConnId {
        let conn = self.next;
        self.next = conn.next();
        self.sockets.insert(conn, Socket::default());
        let peer = address.parse().map_or(Peer::Local, Peer::Tcp);
        self.step(Input::Opened {
            conn,
            listener: ListenerId(0),
            peer,
        });
        conn
    }

    /// Bytes come. While reading is paused they wait in the peer's kernel: nothing happens.
    pub(crate) fn bytes(&mut self, conn: ConnId, bytes: &[u8]) -> bool {
        match self.sockets.get(&conn) {
            Some(socket) if !socket.gone && !socket.aborted && !socket.paused && !socket.read_closed => {}
            _ => return false,
        }
        if !bytes.is_empty() {
            self.step(Input::Received {
                conn,
                bytes: &mut bytes.to_vec(),
            });
        }
        true
    }

    pub(crate) fn read_closed(&mut self, conn: ConnId) {
        if let Some(socket) = self.sockets.get_mut(&conn)
            && !socket.gone
            && !socket.read_closed
        {
            socket.read_closed = true;
            self.step(Input::ReadClosed { conn });
        }
    }

    /// The socket takes up to so many bytes.
    pub(crate) fn sent(&mut self, conn: ConnId, bytes: usize) {
        if let Some(socket) = self.sockets.get_mut(&conn)
            && !socket.gone
        {
            let bytes = bytes.min(socket.unsent);
            socket.unsent -= bytes;
            if bytes > 0 {
                self.step(Input::Sent { conn, bytes });
            }
        }
    }

    pub(crate) fn gone(&mut self, conn: ConnId) {
        if let Some(socket) = self.sockets.get_mut(&conn)
            && !socket.gone
        {
            socket.gone = true;
            let why = GoneReason::Failed;
            self.step(Input::Gone { conn, why });
        }
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.now.monotonic = self.now.monotonic.plus(by);
        self.now.wall = self.now.wall.plus(by);
        self.step(Input::Tick);
    }

    /// A program tells something, if it may.
    pub(crate) fn tell(&mut self, effect: EffectId, bytes: &[u8]) {
        if let Some(running) = self.running.get_mut(&effect)
            && matches!(running.what, Effect::Spawn(_))
            && !running.told
            && !bytes.is_empty()
        {
            running.told = true;
            let bytes = Bytes::copy_from_slice(bytes);
            let stream = OutputStream::Stdout;
            self.step(Input::Progress {
                effect,
                progress: Progress::Output { stream, bytes },
            });
        }
    }

    /// An effect ends. Told twice and told late, the second time must change nothing.
    pub(crate) fn complete(&mut self, effect: EffectId, ending: Ending) {
        let Some(running) = self.running.remove(&effect) else {
            return;
        };
        let outcome = match ending {
            Ending::Well => self.outcome(&running),
            Ending::Badly => Err(fault(FaultKind::Unavailable)),
            Ending::Wrongly => Ok(Completion::Resolved(Vec::new())),
        };
        let again = outcome.clone();
        self.step(Input::Completed { effect, outcome });
        let rest = self.running.len();
        let outcome = again;
        self.step(Input::Completed { effect, outcome });
        assert_eq!(self.running.len(), rest, "{effect} ended twice and something began");
    }

    fn outcome(&mut self, running: &Running) -> Outcome {
        if running.cancelled {
            return Err(fault(FaultKind::Cancelled));
        }
        match &running.what {
            Effect::Store(batch) => Ok(Completion::Stored(self.store.apply(batch, self.now.wall))),
            Effect::RealPath { path } => Ok(Completion::Path(path.clone())),
            Effect::Spawn(_) => Ok(Completion::Exited(ExitStatus::Code(0))),
            Effect::Append { path, bytes, .. } => {
                self.store.append(path, bytes);
                Ok(Completion::Done)
            }
            Effect::Dial(dial) => match dial.to {
                DialTo::Tcp(address) => Ok(self.dialled(address)),
                DialTo::Unix(_) => Err(fault(FaultKind::Unavailable)),
            },
            Effect::ReadFile { path, .. } => self.store.file(path).ok_or_else(|| fault(FaultKind::NotFound)),
            _ => Err(fault(FaultKind::Unavailable)),
        }
    }

    /// A server takes a connection of the gateway.
    fn dialled(&mut self, address: SocketAddr) -> Completion {
        let conn = self.next;
        self.next = conn.next();
        let dialled = Some(address);
        self.sockets.insert(
            conn,
            Socket {
                dialled,
                ..Socket::default()
            },
        );
        let peer = Peer::Tcp(address);
        Completion::Dialled { conn, peer }
    }

    /// Every effect ends well, and those that follow from it, until none is left.
    pub(crate) fn settle(&mut self) {
        while let Some(effect) = self.running.keys().next().copied() {
            self.complete(effect, Ending::Well);
        }
    }

    /// Deadlines up to a time from now fire, one after the other.
    pub(crate) fn wait(&mut self, patience: Duration) {
        let until = self.now.monotonic.plus(patience);
        while let Some(at) = self.wake_at.filter(|at| *at <= until && !self.drained) {
            self.advance(at.since(self.now.monotonic));
        }
        self.advance(until.since(self.now.monotonic));
    }

    /// What a socket's owner does with a close: the peer ends its own side and the connection is gone.
    pub(crate) fn follow_closes(&mut self) {
        let closing: Vec<ConnId> = self
            .sockets
            .iter()
            .filter(|(_, socket)| !socket.gone && (socket.flushing || socket.aborted))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in closing {
            self.gone(conn);
        }
    }

    /// Everybody leaves and everything ends: nothing may be left.
    pub(crate) fn end(&mut self) {
        // What a server did not answer is asked again, so that it may take some rounds.
        for _ in 0..64 {
            for conn in self.sockets.keys().copied().collect::<Vec<_>>() {
                self.gone(conn);
            }
            self.settle();
            match self.wake_at {
                Some(at) if !self.drained && !self.stopped_accepting => self.advance(at.since(self.now.monotonic)),
                _ => break,
            }
        }
        if !self.drained {
            assert_eq!(self.gateway.connections(), 0, "a connection is left");
            if !self.stopped_accepting {
                assert_eq!(self.wake_at, None, "a deadline is left");
            }
        }
    }

    /// Draining comes to its end, whatever the peers and the effects do.
    pub(crate) fn drain(&mut self) {
        self.step(Input::Drain { how: DrainHow::Stop });
        for _ in 0..20 {
            self.follow_closes();
            self.wait(Duration::from_secs(10));
        }
        assert!(self.drained, "draining never ends");
    }
}

fn fault(kind: FaultKind) -> Fault {
    Fault {
        kind,
        detail: String::new(),
    }
}
