//! Before the work: where it is done, and in which session.

use alloc::string::String;

use super::{Flow, OpenSession, Run, Step};
use crate::effect::{Completion, Effect, Outcome, first_reply};
use crate::sessions::{self, Reference, Session};
use crate::store::{Batch, Durability, Expect, Op, Reply, StoreReply};
use crate::surfaces::operator::wire::WireError;
use crate::surfaces::operator::{Context, Operator};

/// How often a run tries again when another one opened its session first.
const MAX_CONFLICTS: u32 = 16;

impl Operator {
    /// The run has a place and its inputs: it begins.
    pub(super) fn begin(&mut self, cx: &mut Context<'_>, run: &mut Run) -> Flow {
        let Some(cwd) = &run.params.cwd else {
            return self.find_session(cx, run);
        };
        let path = if cwd.starts_with('/') {
            cwd.clone()
        } else {
            alloc::format!("{}/{cwd}", run.agent.workspace_dir.trim_end_matches('/'))
        };
        self.start_for(cx, run, Step::CheckingDir, Effect::RealPath { path })
    }

    /// Only the real path counts, so that no link leads out of the roots.
    pub(super) fn dir_checked(&mut self, cx: &mut Context<'_>, run: &mut Run, outcome: Outcome) -> Flow {
        let path = match outcome {
            Ok(Completion::Path(path)) => path,
            Ok(_) => return Flow::fail("cwd cannot be resolved"),
            Err(fault) => return Flow::End(Err(WireError::invalid(alloc::format!("cwd cannot be used: {fault}")))),
        };
        if !self.roots.allow(&run.agent.workspace_dir, &path) {
            let message = "cwd is outside every configured workspace root (allow it in agents.workspaceRoots)";
            return Flow::End(Err(WireError::invalid(message)));
        }
        run.working_dir = Some(path);
        self.find_session(cx, run)
    }

    fn find_session(&mut self, cx: &mut Context<'_>, run: &mut Run) -> Flow {
        if run.params.disable_session {
            return self.work(cx, run);
        }
        match Reference::read(&run.agent.id, run.params.session_ref.as_deref()) {
            Reference::Key(key) => self.read_session(cx, run, key),
            Reference::IdOrKey { id, key } => {
                let get = Op::Get {
                    key: sessions::id_key(&run.agent.id, &id),
                };
                self.start_for(cx, run, Step::FindingId { otherwise: key }, read(get))
            }
        }
    }

    pub(super) fn id_found(
        &mut self,
        cx: &mut Context<'_>,
        run: &mut Run,
        otherwise: String,
        outcome: Outcome,
    ) -> Flow {
        match first_reply(outcome) {
            Ok(Reply::Record(record)) => {
                let known = record.and_then(|record| String::from_utf8(record.value.to_vec()).ok());
                self.read_session(cx, run, known.unwrap_or(otherwise))
            }
            Ok(_) => Flow::fail("the session cannot be read"),
            Err(detail) => Flow::fail(alloc::format!("the session cannot be read: {detail}")),
        }
    }

    fn read_session(&mut self, cx: &mut Context<'_>, run: &mut Run, key: String) -> Flow {
        let get = Op::Get {
            key: sessions::session_key(&run.agent.id, &key),
        };
        self.start_for(cx, run, Step::FindingSession { key }, read(get))
    }

    pub(super) fn session_found(&mut self, cx: &mut Context<'_>, run: &mut Run, key: String, outcome: Outcome) -> Flow {
        let record = match first_reply(outcome) {
            Ok(Reply::Record(record)) => record,
            Ok(_) => return Flow::fail("the session cannot be read"),
            Err(detail) => return Flow::fail(alloc::format!("the session cannot be read: {detail}")),
        };
        let Some(record) = record else {
            let (table, prefix) = sessions::all_of(&run.agent.id);
            let scan = Op::Scan {
                table,
                prefix,
                limit: cx.settings.operator.max_sessions_per_agent,
            };
            return self.start_for(cx, run, Step::CountingSessions { key }, read(scan));
        };
        let goes_on = Session::read(&record)
            .filter(|session| !run.params.force_new_session && !session.is_stale(&cx.settings.operator, cx.now.wall));
        match goes_on {
            Some(session) => {
                run.session = Some(OpenSession {
                    record: session,
                    expect: Some(Expect::Version(record.version)),
                });
                self.work(cx, run)
            }
            None => self.open_session(cx, run, &key, Expect::Version(record.version)),
        }
    }

    pub(super) fn sessions_counted(
        &mut self,
        cx: &mut Context<'_>,
        run: &mut Run,
        key: &str,
        outcome: Outcome,
    ) -> Flow {
        match first_reply(outcome) {
            Ok(Reply::Records(records)) if records.len() >= cx.settings.operator.max_sessions_per_agent as usize => {
                Flow::fail(alloc::format!(
                    "agent {:?} already has {} sessions (raise session.maxPerAgent to allow more)",
                    run.agent.id,
                    records.len()
                ))
            }
            Ok(_) => self.open_session(cx, run, key, Expect::Absent),
            Err(detail) => Flow::fail(alloc::format!("the sessions cannot be read: {detail}")),
        }
    }

    /// Starts a new session under the key. The record counts once a turn is recorded, so it need not be on disk before.
    fn open_session(&mut self, cx: &mut Context<'_>, run: &mut Run, key: &str, expect: Expect) -> Flow {
        let id = cx.random.uuid();
        let record = Session::start(key, id, &run.agent, &cx.settings.operator.sessions_dir, cx.now.wall);
        let put = |key, expect, value| Op::Put {
            key,
            expect,
            value,
            expires_at: None,
        };
        let ops = alloc::vec![
            put(sessions::session_key(&run.agent.id, key), expect, record.to_value()),
            put(
                sessions::id_key(&run.agent.id, &record.session_id),
                Expect::Anything,
                bytes::Bytes::copy_from_slice(key.as_bytes())
            ),
        ];
        run.session = Some(OpenSession {
            record,
            expect: Some(Expect::Absent),
        });
        self.start_for(
            cx,
            run,
            Step::OpeningSession,
            Effect::Store(Batch {
                ops,
                durability: Durability::Lazy,
            }),
        )
    }

    pub(super) fn session_opened(&mut self, cx: &mut Context<'_>, run: &mut Run, outcome: Outcome) -> Flow {
        match outcome {
            Ok(Completion::Stored(StoreReply::Applied(replies))) => {
                if let (Some(session), Some(Reply::Written(version))) = (&mut run.session, replies.first()) {
                    session.expect = Some(Expect::Version(*version));
                }
                self.work(cx, run)
            }
            // Another run opened one first: this run joins it.
            Ok(Completion::Stored(StoreReply::Conflict { .. })) if run.conflicts < MAX_CONFLICTS => {
                run.conflicts += 1;
                let opened = run.session.take();
                run.params.force_new_session = false;
                let key = opened.map(|session| session.record.session_key).unwrap_or_default();
                self.read_session(cx, run, key)
            }
            Ok(_) => Flow::fail("the session cannot be opened: others keep changing it"),
            Err(fault) => Flow::fail(alloc::format!("the session cannot be opened: {fault}")),
        }
    }
}

fn read(op: Op) -> Effect {
    Effect::Store(Batch {
        ops: alloc::vec![op],
        durability: Durability::Durable,
    })
}
