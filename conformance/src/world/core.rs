//! The world in memory: a machine under virtual time. It carries the contract's promises out to the letter and notes
//! every promise that the machine breaks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use portcullis_core::effect::{Completion, DialTo, FaultKind};
use portcullis_core::id::{ConnId, ListenerId};
use portcullis_core::machine::{CloseHow, DrainHow, GoneReason, Input, Machine, Output, Peer};
use portcullis_core::time::{Instant, Now, UnixMillis};
use serde_json::{Map, Value};

use super::ends::{Client, Conn};
use super::host::{Host, Told};
use super::network::{Network, fault, words};
pub use super::surroundings::{Maker, Reader, Surroundings};
use super::{Taken, World};
use crate::split::{Cutter, Split};
use crate::vector::{DialAnswer, DialPattern};

/// When every vector begins: 2026-11-21T12:34:56.007Z.
pub const START: UnixMillis = UnixMillis(1_795_264_496_007);
/// What adapters read at most at a time.
const READ_BYTES: usize = 16_384;
/// More outputs than one input can honestly cause.
const OUTPUTS_MAX: usize = 1_000_000;
/// Ticks at the same instant after which the machine is said to spin.
const SPINS_MAX: u32 = 1_000;

/// A machine, its connections and its host.
pub struct CoreWorld {
    maker: Maker,
    machine: Box<dyn Machine>,
    now: Now,
    wake_at: Option<Instant>,
    spins: u32,
    accepting: bool,
    names: BTreeMap<String, ConnId>,
    conns: BTreeMap<ConnId, Conn>,
    clients: BTreeMap<String, Client>,
    last_conn: Option<ConnId>,
    /// Sent by clients and not handed over yet; `None` bytes: the end of the sending direction.
    in_flight: VecDeque<(ConnId, Option<Vec<u8>>)>,
    cutter: Cutter,
    host: Host,
    effects: BTreeSet<u64>,
    transcript: BTreeMap<String, Vec<u8>>,
    complaints: Vec<String>,
    facts: Vec<(String, String)>,
    reader: Option<Reader>,
    log: String,
    exit_code: Option<i32>,
}

impl CoreWorld {
    /// A world around the machine that `maker` makes; clients' bytes are cut as `split` says.
    #[must_use]
    pub fn new(maker: Maker, split: Split) -> Self {
        let mut world = Self::unstarted(maker, split);
        world.outputs();
        world
    }

    /// A machine that is made; what it wants is not looked at yet.
    fn unstarted(maker: Maker, split: Split) -> Self {
        let now = Now {
            monotonic: Instant::from_millis(5_000),
            wall: START,
        };
        let machine = maker(now);
        Self {
            maker,
            machine,
            now,
            wake_at: None,
            spins: 0,
            accepting: true,
            names: BTreeMap::new(),
            conns: BTreeMap::new(),
            clients: BTreeMap::new(),
            last_conn: None,
            in_flight: VecDeque::new(),
            cutter: Cutter::new(split),
            host: Host::default(),
            effects: BTreeSet::new(),
            transcript: BTreeMap::new(),
            complaints: Vec::new(),
            facts: Vec::new(),
            reader: None,
            log: String::new(),
            exit_code: None,
        }
    }

    /// The same, with names, upstreams and settings that change.
    ///
    /// # Errors
    /// When the names make no sense.
    pub fn with(maker: Maker, split: Split, surroundings: Surroundings) -> Result<Self, String> {
        let mut world = Self::unstarted(maker, split);
        world.host.network = Network::new(&surroundings.names, &surroundings.upstreams)?;
        world.facts = surroundings.facts;
        world.reader = surroundings.reader;
        world.outputs();
        Ok(world)
    }

    /// Everything that each connection's client was sent, by the connection's name.
    #[must_use]
    pub fn transcript(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.transcript
    }

    /// Promises of the contract that the machine has broken.
    #[must_use]
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    fn complain(&mut self, what: String) {
        if self.complaints.len() < 20 {
            self.complaints.push(what);
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.machine.handle(self.now, input);
        self.outputs();
    }

    fn outputs(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            match self.machine.poll() {
                Output::Idle { wake_at } => {
                    self.wake_at = wake_at;
                    return self.report_sent();
                }
                Output::Drained { clean } => {
                    self.exit_code = Some(if clean { 0 } else { 1 });
                    self.wake_at = None;
                    self.accepting = false;
                    self.end_all();
                    return;
                }
                output => self.carry_out(output),
            }
        }
        self.complain(format!("more than {OUTPUTS_MAX} outputs for one input"));
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Transmit { conn, bytes } => {
                if bytes.is_empty() {
                    self.complain(format!("{conn}: an empty Transmit"));
                }
                match self.conns.get_mut(&conn) {
                    Some(state) if !state.closing => state.outbound.extend_from_slice(&bytes),
                    _ => self.complain(format!("{conn}: a Transmit after its Close or Gone")),
                }
            }
            Output::PauseReading { conn } => self.set_paused(conn, true),
            Output::ResumeReading { conn } => self.set_paused(conn, false),
            Output::Close { conn, how } => self.close(conn, how),
            Output::Start { effect, what } => {
                if !self.effects.insert(effect.get()) {
                    self.complain(format!("{effect}: started twice"));
                }
                self.host.start(effect, *what, self.now);
            }
            Output::Continue { effect } => self.host.proceed(effect),
            Output::Cancel { effect } => self.host.cancel(effect),
            Output::StopAccepting => self.accepting = false,
            Output::Report(report) => self.log += &format!("{report}\n"),
            Output::Idle { .. } | Output::Drained { .. } => {}
        }
    }

    fn set_paused(&mut self, conn: ConnId, paused: bool) {
        if let Some(state) = self.conns.get_mut(&conn) {
            state.paused = paused;
        }
    }

    fn close(&mut self, conn: ConnId, how: CloseHow) {
        let Some(state) = self.conns.get_mut(&conn) else {
            return self.complain(format!("{conn}: a Close for a connection that is gone"));
        };
        state.closing = true;
        if how == CloseHow::Abort {
            state.outbound.clear();
            state.aborted = true;
        }
    }

    /// The sockets take what readers let them take; ends and goings are told.
    fn report_sent(&mut self) {
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            let Some(state) = self.conns.get_mut(&conn) else {
                continue;
            };
            if state.aborted {
                self.gone(conn, GoneReason::Aborted);
                continue;
            }
            let sent = if state.client_reads || state.client_gone {
                state.outbound.len()
            } else {
                0
            };
            if sent > 0 {
                let bytes = std::mem::take(&mut state.outbound);
                if !state.client_gone {
                    self.transcript
                        .entry(state.name.clone())
                        .or_default()
                        .extend_from_slice(&bytes);
                    self.clients
                        .entry(state.name.clone())
                        .or_default()
                        .arrived
                        .extend(bytes);
                }
                self.handle(Input::Sent { conn, bytes: sent });
            }
            let Some(state) = self.conns.get_mut(&conn) else {
                continue;
            };
            if state.closing && state.outbound.is_empty() {
                if !state.client_gone {
                    self.clients.entry(state.name.clone()).or_default().ended = true;
                }
                if state.client_ended {
                    self.gone(conn, GoneReason::Closed);
                }
            }
        }
    }

    fn gone(&mut self, conn: ConnId, why: GoneReason) {
        if let Some(state) = self.conns.remove(&conn) {
            if !state.client_gone {
                self.clients.entry(state.name).or_default().ended = true;
            }
            self.handle(Input::Gone { conn, why });
        }
    }

    /// The process has ended, and every connection with it.
    fn end_all(&mut self) {
        for state in std::mem::take(&mut self.conns).into_values() {
            if !state.client_gone {
                self.clients.entry(state.name).or_default().ended = true;
            }
        }
    }

    /// Hands over what clients have sent.
    fn settle(&mut self) {
        while let Some((conn, bytes)) = self.in_flight.pop_front() {
            match bytes {
                Some(bytes) => self.deliver(conn, bytes),
                None => self.deliver_end(conn),
            }
        }
        let resumed: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, state)| !state.paused)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in resumed {
            let Some(state) = self.conns.get_mut(&conn) else {
                continue;
            };
            let (held, end) = (std::mem::take(&mut state.held), std::mem::take(&mut state.held_end));
            if !held.is_empty() {
                self.deliver(conn, held);
            }
            if end {
                self.deliver_end(conn);
            }
        }
    }

    fn deliver(&mut self, conn: ConnId, bytes: Vec<u8>) {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let Some(state) = self.conns.get_mut(&conn) else { return };
            if state.paused {
                return state.held.extend_from_slice(rest);
            }
            let (piece, after) = rest.split_at(self.cutter.cut(rest.len()).min(READ_BYTES));
            rest = after;
            let mut piece = piece.to_vec();
            self.handle(Input::Received {
                conn,
                bytes: &mut piece,
            });
        }
    }

    fn deliver_end(&mut self, conn: ConnId) {
        match self.conns.get_mut(&conn) {
            Some(state) if state.paused => state.held_end = true,
            Some(_) => self.handle(Input::ReadClosed { conn }),
            None => {}
        }
        // An end that closes the other direction too is told at once.
        self.report_sent();
    }

    /// Begins a connection of this name.
    fn begin(&mut self, name: &str) -> ConnId {
        self.drop_connection(name);
        let conn = self.last_conn.map_or(ConnId::FIRST, ConnId::next);
        self.last_conn = Some(conn);
        self.names.insert(name.to_owned(), conn);
        self.clients.insert(name.to_owned(), Client::default());
        self.conns.insert(conn, Conn::new(name));
        conn
    }

    /// One thing that is due now: what an effect tells, or a tick. `false`: nothing is due.
    fn due(&mut self) -> bool {
        match self.host.told(self.now.monotonic) {
            Some(Told::Completed(effect, outcome)) => {
                self.spins = 0;
                self.handle(Input::Completed { effect, outcome });
                true
            }
            Some(Told::Progress(effect, progress)) => {
                self.spins = 0;
                self.handle(Input::Progress { effect, progress });
                true
            }
            None if self.wake_at.is_some_and(|at| at <= self.now.monotonic) && self.spins < SPINS_MAX => {
                self.spins += 1;
                if self.spins == SPINS_MAX {
                    self.complain("the machine asks again and again to be woken at the same instant".into());
                }
                self.handle(Input::Tick);
                true
            }
            None => false,
        }
    }
}

impl World for CoreWorld {
    fn open(&mut self, name: &str, peer: Option<SocketAddr>) -> Result<(), String> {
        if !self.accepting {
            return Err("the gateway accepts no connections any more".into());
        }
        self.settle();
        let conn = self.begin(name);
        let port = 40_000 + u16::try_from(conn.get() % 20_000).unwrap_or(0);
        let peer = peer.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        self.handle(Input::Opened {
            conn,
            listener: ListenerId(0),
            peer: Peer::Tcp(peer),
        });
        Ok(())
    }

    fn send(&mut self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let conn = *self
            .names
            .get(name)
            .ok_or_else(|| format!("the connection {name:?} is not open"))?;
        match self.in_flight.back_mut() {
            Some((last, Some(waiting))) if *last == conn && self.cutter.joins() => waiting.extend_from_slice(bytes),
            _ if bytes.is_empty() => {}
            _ => self.in_flight.push_back((conn, Some(bytes.to_vec()))),
        }
        Ok(())
    }

    fn half_close(&mut self, name: &str) {
        if let Some(conn) = self.names.get(name).copied()
            && let Some(state) = self.conns.get_mut(&conn)
            && !std::mem::replace(&mut state.client_ended, true)
        {
            self.in_flight.push_back((conn, None));
        }
    }

    fn drop_connection(&mut self, name: &str) {
        self.half_close(name);
        self.settle();
        if let Some(state) = self.names.get(name).and_then(|conn| self.conns.get_mut(conn)) {
            state.client_gone = true;
        }
        self.report_sent();
    }

    fn reset(&mut self, name: &str) {
        self.settle();
        if let Some(conn) = self.names.get(name).copied() {
            if let Some(state) = self.conns.get_mut(&conn) {
                state.client_gone = true;
            }
            self.gone(conn, GoneReason::Failed);
        }
    }

    fn set_reading(&mut self, name: &str, reads: bool) {
        self.settle();
        if let Some(state) = self.names.get(name).and_then(|conn| self.conns.get_mut(conn)) {
            state.client_reads = reads;
        }
        self.report_sent();
    }

    fn is_read(&mut self, name: &str) -> Option<bool> {
        self.settle();
        let conn = self.names.get(name)?;
        self.conns.get(conn).map(|state| !state.paused)
    }

    fn append(&mut self, path: &str, bytes: &[u8]) -> Result<(), String> {
        self.host.append(path, bytes);
        Ok(())
    }

    fn link(&mut self, path: &str, to: &str) -> Result<(), String> {
        self.host.link(path, to);
        Ok(())
    }

    fn take(&mut self, name: &str) -> Taken {
        self.settle();
        let Some(client) = self.clients.get_mut(name) else {
            return Taken::default();
        };
        Taken {
            bytes: std::mem::take(&mut client.arrived),
            ended: client.ended,
        }
    }

    fn pass(&mut self, at_most: Duration) -> Duration {
        self.settle();
        if self.due() {
            return Duration::ZERO;
        }
        let latest = self.now.monotonic.plus(at_most);
        let wake = if self.spins < SPINS_MAX { self.wake_at } else { None };
        let next = [self.host.next_at(self.now.monotonic), wake]
            .into_iter()
            .flatten()
            .min();
        let target = next.map_or(latest, |next| next.min(latest)).max(self.now.monotonic);
        let elapsed = target.since(self.now.monotonic);
        self.spins = 0;
        self.now = Now {
            monotonic: target,
            wall: START.plus(target.since(Instant::from_millis(5_000))),
        };
        while self.due() {}
        elapsed
    }

    fn is_virtual(&self) -> bool {
        true
    }

    fn drain(&mut self, how: DrainHow) -> Result<(), String> {
        self.settle();
        self.handle(Input::Drain { how });
        Ok(())
    }

    fn facts(&self) -> Vec<(String, String)> {
        self.facts.clone()
    }

    fn wall(&self) -> u64 {
        self.now.wall.0
    }

    fn dialled(&mut self, name: &str, pattern: &DialPattern) -> Option<Result<Option<String>, String>> {
        let waiting = self.host.network.take(pattern)?;
        let DialTo::Tcp(address) = waiting.dial.to else {
            return Some(Err(format!(
                "expected a dial of {}, came one of {}",
                pattern.to,
                words(&waiting.dial.to)
            )));
        };
        if self
            .facts
            .iter()
            .all(|(fact, _)| *fact != format!("{}.url", pattern.to))
            && address.to_string() != pattern.to
        {
            return Some(Err(format!("expected a dial of {}, came one of {address}", pattern.to)));
        }
        let server_name = waiting.dial.tls.as_ref().map(|tls| tls.server_name.clone());
        let outcome = match pattern.answer {
            DialAnswer::Accept | DialAnswer::AcceptAs(_) => {
                let conn = self.begin(name);
                let peer = if let DialAnswer::AcceptAs(peer) = pattern.answer {
                    peer
                } else {
                    address
                };
                Ok(Completion::Dialled {
                    conn,
                    peer: Peer::Tcp(peer),
                })
            }
            DialAnswer::Refuse => Err(fault(FaultKind::Refused, "connection refused")),
            DialAnswer::Untrusted => Err(fault(FaultKind::Tls, "the certificate is not good")),
            DialAnswer::Ignore => {
                self.host.network.ignore(waiting);
                return Some(Ok(server_name));
            }
        };
        // The machine must know the link before the first byte on it.
        self.handle(Input::Completed {
            effect: waiting.effect,
            outcome,
        });
        Some(Ok(server_name))
    }

    fn unexpected_dials(&mut self) -> Vec<String> {
        self.settle();
        self.host.network.unexpected()
    }

    fn lookups(&self) -> Map<String, Value> {
        let counts = self.host.network.lookups().iter();
        counts.map(|(name, count)| (name.clone(), (*count).into())).collect()
    }

    fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.host.file(path).map(<[u8]>::to_vec)
    }

    fn log(&self) -> String {
        self.log.clone()
    }

    fn reload(&mut self, changes: &Map<String, Value>) -> Result<(), String> {
        self.settle();
        let reader = self.reader.as_ref().ok_or("this world's settings do not change")?;
        let settings = reader(changes)?;
        self.handle(Input::Reconfigured { settings });
        Ok(())
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.settle();
        self.exit_code
    }

    fn restart(&mut self) -> Result<(), String> {
        self.settle();
        self.host.crash();
        self.end_all();
        self.names.clear();
        self.clients.clear();
        self.effects.clear();
        self.accepting = true;
        self.exit_code = None;
        self.machine = (self.maker)(self.now);
        self.outputs();
        Ok(())
    }
}
