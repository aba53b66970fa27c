//! Carries out batches over a backend and a map in memory: expectations, versions, expiry. A batch is first played against
//! an overlay of its own; only when nothing is in its way does the overlay become real. So a conflict undoes nothing.
//!
//! A record lives where it was written last: in memory (`Volatile`) or in the backend (`Lazy`, `Durable`).

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use bytes::Bytes;
use portcullis_core::effect::{Completion, Fault, FaultKind, Outcome};
use portcullis_core::store::{Batch, Durability, Expect, Op, Record, Reply, StoreReply, Version};
use portcullis_core::time::UnixMillis;

use super::backend::{BLOCK, Backend, Memory};
use super::record::{MAX_VALUE_BYTES, Stored, checked, expired, head, key_bytes};
use crate::effects::fault::fault;

/// The most records and bytes in the volatile map; a write beyond is refused.
const MAX_VOLATILE_RECORDS: usize = 65_536;
const MAX_VOLATILE_BYTES: usize = 64 * 1024 * 1024;
/// So many records are looked at for expiry in one go, after so many writes: the sweep keeps ahead of the writers.
const SWEEP_RECORDS: usize = 128;
const SWEEP_EVERY: usize = 64;

pub(super) struct Engine<B> {
    backend: B,
    volatile: Memory,
    versions: Range<u64>,
    writes_since_sweep: usize,
    sweep_from: Vec<u8>,
    sweep_volatile_from: Vec<u8>,
}

/// What a batch is about to change: `None` removes.
type Overlay = BTreeMap<Vec<u8>, Option<Stored>>;

/// Why a batch is not carried out.
enum Stop {
    Conflict(usize),
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl<B: Backend> Engine<B> {
    pub(super) const fn new(backend: B) -> Self {
        Self {
            backend,
            volatile: Memory::new(),
            versions: 0..0,
            writes_since_sweep: 0,
            sweep_from: Vec::new(),
            sweep_volatile_from: Vec::new(),
        }
    }

    /// Applies one batch. The flag says whether it wrote anything; after an error in the middle of the writing, the backend
    /// has forgotten everything since its last commit, and the outcome is a fault.
    pub(super) fn apply(&mut self, batch: &Batch, now: UnixMillis) -> (Outcome, bool) {
        let mut overlay = Overlay::new();
        match self.plan(batch, now, &mut overlay) {
            Err(Stop::Conflict(index)) => (Ok(Completion::Stored(StoreReply::Conflict { index })), false),
            Err(Stop::Fault(fault)) => (Err(fault), false),
            Ok(replies) => {
                let wrote = !overlay.is_empty();
                match self.write(overlay, batch.durability, now) {
                    Ok(()) => (Ok(Completion::Stored(StoreReply::Applied(replies))), wrote),
                    Err(fault) => (Err(fault), false),
                }
            }
        }
    }

    /// Between two groups: gets over an error of the backend.
    pub(super) fn mend(&mut self) {
        self.backend.mend();
    }

    /// Makes what was applied last: on disk when `sync`.
    pub(super) fn commit(&mut self, sync: bool) -> Result<(), Fault> {
        self.backend.commit(sync).inspect_err(|_| self.backend.abort())
    }

    fn plan(&mut self, batch: &Batch, now: UnixMillis, overlay: &mut Overlay) -> Result<Vec<Reply>, Stop> {
        let mut replies = Vec::with_capacity(batch.ops.len());
        for (index, op) in batch.ops.iter().enumerate() {
            replies.push(match op {
                Op::Get { key } => {
                    let found = self.find(&valid(key)?, now, overlay)?;
                    Reply::Record(found.map(|stored| stored.into_record(key.id.clone())))
                }
                Op::Scan { table, prefix, limit } => Reply::Records(self.scan(table, prefix, *limit, now, overlay)?),
                Op::Put {
                    key,
                    expect,
                    value,
                    expires_at,
                } => {
                    let name = valid(key)?;
                    self.expect(&name, *expect, index, now, overlay)?;
                    if value.len() > MAX_VALUE_BYTES {
                        let what = format!(
                            "a record of table {:?} is larger than {MAX_VALUE_BYTES} bytes",
                            key.table
                        );
                        return Err(fault(FaultKind::Invalid, what).into());
                    }
                    let version = self.next_version()?;
                    let stored = Stored {
                        version,
                        expires_at: *expires_at,
                        value: Bytes::clone(value),
                    };
                    overlay.insert(name, Some(stored));
                    Reply::Written(version)
                }
                Op::Delete { key, expect } => {
                    let name = valid(key)?;
                    self.expect(&name, *expect, index, now, overlay)?;
                    overlay.insert(name, None);
                    Reply::Removed
                }
            });
        }
        Ok(replies)
    }

    fn expect(
        &mut self,
        name: &[u8],
        expect: Expect,
        index: usize,
        now: UnixMillis,
        overlay: &Overlay,
    ) -> Result<(), Stop> {
        let met = match expect {
            Expect::Anything => true,
            Expect::Absent => self.find(name, now, overlay)?.is_none(),
            Expect::Version(version) => self
                .find(name, now, overlay)?
                .is_some_and(|found| found.version == version),
        };
        if met { Ok(()) } else { Err(Stop::Conflict(index)) }
    }

    fn find(&mut self, name: &[u8], now: UnixMillis, overlay: &Overlay) -> Result<Option<Stored>, Fault> {
        let found = match overlay.get(name) {
            Some(pending) => pending.clone(),
            None => match self.volatile.peek(name) {
                Some(bytes) => Some(decoded(bytes)?),
                None => self.backend.get(name)?.map(|bytes| decoded(&bytes)).transpose()?,
            },
        };
        Ok(found.filter(|stored| !expired(stored.expires_at, now)))
    }

    fn scan(
        &mut self,
        table: &str,
        prefix: &str,
        limit: u32,
        now: UnixMillis,
        overlay: &Overlay,
    ) -> Result<Vec<Record>, Fault> {
        let start = key_bytes(table, prefix);
        let skip = start.len().saturating_sub(prefix.len());
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut merged: BTreeMap<Vec<u8>, Stored> = BTreeMap::new();
        for (name, pending) in overlay
            .range(start.clone()..)
            .take_while(|(name, _)| name.starts_with(&start))
        {
            if let Some(stored) = pending.as_ref().filter(|stored| !expired(stored.expires_at, now)) {
                merged.insert(name.clone(), stored.clone());
            }
        }
        // Each source gives its first `limit` records that the overlay does not hide: the first `limit` of all are among
        // them. A name is never in both sources.
        let mut broken = None;
        let mut from_source = |count: &mut usize, name: &[u8], bytes: &[u8]| {
            if *count >= limit || !name.starts_with(&start) {
                return ControlFlow::Break(());
            }
            if overlay.contains_key(name) {
                return ControlFlow::Continue(());
            }
            match decoded(bytes) {
                Ok(stored) if expired(stored.expires_at, now) => {}
                Ok(stored) => {
                    *count += 1;
                    merged.insert(name.to_vec(), stored);
                }
                Err(fault) => {
                    broken = Some(fault);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        };
        let (mut in_memory, mut in_backend) = (0, 0);
        self.volatile
            .walk(&start, &mut |name, bytes| from_source(&mut in_memory, name, bytes));
        self.backend
            .visit(&start, &mut |name, bytes| from_source(&mut in_backend, name, bytes))?;
        if let Some(fault) = broken {
            return Err(fault);
        }
        let named = |(name, stored): (Vec<u8>, Stored)| {
            let id = String::from_utf8_lossy(name.get(skip..).unwrap_or_default()).into_owned();
            stored.into_record(id)
        };
        Ok(merged.into_iter().take(limit).map(named).collect())
    }

    fn write(&mut self, overlay: Overlay, durability: Durability, now: UnixMillis) -> Result<(), Fault> {
        if durability == Durability::Volatile {
            self.make_room(&overlay, now)?;
        }
        self.writes_since_sweep = self.writes_since_sweep.saturating_add(overlay.len());
        let written = overlay
            .into_iter()
            .try_for_each(|(name, pending)| self.write_one(&name, pending, durability));
        if written.is_err() {
            self.backend.abort();
            return written;
        }
        if self.writes_since_sweep >= SWEEP_EVERY {
            self.writes_since_sweep = 0;
            self.sweep(now)?;
        }
        Ok(())
    }

    fn write_one(&mut self, name: &[u8], pending: Option<Stored>, durability: Durability) -> Result<(), Fault> {
        match pending {
            Some(stored) if durability != Durability::Volatile => {
                self.backend.put(name, &stored.encode())?;
                self.volatile.delete(name);
                return Ok(());
            }
            Some(stored) => self.volatile.insert(name, &stored.encode()),
            None => self.volatile.delete(name),
        }
        // Asking first keeps a volatile write from making a transaction of the file.
        if self.backend.get(name)?.is_some() {
            self.backend.remove(name)
        } else {
            Ok(())
        }
    }

    fn make_room(&mut self, overlay: &Overlay, now: UnixMillis) -> Result<(), Fault> {
        let bytes: usize = overlay
            .iter()
            .map(|(name, stored)| {
                stored.as_ref().map_or(0, |stored| {
                    name.len().saturating_add(stored.value.len()).saturating_add(16)
                })
            })
            .sum();
        let records = overlay
            .iter()
            .filter(|(name, stored)| stored.is_some() && !self.volatile.contains(name))
            .count();
        let fits = |volatile: &Memory| {
            volatile.len().saturating_add(records) <= MAX_VOLATILE_RECORDS
                && volatile.bytes().saturating_add(bytes) <= MAX_VOLATILE_BYTES
        };
        if records == 0 && bytes == 0 || fits(&self.volatile) {
            return Ok(());
        }
        let mut from = Vec::new();
        for _ in 0..=self.volatile.len() / SWEEP_RECORDS {
            from = sweep_memory(&mut self.volatile, &from, now);
        }
        if fits(&self.volatile) {
            return Ok(());
        }
        Err(fault(FaultKind::Unavailable, "the memory for volatile records is full"))
    }

    /// Removes expired records among the next few of both places; a write refused here would lose nothing, so it may fail.
    fn sweep(&mut self, now: UnixMillis) -> Result<(), Fault> {
        self.sweep_volatile_from = sweep_memory(&mut self.volatile, &self.sweep_volatile_from, now);
        let (gone, next) = {
            let mut look = Look::new(now);
            self.backend
                .visit(&self.sweep_from, &mut |name, bytes| look.at(name, bytes))?;
            look.end()
        };
        self.sweep_from = next;
        gone.iter()
            .try_for_each(|name| self.backend.remove(name))
            .inspect_err(|_| self.backend.abort())
    }

    fn next_version(&mut self) -> Result<Version, Fault> {
        if self.versions.is_empty() {
            let first = self.backend.reserve_block()?;
            self.versions = first..first.saturating_add(BLOCK);
        }
        self.versions
            .next()
            .map(Version)
            .ok_or_else(|| fault(FaultKind::Unavailable, "no version is left"))
    }
}

/// One bounded look for expired records.
struct Look {
    now: UnixMillis,
    left: usize,
    gone: Vec<Vec<u8>>,
    next: Vec<u8>,
}

impl Look {
    const fn new(now: UnixMillis) -> Self {
        Self {
            now,
            left: SWEEP_RECORDS,
            gone: Vec::new(),
            next: Vec::new(),
        }
    }

    fn at(&mut self, name: &[u8], bytes: &[u8]) -> ControlFlow<()> {
        if self.left == 0 {
            self.next = name.to_vec();
            return ControlFlow::Break(());
        }
        self.left -= 1;
        if head(bytes).is_some_and(|(_, expires_at)| expired(expires_at, self.now)) {
            self.gone.push(name.to_vec());
        }
        ControlFlow::Continue(())
    }

    /// What has expired, and where the next look starts: at the beginning again when the end was reached.
    fn end(self) -> (Vec<Vec<u8>>, Vec<u8>) {
        (self.gone, self.next)
    }
}

fn sweep_memory(memory: &mut Memory, from: &[u8], now: UnixMillis) -> Vec<u8> {
    let mut look = Look::new(now);
    memory.walk(from, &mut |name, bytes| look.at(name, bytes));
    let (gone, next) = look.end();
    gone.iter().for_each(|name| memory.delete(name));
    next
}

fn valid(key: &portcullis_core::store::Key) -> Result<Vec<u8>, Fault> {
    checked(key).map_err(|what| fault(FaultKind::Invalid, what))
}

fn decoded(bytes: &[u8]) -> Result<Stored, Fault> {
    Stored::decode(bytes).ok_or_else(|| fault(FaultKind::Unavailable, "store: a record is cut short"))
}
