//! Effects of the example, answered honestly: records and files live in memory, bounded, and are gone with the program;
//! everything else this host "cannot do".

use std::collections::BTreeMap;

use bytes::Bytes;
use portcullis_core::effect::{Completion, Effect, Fault, FaultKind, Outcome};
use portcullis_core::store::{Batch, Expect, Key, Op, Record, Reply, StoreReply, Version};
use portcullis_core::time::UnixMillis;

/// The most bytes of records, and of files, that are kept.
const MAX_BYTES: usize = 16 * 1024 * 1024;

#[derive(Clone)]
struct Kept {
    version: Version,
    value: Bytes,
    expires_at: Option<UnixMillis>,
}

type Records = BTreeMap<Key, Kept>;

/// What stands in for a disk.
#[derive(Default)]
pub(crate) struct Memory {
    records: Records,
    files: BTreeMap<String, Vec<u8>>,
    versions: u64,
}

impl Memory {
    pub(crate) fn carry_out(&mut self, effect: Effect, now: UnixMillis) -> Outcome {
        match effect {
            Effect::Store(batch) => self.store(batch, now),
            Effect::Append { path, bytes, .. } => {
                let kept: usize = self.files.values().map(Vec::len).sum();
                if kept + bytes.len() > MAX_BYTES {
                    return Err(unavailable("the memory for files is full"));
                }
                self.files.entry(path).or_default().extend_from_slice(&bytes);
                Ok(Completion::Done)
            }
            Effect::ReadFile { path, max_bytes } => {
                let file = self.files.get(&path).ok_or(Fault {
                    kind: FaultKind::NotFound,
                    detail: path,
                })?;
                let from = file.len().saturating_sub(max_bytes as usize);
                Ok(Completion::File {
                    bytes: Bytes::copy_from_slice(file.get(from..).unwrap_or_default()),
                    size: file.len() as u64,
                })
            }
            Effect::RealPath { path } => match std::fs::canonicalize(&path) {
                Ok(real) => Ok(Completion::Path(real.to_string_lossy().into_owned())),
                Err(error) => Err(Fault {
                    kind: FaultKind::NotFound,
                    detail: error.to_string(),
                }),
            },
            Effect::VerifySignature(_) => Err(unavailable("this example checks no signatures")),
            Effect::Spawn(_) => Err(unavailable("this example runs no programs")),
            Effect::Resolve { .. } | Effect::Dial(_) => Err(unavailable("this example opens no connections")),
            Effect::WriteFile { .. } | Effect::Rename { .. } | Effect::Remove { .. } => {
                Err(unavailable("this example replaces no files"))
            }
        }
    }

    /// All operations or none: they are tried on a copy, which takes the place of the records when all went well.
    fn store(&mut self, batch: Batch, now: UnixMillis) -> Outcome {
        let mut records = self.records.clone();
        // An expired record is not there.
        records.retain(|_, kept| kept.expires_at.is_none_or(|at| now < at));
        let mut replies = Vec::new();
        for (index, op) in batch.ops.into_iter().enumerate() {
            match self.apply(&mut records, op) {
                Some(reply) => replies.push(reply),
                None => return Ok(Completion::Stored(StoreReply::Conflict { index })),
            }
        }
        if records.values().map(|kept| kept.value.len()).sum::<usize>() > MAX_BYTES {
            return Err(unavailable("the memory for records is full"));
        }
        self.records = records;
        Ok(Completion::Stored(StoreReply::Applied(replies)))
    }

    /// One operation; `None` when the record is not as expected.
    fn apply(&mut self, records: &mut Records, op: Op) -> Option<Reply> {
        Some(match op {
            Op::Get { key } => Reply::Record(records.get(&key).map(|kept| record(&key, kept))),
            Op::Scan { table, prefix, limit } => Reply::Records(
                records
                    .range(
                        Key {
                            table,
                            id: prefix.clone(),
                        }..,
                    )
                    .take_while(|(key, _)| key.table == table && key.id.starts_with(&prefix))
                    .take(limit as usize)
                    .map(|(key, kept)| record(key, kept))
                    .collect(),
            ),
            Op::Put {
                key,
                expect,
                value,
                expires_at,
            } => {
                is_as_expected(records.get(&key), expect).then_some(())?;
                self.versions += 1;
                let version = Version(self.versions);
                records.insert(
                    key,
                    Kept {
                        version,
                        value,
                        expires_at,
                    },
                );
                Reply::Written(version)
            }
            Op::Delete { key, expect } => {
                let kept = records.get(&key);
                (kept.is_none() || is_as_expected(kept, expect)).then_some(())?;
                records.remove(&key);
                Reply::Removed
            }
        })
    }
}

fn record(key: &Key, kept: &Kept) -> Record {
    Record {
        id: key.id.clone(),
        version: kept.version,
        value: kept.value.clone(),
    }
}

fn is_as_expected(kept: Option<&Kept>, expect: Expect) -> bool {
    match expect {
        Expect::Anything => true,
        Expect::Absent => kept.is_none(),
        Expect::Version(version) => kept.is_some_and(|kept| kept.version == version),
    }
}

fn unavailable(detail: &str) -> Fault {
    Fault {
        kind: FaultKind::Unavailable,
        detail: detail.to_owned(),
    }
}
