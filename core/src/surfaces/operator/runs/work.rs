//! The work itself: the program runs, its output streams to the caller, and what must stop it stops it.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Flow, Run, RunKey, Step, Stop};
use crate::effect::{Completion, Effect, ExitStatus, FaultKind, Outcome, OutputStream, Progress, Spawn};
use crate::id::{ConnId, EffectId};
use crate::outbox::Upstream;
use crate::settings::AgentKind;
use crate::surfaces::operator::wire::{AgentStream, WireError, write_event};
use crate::surfaces::operator::{Context, Operator, shutdown};

impl Operator {
    pub(super) fn work(&mut self, cx: &mut Context<'_>, run: &mut Run) -> Flow {
        match run.agent.kind.clone() {
            AgentKind::Echo => {
                let message = run.prompt().into_owned();
                let chunk = run.output.push(OutputStream::Stdout, message.as_bytes());
                stream(cx, run.caller, &run.run_id, OutputStream::Stdout, chunk);
                run.exit = Some(ExitStatus::Code(0));
                self.record(cx, run)
            }
            AgentKind::Command { program, args } => {
                self.limit_time(cx, run);
                let dir = run
                    .working_dir
                    .clone()
                    .unwrap_or_else(|| run.agent.workspace_dir.clone());
                let stdin = Bytes::copy_from_slice(run.prompt().as_bytes());
                let spawn = Spawn {
                    program,
                    args,
                    env: environment(run),
                    stdin,
                    dir: Some(dir),
                };
                self.start_for(cx, run, Step::Working, Effect::Spawn(spawn))
            }
            AgentKind::Provider { max_history_bytes, .. } => {
                self.limit_time(cx, run);
                self.ask_provider(cx, run, max_history_bytes)
            }
        }
    }

    /// From now on the work has only so much time.
    fn limit_time(&mut self, cx: &Context<'_>, run: &mut Run) {
        let deadline = cx.now.monotonic.plus(cx.settings.agents.run_timeout);
        run.deadline = Some(deadline);
        self.runs.deadlines.insert((deadline, run.key));
    }

    /// The program wrote something.
    pub(in crate::surfaces::operator) fn run_progressed(
        &mut self,
        cx: &mut Context<'_>,
        key: RunKey,
        effect: EffectId,
        progress: &Progress,
    ) {
        let Some(run) = self.runs.live.get_mut(&key).filter(|run| run.effect == Some(effect)) else {
            return;
        };
        let Progress::Output { stream: which, bytes } = progress;
        if run.stop.is_none() && run.output.bytes.saturating_add(bytes.len()) > cx.settings.agents.max_output_bytes {
            run.stop = Some(Stop::TooMuchOutput);
            cx.calls.cancel(effect);
        }
        if run.stop.is_some() {
            cx.calls.proceed(effect);
            return;
        }
        let chunk = run.output.push(*which, bytes);
        stream(cx, run.caller, &run.run_id, *which, chunk);
        cx.outbox.proceed_when_taken(run.caller, Upstream::Effect(effect));
    }

    pub(super) fn worked(&mut self, cx: &mut Context<'_>, run: &mut Run, outcome: Outcome) -> Flow {
        self.clear_deadline(run);
        match outcome {
            Ok(Completion::Exited(status)) => {
                run.exit = Some(status);
                run.output.end();
                self.record(cx, run)
            }
            Ok(_) => Flow::fail("the agent's program ended without a status"),
            Err(fault) if fault.kind == FaultKind::NotFound => Flow::fail(alloc::format!(
                "agent {:?} cannot be started: its program or working directory does not exist ({fault})",
                run.agent.id
            )),
            Err(fault) => Flow::fail(alloc::format!("agent {:?} cannot be run: {fault}", run.agent.id)),
        }
    }

    pub(super) fn clear_deadline(&mut self, run: &mut Run) {
        if let Some(deadline) = run.deadline.take() {
            self.runs.deadlines.remove(&(deadline, run.key));
        }
    }

    /// Stops the runs whose time is up.
    pub(in crate::surfaces::operator) fn stop_late_runs(&mut self, cx: &mut Context<'_>) {
        while let Some((deadline, key)) = self.runs.deadlines.first().copied()
            && deadline <= cx.now.monotonic
        {
            self.runs.deadlines.pop_first();
            if let Some(run) = self.runs.live.get_mut(&key) {
                run.deadline = None;
            }
            self.stop_run(cx, key, Stop::TimedOut);
        }
    }

    /// Stops a run; `false` when its work is already done and only its answer is on the way.
    pub(super) fn stop_run(&mut self, cx: &mut Context<'_>, key: RunKey, stop: Stop) -> bool {
        let Some(run) = self.runs.live.get_mut(&key) else {
            return false;
        };
        match run.step {
            Step::Recording | Step::Committing | Step::RereadingSession | Step::Replaying => false,
            Step::Queued | Step::AwaitingIndex | Step::FetchingInput | Step::AwaitingSweep => {
                self.drive(cx, key, |_, cx, run| {
                    run.stop = Some(stop);
                    Flow::End(Err(stop.error(cx)))
                });
                true
            }
            _ => {
                // A run that is being stopped starts nothing further, so what it waits for is cancelled once.
                if run.stop.is_none() {
                    run.stop = Some(stop);
                    if let Some(effect) = run.effect {
                        cx.calls.cancel(effect);
                    }
                    if let Some(chat) = run.chat {
                        let (providers, mut context) = cx.providers();
                        providers.cancel(&mut context, chat);
                    }
                }
                true
            }
        }
    }

    /// `agent.cancel`: stops the run that was started under this id, by this identity or (`of_others`: an administrator)
    /// by anybody. The caller's own connection goes first, because frame ids are only unique on one connection; then its
    /// own identity; then the newest.
    pub(in crate::surfaces::operator) fn cancel_run(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        identity: &[u8; 32],
        of_others: bool,
        run_id: &str,
    ) -> bool {
        let key = self
            .runs
            .live
            .values()
            .filter(|run| (of_others || run.identity == *identity) && run.run_id == run_id && run.stop.is_none())
            .max_by_key(|run| (run.caller == conn, run.identity == *identity, run.key))
            .map(|run| run.key);
        key.is_some_and(|key| self.stop_run(cx, key, Stop::Cancelled))
    }

    /// The grace is over: every run is stopped.
    pub(in crate::surfaces::operator) fn stop_all_runs(&mut self, cx: &mut Context<'_>) {
        let keys: Vec<RunKey> = self.runs.live.keys().copied().collect();
        for key in keys {
            self.stop_run(cx, key, Stop::Shutdown);
        }
    }
}

impl Stop {
    pub(super) fn error(self, cx: &Context<'_>) -> WireError {
        let agents = &cx.settings.agents;
        let message: Cow<'static, str> = match self {
            Self::Cancelled => "run was cancelled".into(),
            Self::Shutdown => return shutdown::lost_run(),
            Self::TimedOut => alloc::format!(
                "run took longer than {} ms and was stopped (raise agents.runTimeoutMs to allow more)",
                agents.run_timeout.as_millis()
            )
            .into(),
            Self::TooMuchOutput => alloc::format!(
                "run wrote more than {} bytes and was stopped (raise agents.maxOutputBytes to allow more)",
                agents.max_output_bytes
            )
            .into(),
        };
        WireError::unavailable(message)
    }
}

/// The whole environment of an agent's program.
fn environment(run: &Run) -> Vec<(String, String)> {
    let session = run.session.as_ref().map(|session| &session.record);
    let attachments = run.attachment_paths();
    [
        ("PORTCULLIS_AGENT_ID", Some(&run.agent.id)),
        ("PORTCULLIS_RUN_ID", Some(&run.run_id)),
        ("PORTCULLIS_SESSION_KEY", session.map(|session| &session.session_key)),
        ("PORTCULLIS_SESSION_ID", session.map(|session| &session.session_id)),
        ("PORTCULLIS_TRANSCRIPT", session.map(|session| &session.transcript_path)),
        ("PORTCULLIS_MODEL", run.params.model.as_ref()),
        ("PORTCULLIS_ATTACHMENTS", attachments.as_ref()),
    ]
    .into_iter()
    // A NUL cannot be passed in an environment; a client that sends one gets the program without that variable.
    .filter_map(|(name, value)| Some((String::from(name), value.filter(|value| !value.contains('\0'))?.clone())))
    .collect()
}

pub(super) fn stream(cx: &mut Context<'_>, caller: ConnId, run_id: &str, which: OutputStream, chunk: &str) {
    if !chunk.is_empty() {
        let payload = AgentStream {
            run_id,
            stream: which.name(),
            chunk,
        };
        cx.outbox
            .text(caller, |out| write_event(out, "agent.stream", &payload, None));
    }
}
