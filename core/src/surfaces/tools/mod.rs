//! `POST /tools/invoke`: one tool, called once, over plain HTTP. This page is its front door: what the gateway calls, the
//! order of the checks, and the table of tools. It never sees a socket, a header or a token: the gateway hands a whole body
//! over from somebody it let in, and writes the answer. Spec: `spec/hardening.md`, HD-100 to HD-149.

mod answer;
mod body;
mod catalogue;
mod command;
mod readable;
mod target;
#[cfg(test)]
mod tests;
mod web;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use bytes::{Bytes, BytesMut};

pub use answer::HttpAnswer;
use answer::ToolFault;
use body::ToolRequest;
pub use catalogue::BUILT_IN;
use catalogue::{Catalogue, Tool};
use command::Program;
use target::Target;
use web::WebArgs;

use crate::audit::{AuditEvent, AuditOutcome, AuditRecord, Surface};
use crate::calls::{Calls, Owner};
use crate::effect::{Effect, Outcome, Progress};
use crate::fetch::{Asking, FetchAsker, FetchContext, FetchFault, Fetched, Fetches, SourceKind};
use crate::id::{ConnId, EffectId, FetchId};
use crate::json::write_value;
use crate::policy::tools::is_denied;
use crate::queries::{Advance, AgentList, Health, HistoryParams, ListParams, Queries, QueryKey, Refused};
use crate::random::Random;
use crate::report::Report;
use crate::settings::Settings;
use crate::time::{Instant, Now, UnixMillis};

/// What the surface may use while it handles one input.
pub struct Context<'a> {
    /// The time.
    pub now: Now,
    /// The settings in force.
    pub settings: &'a Arc<Settings>,
    /// Randomness.
    pub random: &'a mut Random,
    /// Where effects are started.
    pub calls: &'a mut Calls,
    /// Where URLs are fetched.
    pub fetches: &'a mut Fetches,
    /// Where the fetches ask.
    pub exchanges: &'a mut dyn Asking,
    /// Where facts for the log go.
    pub reports: &'a mut Vec<Report>,
    /// Where facts for the audit journal go.
    pub audit: &'a mut Vec<AuditRecord>,
}

/// A request that passed every check before the tools: path, method, lock, credential, size and time of the body.
#[derive(Clone, Debug)]
pub struct ToolCall {
    /// Where the answer goes.
    pub conn: ConnId,
    /// The client's address, behind trusted proxies.
    pub client: Option<IpAddr>,
    /// When the connection was opened.
    pub connected_at: UnixMillis,
    /// The whole body.
    pub body: Bytes,
}

/// The tools surface.
#[derive(Debug)]
pub struct Tools {
    catalogue: Catalogue,
    health: Health,
    next: CallKey,
    live: BTreeMap<CallKey, Call>,
    queries: Queries<CallKey>,
    /// What an effect of this surface is for.
    effects: BTreeMap<EffectId, Pending>,
    fetches: BTreeMap<FetchId, CallKey>,
    /// When a program is stopped.
    deadlines: BTreeSet<(Instant, CallKey)>,
    answers: VecDeque<(ConnId, HttpAnswer)>,
}

/// A call's name inside the gateway; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct CallKey(u64);

#[derive(Clone, Copy, Debug)]
enum Pending {
    Query(QueryKey),
    Program(CallKey),
}

/// A call under way. It is kept until what it started is over, also when nobody waits for it any more: a program that is
/// being stopped still takes a place.
#[derive(Debug)]
struct Call {
    /// Whom to answer; `None`: answered already, or gone.
    conn: Option<ConnId>,
    facts: CallFacts,
    work: Work,
}

/// What the journal tells of a call.
#[derive(Clone, Debug)]
struct CallFacts {
    conn: ConnId,
    client: Option<IpAddr>,
    /// The same for every call with the same idempotency key; unguessable for one without.
    call_id: String,
    /// The name of a tool that there is.
    tool: String,
    /// Scheme, host and port of what is fetched.
    target: Option<String>,
}

#[derive(Debug)]
enum Work {
    /// The store or a file is read.
    Query,
    /// A program runs.
    Program(Program),
    /// A URL is fetched.
    Fetch(FetchId, WebArgs),
}

/// A call that is allowed.
struct Asked<'a> {
    connected_at: UnixMillis,
    tool: Tool,
    request: ToolRequest,
    target: Target<'a>,
}

/// What a call leads to at once.
enum Begun {
    Done(BytesMut),
    UnderWay(Work),
}

impl Tools {
    /// A surface without calls.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            catalogue: Catalogue::new(&settings.tools),
            health: Health::new(&settings.operator.home_dir),
            next: CallKey(0),
            live: BTreeMap::new(),
            queries: Queries::default(),
            effects: BTreeMap::new(),
            fetches: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            answers: VecDeque::new(),
        }
    }

    /// Takes new settings. Calls under way go on as they began.
    pub fn reconfigure(&mut self, settings: &Settings) {
        self.catalogue = Catalogue::new(&settings.tools);
        self.health = Health::new(&settings.operator.home_dir);
    }

    /// Calls under way, those included that nobody waits for any more.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Calls under way that somebody waits for.
    #[must_use]
    pub fn awaited(&self) -> usize {
        self.live.values().filter(|call| call.conn.is_some()).count()
    }

    /// Whether no call is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// A request came. `None`: its answer comes later, through [`Self::take_answer`].
    pub fn invoke(&mut self, cx: &mut Context<'_>, call: &ToolCall) -> Option<HttpAnswer> {
        let settings = Arc::clone(cx.settings);
        let tools = &settings.tools;
        let request = match ToolRequest::parse(&call.body, tools.strict_body) {
            Ok(request) => request,
            Err(fault) => return Some(HttpAnswer::from(&fault)),
        };
        let target = match Target::of(&request, &settings.agents) {
            Ok(target) => target,
            Err(fault) => return Some(HttpAnswer::from(&fault)),
        };
        let denied = is_denied(&request.name, &tools.allow, &tools.deny);
        let tool = self.catalogue.find(&request.name).filter(|_| !denied);
        let Some(tool) = tool else {
            let reason = if denied { "on the deny list" } else { "no such tool" };
            let record = AuditRecord::new(AuditEvent::ToolDenied, AuditOutcome::Denied).because(reason);
            cx.audit.push(record.on(call.conn, Surface::Http).from_ip(call.client));
            return Some(HttpAnswer::not_available(&request.told));
        };
        let facts = CallFacts {
            conn: call.conn,
            client: call.client,
            call_id: target.call_id(&request, cx.random),
            tool: request.name.clone(),
            target: None,
        };
        if request.dry_run {
            facts.tell(cx, AuditOutcome::Ok, Some("dry run"));
            return Some(HttpAnswer::dry_run(&request.told));
        }
        let asked = Asked {
            connected_at: call.connected_at,
            tool,
            request,
            target,
        };
        self.execute(cx, facts, asked)
    }

    fn execute(&mut self, cx: &mut Context<'_>, mut facts: CallFacts, asked: Asked<'_>) -> Option<HttpAnswer> {
        self.next.0 += 1;
        let key = self.next;
        match self.begin(cx, key, &mut facts, asked) {
            Ok(Begun::Done(result)) => {
                facts.tell(cx, AuditOutcome::Ok, None);
                Some(HttpAnswer::result(&result))
            }
            Ok(Begun::UnderWay(work)) => {
                let conn = Some(facts.conn);
                self.live.insert(key, Call { conn, facts, work });
                None
            }
            Err(fault) => {
                facts.tell(cx, AuditOutcome::Failed, Some(fault.reason()));
                Some(HttpAnswer::from(&fault))
            }
        }
    }

    /// The table of tools.
    fn begin(
        &mut self,
        cx: &mut Context<'_>,
        key: CallKey,
        facts: &mut CallFacts,
        asked: Asked<'_>,
    ) -> Result<Begun, ToolFault> {
        let Asked {
            connected_at,
            tool,
            request,
            target,
        } = asked;
        let mut out = BytesMut::new();
        match &tool {
            Tool::Health => {
                self.health.write(&mut out, connected_at, cx.now.wall);
                Ok(Begun::Done(out))
            }
            Tool::AgentList => {
                write_value(&mut out, &AgentList::of(&cx.settings.agents));
                Ok(Begun::Done(out))
            }
            _ if self.live.len() >= cx.settings.tools.max_concurrent.max(1) as usize => Err(ToolFault::Busy),
            Tool::SessionList => {
                let mut params = ListParams::parse(request.args.value()).map_err(rejected)?;
                target.aim_list(&mut params);
                let query = self.queries.list(cx.settings, key, params).map_err(refused)?;
                self.ask(cx, query);
                Ok(Begun::UnderWay(Work::Query))
            }
            Tool::SessionHistory => {
                let mut params = HistoryParams::parse(request.args.value()).map_err(rejected)?;
                target.aim_history(&mut params);
                let query = self.queries.history(cx.settings, key, params).map_err(refused)?;
                self.ask(cx, query);
                Ok(Begun::UnderWay(Work::Query))
            }
            Tool::WebFetch => {
                let args = WebArgs::parse(&request.args).map_err(rejected)?;
                facts.target = crate::url::Url::parse(&args.url).ok().map(|url| url.origin());
                let (fetches, mut fetch_cx) = cx.fetching();
                let fetch = fetches.start(&mut fetch_cx, SourceKind::Web, &args.url, FetchAsker::Tools);
                self.fetches.insert(fetch, key);
                Ok(Begun::UnderWay(Work::Fetch(fetch, args)))
            }
            Tool::Command(_) if target.is_nobody() => Err(ToolFault::Rejected(String::from(
                "sessionKey names an agent that does not exist",
            ))),
            Tool::Command(command) => {
                let args = match request.action {
                    Some(action) if tool.takes_action() => request.args.with_text("action", &action),
                    _ => request.args,
                };
                let program = Program::new(cx.now, command);
                self.deadlines.insert((program.deadline, key));
                let spawn = Effect::Spawn(command::spawn(command, &args, &facts.call_id, &target));
                let effect = self.start(cx, spawn, Pending::Program(key));
                Ok(Begun::UnderWay(Work::Program(program.running(effect))))
            }
        }
    }

    /// Whether [`Self::take_answer`] has one.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// The next answer to write.
    pub fn take_answer(&mut self) -> Option<(ConnId, HttpAnswer)> {
        self.answers.pop_front()
    }

    /// An effect of this surface is over.
    pub fn completed(&mut self, cx: &mut Context<'_>, effect: EffectId, outcome: Outcome) {
        match self.effects.remove(&effect) {
            Some(Pending::Query(query)) => match self.queries.completed(cx.now.wall, query, outcome) {
                Some(Advance::Next(query)) => self.ask(cx, query),
                Some(Advance::Answered(key, result)) => {
                    let result = result.map_err(|detail| failed(cx, "the sessions cannot be read", detail));
                    self.end(cx, key, result);
                }
                None => {}
            },
            Some(Pending::Program(key)) => {
                if let Some(Call {
                    work: Work::Program(program),
                    facts,
                    conn,
                }) = self.live.get(&key)
                {
                    self.deadlines.remove(&(program.deadline, key));
                    let result = program.result(&facts.tool, outcome);
                    // That a program which was given up did not end well is no news.
                    let result = match result {
                        Err(_) if conn.is_none() => Err(ToolFault::Stopped),
                        result => result.map_err(|detail| failed(cx, "a tool failed", detail)),
                    };
                    self.end(cx, key, result);
                }
            }
            None => {}
        }
    }

    /// A program wrote something.
    pub fn progressed(&mut self, cx: &mut Context<'_>, effect: EffectId, progress: &Progress) {
        if let Some(Pending::Program(key)) = self.effects.get(&effect)
            && let Some(Call {
                work: Work::Program(program),
                ..
            }) = self.live.get_mut(key)
        {
            program.wrote(cx.calls, progress);
        }
        cx.calls.proceed(effect);
    }

    /// A fetch of this surface is over.
    pub fn fetch_event(&mut self, cx: &mut Context<'_>, fetch: FetchId, event: Result<Fetched, FetchFault>) {
        let Some(key) = self.fetches.remove(&fetch) else {
            return;
        };
        let Some(Call {
            work: Work::Fetch(_, args),
            facts,
            ..
        }) = self.live.get(&key)
        else {
            return;
        };
        let result = match event {
            Ok(fetched) => args.result(&fetched, cx.settings.fetch.web.max_chars).map_err(rejected),
            Err(fault) => {
                facts.tell_fault(cx, &fault);
                Err(match fault {
                    FetchFault::Denied { text, .. } if cx.settings.fetch.answer_forbidden => ToolFault::Forbidden(text),
                    FetchFault::Denied { text, .. } | FetchFault::Rejected { text, .. } => ToolFault::Rejected(text),
                })
            }
        };
        self.end(cx, key, result);
    }

    /// A connection is gone: nobody waits for its call, which is given up.
    pub fn closed(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let keys = self.live.iter().filter(|(_, call)| call.conn == Some(conn));
        let keys: Vec<CallKey> = keys.map(|(key, _)| *key).collect();
        for key in keys {
            self.give_up(cx, key, "the client is gone");
        }
        self.answers.retain(|(to, _)| *to != conn);
    }

    /// When [`Self::on_deadline`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Stops the programs whose time is up.
    pub fn on_deadline(&mut self, cx: &mut Context<'_>) {
        while let Some((at, key)) = self.deadlines.first().copied()
            && at <= cx.now.monotonic
        {
            self.deadlines.pop_first();
            if let Some(Call {
                work: Work::Program(program),
                ..
            }) = self.live.get_mut(&key)
            {
                program.stop(cx.calls, command::Stop::TimedOut);
            }
        }
    }

    /// The grace for draining is over: what is under way is given up and answered as unavailable.
    pub fn stop(&mut self, cx: &mut Context<'_>) {
        let keys: Vec<CallKey> = self.live.keys().copied().collect();
        for key in keys {
            if let Some(conn) = self.give_up(cx, key, "the gateway stops") {
                self.answers.push_back((conn, HttpAnswer::from(&ToolFault::Stopped)));
            }
        }
    }

    /// Gives a call up: whom it would have answered. It is forgotten once what it started is over.
    fn give_up(&mut self, cx: &mut Context<'_>, key: CallKey, why: &'static str) -> Option<ConnId> {
        let call = self.live.get_mut(&key)?;
        let conn = call.conn.take();
        if conn.is_some() {
            call.facts.tell(cx, AuditOutcome::Failed, Some(why));
        }
        match &mut call.work {
            Work::Query => {}
            Work::Program(program) => program.stop(cx.calls, command::Stop::GivenUp),
            Work::Fetch(fetch, _) => {
                // Nothing of a fetch outlives this call here, so its place is free at once.
                let (fetches, mut fetch_cx) = cx.fetching();
                fetches.cancel(&mut fetch_cx, *fetch);
                self.fetches.remove(fetch);
                self.live.remove(&key);
            }
        }
        conn
    }

    /// A call is over.
    fn end(&mut self, cx: &mut Context<'_>, key: CallKey, result: Result<BytesMut, ToolFault>) {
        let Some(call) = self.live.remove(&key) else {
            return;
        };
        let Some(conn) = call.conn else {
            return;
        };
        let answer = match &result {
            Ok(result) => {
                call.facts.tell(cx, AuditOutcome::Ok, None);
                HttpAnswer::result(result)
            }
            Err(fault) => {
                call.facts.tell(cx, AuditOutcome::Failed, Some(fault.reason()));
                HttpAnswer::from(fault)
            }
        };
        self.answers.push_back((conn, answer));
    }

    fn ask(&mut self, cx: &mut Context<'_>, (query, effect): (QueryKey, Effect)) {
        self.start(cx, effect, Pending::Query(query));
    }

    fn start(&mut self, cx: &mut Context<'_>, effect: Effect, pending: Pending) -> EffectId {
        let effect = cx.calls.start(effect, Owner::Tools);
        self.effects.insert(effect, pending);
        effect
    }
}

impl Context<'_> {
    fn fetching(&mut self) -> (&mut Fetches, FetchContext<'_>) {
        let context = FetchContext {
            now: self.now,
            settings: &self.settings.fetch,
            calls: self.calls,
            exchanges: self.exchanges,
        };
        (self.fetches, context)
    }
}

impl CallFacts {
    /// Tells the journal how the call ended.
    fn tell(&self, cx: &mut Context<'_>, outcome: AuditOutcome, why: Option<&'static str>) {
        let reason = match why {
            Some(why) => alloc::format!("{}: {why}", self.tool),
            None => self.tool.clone(),
        };
        let record = AuditRecord::new(AuditEvent::ToolInvoke, outcome).because(reason);
        let mut record = record.on(self.conn, Surface::Http).from_ip(self.client);
        record.request_id = Some(self.call_id.clone());
        record.target.clone_from(&self.target);
        cx.audit.push(record);
    }

    /// Tells the journal why a fetch brought nothing.
    fn tell_fault(&self, cx: &mut Context<'_>, fault: &FetchFault) {
        let mut record = fault.audit().on(self.conn, Surface::Http).from_ip(self.client);
        record.request_id = Some(self.call_id.clone());
        cx.audit.push(record);
    }
}

fn rejected(reason: crate::fields::Reason) -> ToolFault {
    ToolFault::Rejected(reason.into_owned())
}

fn refused(refused: Refused) -> ToolFault {
    match refused {
        Refused::NoAgent(message) => ToolFault::Rejected(message),
        Refused::Busy => ToolFault::Busy,
    }
}

/// The caller is told that it failed and no more; the log is told how.
fn failed(cx: &mut Context<'_>, what: &'static str, detail: String) -> ToolFault {
    cx.reports.push(Report::EffectFailed { what, detail });
    ToolFault::Failed
}
