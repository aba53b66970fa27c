//! The table of connections. Whoever works on one takes it out and puts it back, so that the rest of the gateway stays at
//! hand meanwhile; its place is kept. The table knows nothing of what a connection does.

use alloc::boxed::Box;
use core::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;

use super::connection::Connection;
use crate::id::ConnId;

/// All open connections.
#[derive(Default)]
pub(super) struct Table(HashMap<ConnId, Option<Box<Connection>>, BuildHasherDefault<ConnHasher>>);

impl Table {
    pub(super) fn insert(&mut self, id: ConnId, connection: Box<Connection>) {
        self.0.insert(id, Some(connection));
    }

    /// Takes a connection out for a while. It is to be [put back](Self::put_back).
    pub(super) fn take(&mut self, id: ConnId) -> Option<Box<Connection>> {
        self.0.get_mut(&id)?.take()
    }

    pub(super) fn put_back(&mut self, id: ConnId, connection: Box<Connection>) {
        if let Some(place) = self.0.get_mut(&id) {
            *place = Some(connection);
        }
    }

    /// The connection is gone.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Box<Connection>> {
        self.0.remove(&id).flatten()
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Connection> {
        self.0.get(&id)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.0.get_mut(&id)?.as_deref_mut()
    }

    /// All that are not taken out.
    pub(super) fn values(&self) -> impl Iterator<Item = &Connection> {
        self.0.values().flatten().map(|connection| &**connection)
    }

    /// The names of all, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = ConnId> {
        self.0.keys().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Hashes a [`ConnId`], which the runtime counts up: nobody else chooses it, so one multiplication is enough.
#[derive(Default)]
struct ConnHasher(u64);

impl Hasher for ConnHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio's bits spread neighbours over the table; the high half is what the table looks at first.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}
