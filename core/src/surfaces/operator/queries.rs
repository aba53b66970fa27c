//! `session.list` and `session.history`: what the store and the transcripts really hold.
//! Spec: `spec/operator.md` section 6.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::{BufMut, BytesMut};

use super::params::{HistoryParams, ListParams};
use super::runs::first_reply;
use super::sessions::{self, Reference, Session};
use super::transcript;
use super::wire::{Waiter, WireError, write_error, write_ok};
use super::{Context, Operator, Pending, find_agent};
use crate::effect::{Completion, Effect, FaultKind, Outcome};
use crate::json::{write_string, write_value};
use crate::store::{Batch, Durability, Op, Reply};

/// The most of a transcript that is read: its end.
const MAX_TRANSCRIPT_BYTES: u32 = 4 * 1_048_576;

/// A query's name inside the gateway; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct QueryKey(u64);

/// The most queries under way. What one connection may have in flight does not bound them, because a client that leaves
/// while the store is slow leaves its queries behind and may come back with more.
const MAX_QUERIES: usize = 1_024;

/// The queries under way.
#[derive(Debug, Default)]
pub(super) struct Queries {
    next: u64,
    live: BTreeMap<QueryKey, Query>,
}

#[derive(Debug)]
struct Query {
    waiter: Waiter,
    agent: String,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Listing { active_minutes: Option<u32> },
    FindingId { otherwise: String, what: What },
    FindingSession { key: String, what: What },
    Reading { session: Session, what: What },
}

/// Which part of a history.
#[derive(Clone, Copy, Debug)]
struct What {
    limit: Option<u32>,
    include_compaction: bool,
}

/// One session as `session.list` shows it.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    session_key: &'a str,
    session_id: &'a str,
    title: &'a str,
    updated_at: u64,
    transcript_path: &'a str,
    workspace_path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_path: Option<&'a str>,
    input_chars: u64,
    output_chars: u64,
    total_chars: u64,
    compaction_count: u64,
}

impl Operator {
    /// Takes a `session.list` in; the answer comes later.
    pub(super) fn list_sessions(
        &mut self,
        cx: &mut Context<'_>,
        waiter: Waiter,
        params: ListParams,
    ) -> Result<(), WireError> {
        self.has_room_for_query()?;
        let agent = find_agent(cx, params.agent_id.as_deref())?.id.clone();
        let (table, prefix) = sessions::all_of(&agent);
        let scan = Op::Scan {
            table,
            prefix,
            limit: cx.settings.operator.max_sessions_per_agent,
        };
        self.ask(
            cx,
            Query {
                waiter,
                agent,
                step: Step::Listing {
                    active_minutes: params.active_minutes,
                },
            },
            read(scan),
        );
        Ok(())
    }

    /// Takes a `session.history` in; the answer comes later.
    pub(super) fn session_history(
        &mut self,
        cx: &mut Context<'_>,
        waiter: Waiter,
        params: HistoryParams,
    ) -> Result<(), WireError> {
        self.has_room_for_query()?;
        let agent = find_agent(cx, params.agent_id.as_deref())?.id.clone();
        let what = What {
            limit: params.limit,
            include_compaction: params.include_compaction,
        };
        let (step, get) = match Reference::read(&agent, params.session_ref.as_deref()) {
            Reference::Key(key) => {
                let get = Op::Get {
                    key: sessions::session_key(&agent, &key),
                };
                (Step::FindingSession { key, what }, get)
            }
            Reference::IdOrKey { id, key } => {
                let get = Op::Get {
                    key: sessions::id_key(&agent, &id),
                };
                (Step::FindingId { otherwise: key, what }, get)
            }
        };
        self.ask(cx, Query { waiter, agent, step }, read(get));
        Ok(())
    }

    /// An effect of a query is over.
    pub(super) fn query_completed(&mut self, cx: &mut Context<'_>, key: QueryKey, outcome: Outcome) {
        let Some(query) = self.queries.live.remove(&key) else {
            return;
        };
        let Query { waiter, agent, step } = query;
        let result = match step {
            Step::Listing { active_minutes } => list(cx, outcome, active_minutes).map(Some),
            Step::FindingId { otherwise, what } => first_reply(outcome).map(|reply| {
                let known = match reply {
                    Reply::Record(Some(record)) => String::from_utf8(record.value.to_vec()).ok(),
                    _ => None,
                };
                let key = known.unwrap_or(otherwise);
                let get = Op::Get {
                    key: sessions::session_key(&agent, &key),
                };
                let step = Step::FindingSession { key, what };
                self.ask(
                    cx,
                    Query {
                        waiter: waiter.clone(),
                        agent,
                        step,
                    },
                    read(get),
                );
                None
            }),
            Step::FindingSession { key, what } => first_reply(outcome).map(|reply| {
                let session = match reply {
                    Reply::Record(Some(record)) => Session::read(&record),
                    _ => None,
                };
                let Some(session) = session else {
                    return Some(history(&key, None, &[]));
                };
                let file = Effect::ReadFile {
                    path: session.transcript_path.clone(),
                    max_bytes: MAX_TRANSCRIPT_BYTES,
                };
                self.ask(
                    cx,
                    Query {
                        waiter: waiter.clone(),
                        agent,
                        step: Step::Reading { session, what },
                    },
                    file,
                );
                None
            }),
            Step::Reading { session, what } => read_history(outcome, &session, what).map(Some),
        };
        match result {
            Ok(None) => {}
            Ok(Some(payload)) => {
                cx.outbox.text(waiter.conn, |out| {
                    write_ok(out, &waiter.id, |out| out.put_slice(&payload))
                });
                cx.outbox.answered(waiter.conn);
            }
            Err(detail) => {
                let error = WireError::unavailable(alloc::format!("the sessions cannot be read: {detail}"));
                cx.outbox.text(waiter.conn, |out| write_error(out, &waiter.id, &error));
                cx.outbox.answered(waiter.conn);
            }
        }
    }

    fn has_room_for_query(&self) -> Result<(), WireError> {
        if self.queries.live.len() < MAX_QUERIES {
            return Ok(());
        }
        Err(WireError::unavailable("too many requests are waiting").retry_after(Duration::from_secs(1)))
    }

    fn ask(&mut self, cx: &mut Context<'_>, query: Query, effect: Effect) {
        self.queries.next += 1;
        let key = QueryKey(self.queries.next);
        self.queries.live.insert(key, query);
        self.start(cx, effect, Pending::Query(key));
    }
}

fn read(op: Op) -> Effect {
    Effect::Store(Batch {
        ops: alloc::vec![op],
        durability: Durability::Durable,
    })
}

/// The sessions, newest first.
fn list(cx: &Context<'_>, outcome: Outcome, active_minutes: Option<u32>) -> Result<BytesMut, String> {
    let Reply::Records(records) = first_reply(outcome)? else {
        return Err("unexpected reply".into());
    };
    let mut sessions: Vec<Session> = records.iter().filter_map(Session::read).collect();
    if let Some(minutes) = active_minutes {
        let idle = Duration::from_secs(u64::from(minutes) * 60);
        sessions.retain(|session| session.updated_at.plus(idle) >= cx.now.wall);
    }
    sessions.sort_by(|a, b| {
        b.updated_at
            .cmp(&a.updated_at)
            .then_with(|| a.session_key.cmp(&b.session_key))
    });
    let listed: Vec<Listed<'_>> = sessions
        .iter()
        .map(|session| Listed {
            session_key: &session.session_key,
            session_id: &session.session_id,
            title: &session.title,
            updated_at: session.updated_at.0,
            transcript_path: &session.transcript_path,
            workspace_path: &session.workspace_path,
            working_path: session.working_path.as_deref(),
            input_chars: session.input_chars,
            output_chars: session.output_chars,
            total_chars: session.input_chars + session.output_chars,
            compaction_count: session.compaction_count,
        })
        .collect();
    let mut out = BytesMut::from(&b"{\"sessions\":"[..]);
    write_value(&mut out, &listed);
    out.put_u8(b'}');
    Ok(out)
}

fn read_history(outcome: Outcome, session: &Session, what: What) -> Result<BytesMut, String> {
    let file = match outcome {
        Ok(Completion::File { bytes, .. }) => bytes,
        // A session whose first turn is not recorded yet has no transcript.
        Err(fault) if fault.kind == FaultKind::NotFound => Default::default(),
        Ok(_) => return Err("unexpected reply".into()),
        Err(fault) => return Err(fault.to_string()),
    };
    let limit = what.limit.map_or(usize::MAX, |limit| limit as usize);
    Ok(history(
        &session.session_key,
        Some(session),
        &transcript::read(&file, limit, what.include_compaction),
    ))
}

fn history(key: &str, session: Option<&Session>, messages: &[String]) -> BytesMut {
    let mut out = BytesMut::from(&b"{\"history\":{\"sessionKey\":"[..]);
    write_string(&mut out, key);
    if let Some(session) = session {
        out.put_slice(b",\"sessionId\":");
        write_string(&mut out, &session.session_id);
        out.put_slice(b",\"transcriptPath\":");
        write_string(&mut out, &session.transcript_path);
    }
    out.put_slice(b",\"messages\":[");
    for (number, message) in messages.iter().enumerate() {
        if number > 0 {
            out.put_u8(b',');
        }
        out.put_slice(message.as_bytes());
    }
    out.put_slice(b"]}}");
    out
}
