//! Answers to messages that were accepted, by the client's keys, so that a repetition is answered and not relayed again.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::key::SessionKey;
use crate::store::Durability;
use crate::surfaces::relay::ledger::{Change, Ledger};
use crate::surfaces::relay::records;
use crate::time::UnixMillis;

/// Where they are kept, as many in a record as came between two flushes.
pub(super) const ANSWERS: &str = "relay.answers";

/// The answers of one session.
#[derive(Debug, Default)]
pub(super) struct Answers {
    by_key: BTreeMap<String, Stored>,
    /// The oldest first.
    order: VecDeque<(UnixMillis, String)>,
    /// Not on disk yet: how many of the newest.
    fresh: usize,
    /// Records on disk: when each goes by itself, and its name.
    chunks: VecDeque<(UnixMillis, u64)>,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    /// Of the request's body: the same key with another body is no repetition.
    pub(super) fingerprint: u64,
    pub(super) message_id: String,
    /// The agent was away.
    pub(super) queued: bool,
    until: UnixMillis,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    key: String,
    stored: Stored,
}

/// Tells bodies of one client apart that are not the same; it need not withstand the client itself.
pub(super) fn fingerprint(body: &[u8]) -> u64 {
    u64::from(crc32fast::hash(body)) << 32 | (body.len() as u64 & 0xffff_ffff)
}

impl Stored {
    pub(super) const fn new(fingerprint: u64, message_id: String, queued: bool, until: UnixMillis) -> Self {
        Self {
            fingerprint,
            message_id,
            queued,
            until,
        }
    }
}

impl Answers {
    /// The answer that this key has.
    pub(super) fn get(&self, key: &str, now: UnixMillis) -> Option<&Stored> {
        self.by_key.get(key).filter(|stored| now < stored.until)
    }

    /// Keeps an answer; beyond `limit` the oldest ones go.
    pub(super) fn insert(&mut self, key: String, stored: Stored, now: UnixMillis, limit: usize) {
        while self.order.len() >= limit.max(1) || self.order.front().is_some_and(|(until, _)| *until <= now) {
            let Some((until, old)) = self.order.pop_front() else {
                break;
            };
            // The key may have been used again after its time.
            if self.by_key.get(&old).is_some_and(|stored| stored.until == until) {
                self.by_key.remove(&old);
            }
        }
        self.order.push_back((stored.until, key.clone()));
        self.by_key.insert(key, stored);
        self.fresh = (self.fresh + 1).min(self.order.len());
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Forgets those whose time is over, as far as they are on disk.
    pub(super) fn sweep(&mut self, now: UnixMillis) {
        while self.order.len() > self.fresh
            && self.order.front().is_some_and(|(until, _)| *until <= now)
            && let Some((until, key)) = self.order.pop_front()
        {
            if self.by_key.get(&key).is_some_and(|stored| stored.until == until) {
                self.by_key.remove(&key);
            }
        }
        if self.order.is_empty() {
            *self = Self {
                chunks: core::mem::take(&mut self.chunks),
                ..Self::default()
            };
        }
    }

    /// Writes what is not on disk.
    pub(super) fn flush(&mut self, session: &SessionKey, now: UnixMillis, ledger: &mut Ledger) {
        while self.chunks.front().is_some_and(|(until, _)| *until <= now) {
            self.chunks.pop_front();
        }
        let fresh = core::mem::take(&mut self.fresh);
        let from = self.order.len().saturating_sub(fresh);
        let entries = self.order.iter().skip(from).filter_map(|(_, key)| {
            let stored = self.by_key.get(key)?.clone();
            Some(Entry {
                key: key.clone(),
                stored,
            })
        });
        let entries: Vec<_> = entries.collect();
        let Some(until) = entries.iter().map(|entry| entry.stored.until).max() else {
            return;
        };
        let name = self.chunks.back().map_or(0, |(_, name)| *name + 1).max(now.0);
        self.chunks.push_back((until, name));
        let change = Change::Put {
            value: records::write(&entries),
            expires_at: Some(until),
        };
        ledger.change(ANSWERS, session.record_of(name), change, Durability::Lazy);
    }

    /// Takes a record in; whether it is one.
    pub(super) fn load(&mut self, name: u64, value: &Bytes, now: UnixMillis, limit: usize) -> bool {
        let Some(entries) = records::read::<Vec<Entry>>(value) else {
            return false;
        };
        let until = entries.iter().map(|entry| entry.stored.until).max().unwrap_or(now);
        self.chunks.push_back((until, name));
        for Entry { key, stored } in entries {
            if now < stored.until {
                self.insert(key, stored, now, limit);
            }
        }
        self.fresh = 0;
        true
    }

    /// The session is over.
    pub(super) fn forget(&self, session: &SessionKey, ledger: &mut Ledger) {
        for (_, name) in &self.chunks {
            ledger.change(ANSWERS, session.record_of(*name), Change::Delete, Durability::Lazy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(message: &str, until: u64) -> Stored {
        Stored::new(1, message.into(), false, UnixMillis(until))
    }

    #[test]
    fn answers_go_with_their_time_and_when_there_are_too_many() {
        let mut answers = Answers::default();
        answers.insert("a".into(), stored("1", 100), UnixMillis(0), 2);
        assert!(answers.get("a", UnixMillis(99)).is_some() && answers.get("a", UnixMillis(100)).is_none());
        answers.insert("b".into(), stored("2", 101), UnixMillis(1), 2);
        answers.insert("c".into(), stored("3", 102), UnixMillis(2), 2);
        assert!(answers.get("a", UnixMillis(2)).is_none() && answers.get("b", UnixMillis(2)).is_some());
        answers.insert("c".into(), stored("4", 300), UnixMillis(200), 2);
        assert_eq!(answers.get("c", UnixMillis(200)).unwrap().message_id, "4");
        assert_eq!((answers.order.len(), answers.by_key.len()), (1, 1));
    }

    #[test]
    fn what_was_flushed_comes_back() {
        let (mut answers, mut ledger) = (Answers::default(), Ledger::default());
        let session = SessionKey::of_u("s-01");
        answers.insert("a".into(), stored("1", 100), UnixMillis(0), 9);
        answers.flush(&session, UnixMillis(1), &mut ledger);
        answers.flush(&session, UnixMillis(1), &mut ledger);
        assert_eq!(answers.chunks.len(), 1, "nothing new, nothing written");
        let entries = alloc::vec![Entry {
            key: "a".into(),
            stored: stored("1", 100)
        }];
        let mut back = Answers::default();
        assert!(back.load(1, &records::write(&entries), UnixMillis(50), 9));
        assert_eq!(back.get("a", UnixMillis(50)), Some(&stored("1", 100)));
        assert!(!back.load(2, &Bytes::from_static(b"\x01x"), UnixMillis(50), 9));
    }
}
