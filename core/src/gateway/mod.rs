//! The gateway: routes inputs to connections and to the calls that wait for effects, and owns the table of deadlines.
//! Protocols are in the layers below it; it decides only what concerns all of them: who is admitted, which path leads
//! where, how much may wait for a client, how connections end. Spec: `spec/contract.md`, `spec/operator.md`.

mod answers;
mod closing;
mod connection;
mod control;
mod deadlines;
mod delivery;
mod doors;
mod drain;
mod exchange;
mod figures;
mod http;
mod outbound;
mod probes;
#[cfg(feature = "relay")]
mod relay;
#[cfg(not(feature = "relay"))]
#[path = "absent_relay.rs"]
mod relay;
mod routes;
mod table;
mod telling;
mod upgrade;
mod websocket;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use answers::Answers;
use connection::{Connection, Counted, Stage, TurnedAway};
use deadlines::{Deadlines, Timer};
use drain::Drain;
use exchange::Exchange;
use routes::Routes;
use table::Table;

use crate::audit::{AuditEvent, AuditOutcome, AuditRecord, Journal};
use crate::auth::Authenticator;
use crate::calls::{Calls, Owner};
use crate::effect::{Outcome, Progress};
use crate::fetch::Fetches;
use crate::id::{ConnId, EffectId};
use crate::limits::admission::Admission;
use crate::limits::repeats::Repeats;
use crate::machine::{CloseHow, Input, Machine, Output, Peer};
use crate::metrics::Metrics;
use crate::outbound::Exchanges;
use crate::outbox::Outbox;
use crate::providers::Providers;
use crate::random::{Random, Seed};
use crate::report::Report;
use crate::settings::Settings;
use crate::surfaces::control::Control;
use crate::surfaces::operator::{Context, Operator};
use crate::surfaces::relay::Relay;
use crate::surfaces::tools::Tools;
use crate::time::{Instant, Now};

/// Connections that are told "503" when there is no room for them. More than these are dropped without a word.
pub const MAX_TURNED_AWAY: u32 = 256;
/// How long one of these may take to ask.
const TURN_AWAY: core::time::Duration = core::time::Duration::from_secs(1);

/// The gateway: a [`Machine`] for a runtime or an event loop of your own.
pub struct Gateway {
    settings: Arc<Settings>,
    started: Now,
    random: Random,
    auth: Authenticator,
    admission: Admission,
    answers: Answers,
    routes: Routes,
    operator: Operator,
    calls: Calls,
    exchanges: Exchanges,
    fetches: Fetches,
    tools: Tools,
    providers: Providers,
    /// `None`: there is no control plane.
    control: Option<Control>,
    /// `None`: there is no relay.
    relay: Option<Relay>,
    /// Requests that wait for the relay's answer.
    relay_waiting: usize,
    /// Tool calls that were cut short because the gateway went away.
    lost_calls: u32,
    /// The gateway ended before its last records were on disk.
    journal_lost: bool,
    connections: Table,
    deadlines: Deadlines,
    /// When somebody wants to be looked at, as of the last input.
    wake_at: Option<Instant>,
    outbox: Outbox,
    outputs: VecDeque<Output>,
    reports: Vec<Report>,
    /// Records that the journal has not taken in yet.
    audit: Vec<AuditRecord>,
    journal: Option<Journal>,
    metrics: Metrics,
    /// Connections whose last bytes are in the outbox.
    flush: Vec<ConnId>,
    draining: Option<Drain>,
    turned_away: TurnedAwayCount,
    /// How often each kind of report was told.
    repeats: BTreeMap<&'static str, Repeats>,
    /// Connections that are open only to be told that there is no room.
    turned_away_open: u32,
}

#[derive(Debug, Default)]
struct TurnedAwayCount {
    count: u64,
    reported_at: Option<Instant>,
}

impl Gateway {
    /// A gateway without connections. Poll it once before the first input: it asks the store for what outlived the last one.
    #[must_use]
    pub fn new(settings: Arc<Settings>, seed: Seed, now: Now) -> Self {
        let settings = settings.raised_to_floors();
        let mut random = Random::new(seed);
        let mut calls = Calls::default();
        let journal = settings
            .audit
            .as_ref()
            .map(|audit| Journal::new(audit.clone(), &mut calls));
        let mut reports = Vec::new();
        let mut audit = alloc::vec![AuditRecord::new(AuditEvent::Start, AuditOutcome::Ok)];
        let control = Control::new(&settings, now, &mut random, &mut calls, &mut reports, &mut audit);
        let relay = Relay::new(&settings, &mut calls);
        let mut gateway = Self {
            started: now,
            auth: Authenticator::new(&settings.auth, &mut random),
            random,
            admission: Admission::default(),
            answers: Answers::new(&settings),
            routes: Routes::new(&settings),
            operator: Operator::new(&settings, now, &mut calls),
            calls,
            exchanges: Exchanges::default(),
            fetches: Fetches::default(),
            tools: Tools::new(&settings),
            providers: Providers::new(&settings.providers),
            control,
            relay,
            relay_waiting: 0,
            lost_calls: 0,
            journal_lost: false,
            connections: Table::default(),
            deadlines: Deadlines::default(),
            wake_at: None,
            outbox: Outbox::new(settings.gateway.max_buffered_bytes),
            outputs: VecDeque::new(),
            reports,
            audit,
            journal,
            metrics: Metrics::default(),
            flush: Vec::new(),
            draining: None,
            turned_away: TurnedAwayCount::default(),
            repeats: BTreeMap::new(),
            turned_away_open: 0,
            settings,
        };
        gateway.with_relay(now, Relay::load);
        gateway.outbound_outputs();
        gateway.wake_at = gateway.next_deadline();
        gateway
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    fn opened(&mut self, now: Now, id: ConnId, peer: Peer) {
        if self.is_closing() {
            return self.drop_unheard(id);
        }
        let group = self.group_at_first(peer);
        let counted = if !self.is_admitted(peer) {
            self.reports.push(Report::DoorShut {
                conn: id,
                peer,
                reason: "address_not_allowed",
                setting: "gateway.allowedNetworks",
            });
            self.metrics.turned_away.add(1, 1);
            let stranger = Connection::new(
                peer,
                now.wall,
                Counted::No(TurnedAway::Stranger),
                self.routes.head_limits(),
            );
            self.reject(now, id, &stranger, None, "address_not_allowed");
            Counted::No(TurnedAway::Stranger)
        } else if self.draining.is_some() {
            Counted::No(TurnedAway::NoRoom)
        } else {
            match self.admission.open(group, &self.settings.gateway) {
                Ok(()) => Counted::Pending(group),
                Err(setting) => {
                    self.turned_away(now, setting);
                    Counted::No(TurnedAway::NoRoom)
                }
            }
        };
        let is_served = !matches!(counted, Counted::No(_));
        if !is_served {
            if self.turned_away_open >= MAX_TURNED_AWAY {
                return self.drop_unheard(id);
            }
            self.turned_away_open += 1;
        }
        let http = &self.settings.gateway.http;
        // Who is turned away gets an answer if it asks soon, and makes place for the next one if not.
        let patience = if is_served {
            http.header_timeout
        } else {
            http.header_timeout.min(TURN_AWAY)
        };
        let mut connection = Box::new(Connection::new(peer, now.wall, counted, self.routes.head_limits()));
        connection.deadlines.set(Timer::Header, now.monotonic.plus(patience));
        self.deadlines.schedule(id, &mut connection.deadlines);
        self.connections.insert(id, connection);
    }

    /// A connection that is not kept: not a word is said on it.
    fn drop_unheard(&mut self, id: ConnId) {
        self.outputs.push_back(Output::Close {
            conn: id,
            how: CloseHow::Abort,
        });
    }

    fn received(&mut self, now: Now, id: ConnId, bytes: &mut [u8]) {
        self.metrics.bytes.add(0, bytes.len() as u64);
        self.with(now, id, |gateway, connection| match &mut connection.stage {
            Stage::Http(stage) => {
                stage.http.received(bytes);
                gateway.drive_http(now, id, connection);
            }
            Stage::WebSocket(_) => gateway.drive_websocket(now, id, connection, bytes),
            Stage::Flushing | Stage::Ended => {}
        });
    }

    fn read_closed(&mut self, now: Now, id: ConnId) {
        self.with(now, id, |gateway, connection| match &mut connection.stage {
            // Who listens to events and closes has left.
            Stage::Http(stage) if matches!(stage.exchange, Exchange::Streaming) => {
                gateway.flush_after(now, id, connection);
            }
            Stage::Http(stage) => {
                stage.http.read_closed();
                gateway.drive_http(now, id, connection);
            }
            Stage::WebSocket(_) | Stage::Flushing | Stage::Ended => gateway.flush_after(now, id, connection),
        });
    }

    /// Looks at the connections whose time has come, and at the surfaces' deadlines. What this input set to a time that is
    /// past already waits for the tick that follows at once.
    fn on_time(&mut self, now: Now) {
        if self.wake_at.is_none_or(|at| at > now.monotonic) {
            return;
        }
        while let Some(id) = self.deadlines.pop_due(now.monotonic) {
            self.with(now, id, |gateway, connection| {
                Deadlines::taken(&mut connection.deadlines);
                if connection.deadlines.gate().is_some_and(|gate| gate <= now.monotonic) {
                    gateway.gate_opened(now, id, connection);
                }
                match connection.deadlines.timer() {
                    Some((timer, at)) if at <= now.monotonic => gateway.timer_fired(now, id, connection, timer),
                    _ => {}
                }
            });
        }
        if self.operator.next_deadline().is_some_and(|at| at <= now.monotonic) {
            let (operator, mut cx) = self.operator(now);
            operator.on_deadline(&mut cx);
        }
        if let Some(journal) = &mut self.journal {
            journal.on_deadline(now, &mut self.calls);
        }
        let due = self.relay.as_ref().and_then(Relay::next_deadline);
        if due.is_some_and(|at| at <= now.monotonic) {
            self.with_relay(now, Relay::on_deadline);
        }
        self.outbound_on_time(now);
    }

    fn timer_fired(&mut self, now: Now, id: ConnId, connection: &mut Connection, timer: Timer) {
        // A deadline fires once: what follows sets the next one, and this one must not come up again before that.
        connection.deadlines.set(Timer::Linger, Instant::END);
        match timer {
            Timer::Idle | Timer::Header | Timer::Body => self.http_timed_out(now, id, connection, timer),
            Timer::Handshake => self.handshake_timed_out(id),
            Timer::Tick => self.tick(now, id, connection),
            Timer::Control => self.control_due(now, id, connection),
            Timer::Answer => self.answer_held(now, id, connection),
            Timer::Linger => self.abort(now, id, connection),
        }
    }

    fn completed(&mut self, now: Now, effect: EffectId, outcome: Outcome) {
        match self.calls.finish(effect) {
            Some(Owner::Operator) => {
                let (operator, mut cx) = self.operator(now);
                operator.completed(&mut cx, effect, outcome);
            }
            Some(Owner::Outbound) => self.exchanges.completed(now, &mut self.calls, effect, outcome),
            Some(Owner::Journal) => {
                if let Some(journal) = &mut self.journal {
                    journal.completed(now, &mut self.calls, &mut self.reports, effect, outcome);
                }
            }
            Some(Owner::Tools) => self.with_tools(now, |tools, cx| tools.completed(cx, effect, outcome)),
            Some(Owner::Fetch) => self.with_fetches(now, |fetches, cx| fetches.completed(cx, effect, outcome)),
            Some(Owner::Control) => {
                self.with_control(now, |control, cx| control.completed(cx, effect, outcome));
            }
            Some(Owner::Relay) => {
                self.with_relay(now, |relay, cx| relay.completed(cx, effect, outcome));
            }
            None => {}
        }
    }

    fn progressed(&mut self, now: Now, effect: EffectId, progress: &Progress) {
        match self.calls.owner(effect) {
            Some(Owner::Operator) => {
                let (operator, mut cx) = self.operator(now);
                operator.progressed(&mut cx, effect, progress);
            }
            Some(Owner::Tools) => self.with_tools(now, |tools, cx| tools.progressed(cx, effect, progress)),
            Some(Owner::Control | Owner::Outbound | Owner::Journal | Owner::Relay | Owner::Fetch) | None => {}
        }
    }

    fn reconfigured(&mut self, now: Now, settings: Arc<Settings>) {
        self.settings = settings.raised_to_floors();
        self.auth.reconfigure(&self.settings.auth, &mut self.random);
        self.answers = Answers::new(&self.settings);
        self.routes = Routes::new(&self.settings);
        self.outbox.set_limit(self.settings.gateway.max_buffered_bytes);
        self.operator.reconfigure(&self.settings, &mut self.calls);
        self.tools.reconfigure(&self.settings);
        self.providers.reconfigure(&self.settings.providers);
        self.with_control(now, |control, cx| control.reconfigure(cx));
        if let Some(new) = self.settings.relay.clone() {
            self.with_relay(now, |relay, cx| relay.reconfigure(cx, &new));
        }
        self.reconfigure_journal();
        self.record(AuditEvent::ConfigChanged, AuditOutcome::Ok, None);
    }

    /// Does something with a connection while it is out of the table, hands over what that caused for it, and puts it back.
    fn with(&mut self, now: Now, id: ConnId, act: impl FnOnce(&mut Self, &mut Connection)) {
        let Some(mut connection) = self.connections.take(id) else {
            return;
        };
        act(self, &mut connection);
        match self.outbox.take_for(id) {
            Some(parcel) => self.deliver_to(now, &mut connection, parcel),
            None => connection.handed_over(),
        }
        self.keep(id, connection);
    }

    fn keep(&mut self, id: ConnId, mut connection: Box<Connection>) {
        self.deadlines.schedule(id, &mut connection.deadlines);
        self.connections.put_back(id, connection);
    }

    /// When somebody wants to be looked at.
    fn next_deadline(&self) -> Option<Instant> {
        let mut next = self.deadlines.next();
        let mut or = |other| next = Instant::first(next, other);
        or(self.operator.next_deadline());
        or(self.next_drain_deadline());
        or(self.exchanges.next_deadline());
        or(self.fetches.next_deadline());
        or(self.tools.next_deadline());
        or(self.providers.next_deadline());
        or(self.relay.as_ref().and_then(Relay::next_deadline));
        or(self.journal.as_ref().and_then(Journal::next_deadline));
        next.filter(|at| *at < Instant::END)
    }

    /// The operator surface and what it may use.
    fn operator(&mut self, now: Now) -> (&mut Operator, Context<'_>) {
        let context = Context {
            now,
            settings: &self.settings,
            random: &mut self.random,
            auth: &mut self.auth,
            outbox: &mut self.outbox,
            calls: &mut self.calls,
            fetches: &mut self.fetches,
            exchanges: &mut self.exchanges,
            reports: &mut self.reports,
            audit: &mut self.audit,
            metrics: &mut self.metrics,
            providers: &mut self.providers,
        };
        (&mut self.operator, context)
    }
}

impl Machine for Gateway {
    fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Opened {
                conn,
                listener: _,
                peer,
            } => self.opened(now, conn, peer),
            Input::Received { conn, bytes } if self.exchanges.owns(conn) => self.exchanges.received(now, conn, bytes),
            Input::ReadClosed { conn } if self.exchanges.owns(conn) => self.exchanges.read_closed(now, conn),
            Input::Sent { conn, bytes } if self.exchanges.owns(conn) => self.exchanges.sent(now, conn, bytes),
            Input::Gone { conn, why } if self.exchanges.owns(conn) => self.exchanges.gone(now, conn, why),
            Input::Received { conn, bytes } => self.received(now, conn, bytes),
            Input::ReadClosed { conn } => self.read_closed(now, conn),
            Input::Sent { conn, bytes } => self.sent(now, conn, bytes),
            Input::Gone { conn, why: _ } => self.gone(now, conn),
            Input::Completed { effect, outcome } => self.completed(now, effect, outcome),
            Input::Progress { effect, progress } => self.progressed(now, effect, &progress),
            Input::Reconfigured { settings } => self.reconfigured(now, settings),
            Input::Drain { how } => self.drain(now, how),
            Input::Tick => {}
        }
        self.on_time(now);
        loop {
            if self.has_outbound_events() {
                self.outbound_events(now);
                self.answer_tools(now);
            }
            self.release_control(now);
            self.serve_relay(now);
            self.drain_further(now);
            self.deliver(now);
            // What was handed over may have let something go on that has more to tell.
            if !self.has_outbound_events() {
                break;
            }
        }
        self.outbound_outputs();
        self.tell(now);
        self.wake_at = self.next_deadline();
    }

    fn poll(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        if let Some(output) = self.calls.take_output() {
            return output;
        }
        if self.is_drained() {
            return Output::Drained {
                clean: self.ended_clean(),
            };
        }
        Output::Idle { wake_at: self.wake_at }
    }
}

impl core::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Gateway")
            .field("connections", &self.connections.len())
            .finish_non_exhaustive()
    }
}
