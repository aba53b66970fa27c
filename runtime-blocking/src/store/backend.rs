//! What the engine needs of a place for bytes, and the one in memory. A backend knows keys and values as bytes; versions,
//! expiry and expectations are the engine's.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use portcullis_core::effect::{Fault, FaultKind};

use crate::effects::fault::fault;

/// Ordered bytes with transactions. Reads see what was written before, committed or not.
pub(super) trait Backend: Send {
    /// The value of a key.
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault>;
    /// Visits keys from `from` on, in order, until the visitor breaks.
    fn visit(&mut self, from: &[u8], visitor: &mut Visitor<'_>) -> Result<(), Fault>;
    /// Writes a value.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault>;
    /// Removes a value if it is there.
    fn remove(&mut self, key: &[u8]) -> Result<(), Fault>;
    /// Keeps what was written since the last commit: on disk when `sync`, else visible only.
    fn commit(&mut self, sync: bool) -> Result<(), Fault>;
    /// Forgets what was written since the last commit.
    fn abort(&mut self);
    /// Numbers that were never given out before, not even before a crash: the first of a block of [`BLOCK`].
    fn reserve_block(&mut self) -> Result<u64, Fault>;
    /// Gets over an earlier error, if it can and it is time to. Until then everything fails, so that a commit never keeps
    /// one half of a group. Called between groups.
    fn mend(&mut self) {}
}

/// Gets a key and its value; breaks when it has seen enough.
pub(super) type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// How many versions are reserved at once. A crash wastes at most so many of 2^64.
pub(super) const BLOCK: u64 = 1 << 20;

/// Bytes in memory. `abort` cannot undo: a write here cannot fail either, so nothing ever needs it.
#[derive(Default)]
pub(super) struct Memory {
    map: BTreeMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
    reserved: u64,
}

impl Memory {
    /// Nothing yet.
    pub(super) const fn new() -> Self {
        Self {
            map: BTreeMap::new(),
            bytes: 0,
            reserved: 0,
        }
    }

    /// Keys and values together, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn peek(&self, key: &[u8]) -> Option<&[u8]> {
        self.map.get(key).map(Vec::as_slice)
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.map.contains_key(key)
    }

    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.delete(key);
        self.bytes = self.bytes.saturating_add(key.len()).saturating_add(value.len());
        self.map.insert(key.to_vec(), value.to_vec());
    }

    pub(super) fn delete(&mut self, key: &[u8]) {
        if let Some(old) = self.map.remove(key) {
            self.bytes = self.bytes.saturating_sub(key.len().saturating_add(old.len()));
        }
    }

    pub(super) fn walk(&self, from: &[u8], visitor: &mut Visitor<'_>) {
        for (key, value) in self.map.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)) {
            if visitor(key, value).is_break() {
                return;
            }
        }
    }
}

impl Backend for Memory {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.peek(key).map(<[u8]>::to_vec))
    }

    fn visit(&mut self, from: &[u8], visitor: &mut Visitor<'_>) -> Result<(), Fault> {
        self.walk(from, visitor);
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.insert(key, value);
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Fault> {
        self.delete(key);
        Ok(())
    }

    fn commit(&mut self, _sync: bool) -> Result<(), Fault> {
        Ok(())
    }

    fn abort(&mut self) {}

    fn reserve_block(&mut self) -> Result<u64, Fault> {
        let first = self.reserved.saturating_add(1);
        self.reserved = self
            .reserved
            .checked_add(BLOCK)
            .ok_or_else(|| fault(FaultKind::Unavailable, "the store has used up its versions"))?;
        Ok(first)
    }
}
