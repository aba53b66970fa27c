//! The end of a run: the turn goes to the transcript, the result and the session to the store, and only then is anybody
//! answered.

use alloc::string::{String, ToString};

use bytes::{BufMut, Bytes, BytesMut};

use super::index::Done;
use super::{Flow, OpenSession, Run, Step, Stop};
use crate::effect::{Completion, Effect, ExitStatus, Outcome, first_reply};
use crate::json::write_value;
use crate::report::Report;
use crate::sessions::transcript;
use crate::sessions::{self, Session};
use crate::store::{Batch, Durability, Expect, Op, Reply, StoreReply};
use crate::surfaces::operator::wire::{WireError, write_error, write_ok};
use crate::surfaces::operator::{Context, Operator};

/// How often a run whose work is done tries to write its session's record. Each conflict means that another run has got
/// through, and so many runs never end at the same moment: work that is done is not thrown away for an unlucky order.
const MAX_COMMITS: u32 = 10_000;

/// The payload of an answered run.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    run_id: &'a str,
    result: RunResult<'a>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct RunResult<'a> {
    code: i32,
    stdout: &'a str,
    stderr: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    agent_id: &'a str,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript_path: Option<&'a str>,
}

impl Operator {
    /// The work is done: the turn is appended to the transcript.
    pub(super) fn record(&mut self, cx: &mut Context<'_>, run: &mut Run) -> Flow {
        run.finished_at = cx.now.wall;
        run.payload = payload(run);
        let Some(session) = &run.session else {
            return self.commit(cx, run);
        };
        let append = Effect::Append {
            path: session.record.transcript_path.clone(),
            bytes: transcript::turn(
                &run.recorded_message(),
                run.started.wall,
                &run.output.stdout.text,
                run.finished_at,
            ),
            mode: 0o600,
        };
        self.start_for(cx, run, Step::Recording, append)
    }

    pub(super) fn recorded(&mut self, cx: &mut Context<'_>, run: &mut Run, outcome: Outcome) -> Flow {
        if let Err(fault) = outcome {
            return lost(cx, "the transcript could not be written", fault.to_string());
        }
        if let Some(session) = &mut run.session {
            let (message, answer) = (&run.params.message, &run.output.stdout.text);
            session
                .record
                .add_turn(message, answer, run.working_dir.as_deref(), run.finished_at);
        }
        self.commit(cx, run)
    }

    /// The session and the result are written together.
    fn commit(&mut self, cx: &mut Context<'_>, run: &mut Run) -> Flow {
        let operator = &cx.settings.operator;
        let mut ops = self.index.writes(
            run.idempotency,
            Done {
                finished_at: run.finished_at,
                params_digest: run.params_digest,
            },
            &run.payload,
            (operator.idempotency_ttl, operator.idempotency_max_entries as usize),
            |other| self.runs.by_key.contains_key(other),
        );
        if let Some(OpenSession {
            record,
            expect: Some(expect),
        }) = &run.session
        {
            ops.push(Op::Put {
                key: sessions::session_key(&run.agent.id, &record.session_key),
                expect: *expect,
                value: record.to_value(),
                expires_at: None,
            });
        }
        self.start_for(
            cx,
            run,
            Step::Committing,
            Effect::Store(Batch {
                ops,
                durability: Durability::Durable,
            }),
        )
    }

    pub(super) fn committed(&mut self, cx: &mut Context<'_>, run: &mut Run, outcome: Outcome) -> Flow {
        match outcome {
            Ok(Completion::Stored(StoreReply::Applied(_))) => {
                let operator = &cx.settings.operator;
                self.index.finished(
                    run.idempotency,
                    Done {
                        finished_at: run.finished_at,
                        params_digest: run.params_digest,
                    },
                    operator.idempotency_ttl,
                    operator.idempotency_max_entries as usize,
                );
                Flow::End(Ok(run.payload.clone()))
            }
            // Another run of the same session was recorded meanwhile: this one's turn is added to that record.
            Ok(Completion::Stored(StoreReply::Conflict { .. })) if run.conflicts < MAX_COMMITS => {
                run.conflicts += 1;
                let Some(session) = &run.session else {
                    return lost(cx, "the result could not be stored", String::from("conflict"));
                };
                let key = sessions::session_key(&run.agent.id, &session.record.session_key);
                let batch = Batch {
                    ops: alloc::vec![Op::Get { key }],
                    durability: Durability::Durable,
                };
                self.start_for(cx, run, Step::RereadingSession, Effect::Store(batch))
            }
            Ok(_) => lost(
                cx,
                "the result could not be stored",
                String::from("others keep changing the session"),
            ),
            Err(fault) => lost(cx, "the result could not be stored", fault.to_string()),
        }
    }

    pub(super) fn session_reread(&mut self, cx: &mut Context<'_>, run: &mut Run, outcome: Outcome) -> Flow {
        let record = match first_reply(outcome) {
            Ok(Reply::Record(record)) => record,
            Ok(_) => return lost(cx, "the session could not be read", String::from("unexpected reply")),
            Err(detail) => return lost(cx, "the session could not be read", detail),
        };
        let current = record.and_then(|record| Some((Session::read(&record)?, record.version)));
        if let Some(session) = &mut run.session {
            match current {
                Some((mut record, version)) if record.session_id == session.record.session_id => {
                    let (message, answer) = (&run.params.message, &run.output.stdout.text);
                    record.add_turn(message, answer, run.working_dir.as_deref(), run.finished_at);
                    *session = OpenSession {
                        record,
                        expect: Some(Expect::Version(version)),
                    };
                }
                // The key has moved on to a newer session: this turn is in the older one's transcript, and that is all.
                Some(_) => session.expect = None,
                None => session.expect = Some(Expect::Absent),
            }
        }
        self.commit(cx, run)
    }

    /// Answers everybody who waits, and lets the next run begin.
    pub(super) fn end_run(&mut self, cx: &mut Context<'_>, mut run: Run, result: Result<Bytes, WireError>) {
        self.clear_deadline(&mut run);
        self.drop_inputs(cx, &mut run);
        if self.runs.by_key.get(&run.idempotency) == Some(&run.key) {
            self.runs.by_key.remove(&run.idempotency);
        }
        self.runs.queue.retain(|key| *key != run.key);
        for waiter in &run.waiters {
            cx.outbox.text(waiter.conn, |out| match &result {
                Ok(payload) => write_ok(out, &waiter.id, |out| out.put_slice(payload)),
                Err(error) => write_error(out, &waiter.id, error),
            });
            cx.outbox.answered(waiter.conn);
        }
        let outcome = match (&result, run.exit) {
            (Err(error), _) => error.message.to_string(),
            (Ok(_), Some(ExitStatus::Code(code))) => alloc::format!("exit code {code}"),
            (Ok(_), Some(ExitStatus::Signal(signal))) => alloc::format!("ended by signal {signal}"),
            (Ok(_), None) => String::new(),
        };
        if result.is_err() && run.stop == Some(Stop::Shutdown) {
            self.lose(cx, &run.run_id, &run.agent.id);
        }
        // What never had a place did not run: a result that was replayed, or a run that was cancelled in the queue.
        if self.runs.placed.remove(&run.key) {
            let end = match (&result, run.exit) {
                (Ok(_), Some(ExitStatus::Code(0)) | None) => 0,
                (Ok(_), Some(_)) => 1,
                (Err(_), _) if run.stop == Some(Stop::Shutdown) => 3,
                (Err(_), _) => 2,
            };
            cx.metrics.runs.add(end, 1);
            let took = cx.now.monotonic.since(run.started.monotonic);
            cx.metrics.run_seconds.observe(took);
            cx.reports.push(Report::RunEnded {
                run: run.run_id,
                agent: run.agent.id,
                outcome,
            });
            self.fill_places(cx);
        }
    }
}

/// The program ran, but what it did is not on disk: it cannot be acknowledged.
fn lost(cx: &mut Context<'_>, what: &'static str, detail: String) -> Flow {
    cx.reports.push(Report::EffectFailed {
        what,
        detail: detail.clone(),
    });
    Flow::fail(alloc::format!("{what}: {detail}"))
}

fn payload(run: &Run) -> Bytes {
    let session = run.session.as_ref().map(|session| &session.record);
    let (code, signal) = match run.exit {
        Some(ExitStatus::Code(code)) => (code, None),
        // The number that a shell gives for a program ended by a signal.
        Some(ExitStatus::Signal(signal)) => (128_i32.saturating_add(signal), Some(signal)),
        None => (0, None),
    };
    let result = RunResult {
        code,
        stdout: &run.output.stdout.text,
        stderr: &run.output.stderr.text,
        signal,
        agent_id: &run.agent.id,
        duration_ms: run.finished_at.0.saturating_sub(run.started.wall.0),
        session_key: session.map(|session| session.session_key.as_str()),
        session_id: session.map(|session| session.session_id.as_str()),
        transcript_path: session.map(|session| session.transcript_path.as_str()),
    };
    let mut out = BytesMut::new();
    write_value(
        &mut out,
        &Payload {
            run_id: &run.run_id,
            result,
        },
    );
    out.freeze()
}
