//! The store's file as redb sees it, held against other processes for as long as the store lives: also while redb's
//! database is closed and opened again after an error. It reads and writes nothing of its own.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// Clones share the file and its locks; the last one lets go of them.
#[derive(Clone, Debug)]
pub(super) struct Held(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    file: FileBackend,
    #[cfg(test)]
    full: Arc<AtomicBool>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A child between its fork and its exec has the descriptor too: closing ours would not give the locks back.
        let _ = self.file.close();
    }
}

impl Held {
    pub(super) fn new(file: File, #[cfg(test)] full: Arc<AtomicBool>) -> Result<Self, DatabaseError> {
        Ok(Self(Arc::new(Shared {
            file: FileBackend::new(file)?,
            #[cfg(test)]
            full,
        })))
    }

    /// Tests have the disk full at will.
    #[cfg(test)]
    fn room(&self) -> io::Result<()> {
        if self.0.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    #[cfg(not(test))]
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "the shape of the tests' own"
    )]
    const fn room(&self) -> io::Result<()> {
        Ok(())
    }
}

impl StorageBackend for Held {
    fn len(&self) -> io::Result<u64> {
        self.0.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room()?;
        self.0.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room()?;
        self.0.file.write(offset, data)
    }

    /// Keeps the locks: a database that is closed because of an error is opened again, and nobody may come between.
    fn close(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.query_lock_range(start, end)
    }
}
