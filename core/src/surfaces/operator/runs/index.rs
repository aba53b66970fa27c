//! Which requests were already done: an index of the finished runs in the store, loaded at the start and kept in step with
//! it. The results themselves stay in the store. Spec: `spec/operator.md` sections 7 and 8.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::time::Duration;

use bytes::Bytes;

use crate::secret::digest;
use crate::store::{Expect, Key, Op, Record};
use crate::time::UnixMillis;

/// The index records.
pub(in crate::surfaces::operator) const INDEX: &str = "operator.idempotency";
const RESULTS: &str = "operator.results";

/// Names a request: a digest of who asks, the method and the idempotency key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(in crate::surfaces::operator) struct IdempotencyKey([u8; 32]);

impl IdempotencyKey {
    pub(super) fn new(identity: &[u8; 32], method: &str, key: &str) -> Self {
        Self(digest(&[identity, method.as_bytes(), key.as_bytes()]))
    }

    fn id(self) -> String {
        hex(&self.0)
    }

    /// Where the result is kept.
    pub(super) fn result(self) -> Key {
        Key {
            table: RESULTS,
            id: self.id(),
        }
    }
}

/// A finished run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Done {
    pub(super) finished_at: UnixMillis,
    pub(super) params_digest: [u8; 32],
}

/// The finished runs whose results may still be asked for.
#[derive(Debug, Default)]
pub(in crate::surfaces::operator) struct Index {
    loaded: Loaded,
    done: BTreeMap<IdempotencyKey, Done>,
    by_age: BTreeSet<(UnixMillis, IdempotencyKey)>,
}

/// Whether the store's content is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Loaded {
    #[default]
    No,
    /// The store was asked.
    Asked,
    Yes,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexRecord {
    v: u8,
    finished_at: UnixMillis,
    params: String,
}

impl Index {
    /// Whether the store's content is known.
    pub(in crate::surfaces::operator) fn is_loaded(&self) -> bool {
        self.loaded == Loaded::Yes
    }

    /// Whether the store is to be asked now; then it counts as asked.
    pub(in crate::surfaces::operator) fn begin_to_load(&mut self) -> bool {
        let begin = self.loaded == Loaded::No;
        if begin {
            self.loaded = Loaded::Asked;
        }
        begin
    }

    /// The store did not answer: it may be asked again.
    pub(in crate::surfaces::operator) const fn not_loaded(&mut self) {
        self.loaded = Loaded::No;
    }

    /// Takes what the store holds. Records that cannot be read are passed over; their requests would run again.
    pub(in crate::surfaces::operator) fn load(&mut self, records: &[Record]) {
        self.loaded = Loaded::Yes;
        for record in records {
            let Some(key) = unhex(&record.id).map(IdempotencyKey) else {
                continue;
            };
            let Ok(value) = serde_json::from_slice::<IndexRecord>(&record.value) else {
                continue;
            };
            let Some(params_digest) = unhex(&value.params).filter(|_| value.v == 1) else {
                continue;
            };
            self.insert(
                key,
                Done {
                    finished_at: value.finished_at,
                    params_digest,
                },
            );
        }
    }

    /// The finished run with this key, unless it is older than `ttl`.
    pub(super) fn get(&self, key: IdempotencyKey, now: UnixMillis, ttl: Duration) -> Option<Done> {
        self.done
            .get(&key)
            .copied()
            .filter(|done| now < done.finished_at.plus(ttl))
    }

    /// What to write so that this run counts as finished: its index record and result, and the removal of what is beyond
    /// `max_entries`. What `is_running` again is not removed: its own new record may be on the way to the store already.
    pub(super) fn writes(
        &self,
        key: IdempotencyKey,
        done: Done,
        result: &Bytes,
        (ttl, max_entries): (Duration, usize),
        is_running: impl Fn(&IdempotencyKey) -> bool,
    ) -> Vec<Op> {
        let expires_at = Some(done.finished_at.plus(ttl));
        let record = IndexRecord {
            v: 1,
            finished_at: done.finished_at,
            params: hex(&done.params_digest),
        };
        let value = serde_json::to_vec(&record).map(Bytes::from).unwrap_or_default();
        let index_key = |key: IdempotencyKey| Key {
            table: INDEX,
            id: key.id(),
        };
        let mut ops = alloc::vec![
            Op::Put {
                key: index_key(key),
                expect: Expect::Anything,
                value,
                expires_at
            },
            Op::Put {
                key: key.result(),
                expect: Expect::Anything,
                value: result.clone(),
                expires_at
            },
        ];
        let others = self.done.len() - usize::from(self.done.contains_key(&key));
        let excess = others.saturating_sub(max_entries.saturating_sub(1));
        let oldest = self.by_age.iter().filter(|(_, other)| *other != key).take(excess);
        for (_, old) in oldest.filter(|(_, old)| !is_running(old)) {
            ops.push(Op::Delete {
                key: index_key(*old),
                expect: Expect::Anything,
            });
            ops.push(Op::Delete {
                key: old.result(),
                expect: Expect::Anything,
            });
        }
        ops
    }

    /// The writes are on disk. Forgets what is too old or too much.
    pub(super) fn finished(&mut self, key: IdempotencyKey, done: Done, ttl: Duration, max_entries: usize) {
        self.insert(key, done);
        while let Some((at, oldest)) = self.by_age.first().copied()
            && (self.by_age.len() > max_entries || at.plus(ttl) <= done.finished_at)
        {
            self.by_age.pop_first();
            self.done.remove(&oldest);
        }
    }

    fn insert(&mut self, key: IdempotencyKey, done: Done) {
        if let Some(before) = self.done.insert(key, done) {
            self.by_age.remove(&(before.finished_at, key));
        }
        self.by_age.insert((done.finished_at, key));
    }
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Version;

    const TTL: Duration = Duration::from_secs(300);

    fn key(n: u8) -> IdempotencyKey {
        IdempotencyKey([n; 32])
    }

    fn done(at: u64) -> Done {
        Done {
            finished_at: UnixMillis(at),
            params_digest: [7; 32],
        }
    }

    #[test]
    fn entries_expire_and_the_oldest_go_first() {
        let mut index = Index::default();
        for n in 1..=3 {
            index.finished(key(n), done(u64::from(n)), TTL, 2);
        }
        let found = |index: &Index, n, now| index.get(key(n), UnixMillis(now), TTL).is_some();
        assert!(!found(&index, 1, 3) && found(&index, 2, 3) && found(&index, 3, 3));
        assert!(found(&index, 3, 300_002) && !found(&index, 3, 300_003));
        index.finished(key(4), done(400_000), TTL, 9);
        assert_eq!(index.done.len(), 1, "what expired is forgotten");
    }

    #[test]
    fn the_store_gives_back_what_was_written() {
        let mut index = Index::default();
        index.finished(key(1), done(1), TTL, 2);
        index.finished(key(2), done(2), TTL, 2);
        let ops = index.writes(key(3), done(3), &Bytes::from_static(b"{}"), (TTL, 2), |_| false);
        assert_eq!(ops.len(), 4, "two writes and the removal of the oldest");
        assert!(matches!(&ops[2], Op::Delete { key: removed, .. } if removed.id == hex(&[1; 32])));
        let Op::Put {
            key: Key { id, .. },
            value,
            ..
        } = ops[0].clone()
        else {
            panic!()
        };
        let mut loaded = Index::default();
        assert!(!loaded.is_loaded());
        loaded.load(&[
            Record {
                id,
                version: Version(1),
                value,
            },
            Record {
                id: "junk".into(),
                version: Version(2),
                value: Bytes::new(),
            },
        ]);
        assert!(loaded.is_loaded());
        assert_eq!(loaded.get(key(3), UnixMillis(3), TTL), Some(done(3)));
        assert_eq!(loaded.done.len(), 1);
    }
}
