//! The world's store and files, in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use portcullis_core::effect::Completion;
use portcullis_core::store::{Batch, Expect, Key, Op, Record, Reply, StoreReply, Version};
use portcullis_core::time::UnixMillis;

#[derive(Debug, Default)]
pub(crate) struct Store {
    version: u64,
    records: BTreeMap<Key, (Record, Option<UnixMillis>)>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Store {
    /// All operations of a batch, or none.
    pub(crate) fn apply(&mut self, batch: &Batch, now: UnixMillis) -> StoreReply {
        self.records
            .retain(|_, (_, until)| until.is_none_or(|until| now < until));
        for (index, op) in batch.ops.iter().enumerate() {
            if let Op::Put { key, expect, .. } | Op::Delete { key, expect } = op
                && !self.is_as(key, *expect)
            {
                return StoreReply::Conflict { index };
            }
        }
        StoreReply::Applied(batch.ops.iter().map(|op| self.one(op)).collect())
    }

    fn is_as(&self, key: &Key, expect: Expect) -> bool {
        let version = self.records.get(key).map(|(record, _)| record.version);
        match expect {
            Expect::Anything => true,
            Expect::Absent => version.is_none(),
            Expect::Version(expected) => version == Some(expected),
        }
    }

    fn one(&mut self, op: &Op) -> Reply {
        match op {
            Op::Get { key } => Reply::Record(self.records.get(key).map(|(record, _)| record.clone())),
            Op::Scan { table, prefix, limit } => Reply::Records(
                self.records
                    .iter()
                    .filter(|(key, _)| key.table == *table && key.id.starts_with(prefix.as_str()))
                    .take(*limit as usize)
                    .map(|(_, (record, _))| record.clone())
                    .collect(),
            ),
            Op::Put {
                key, value, expires_at, ..
            } => {
                self.version += 1;
                let version = Version(self.version);
                let record = Record {
                    id: key.id.clone(),
                    version,
                    value: value.clone(),
                };
                self.records.insert(key.clone(), (record, *expires_at));
                Reply::Written(version)
            }
            Op::Delete { key, .. } => {
                self.records.remove(key);
                Reply::Removed
            }
        }
    }

    /// How many records a table has.
    pub(crate) fn count(&self, table: &str) -> usize {
        self.records.keys().filter(|key| key.table == table).count()
    }

    pub(crate) fn append(&mut self, path: &str, bytes: &[u8]) {
        self.files.entry(path.into()).or_default().extend_from_slice(bytes);
    }

    pub(crate) fn file(&self, path: &str) -> Option<Completion> {
        let bytes = Bytes::copy_from_slice(self.files.get(path)?);
        let size = bytes.len() as u64;
        Some(Completion::File { bytes, size })
    }
}
