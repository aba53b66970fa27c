//! Exchanges under way: resolve, dial, write, read, one connection each. Every step has a deadline and an end; what comes
//! too late for its exchange is dropped, a connection that comes too late is closed. It never decides whether a server
//! may be asked, never follows a redirect and never uses a connection twice. Spec: `spec/contract.md`.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;

use super::request;
use super::{ClientResponse, Destination, Exchange, ExchangeEvent, ExchangeFault, ExchangeLimits};
use crate::calls::{Calls, Owner};
use crate::effect::{Completion, Dial, DialTo, Effect, Fault, FaultKind, Outcome, TlsClient};
use crate::http::Method;
use crate::http::client::{ResponseEvent, ResponseFault, ResponseReader};
use crate::id::{ConnId, EffectId, ExchangeId};
use crate::machine::{CloseHow, GoneReason, Output, Peer};
use crate::time::{Instant, Now};
use crate::url::Host;

/// Exchanges at the same time; a further one fails at once.
pub const MAX_EXCHANGES: usize = 256;
/// Addresses of one server that are tried.
pub const MAX_ADDRESSES: usize = 8;

/// Who gets an exchange's events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asker {
    /// What fetches URLs that clients name.
    Fetch,
    /// The AI providers.
    Providers,
    /// The relay: its identity provider's documents.
    Relay,
}

/// The exchanges of one machine.
#[derive(Debug)]
pub struct Exchanges {
    next: ExchangeId,
    live: BTreeMap<ExchangeId, Box<Live>>,
    effects: BTreeMap<EffectId, ExchangeId>,
    /// Connections that are not gone; `None`: their exchange is over.
    conns: BTreeMap<ConnId, Option<ExchangeId>>,
    deadlines: BTreeSet<(Instant, ExchangeId)>,
    /// Exchanges that may have something to tell.
    ready: VecDeque<ExchangeId>,
    /// Exchanges that found no room.
    refused: VecDeque<(Asker, ExchangeId)>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Live {
    asker: Asker,
    limits: ExchangeLimits,
    started: Instant,
    deadline: Option<Instant>,
    request: Written,
    stage: Stage,
    held: bool,
    /// It is in the queue of those that may have something to tell.
    ready: bool,
}

/// A request, ready for the wire.
#[derive(Debug)]
struct Written {
    head: Secretive,
    body: Bytes,
    tls: Option<TlsClient>,
    port: u16,
    to_head: bool,
}

/// Bytes that hold credentials.
struct Secretive(Bytes);

impl core::fmt::Debug for Secretive {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

#[derive(Debug)]
enum Stage {
    Resolving(EffectId),
    Dialling(Dialling),
    Reading(Box<Reading>),
    /// Only the last event is still to be told.
    Over(ExchangeFault),
}

#[derive(Debug)]
struct Dialling {
    effect: EffectId,
    address: SocketAddr,
    /// The addresses that are tried after this one.
    left: VecDeque<SocketAddr>,
    until: Instant,
}

#[derive(Debug)]
struct Reading {
    conn: ConnId,
    reader: ResponseReader,
    paused: bool,
}

impl Default for Exchanges {
    fn default() -> Self {
        Self {
            next: ExchangeId::FIRST,
            live: BTreeMap::new(),
            effects: BTreeMap::new(),
            conns: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            ready: VecDeque::new(),
            refused: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }
}

impl Exchanges {
    /// Exchanges under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether none is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Dialled connections that are not gone yet.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Begins an exchange. Its events come from [`Self::take_event`], never before this returns.
    pub fn start(&mut self, now: Now, calls: &mut Calls, exchange: Exchange, asker: Asker) -> ExchangeId {
        let id = self.next;
        self.next = id.next();
        if self.live.len() >= MAX_EXCHANGES {
            self.refused.push_back((asker, id));
            return id;
        }
        let Exchange { to, request, limits } = exchange;
        let head = request::write(&request);
        let fault = head
            .as_ref()
            .err()
            .map(|error| ExchangeFault::Unreachable(error.to_string()));
        let live = Live {
            asker,
            limits,
            started: now.monotonic,
            deadline: None,
            request: Written {
                head: Secretive(head.unwrap_or_default()),
                tls: request.is_tls().then(|| TlsClient {
                    server_name: request.server_name(),
                }),
                port: request.url.port,
                to_head: request.method == Method::Head,
                body: request.body,
            },
            stage: Stage::Over(ExchangeFault::Unresolved),
            held: false,
            ready: false,
        };
        self.live.insert(id, Box::new(live));
        match (fault, to, request.url.host) {
            (Some(fault), _, _) => self.over(id, fault),
            (None, Destination::Pinned(addresses), _) => self.dial_first(now, calls, id, addresses),
            (None, Destination::Named, Host::Address(address)) => {
                let addresses = alloc::vec![SocketAddr::new(address, request.url.port)];
                self.dial_first(now, calls, id, addresses);
            }
            (None, Destination::Named, Host::Name(host)) => {
                let effect = calls.start(Effect::Resolve { host }, Owner::Outbound);
                self.effects.insert(effect, id);
                self.enter(id, Stage::Resolving(effect), now.monotonic.plus(limits.resolve));
            }
        }
        id
    }

    /// Ends an exchange early. The event `Failed(Cancelled)` still comes, unless another end was on its way already.
    pub fn cancel(&mut self, calls: &mut Calls, id: ExchangeId) {
        self.stop(calls, id, ExchangeFault::Cancelled);
    }

    /// Ends all of them early.
    pub fn cancel_all(&mut self, calls: &mut Calls) {
        let all: Vec<ExchangeId> = self.live.keys().copied().collect();
        for id in all {
            self.cancel(calls, id);
        }
    }

    /// Tells nothing more of the body until [`Self::proceed`], and reads no more from the connection. An end before its
    /// time is still told, and the deadlines hold.
    pub fn hold(&mut self, id: ExchangeId) {
        if let Some(live) = self.live.get_mut(&id) {
            live.held = true;
            self.adjust_reading(id);
        }
    }

    /// Goes on telling.
    pub fn proceed(&mut self, id: ExchangeId) {
        if let Some(live) = self.live.get_mut(&id) {
            live.held = false;
            self.adjust_reading(id);
            self.make_ready(id);
        }
    }

    /// Whether [`Self::take_event`] may have something.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.ready.is_empty() || !self.refused.is_empty()
    }

    /// The next thing that an exchange has to tell.
    pub fn take_event(&mut self) -> Option<(Asker, ExchangeId, ExchangeEvent)> {
        if let Some((asker, id)) = self.refused.pop_front() {
            return Some((asker, id, ExchangeEvent::Failed(ExchangeFault::Busy)));
        }
        while let Some(id) = self.ready.front().copied() {
            if let Some((asker, event)) = self.poll(id) {
                return Some((asker, id, event));
            }
            self.ready.pop_front();
            if let Some(live) = self.live.get_mut(&id) {
                live.ready = false;
            }
        }
        None
    }

    /// An effect of [`Owner::Outbound`] is over.
    pub fn completed(&mut self, now: Now, calls: &mut Calls, effect: EffectId, outcome: Outcome) {
        let id = self.effects.remove(&effect);
        let dialled = match &outcome {
            Ok(Completion::Dialled { conn, .. }) => Some(*conn),
            _ => None,
        };
        let live = id.and_then(|id| self.live.get_mut(&id).map(|live| (id, live)));
        let Some((id, live)) = live else {
            return self.unwanted(dialled);
        };
        match core::mem::replace(&mut live.stage, Stage::Over(ExchangeFault::Unresolved)) {
            Stage::Resolving(_) => {
                self.unwanted(dialled);
                let port = live_port(&self.live, id);
                match outcome {
                    Ok(Completion::Resolved(found)) if !found.is_empty() => {
                        // Many hosts have an IPv6 route that leads nowhere.
                        let (four, six): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| address.is_ipv4());
                        let addresses = four.into_iter().chain(six);
                        let addresses = addresses.map(|address| SocketAddr::new(address, port)).collect();
                        self.dial_first(now, calls, id, addresses);
                    }
                    Err(fault) if fault.kind == FaultKind::TimedOut => self.over(id, ExchangeFault::TimedOut),
                    _ => self.over(id, ExchangeFault::Unresolved),
                }
            }
            Stage::Dialling(dialling) => match outcome {
                Ok(Completion::Dialled { conn, peer }) if is_at(peer, dialling.address) => self.connected(id, conn),
                Ok(_) => {
                    self.unwanted(dialled);
                    let text = "another peer answered than the one that was dialled";
                    self.over(id, ExchangeFault::Unreachable(String::from(text)));
                }
                Err(fault) => self.dial_next(now, calls, id, dialling.left, dialling.until, Some(fault)),
            },
            // Only these two wait for an effect.
            stage => live.stage = stage,
        }
    }

    /// Whether this is a connection that was dialled here.
    #[must_use]
    pub fn owns(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    /// Bytes arrived.
    pub fn received(&mut self, _now: Now, conn: ConnId, bytes: &mut [u8]) {
        self.with_reader(conn, |reader| reader.received(bytes));
    }

    /// The server will send nothing more.
    pub fn read_closed(&mut self, _now: Now, conn: ConnId) {
        self.with_reader(conn, ResponseReader::read_closed);
    }

    /// The socket took bytes. Requests are handed over whole, so nothing waits for this.
    pub const fn sent(&mut self, _now: Now, _conn: ConnId, _bytes: usize) {}

    /// The connection is gone.
    pub fn gone(&mut self, _now: Now, conn: ConnId, why: GoneReason) {
        self.with_reader(conn, |reader| match why {
            GoneReason::Closed => reader.read_closed(),
            GoneReason::Aborted | GoneReason::Failed => reader.broken(),
        });
        self.conns.remove(&conn);
    }

    /// What is to be done with the dialled connections.
    pub fn take_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::on_deadline`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Ends what took too long.
    pub fn on_deadline(&mut self, now: Now, calls: &mut Calls) {
        while let Some((at, id)) = self.deadlines.first().copied()
            && at <= now.monotonic
        {
            self.deadlines.pop_first();
            self.stop(calls, id, ExchangeFault::TimedOut);
        }
    }

    fn dial_first(&mut self, now: Now, calls: &mut Calls, id: ExchangeId, addresses: Vec<SocketAddr>) {
        let mut left = VecDeque::new();
        for address in addresses {
            if left.len() < MAX_ADDRESSES && !left.contains(&address) {
                left.push_back(address);
            }
        }
        let Some(limits) = self.live.get(&id).map(|live| live.limits) else {
            return;
        };
        self.dial_next(now, calls, id, left, now.monotonic.plus(limits.connect), None);
    }

    /// Tries the next address; each gets its share of the time that is left.
    fn dial_next(
        &mut self,
        now: Now,
        calls: &mut Calls,
        id: ExchangeId,
        mut left: VecDeque<SocketAddr>,
        until: Instant,
        failed: Option<Fault>,
    ) {
        let Some(live) = self.live.get(&id) else { return };
        let share = u32::try_from(left.len()).unwrap_or(u32::MAX).max(1);
        let Some(address) = left.pop_front() else {
            return self.over(id, unreachable(failed));
        };
        let dial = Dial {
            to: DialTo::Tcp(address),
            tls: live.request.tls.clone(),
            timeout: until.since(now.monotonic) / share,
        };
        let effect = calls.start(Effect::Dial(dial), Owner::Outbound);
        self.effects.insert(effect, id);
        let dialling = Dialling {
            effect,
            address,
            left,
            until,
        };
        self.enter(id, Stage::Dialling(dialling), until);
    }

    /// The server is there: the whole request is handed over.
    fn connected(&mut self, id: ExchangeId, conn: ConnId) {
        let Some(live) = self.live.get_mut(&id) else {
            return self.unwanted(Some(conn));
        };
        self.conns.insert(conn, Some(id));
        let head = core::mem::take(&mut live.request.head.0);
        let body = core::mem::take(&mut live.request.body);
        for bytes in [head, body] {
            if !bytes.is_empty() {
                self.outputs.push_back(Output::Transmit { conn, bytes });
            }
        }
        let reading = Reading {
            conn,
            reader: ResponseReader::new(live.request.to_head, live.limits.max_body_bytes),
            paused: false,
        };
        self.enter(id, Stage::Reading(Box::new(reading)), Instant::END);
    }

    /// Enters a stage that must be over by then; the head and everything have times of their own.
    fn enter(&mut self, id: ExchangeId, stage: Stage, until: Instant) {
        if let Some(live) = self.live.get_mut(&id) {
            live.stage = stage;
            let (head, total) = (
                live.started.plus(live.limits.head),
                live.started.plus(live.limits.total),
            );
            self.set_deadline(id, Some(until.min(head).min(total)));
        }
    }

    fn set_deadline(&mut self, id: ExchangeId, deadline: Option<Instant>) {
        if let Some(live) = self.live.get_mut(&id) {
            if let Some(at) = live.deadline.take() {
                self.deadlines.remove(&(at, id));
            }
            live.deadline = deadline;
            if let Some(at) = deadline {
                self.deadlines.insert((at, id));
            }
        }
    }

    /// Ends an exchange from outside: what it waits for is given up.
    fn stop(&mut self, calls: &mut Calls, id: ExchangeId, fault: ExchangeFault) {
        match self.live.get(&id).map(|live| &live.stage) {
            Some(Stage::Resolving(effect) | Stage::Dialling(Dialling { effect, .. })) => {
                let effect = *effect;
                self.effects.remove(&effect);
                calls.cancel(effect);
                self.over(id, fault);
            }
            Some(Stage::Reading(_)) => self.over(id, fault),
            Some(Stage::Over(_)) | None => {}
        }
    }

    /// Nothing but this fault is still to be told.
    fn over(&mut self, id: ExchangeId, fault: ExchangeFault) {
        if let Some(live) = self.live.get_mut(&id) {
            let stage = core::mem::replace(&mut live.stage, Stage::Over(fault));
            if let Stage::Reading(reading) = stage {
                self.abandon(reading.conn);
            }
            self.set_deadline(id, None);
            self.make_ready(id);
        }
    }

    /// A connection that came too late, or to the wrong place.
    fn unwanted(&mut self, dialled: Option<ConnId>) {
        if let Some(conn) = dialled {
            self.conns.insert(conn, None);
            self.abandon(conn);
        }
    }

    /// Drops a connection; it counts until it is gone.
    fn abandon(&mut self, conn: ConnId) {
        if let Some(exchange) = self.conns.get_mut(&conn) {
            *exchange = None;
            self.outputs.push_back(Output::Close {
                conn,
                how: CloseHow::Abort,
            });
        }
    }

    fn make_ready(&mut self, id: ExchangeId) {
        if let Some(live) = self.live.get_mut(&id)
            && !live.ready
        {
            live.ready = true;
            self.ready.push_back(id);
        }
    }

    fn with_reader(&mut self, conn: ConnId, act: impl FnOnce(&mut ResponseReader)) {
        let Some(id) = self.conns.get(&conn).copied().flatten() else {
            return;
        };
        if let Some(Stage::Reading(reading)) = self.live.get_mut(&id).map(|live| &mut live.stage) {
            act(&mut reading.reader);
            self.make_ready(id);
        }
    }

    /// Pauses or resumes reading, once the head is there.
    fn adjust_reading(&mut self, id: ExchangeId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let Stage::Reading(reading) = &mut live.stage else {
            return;
        };
        let pause = live.held && reading.reader.has_head();
        if pause != reading.paused && self.conns.contains_key(&reading.conn) {
            reading.paused = pause;
            let conn = reading.conn;
            self.outputs.push_back(if pause {
                Output::PauseReading { conn }
            } else {
                Output::ResumeReading { conn }
            });
        }
    }

    fn poll(&mut self, id: ExchangeId) -> Option<(Asker, ExchangeEvent)> {
        let live = self.live.get_mut(&id)?;
        let (asker, limits) = (live.asker, live.limits);
        let event = match &mut live.stage {
            Stage::Over(fault) => ExchangeEvent::Failed(fault.clone()),
            Stage::Reading(reading) if !live.held || !reading.reader.has_head() => {
                event(reading.reader.poll(), limits.max_body_bytes)?
            }
            _ => return None,
        };
        match &event {
            ExchangeEvent::Head(_) => {
                let end = live.started.plus(limits.total);
                self.set_deadline(id, Some(end));
                self.adjust_reading(id);
            }
            ExchangeEvent::Body(_) => {}
            ExchangeEvent::End | ExchangeEvent::Failed(_) => self.forget(id),
        }
        Some((asker, event))
    }

    /// The last event is told.
    fn forget(&mut self, id: ExchangeId) {
        self.set_deadline(id, None);
        if let Some(live) = self.live.remove(&id)
            && let Stage::Reading(reading) = live.stage
        {
            self.abandon(reading.conn);
        }
    }
}

fn live_port(live: &BTreeMap<ExchangeId, Box<Live>>, id: ExchangeId) -> u16 {
    live.get(&id).map_or(0, |live| live.request.port)
}

/// Whether the peer is the one that was dialled. An IPv4 address may come back in its IPv6 form.
fn is_at(peer: Peer, address: SocketAddr) -> bool {
    match peer {
        Peer::Tcp(peer) => peer.port() == address.port() && peer.ip().to_canonical() == address.ip().to_canonical(),
        Peer::Local => false,
    }
}

/// What the last attempt to connect means for the exchange.
fn unreachable(failed: Option<Fault>) -> ExchangeFault {
    match failed {
        None => ExchangeFault::Unreachable(String::from("there is no address to connect to")),
        Some(fault) if fault.kind == FaultKind::TimedOut => ExchangeFault::TimedOut,
        Some(fault) if fault.kind == FaultKind::Tls => ExchangeFault::Tls(fault.detail),
        Some(fault) => ExchangeFault::Unreachable(fault.to_string()),
    }
}

fn event(event: ResponseEvent, limit: u64) -> Option<ExchangeEvent> {
    Some(match event {
        ResponseEvent::NeedInput => return None,
        ResponseEvent::Head(head) => ExchangeEvent::Head(ClientResponse {
            status: head.status,
            reason: head.reason,
            headers: head.fields,
        }),
        ResponseEvent::Body(piece) => ExchangeEvent::Body(piece),
        ResponseEvent::End => ExchangeEvent::End,
        ResponseEvent::Failed(fault) => ExchangeEvent::Failed(match fault {
            ResponseFault::Malformed(rule) => ExchangeFault::Malformed(rule),
            ResponseFault::TooLarge { announced } => ExchangeFault::TooLarge { limit, announced },
            ResponseFault::Cut { before_head } => ExchangeFault::Cut { before_head },
        }),
    })
}
