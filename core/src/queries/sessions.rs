//! `session.list` and `session.history`: what the store and the transcripts really hold.
//! Spec: `spec/operator.md` section 6.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::{BufMut, BytesMut};

use super::params::{HistoryParams, ListParams};
use crate::effect::{Completion, Effect, FaultKind, Outcome, first_reply};
use crate::json::{write_string, write_value};
use crate::sessions::{self, Reference, Session, transcript};
use crate::settings::{DEFAULT_AGENT, Settings};
use crate::store::{Batch, Durability, Op, Reply};
use crate::time::UnixMillis;

/// The most of a transcript that is read: its end.
const MAX_TRANSCRIPT_BYTES: u32 = 4 * 1_048_576;

/// A query's name inside the gateway; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct QueryKey(u64);

/// The most queries under way. What one connection may have in flight does not bound them, because a client that leaves
/// while the store is slow leaves its queries behind and may come back with more.
const MAX_QUERIES: usize = 1_024;

/// The queries of one surface under way; `W` is who waits for an answer.
#[derive(Debug)]
pub(crate) struct Queries<W> {
    next: u64,
    live: BTreeMap<QueryKey, Query<W>>,
}

/// Why a query is not taken in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// There is no such agent: the message for whoever asked.
    NoAgent(String),
    /// Too many queries are under way.
    Busy,
}

/// What the outcome of a query's effect leads to.
#[derive(Debug)]
pub(crate) enum Advance<W> {
    /// A further effect is to be started for it.
    Next((QueryKey, Effect)),
    /// It is over: the answer as JSON, or what went wrong, for people.
    Answered(W, Result<BytesMut, String>),
}

#[derive(Debug)]
struct Query<W> {
    waiter: W,
    agent: String,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Listing { active_minutes: Option<u32> },
    FindingId { otherwise: String, what: What },
    FindingSession { key: String, what: What },
    Reading { session: Box<Session>, what: What },
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

/// What a step of a query leads to.
enum Flow {
    Ask(Step, Effect),
    Done(BytesMut),
}

impl Refused {
    /// No agent has this id.
    pub(crate) fn no_agent(id: Option<&str>) -> Self {
        Self::NoAgent(alloc::format!("agent not found: {}", id.unwrap_or(DEFAULT_AGENT)))
    }
}

impl<W> Default for Queries<W> {
    fn default() -> Self {
        Self {
            next: 0,
            live: BTreeMap::new(),
        }
    }
}

impl<W> Queries<W> {
    /// Takes a `session.list` in: the effect to start for it.
    pub(crate) fn list(
        &mut self,
        settings: &Settings,
        waiter: W,
        params: ListParams,
    ) -> Result<(QueryKey, Effect), Refused> {
        let agent = self.admit(settings, params.agent_id.as_deref())?;
        let (table, prefix) = sessions::all_of(&agent);
        let scan = Op::Scan {
            table,
            prefix,
            limit: settings.operator.max_sessions_per_agent,
        };
        let step = Step::Listing {
            active_minutes: params.active_minutes,
        };
        Ok((self.keep(Query { waiter, agent, step }), read(scan)))
    }

    /// Takes a `session.history` in: the effect to start for it.
    pub(crate) fn history(
        &mut self,
        settings: &Settings,
        waiter: W,
        params: HistoryParams,
    ) -> Result<(QueryKey, Effect), Refused> {
        let agent = self.admit(settings, params.agent_id.as_deref())?;
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
        Ok((self.keep(Query { waiter, agent, step }), read(get)))
    }

    /// An effect of a query is over. `None`: the query is not known (any more).
    pub(crate) fn completed(&mut self, now: UnixMillis, key: QueryKey, outcome: Outcome) -> Option<Advance<W>> {
        let Query { waiter, agent, step } = self.live.remove(&key)?;
        Some(match advance(now, &agent, step, outcome) {
            Ok(Flow::Ask(step, effect)) => Advance::Next((self.keep(Query { waiter, agent, step }), effect)),
            Ok(Flow::Done(payload)) => Advance::Answered(waiter, Ok(payload)),
            Err(detail) => Advance::Answered(waiter, Err(detail)),
        })
    }

    fn admit(&self, settings: &Settings, agent: Option<&str>) -> Result<String, Refused> {
        if self.live.len() >= MAX_QUERIES {
            return Err(Refused::Busy);
        }
        let found = settings.agents.find(agent);
        found
            .map(|agent| agent.id.clone())
            .ok_or_else(|| Refused::no_agent(agent))
    }

    fn keep(&mut self, query: Query<W>) -> QueryKey {
        self.next += 1;
        let key = QueryKey(self.next);
        self.live.insert(key, query);
        key
    }
}

fn advance(now: UnixMillis, agent: &str, step: Step, outcome: Outcome) -> Result<Flow, String> {
    match step {
        Step::Listing { active_minutes } => list(now, outcome, active_minutes).map(Flow::Done),
        Step::FindingId { otherwise, what } => {
            let known = match first_reply(outcome)? {
                Reply::Record(Some(record)) => String::from_utf8(record.value.to_vec()).ok(),
                _ => None,
            };
            let key = known.unwrap_or(otherwise);
            let get = Op::Get {
                key: sessions::session_key(agent, &key),
            };
            Ok(Flow::Ask(Step::FindingSession { key, what }, read(get)))
        }
        Step::FindingSession { key, what } => {
            let session = match first_reply(outcome)? {
                Reply::Record(Some(record)) => Session::read(&record).map(Box::new),
                _ => None,
            };
            let Some(session) = session else {
                return Ok(Flow::Done(history(&key, None, &[])));
            };
            let file = Effect::ReadFile {
                path: session.transcript_path.clone(),
                max_bytes: MAX_TRANSCRIPT_BYTES,
            };
            Ok(Flow::Ask(Step::Reading { session, what }, file))
        }
        Step::Reading { session, what } => read_history(outcome, &session, what).map(Flow::Done),
    }
}

fn read(op: Op) -> Effect {
    Effect::Store(Batch {
        ops: alloc::vec![op],
        durability: Durability::Durable,
    })
}

/// The sessions, newest first.
fn list(now: UnixMillis, outcome: Outcome, active_minutes: Option<u32>) -> Result<BytesMut, String> {
    let Reply::Records(records) = first_reply(outcome)? else {
        return Err("unexpected reply".into());
    };
    let mut sessions: Vec<Session> = records.iter().filter_map(Session::read).collect();
    if let Some(minutes) = active_minutes {
        let idle = Duration::from_secs(u64::from(minutes) * 60);
        sessions.retain(|session| session.updated_at.plus(idle) >= now);
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
