//! Runs of agents, from the request to the answer. A run is a machine of its own: it does one effect at a time, and
//! `step` says which outcome it waits for.
//!
//! ```text
//! agent.run -> AwaitingIndex? -> Replaying -> answered from the store
//!                 |-> Queued? -> FetchingInput* -> AwaitingSweep? -> WritingInput* -> CheckingDir? -> FindingId?
//!                     -> FindingSession -> CountingSessions? -> OpeningSession? -> ReadingHistory? -> Working
//!                     -> Recording? -> Committing -> answered
//! ```
//! Nothing is answered as done before its transcript and its result are on disk. Spec: `spec/operator.md` sections 6 to 8.

mod finish;
mod index;
mod inputs;
mod open;
mod output;
mod provider;
mod start;
mod work;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use core::net::IpAddr;

use bytes::Bytes;

use index::IdempotencyKey;
pub(super) use index::{INDEX, Index};
use inputs::Gathered;
pub(super) use inputs::{Sweep, tell_left_behind};
use output::RunOutput;

use super::params::RunParams;
use super::wire::{Waiter, WireError};
use super::{Context, Operator, Pending};
use crate::effect::{Effect, ExitStatus, Outcome};
use crate::id::{ChatId, ConnId, EffectId};
use crate::sessions::Session;
use crate::settings::Agent;
use crate::store::Expect;
use crate::time::{Instant, Now, UnixMillis};

/// A run's name inside the gateway; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct RunKey(u64);

/// The runs under way.
#[derive(Debug, Default)]
pub(super) struct Runs {
    next: u64,
    live: BTreeMap<RunKey, Box<Run>>,
    by_key: BTreeMap<IdempotencyKey, RunKey>,
    /// Runs that wait for a place, oldest first.
    queue: VecDeque<RunKey>,
    /// Runs that have a place.
    placed: BTreeSet<RunKey>,
    /// The runs of chats under way.
    chats: BTreeMap<ChatId, RunKey>,
    /// When a working run is stopped.
    deadlines: BTreeSet<(Instant, RunKey)>,
}

#[derive(Debug)]
struct Run {
    key: RunKey,
    idempotency: IdempotencyKey,
    params_digest: [u8; 32],
    identity: [u8; 32],
    /// Where the output is streamed: the connection that asked first.
    caller: ConnId,
    /// Its client's address.
    ip: Option<IpAddr>,
    /// The frame id of the first request.
    run_id: String,
    /// Whom to answer.
    waiters: Vec<Waiter>,
    params: RunParams,
    inputs: Gathered,
    agent: Agent,
    started: Now,
    step: Step,
    /// The effect whose outcome is awaited.
    effect: Option<EffectId>,
    /// The chat whose end is awaited.
    chat: Option<ChatId>,
    /// Why the run must end early.
    stop: Option<Stop>,
    deadline: Option<Instant>,
    working_dir: Option<String>,
    session: Option<OpenSession>,
    output: RunOutput,
    exit: Option<ExitStatus>,
    /// When the work was done.
    finished_at: UnixMillis,
    /// What is answered and stored, once the work is done.
    payload: Bytes,
    /// Conflicts with other writers of the session's record so far.
    conflicts: u32,
}

/// What a run waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    AwaitingIndex,
    Replaying,
    Queued,
    FetchingInput,
    AwaitingSweep,
    WritingInput { path: String },
    CheckingDir,
    FindingId { otherwise: String },
    FindingSession { key: String },
    CountingSessions { key: String },
    OpeningSession,
    ReadingHistory,
    Working,
    Recording,
    Committing,
    RereadingSession,
}

/// The session that a run belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
struct OpenSession {
    record: Session,
    /// The state in which the stored record must be for ours to replace it; `None`: it is not ours to replace any more.
    expect: Option<Expect>,
}

/// Why a run is stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// `agent.cancel`.
    Cancelled,
    /// `agents.runTimeoutMs`.
    TimedOut,
    /// `agents.maxOutputBytes`.
    TooMuchOutput,
    /// The gateway's grace for draining is over.
    Shutdown,
}

/// What a step of a run leads to.
enum Flow {
    /// An effect was started, or a place is awaited.
    Wait,
    /// The run is over: the payload, or why there is none.
    End(Result<Bytes, WireError>),
}

impl Flow {
    fn fail(message: impl Into<alloc::borrow::Cow<'static, str>>) -> Self {
        Self::End(Err(WireError::unavailable(message)))
    }
}

impl Runs {
    /// How many runs are under way, waiting ones included.
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// When the run that has been under way for longest began.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.live.values().map(|run| run.started.monotonic).min()
    }

    /// The runs under way: their ids and agents.
    pub(super) fn names(&self) -> Vec<(String, String)> {
        let live = self.live.values();
        live.map(|run| (run.run_id.clone(), run.agent.id.clone())).collect()
    }

    /// When the next run must be stopped.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }
}

impl Operator {
    /// An effect of a run is over.
    pub(super) fn run_completed(&mut self, cx: &mut Context<'_>, key: RunKey, outcome: Outcome) {
        self.drive(cx, key, |operator, cx, run| {
            run.effect = None;
            if let Some(stop) = run.stop
                && !matches!(run.step, Step::Recording | Step::Committing | Step::RereadingSession)
            {
                return Flow::End(Err(stop.error(cx)));
            }
            match core::mem::replace(&mut run.step, Step::Working) {
                Step::Replaying => operator.replayed(cx, run, outcome),
                Step::CheckingDir => operator.dir_checked(cx, run, outcome),
                Step::FindingId { otherwise } => operator.id_found(cx, run, otherwise, outcome),
                Step::FindingSession { key } => operator.session_found(cx, run, key, outcome),
                Step::CountingSessions { key } => operator.sessions_counted(cx, run, &key, outcome),
                Step::OpeningSession => operator.session_opened(cx, run, outcome),
                Step::ReadingHistory => operator.history_read(cx, run, outcome),
                Step::Working => operator.worked(cx, run, outcome),
                Step::Recording => operator.recorded(cx, run, outcome),
                Step::Committing => operator.committed(cx, run, outcome),
                Step::RereadingSession => operator.session_reread(cx, run, outcome),
                Step::WritingInput { path } => operator.attachment_written(cx, run, path, outcome),
                Step::AwaitingIndex | Step::Queued | Step::FetchingInput | Step::AwaitingSweep => Flow::Wait,
            }
        });
    }

    /// Lets a run do a step; ends it when it is over. The run is out of the table meanwhile, so that the step can use the
    /// whole surface.
    fn drive(
        &mut self,
        cx: &mut Context<'_>,
        key: RunKey,
        step: impl FnOnce(&mut Self, &mut Context<'_>, &mut Run) -> Flow,
    ) {
        let Some(mut run) = self.runs.live.remove(&key) else {
            return;
        };
        match step(self, cx, &mut run) {
            Flow::Wait => {
                self.runs.live.insert(key, run);
            }
            Flow::End(result) => self.end_run(cx, *run, result),
        }
    }

    /// Starts the effect that a run waits for next.
    fn start_for(&mut self, cx: &mut Context<'_>, run: &mut Run, step: Step, effect: Effect) -> Flow {
        run.step = step;
        run.effect = Some(self.start(cx, effect, Pending::Run(run.key)));
        Flow::Wait
    }
}
