//! The beginning of a run: has it been done, is it being done, is there a place for it?

use alloc::boxed::Box;
use alloc::string::String;
use core::net::IpAddr;
use core::time::Duration;

use super::{Flow, IdempotencyKey, Run, RunKey, Step};
use crate::effect::{Completion, Effect, Outcome};
use crate::id::ConnId;
use crate::store::{Batch, Durability, Op, Reply, StoreReply};
use crate::surfaces::operator::params::RunParams;
use crate::surfaces::operator::requests::find_agent;
use crate::surfaces::operator::wire::{ErrorCode, Waiter, WireError};
use crate::surfaces::operator::{Context, Operator, shutdown};

/// The most requests that wait for one run: a client that asks again and again for the same thing adds no more.
const MAX_WAITERS: usize = 1_024;

impl Operator {
    /// Takes an `agent.run` in.
    ///
    /// # Errors
    /// Why it is answered at once; otherwise the answer comes later.
    pub(in crate::surfaces::operator) fn run(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        (identity, ip): ([u8; 32], Option<IpAddr>),
        id: String,
        params: RunParams,
    ) -> Result<(), WireError> {
        let idempotency = IdempotencyKey::new(&identity, "agent.run", &params.idempotency_key);
        let params_digest = params.digest();
        let waiter = Waiter { conn, id: id.clone() };
        if let Some(run) = self
            .runs
            .by_key
            .get(&idempotency)
            .and_then(|key| self.runs.live.get_mut(key))
        {
            if cx.settings.operator.idempotency_strict_params && run.params_digest != params_digest {
                return Err(other_params());
            }
            if run.waiters.len() >= MAX_WAITERS {
                let error = WireError::new(ErrorCode::RateLimited, "too many requests wait for this run");
                return Err(error.retry_after(Duration::from_secs(1)));
            }
            run.waiters.push(waiter);
            return Ok(());
        }
        if self.draining {
            return Err(shutdown::unavailable("agent.run"));
        }
        let agent = find_agent(cx, params.agent_id.as_deref())?.clone();
        let most = cx.settings.agents.max_concurrent_runs as usize + cx.settings.agents.max_queued_runs as usize;
        if self.runs.live.len() >= most {
            return Err(WireError::unavailable("too many runs are waiting").retry_after(Duration::from_secs(1)));
        }
        self.runs.next += 1;
        let key = RunKey(self.runs.next);
        let run = Run {
            key,
            idempotency,
            params_digest,
            identity,
            caller: conn,
            ip,
            run_id: id,
            waiters: alloc::vec![waiter],
            params,
            inputs: Default::default(),
            agent,
            started: cx.now,
            step: Step::AwaitingIndex,
            effect: None,
            chat: None,
            stop: None,
            deadline: None,
            working_dir: None,
            session: None,
            output: Default::default(),
            exit: None,
            finished_at: cx.now.wall,
            payload: Default::default(),
            conflicts: 0,
        };
        self.runs.live.insert(key, Box::new(run));
        self.runs.by_key.insert(idempotency, key);
        if self.index.is_loaded() {
            self.drive(cx, key, Self::check);
        } else {
            self.load_index(cx.settings, cx.calls);
        }
        Ok(())
    }

    /// The index is loaded: the runs that waited for it go on.
    pub(in crate::surfaces::operator) fn index_loaded(&mut self, cx: &mut Context<'_>) {
        for key in self.awaiting_index() {
            self.drive(cx, key, Self::check);
        }
    }

    /// The index could not be read: without it nobody knows what has been done, and nothing may run twice.
    pub(in crate::surfaces::operator) fn index_not_loaded(&mut self, cx: &mut Context<'_>) {
        for key in self.awaiting_index() {
            self.drive(cx, key, |_, _, _| {
                let error = WireError::unavailable("earlier results cannot be read");
                Flow::End(Err(error.retry_after(Duration::from_secs(1))))
            });
        }
    }

    fn awaiting_index(&self) -> alloc::vec::Vec<RunKey> {
        let runs = self.runs.live.values();
        runs.filter(|run| run.step == Step::AwaitingIndex)
            .map(|run| run.key)
            .collect()
    }

    /// Has it been done?
    fn check(&mut self, cx: &mut Context<'_>, run: &mut Run) -> Flow {
        let operator = &cx.settings.operator;
        let Some(done) = self.index.get(run.idempotency, cx.now.wall, operator.idempotency_ttl) else {
            return self.seek_place(cx, run);
        };
        if operator.idempotency_strict_params && done.params_digest != run.params_digest {
            return Flow::End(Err(other_params()));
        }
        let ops = alloc::vec![Op::Get {
            key: run.idempotency.result()
        }];
        self.start_for(
            cx,
            run,
            Step::Replaying,
            Effect::Store(Batch {
                ops,
                durability: Durability::Durable,
            }),
        )
    }

    /// The result was read; if it is gone after all, the run begins.
    pub(super) fn replayed(&mut self, cx: &mut Context<'_>, run: &mut Run, outcome: Outcome) -> Flow {
        match outcome {
            Ok(Completion::Stored(StoreReply::Applied(replies))) => match replies.into_iter().next() {
                Some(Reply::Record(Some(record))) => Flow::End(Ok(record.value)),
                _ => self.seek_place(cx, run),
            },
            Ok(_) => Flow::fail("the stored result cannot be read"),
            Err(fault) => Flow::fail(alloc::format!("the stored result cannot be read: {fault}")),
        }
    }

    fn seek_place(&mut self, cx: &mut Context<'_>, run: &mut Run) -> Flow {
        if self.runs.placed.len() < cx.settings.agents.max_concurrent_runs.max(1) as usize {
            self.runs.placed.insert(run.key);
            return self.open(cx, run);
        }
        self.runs.queue.push_back(run.key);
        run.step = Step::Queued;
        Flow::Wait
    }

    /// A place may be free: the run that has waited longest takes it.
    pub(super) fn fill_places(&mut self, cx: &mut Context<'_>) {
        while self.runs.placed.len() < cx.settings.agents.max_concurrent_runs.max(1) as usize
            && let Some(key) = self.runs.queue.pop_front()
        {
            self.runs.placed.insert(key);
            self.drive(cx, key, Self::open);
        }
    }
}

fn other_params() -> WireError {
    WireError::invalid("idempotencyKey was already used with other params")
}
