//! The operator protocol (OpenGoat gateway, version 1): JSON over WebSocket with a challenge, scopes, a rate limit and
//! idempotent runs of agents. This page is its front door: what the gateway calls, and the table of methods.
//! It never sees a socket: messages come in as text, answers go out through the outbox. Spec: `spec/operator.md`.

mod connect;
mod context;
mod dialect;
mod handshake;
mod inputs;
mod params;
mod requests;
mod roots;
mod runs;
mod scope;
mod session;
mod shutdown;
mod wire;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

pub use context::{Context, UpgradeFacts};
use roots::Roots;
use runs::{Index, RunKey, Runs, Sweep};
pub use session::Session;
use session::{Awaiting, Stage};
use wire::{Challenge, Tick, Waiter, write_error, write_event, write_ok};
pub use wire::{ErrorCode, PROTOCOL, WireError};

use crate::calls::{Calls, Owner};
use crate::effect::{Completion, Effect, Outcome, Progress, first_reply};
use crate::fetch::{FetchFault, Fetched};
use crate::id::{ConnId, EffectId, FetchId};
use crate::json::write_value;
use crate::machine::Peer;
use crate::queries::{Advance, Health, Queries, QueryKey, Refused};
use crate::report::Report;
use crate::settings::Settings;
use crate::store::{Batch, Durability, Op, Reply};
use crate::time::{Instant, Now};

/// The operator surface: what all its connections share.
#[derive(Debug)]
pub struct Operator {
    started: Now,
    clients: u32,
    /// The number of the last `tick`; one count for all clients.
    event_seq: u64,
    draining: bool,
    /// Runs that were cut short because the gateway went away.
    lost: u32,
    health: Health,
    roots: Roots,
    runs: Runs,
    index: Index,
    queries: Queries<Waiter>,
    /// The runs that wait for a fetch.
    fetches: BTreeMap<FetchId, RunKey>,
    /// The attachments that an earlier process left behind.
    sweep: Sweep,
    pending: BTreeMap<EffectId, Pending>,
    /// Refused handshakes whose answer is held back.
    held: BTreeMap<(Instant, ConnId), Box<handshake::Refused>>,
}

/// What an effect of this surface is for.
#[derive(Debug)]
enum Pending {
    LoadIndex,
    Root {
        configured: String,
    },
    Run(RunKey),
    Query(QueryKey),
    /// What an earlier process left behind is removed.
    Sweep,
    /// The attachments of a run that is over are removed.
    Cleanup,
}

impl Operator {
    /// A surface without clients; asks the store for what outlived the last one.
    #[must_use]
    pub fn new(settings: &Settings, now: Now, calls: &mut Calls) -> Self {
        let mut operator = Self {
            started: now,
            clients: 0,
            event_seq: 0,
            draining: false,
            lost: 0,
            health: Health::new(&settings.operator.home_dir),
            roots: Roots::default(),
            runs: Runs::default(),
            index: Index::default(),
            queries: Queries::default(),
            fetches: BTreeMap::new(),
            sweep: Sweep::default(),
            pending: BTreeMap::new(),
            held: BTreeMap::new(),
        };
        operator.load_index(settings, calls);
        operator.reconfigure(settings, calls);
        operator
    }

    /// Asks the store for the runs that are done, unless it is asked already.
    fn load_index(&mut self, settings: &Settings, calls: &mut Calls) {
        if !self.index.begin_to_load() {
            return;
        }
        let limit = settings.operator.idempotency_max_entries.saturating_mul(2);
        let ops = alloc::vec![Op::Scan {
            table: runs::INDEX,
            prefix: String::new(),
            limit
        }];
        let load = Effect::Store(Batch {
            ops,
            durability: Durability::Durable,
        });
        let effect = calls.start(load, Owner::Operator);
        self.pending.insert(effect, Pending::LoadIndex);
    }

    /// Takes new settings: agents and their folders.
    pub fn reconfigure(&mut self, settings: &Settings, calls: &mut Calls) {
        self.health = Health::new(&settings.operator.home_dir);
        let agents = &settings.agents;
        self.roots = Roots::new(
            &agents.workspace_roots,
            agents.agents.iter().map(|agent| agent.workspace_dir.clone()),
        );
        let configured: Vec<String> = self.roots.all().cloned().collect();
        for configured in configured {
            let effect = calls.start(
                Effect::RealPath {
                    path: configured.clone(),
                },
                Owner::Operator,
            );
            self.pending.insert(effect, Pending::Root { configured });
        }
    }

    /// Clients that finished the handshake.
    #[must_use]
    pub const fn clients(&self) -> u32 {
        self.clients
    }

    /// Runs under way.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// When the run that has been under way for longest began.
    #[must_use]
    pub fn oldest_run(&self) -> Option<Instant> {
        self.runs.oldest()
    }

    /// A connection was upgraded: the challenge goes out.
    pub fn opened(&mut self, cx: &mut Context<'_>, conn: ConnId, facts: UpgradeFacts<'_>) -> Session {
        let awaiting = Awaiting {
            nonce: cx.random.uuid(),
            conn_id: cx.random.uuid(),
            origin: facts.origin.map(String::from),
            host: facts.host.map(String::from),
            connected_at: facts.connected_at,
            client: facts.client,
            vouched_for: facts.vouched_for,
        };
        let challenge = Challenge {
            nonce: &awaiting.nonce,
            ts: cx.now.wall.0,
        };
        cx.outbox
            .text(conn, |out| write_event(out, "connect.challenge", &challenge, None));
        Session {
            stage: Stage::Awaiting(Box::new(awaiting)),
            refusals: None,
            not_before: Instant::ZERO,
        }
    }

    /// A message came. `None`: a binary message that is not UTF-8.
    pub fn message(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        peer: Peer,
        session: &mut Session,
        text: Option<&str>,
    ) {
        let text = text.unwrap_or_default();
        match &mut session.stage {
            Stage::Ready(_) => self.request(cx, conn, session, text),
            Stage::Refused { .. } => {}
            Stage::Awaiting(awaiting) => match handshake::judge(cx, conn, awaiting, text, self.draining) {
                Ok(accepted) => {
                    self.clients += 1;
                    let started_at = self.started.wall.0;
                    let uptime = self.uptime_ms(cx.now);
                    let ready = &accepted.ready;
                    match ready.dialect {
                        Some(version) => {
                            let hello = dialect::hello(cx.settings, version, &awaiting.conn_id, uptime, ready.scopes);
                            cx.outbox
                                .text(conn, |out| write_ok(out, &accepted.id, |out| write_value(out, &hello)));
                        }
                        None => {
                            let hello =
                                handshake::hello(cx.settings, &awaiting.conn_id, started_at, uptime, self.clients);
                            cx.outbox
                                .text(conn, |out| write_ok(out, &accepted.id, |out| write_value(out, &hello)));
                        }
                    }
                    cx.metrics.operator_handshakes.add(0, 1);
                    cx.reports.push(Report::Authenticated {
                        conn,
                        peer,
                        client: accepted.client_id,
                    });
                    session.stage = Stage::Ready(Box::new(accepted.ready));
                }
                Err(refused) => {
                    cx.metrics.operator_handshakes.add(1, 1);
                    let reason = refused.error.message.clone().into_owned();
                    cx.reports.push(Report::HandshakeRefused { conn, peer, reason });
                    if refused.delay.is_zero() {
                        return refuse_handshake(cx, conn, &refused);
                    }
                    let told_at = cx.now.monotonic.plus(refused.delay);
                    session.stage = Stage::Refused { told_at };
                    session.not_before = told_at;
                    self.held.insert((told_at, conn), refused);
                }
            },
        }
    }

    /// It is time for a client's `tick`.
    pub fn tick(&mut self, cx: &mut Context<'_>, conn: ConnId, session: &Session) {
        self.event_seq += 1;
        let traced = session.speaks_dialect();
        let tick = Tick {
            ts: cx.now.wall.0,
            uptime_ms: (!traced).then(|| self.uptime_ms(cx.now)),
        };
        cx.outbox
            .text(conn, |out| write_event(out, "tick", &tick, Some(self.event_seq)));
    }

    /// A connection is gone. Its runs go on.
    pub fn closed(&mut self, conn: ConnId, session: &Session) {
        match &session.stage {
            Stage::Ready(_) => self.clients = self.clients.saturating_sub(1),
            Stage::Refused { told_at } => drop(self.held.remove(&(*told_at, conn))),
            Stage::Awaiting(_) => {}
        }
    }

    /// An effect of this surface is over.
    pub fn completed(&mut self, cx: &mut Context<'_>, effect: EffectId, outcome: Outcome) {
        match self.pending.remove(&effect) {
            Some(Pending::Run(run)) => self.run_completed(cx, run, outcome),
            Some(Pending::Query(query)) => self.query_completed(cx, query, outcome),
            Some(Pending::Sweep) => self.swept(cx, outcome),
            Some(Pending::Cleanup) => runs::tell_left_behind(cx, outcome),
            Some(Pending::Root { configured }) => {
                if let Ok(Completion::Path(real)) = outcome {
                    self.roots.resolved(&configured, &real);
                }
            }
            Some(Pending::LoadIndex) => {
                let detail = match first_reply(outcome) {
                    Ok(Reply::Records(records)) => {
                        self.index.load(&records);
                        return self.index_loaded(cx);
                    }
                    Ok(_) => String::from("unexpected reply"),
                    Err(detail) => detail,
                };
                cx.reports.push(Report::EffectFailed {
                    what: "earlier results cannot be read",
                    detail,
                });
                self.index.not_loaded();
                self.index_not_loaded(cx);
            }
            None => {}
        }
    }

    /// A fetch of this surface is over.
    pub fn fetch_event(&mut self, cx: &mut Context<'_>, fetch: FetchId, event: Result<Fetched, FetchFault>) {
        if let Some(run) = self.fetches.remove(&fetch) {
            self.input_fetched(cx, run, fetch, event);
        }
    }

    /// An effect of this surface tells something.
    pub fn progressed(&mut self, cx: &mut Context<'_>, effect: EffectId, progress: &Progress) {
        match self.pending.get(&effect) {
            Some(Pending::Run(run)) => self.run_progressed(cx, *run, effect, progress),
            _ => cx.calls.proceed(effect),
        }
    }

    /// When [`Self::on_deadline`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let held = self.held.first_key_value().map(|((at, _), _)| *at);
        Instant::first(self.runs.next_deadline(), held)
    }

    /// A deadline passed.
    pub fn on_deadline(&mut self, cx: &mut Context<'_>) {
        self.stop_late_runs(cx);
        while let Some(held) = self.held.first_entry()
            && held.key().0 <= cx.now.monotonic
        {
            let ((_, conn), refused) = held.remove_entry();
            refuse_handshake(cx, conn, &refused);
        }
    }

    const fn uptime_ms(&self, now: Now) -> u64 {
        now.monotonic.since(self.started.monotonic).as_millis() as u64
    }

    fn ask(&mut self, cx: &mut Context<'_>, (key, effect): (QueryKey, Effect)) {
        self.start(cx, effect, Pending::Query(key));
    }

    /// An effect of a query is over.
    fn query_completed(&mut self, cx: &mut Context<'_>, key: QueryKey, outcome: Outcome) {
        match self.queries.completed(cx.now.wall, key, outcome) {
            Some(Advance::Next(query)) => self.ask(cx, query),
            Some(Advance::Answered(waiter, Ok(payload))) => {
                cx.outbox.text(waiter.conn, |out| {
                    write_ok(out, &waiter.id, |out| out.extend_from_slice(&payload))
                });
                cx.outbox.answered(waiter.conn);
            }
            Some(Advance::Answered(waiter, Err(detail))) => {
                let error = WireError::unavailable(alloc::format!("the sessions cannot be read: {detail}"));
                cx.outbox.text(waiter.conn, |out| write_error(out, &waiter.id, &error));
                cx.outbox.answered(waiter.conn);
            }
            None => {}
        }
    }

    fn start(&mut self, cx: &mut Context<'_>, effect: Effect, pending: Pending) -> EffectId {
        let effect = cx.calls.start(effect, Owner::Operator);
        self.pending.insert(effect, pending);
        effect
    }
}

impl From<Refused> for WireError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoAgent(message) => Self::unavailable(message),
            Refused::Busy => {
                Self::unavailable("too many requests are waiting").retry_after(core::time::Duration::from_secs(1))
            }
        }
    }
}

/// Answers a handshake that is refused, and closes the connection.
fn refuse_handshake(cx: &mut Context<'_>, conn: ConnId, refused: &handshake::Refused) {
    cx.outbox
        .text(conn, |out| write_error(out, &refused.id, &refused.error));
    let (code, reason) = refused.close.clone();
    cx.outbox.close(conn, code, reason);
}
