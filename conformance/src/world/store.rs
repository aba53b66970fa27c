//! The record store of the in-memory host: a map with versions and times to live. What a killed process would lose,
//! [`MemoryStore::crash`] forgets.

use std::collections::BTreeMap;

use bytes::Bytes;
use portcullis_core::store::{Batch, Durability, Expect, Key, Op, Record, Reply, StoreReply, Version};
use portcullis_core::time::UnixMillis;

/// Records in memory.
#[derive(Debug, Default)]
pub(super) struct MemoryStore {
    records: BTreeMap<Key, Kept>,
    last_version: u64,
}

#[derive(Clone, Debug)]
struct Kept {
    version: Version,
    value: Bytes,
    expires_at: Option<UnixMillis>,
    durability: Durability,
}

impl MemoryStore {
    /// Carries a batch out: all of it or nothing.
    pub(super) fn apply(&mut self, batch: &Batch, now: UnixMillis) -> StoreReply {
        self.records
            .retain(|_, kept| kept.expires_at.is_none_or(|end| end > now));
        let before = self.records.clone();
        let mut replies = Vec::new();
        for (index, op) in batch.ops.iter().enumerate() {
            match self.operate(op, batch.durability) {
                Some(reply) => replies.push(reply),
                None => {
                    self.records = before;
                    return StoreReply::Conflict { index };
                }
            }
        }
        StoreReply::Applied(replies)
    }

    /// Forgets what is kept in memory only.
    pub(super) fn crash(&mut self) {
        self.records.retain(|_, kept| kept.durability != Durability::Volatile);
    }

    fn operate(&mut self, op: &Op, durability: Durability) -> Option<Reply> {
        Some(match op {
            Op::Get { key } => Reply::Record(self.records.get(key).map(|kept| kept.record(key))),
            Op::Scan { table, prefix, limit } => {
                let matching = self
                    .records
                    .iter()
                    .filter(|(key, _)| key.table == *table && key.id.starts_with(prefix));
                Reply::Records(
                    matching
                        .take(*limit as usize)
                        .map(|(key, kept)| kept.record(key))
                        .collect(),
                )
            }
            Op::Put {
                key,
                expect,
                value,
                expires_at,
            } => {
                self.fits(key, *expect)?;
                self.last_version += 1;
                let version = Version(self.last_version);
                let kept = Kept {
                    version,
                    value: value.clone(),
                    expires_at: *expires_at,
                    durability,
                };
                self.records.insert(key.clone(), kept);
                Reply::Written(version)
            }
            Op::Delete { key, expect } => {
                if self.records.contains_key(key) {
                    self.fits(key, *expect)?;
                }
                self.records.remove(key);
                Reply::Removed
            }
        })
    }

    fn fits(&self, key: &Key, expect: Expect) -> Option<()> {
        let version = self.records.get(key).map(|kept| kept.version);
        let fits = match expect {
            Expect::Anything => true,
            Expect::Absent => version.is_none(),
            Expect::Version(expected) => version == Some(expected),
        };
        fits.then_some(())
    }
}

impl Kept {
    fn record(&self, key: &Key) -> Record {
        Record {
            id: key.id.clone(),
            version: self.version,
            value: self.value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(id: &str, expect: Expect, expires_at: Option<UnixMillis>) -> Op {
        let key = Key {
            table: "t",
            id: id.into(),
        };
        Op::Put {
            key,
            expect,
            value: Bytes::from_static(b"v"),
            expires_at,
        }
    }

    fn batch(ops: Vec<Op>) -> Batch {
        Batch {
            ops,
            durability: Durability::Durable,
        }
    }

    #[test]
    fn a_batch_happens_whole_or_not_at_all() {
        let mut store = MemoryStore::default();
        let both = batch(vec![put("a", Expect::Absent, None), put("a", Expect::Absent, None)]);
        assert_eq!(store.apply(&both, UnixMillis(0)), StoreReply::Conflict { index: 1 });
        let one = batch(vec![put("a", Expect::Absent, None)]);
        assert!(matches!(store.apply(&one, UnixMillis(0)), StoreReply::Applied(_)));
    }

    #[test]
    fn an_expired_record_is_absent() {
        let mut store = MemoryStore::default();
        let short = batch(vec![put("a", Expect::Absent, Some(UnixMillis(10)))]);
        assert!(matches!(store.apply(&short, UnixMillis(0)), StoreReply::Applied(_)));
        assert!(matches!(
            store.apply(&short, UnixMillis(9)),
            StoreReply::Conflict { .. }
        ));
        assert!(matches!(store.apply(&short, UnixMillis(10)), StoreReply::Applied(_)));
    }
}
