//! The relay's records on disk. The parts keep their records in memory and tell the ledger each change; the ledger writes
//! the changes in batches, one batch at a time, and gives answers out once what they promise is on disk. What could not be
//! written is written again every second; answers that wait longer than that are taken back with 503.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::http::Answer;
use crate::calls::{Calls, Owner};
use crate::effect::{Completion, Effect, Outcome};
use crate::http::Status;
use crate::id::{ConnId, EffectId};
use crate::report::Report;
use crate::store::{Batch, Durability, Expect, Key, Op, StoreReply};
use crate::time::{Instant, Now, UnixMillis};

/// After a write that failed.
const RETRY: Duration = Duration::from_secs(1);
/// How long an answer may wait for the disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// Changes of one batch.
const MAX_BATCH: usize = 4_096;

/// A record as it shall be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// This content, gone from `expires_at` on.
    Put {
        /// The content; its first byte is the version of its form.
        value: Bytes,
        /// When it goes by itself.
        expires_at: Option<UnixMillis>,
    },
    /// No record.
    Delete,
}

/// The ledger.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Changes that are not being written yet; a later one of the same record takes the place of an earlier one.
    waiting: BTreeMap<Key, Waiting>,
    /// The oldest change among them.
    waiting_since: Option<u64>,
    writing: Option<Writing>,
    held: VecDeque<Held>,
    answers: VecDeque<(ConnId, Answer)>,
    /// How many changes there were.
    changes: u64,
    failed_until: Option<Instant>,
}

/// A change that is not on disk.
#[derive(Debug)]
struct Waiting {
    /// The number of the oldest change of this record that is not on disk.
    since: u64,
    change: Change,
    durability: Durability,
}

#[derive(Debug)]
struct Writing {
    effect: EffectId,
    /// The oldest change in it.
    since: u64,
    changes: BTreeMap<Key, Waiting>,
}

#[derive(Debug)]
struct Held {
    conn: ConnId,
    answer: Answer,
    /// Changes up to this one must be on disk.
    after: u64,
    until: Instant,
}

impl Ledger {
    /// Takes a change in. It is written with the next batch; [`Self::answer`] waits for it.
    pub fn change(&mut self, table: &'static str, id: impl Into<String>, change: Change, durability: Durability) {
        if durability == Durability::Volatile {
            return;
        }
        self.changes += 1;
        self.waiting_since.get_or_insert(self.changes);
        let key = Key { table, id: id.into() };
        let new = Waiting {
            since: self.changes,
            change,
            durability,
        };
        match self.waiting.get_mut(&key) {
            None => {
                self.waiting.insert(key, new);
            }
            Some(old) => {
                *old = Waiting {
                    since: old.since,
                    durability: old.durability.max(durability),
                    ..new
                };
            }
        }
    }

    /// Gives this answer once everything that was changed so far is on disk; at once when nothing waits.
    pub fn answer(&mut self, now: Now, conn: ConnId, answer: Answer) {
        if self.oldest().is_none() {
            return self.answers.push_back((conn, answer));
        }
        self.held.push_back(Held {
            conn,
            answer,
            after: self.changes,
            until: now.monotonic.plus(PATIENCE),
        });
    }

    /// The next answer to give.
    pub fn take_answer(&mut self) -> Option<(ConnId, Answer)> {
        self.answers.pop_front()
    }

    /// Begins to write what waits, unless a batch is under way. Called once at the end of every input.
    pub fn flush(&mut self, calls: &mut Calls) {
        if self.writing.is_some() || self.waiting.is_empty() || self.failed_until.is_some() {
            return;
        }
        let mut changes = core::mem::take(&mut self.waiting);
        if let Some(key) = changes.keys().nth(MAX_BATCH).cloned() {
            self.waiting = changes.split_off(&key);
        }
        self.waiting_since = oldest(&self.waiting);
        let durability = changes.values().map(|waiting| waiting.durability).max();
        let ops = changes.iter().map(|(key, waiting)| op(key, &waiting.change)).collect();
        let batch = Batch {
            ops,
            durability: durability.unwrap_or(Durability::Lazy),
        };
        self.writing = Some(Writing {
            effect: calls.start(Effect::Store(batch), Owner::Relay),
            since: oldest(&changes).unwrap_or(u64::MAX),
            changes,
        });
    }

    /// Whether this effect is the ledger's.
    #[must_use]
    pub fn owns(&self, effect: EffectId) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.effect == effect)
    }

    /// A batch ended. The caller flushes afterwards.
    pub fn completed(&mut self, now: Now, reports: &mut Vec<Report>, outcome: Outcome) {
        let Some(writing) = self.writing.take() else { return };
        let detail = match outcome {
            Ok(Completion::Stored(StoreReply::Applied(_))) => return self.release(),
            Ok(_) => String::from("unexpected answer"),
            Err(fault) => alloc::format!("{fault}"),
        };
        reports.push(Report::EffectFailed {
            what: "the relay's records cannot be written",
            detail,
        });
        self.failed_until = Some(now.monotonic.plus(RETRY));
        self.waiting_since = Some(
            self.waiting_since
                .map_or(writing.since, |since| since.min(writing.since)),
        );
        for (key, old) in writing.changes {
            // What changed meanwhile is newer than what failed, but is owed for as long.
            match self.waiting.get_mut(&key) {
                Some(newer) => newer.since = newer.since.min(old.since),
                None => {
                    self.waiting.insert(key, old);
                }
            }
        }
    }

    /// The oldest change that is not on disk.
    fn oldest(&self) -> Option<u64> {
        let writing = self.writing.as_ref().map(|writing| writing.since);
        [self.waiting_since, writing].into_iter().flatten().min()
    }

    /// Gives out the answers whose changes are on disk.
    fn release(&mut self) {
        let oldest = self.oldest().unwrap_or(u64::MAX);
        while self.held.front().is_some_and(|held| held.after < oldest)
            && let Some(held) = self.held.pop_front()
        {
            self.answers.push_back((held.conn, held.answer));
        }
    }

    /// Whether everything is on disk and every answer was given.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.writing.is_none() && self.held.is_empty() && self.answers.is_empty()
    }

    /// Whether the last attempt to write failed.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.failed_until.is_some()
    }

    /// When [`Self::on_deadline`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let retry = self.failed_until.filter(|_| self.writing.is_none());
        [retry, self.held.front().map(|held| held.until)]
            .into_iter()
            .flatten()
            .min()
    }

    /// A deadline passed: answers that waited too long become 503. The caller flushes afterwards.
    pub fn on_deadline(&mut self, now: Now) {
        if self.failed_until.is_some_and(|until| until <= now.monotonic) && self.writing.is_none() {
            self.failed_until = None;
        }
        while let Some(held) = self.held.front()
            && held.until <= now.monotonic
        {
            if let Some(held) = self.held.pop_front() {
                let answer = Answer::error(Status::SERVICE_UNAVAILABLE, "storage_unavailable").with("Retry-After", "5");
                self.answers.push_back((held.conn, answer));
            }
        }
    }
}

fn oldest(changes: &BTreeMap<Key, Waiting>) -> Option<u64> {
    changes.values().map(|waiting| waiting.since).min()
}

fn op(key: &Key, change: &Change) -> Op {
    let (key, expect) = (key.clone(), Expect::Anything);
    match change {
        Change::Put { value, expires_at } => Op::Put {
            key,
            expect,
            value: value.clone(),
            expires_at: *expires_at,
        },
        Change::Delete => Op::Delete { key, expect },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::{Fault, FaultKind};
    use crate::machine::Output;
    use crate::store::Reply;

    fn started(calls: &mut Calls) -> Option<(EffectId, Batch)> {
        match calls.take_output() {
            Some(Output::Start { effect, what }) => match *what {
                Effect::Store(batch) => Some((effect, batch)),
                other => panic!("{other:?}"),
            },
            _ => None,
        }
    }

    fn put(text: &'static str) -> Change {
        Change::Put {
            value: Bytes::from_static(text.as_bytes()),
            expires_at: None,
        }
    }

    fn done() -> Outcome {
        Ok(Completion::Stored(StoreReply::Applied(alloc::vec![Reply::Removed])))
    }

    fn ok() -> Answer {
        Answer::empty(Status::NO_CONTENT)
    }

    #[test]
    fn an_answer_waits_for_what_was_changed_before_it_and_for_nothing_else() {
        let (mut ledger, mut calls, mut reports, now) =
            (Ledger::default(), Calls::default(), Vec::new(), Now::default());
        let [a, b, c] = [1, 2, 3].map(|n| ConnId::new(n).unwrap());
        ledger.answer(now, a, ok());
        assert_eq!(ledger.take_answer().map(|(conn, _)| conn), Some(a));
        ledger.change("t", "1", put("x"), Durability::Durable);
        ledger.answer(now, a, ok());
        ledger.flush(&mut calls);
        let (first, batch) = started(&mut calls).unwrap();
        assert_eq!((batch.ops.len(), batch.durability), (1, Durability::Durable));
        ledger.change("t", "1", put("y"), Durability::Lazy);
        ledger.change("t", "1", put("z"), Durability::Lazy);
        ledger.answer(now, b, ok());
        ledger.flush(&mut calls);
        assert!(started(&mut calls).is_none() && ledger.owns(first));
        ledger.completed(now, &mut reports, done());
        assert_eq!(ledger.take_answer().map(|(conn, _)| conn), Some(a));
        assert!(ledger.take_answer().is_none());
        ledger.flush(&mut calls);
        let (_, batch) = started(&mut calls).unwrap();
        assert_eq!((batch.ops.len(), batch.durability), (1, Durability::Lazy));
        ledger.change("t", "2", Change::Delete, Durability::Volatile);
        ledger.answer(now, c, ok());
        ledger.completed(now, &mut reports, done());
        let released: Vec<_> = core::iter::from_fn(|| ledger.take_answer())
            .map(|(conn, _)| conn)
            .collect();
        assert_eq!(released, [b, c]);
        assert!(ledger.is_idle());
    }

    #[test]
    fn a_failed_write_is_tried_again_and_answers_do_not_wait_for_ever() {
        let (mut ledger, mut calls, mut reports) = (Ledger::default(), Calls::default(), Vec::new());
        let mut now = Now::default();
        let conn = ConnId::FIRST;
        ledger.change("t", "1", put("x"), Durability::Durable);
        ledger.answer(now, conn, ok());
        ledger.flush(&mut calls);
        started(&mut calls).unwrap();
        ledger.change("t", "1", put("y"), Durability::Lazy);
        let failed = Fault {
            kind: FaultKind::Unavailable,
            detail: String::new(),
        };
        ledger.completed(now, &mut reports, Err(failed));
        assert!(ledger.is_failing() && reports.len() == 1);
        ledger.flush(&mut calls);
        assert!(started(&mut calls).is_none());
        now.monotonic = now.monotonic.plus(RETRY);
        ledger.on_deadline(now);
        ledger.flush(&mut calls);
        let (_, batch) = started(&mut calls).unwrap();
        assert_eq!(batch.ops.len(), 1, "the newer content alone");
        now.monotonic = now.monotonic.plus(PATIENCE);
        ledger.on_deadline(now);
        assert_eq!(ledger.take_answer().unwrap().1.status, Status::SERVICE_UNAVAILABLE);
        ledger.completed(now, &mut reports, done());
        assert!(ledger.take_answer().is_none() && ledger.is_idle() && !ledger.is_failing());
    }
}
