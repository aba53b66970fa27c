//! The store's file: redb behind the small face that the engine needs. One write transaction is open at most; it takes in
//! batches until it is committed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
#[cfg(test)]
use std::sync::{Arc, atomic::AtomicBool};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_core::effect::{Fault, FaultKind};
use redb::{
    Builder, Database, DatabaseError, Durability, Error, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, TableError, WriteTransaction,
};

use super::StoreError;
use super::backend::{BLOCK, Backend, Visitor};
use super::held::Held;
use super::trouble::Trouble;
use crate::effects::fault::fault;

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
type ReadOnlyRecords = ReadOnlyTable<&'static [u8], &'static [u8]>;
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
/// The highest version that may have been given out.
const VERSIONS: &str = "versions";
/// Pages that are kept in memory; the system's own file cache keeps the rest.
const CACHE_BYTES: usize = 2 * 1024 * 1024;
/// How long a file that somebody else holds is waited for.
const LAST_HOLDER: Duration = Duration::from_secs(1);
const HOLDER_STEP: Duration = Duration::from_millis(10);

pub(super) struct Disk {
    held: Held,
    /// `None` while it is to be opened again.
    database: Option<Database>,
    open: Option<WriteTransaction>,
    written: bool,
    trouble: Trouble,
}

impl Disk {
    /// Opens the file or makes a new one, and holds it against other processes.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(
            path,
            #[cfg(test)]
            &Arc::default(),
        )
    }

    /// [`Self::open`]; in tests with a switch that fills the disk up.
    pub(super) fn open_with(path: &Path, #[cfg(test)] full: &Arc<AtomicBool>) -> Result<Self, StoreError> {
        let until = Instant::now() + LAST_HOLDER;
        loop {
            let file = prepare(path).map_err(|error| not_opened(path, &error))?;
            let opened = Held::new(
                file,
                #[cfg(test)]
                full.clone(),
            )
            .and_then(|held| Ok((database(&held)?, held)));
            match opened {
                // A gateway that was killed while it started a program may have left a child between its fork and its
                // exec, which holds the file for that moment: who restarts at once waits for it.
                Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < until => thread::sleep(HOLDER_STEP),
                Err(error) => return Err(refusal(path, &error)),
                Ok((database, held)) => {
                    return Ok(Self {
                        held,
                        database: Some(database),
                        open: None,
                        written: false,
                        trouble: Trouble::none(path.to_path_buf()),
                    });
                }
            }
        }
    }

    /// Keeps an error in mind: after it the file must be opened again.
    fn noted<T>(&mut self, done: Result<T, Error>) -> Result<T, Fault> {
        done.map_err(|error| {
            self.abort();
            self.trouble.met(&error)
        })
    }

    fn transaction(&mut self) -> Result<&WriteTransaction, Error> {
        if self.open.is_none() {
            let database = self.database.as_ref().ok_or(Error::DatabaseClosed)?;
            self.open = Some(database.begin_write()?);
        }
        self.open.as_ref().ok_or(Error::DatabaseClosed)
    }

    fn reading(&self) -> Result<Option<ReadOnlyRecords>, Error> {
        let database = self.database.as_ref().ok_or(Error::DatabaseClosed)?;
        match database.begin_read()?.open_table(RECORDS) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn find(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if let Some(open) = &self.open {
            return read(&open.open_table(RECORDS)?, key);
        }
        self.reading()?.map_or(Ok(None), |table| read(&table, key))
    }

    fn look(&self, from: &[u8], visitor: &mut Visitor<'_>) -> Result<(), Error> {
        if let Some(open) = &self.open {
            return walk(&open.open_table(RECORDS)?, from, visitor);
        }
        self.reading()?.map_or(Ok(()), |table| walk(&table, from, visitor))
    }

    fn finish(&mut self, sync: bool) -> Result<(), Error> {
        if sync {
            // Also without writes of its own: an immediate commit takes the earlier lazy ones to the disk with it.
            self.transaction()?;
        }
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        let written = std::mem::take(&mut self.written);
        if !sync && !written {
            return Ok(open.abort()?);
        }
        let durability = if sync { Durability::Immediate } else { Durability::None };
        open.set_durability(durability)?;
        open.commit()?;
        if sync && written {
            self.trouble.over();
        }
        Ok(())
    }

    /// The first number of the next block; `None` when there is no further one.
    fn reserve(&mut self) -> Result<Option<u64>, Error> {
        let mut counters = self.transaction()?.open_table(COUNTERS)?;
        let used = counters.get(VERSIONS)?.map_or(0, |found| found.value());
        let Some(reserved) = used.checked_add(BLOCK) else {
            return Ok(None);
        };
        counters.insert(VERSIONS, reserved)?;
        drop(counters);
        // On disk before the first of them is given out. What the open transaction holds besides was applied anyway.
        self.finish(true)?;
        Ok(Some(used.saturating_add(1)))
    }
}

fn database(held: &Held) -> Result<Database, DatabaseError> {
    Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(held.clone())
}

fn refusal(path: &Path, error: &DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::at(
            path,
            "another gateway is using this state directory; stop it, or give this one another with --state-dir",
        ),
        DatabaseError::Storage(StorageError::Io(error))
            if !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            not_opened(path, error)
        }
        DatabaseError::Storage(_) | DatabaseError::UpgradeRequired(_) => StoreError::at(
            path,
            format!(
                "is not a store of this gateway, or it is damaged ({error}); move the file away to begin with an empty \
                 store, or choose another folder with --state-dir"
            ),
        ),
        other => StoreError::at(path, other.to_string()),
    }
}

fn not_opened(path: &Path, error: &io::Error) -> StoreError {
    let what = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "the file or its folder is not writable by this user; change its owner or mode, or choose another folder \
             with --state-dir"
        }
        io::ErrorKind::IsADirectory => "is a folder; move it away, or choose another folder with --state-dir",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full; free space",
        _ => "cannot be opened",
    };
    StoreError::at(path, format!("{what} ({error})"))
}

/// The file exists before redb sees it, so that nobody but its owner can ever read it.
fn prepare(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

impl Backend for Disk {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.trouble.check()?;
        let found = self.find(key);
        self.noted(found)
    }

    fn visit(&mut self, from: &[u8], visitor: &mut Visitor<'_>) -> Result<(), Fault> {
        self.trouble.check()?;
        let looked = self.look(from, visitor);
        self.noted(looked)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.trouble.check()?;
        self.written = true;
        let put = self.transaction().and_then(|open| {
            open.open_table(RECORDS)?.insert(key, value)?;
            Ok(())
        });
        self.noted(put)
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Fault> {
        self.trouble.check()?;
        self.written = true;
        let removed = self.transaction().and_then(|open| {
            open.open_table(RECORDS)?.remove(key)?;
            Ok(())
        });
        self.noted(removed)
    }

    fn commit(&mut self, sync: bool) -> Result<(), Fault> {
        self.trouble.check()?;
        let finished = self.finish(sync);
        self.noted(finished)
    }

    fn abort(&mut self) {
        self.written = false;
        // Dropping a transaction aborts it.
        self.open = None;
    }

    fn reserve_block(&mut self) -> Result<u64, Fault> {
        self.trouble.check()?;
        let reserved = self.reserve();
        self.noted(reserved)?
            .ok_or_else(|| fault(FaultKind::Unavailable, "the store has used up its versions"))
    }

    fn mend(&mut self) {
        if !self.trouble.is_due() {
            return;
        }
        self.abort();
        // The old one goes first; the locks on the file stay.
        self.database = None;
        match database(&self.held) {
            Ok(database) => {
                self.database = Some(database);
                self.trouble.tried(Ok(()));
            }
            Err(error) => self.trouble.tried(Err(&error)),
        }
    }
}

fn read(table: &impl ReadableTable<&'static [u8], &'static [u8]>, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    Ok(table.get(key)?.map(|value| value.value().to_vec()))
}

fn walk(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    from: &[u8],
    visitor: &mut Visitor<'_>,
) -> Result<(), Error> {
    for entry in table.range::<&[u8]>(from..)? {
        let (key, value) = entry?;
        if let ControlFlow::Break(()) = visitor(key.value(), value.value()) {
            break;
        }
    }
    Ok(())
}
