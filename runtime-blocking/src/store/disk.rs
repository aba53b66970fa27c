//! The store's file: redb behind the small face that the engine needs. One write transaction is open at most; it takes in
//! batches until it is committed.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_core::effect::{Fault, FaultKind};
use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError,
    WriteTransaction,
};

use super::StoreError;
use super::backend::{BLOCK, Backend, Visitor};
use crate::effects::fault::fault;

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
/// The highest version that may have been given out.
const VERSIONS: &str = "versions";
/// Pages that are kept in memory; the system's own file cache keeps the rest.
const CACHE_BYTES: usize = 2 * 1024 * 1024;
/// How long a file that somebody else holds is waited for.
const LAST_HOLDER: Duration = Duration::from_secs(1);
const HOLDER_STEP: Duration = Duration::from_millis(10);

pub(super) struct Disk {
    database: Database,
    open: Option<WriteTransaction>,
    written: bool,
}

impl Disk {
    /// Opens the file or makes a new one, and holds it against other processes.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        prepare(path).map_err(|error| StoreError::at(path, error.to_string()))?;
        let database = database(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::at(
                path,
                "another gateway is using this state directory; stop it, or give this one another with --state-dir",
            ),
            other => StoreError::at(path, other.to_string()),
        })?;
        Ok(Self {
            database,
            open: None,
            written: false,
        })
    }

    fn transaction(&mut self) -> Result<&WriteTransaction, Fault> {
        if self.open.is_none() {
            self.open = Some(self.database.begin_write().map_err(|error| broken(&error))?);
        }
        self.open
            .as_ref()
            .ok_or_else(|| fault(FaultKind::Unavailable, "store: no transaction"))
    }
}

/// A gateway that was killed while it started a program may have left a child between its fork and its exec, which holds the
/// file for that moment: who restarts at once waits for it.
fn database(path: &Path) -> Result<Database, DatabaseError> {
    let until = Instant::now() + LAST_HOLDER;
    loop {
        match Builder::new().set_cache_size(CACHE_BYTES).create(path) {
            Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < until => thread::sleep(HOLDER_STEP),
            done => return done,
        }
    }
}

/// The file exists before redb sees it, so that nobody but its owner can ever read it.
fn prepare(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    Ok(())
}

impl Backend for Disk {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        if let Some(open) = &self.open {
            let table = open.open_table(RECORDS).map_err(|error| broken(&error))?;
            return read(&table, key);
        }
        let reading = self.database.begin_read().map_err(|error| broken(&error))?;
        match reading.open_table(RECORDS) {
            Ok(table) => read(&table, key),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(broken(&error)),
        }
    }

    fn visit(&mut self, from: &[u8], visitor: &mut Visitor<'_>) -> Result<(), Fault> {
        if let Some(open) = &self.open {
            let table = open.open_table(RECORDS).map_err(|error| broken(&error))?;
            return walk(&table, from, visitor);
        }
        let reading = self.database.begin_read().map_err(|error| broken(&error))?;
        match reading.open_table(RECORDS) {
            Ok(table) => walk(&table, from, visitor),
            Err(TableError::TableDoesNotExist(_)) => Ok(()),
            Err(error) => Err(broken(&error)),
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.written = true;
        let mut table = self
            .transaction()?
            .open_table(RECORDS)
            .map_err(|error| broken(&error))?;
        table.insert(key, value).map_err(|error| broken(&error))?;
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Fault> {
        self.written = true;
        let mut table = self
            .transaction()?
            .open_table(RECORDS)
            .map_err(|error| broken(&error))?;
        table.remove(key).map_err(|error| broken(&error))?;
        Ok(())
    }

    fn commit(&mut self, sync: bool) -> Result<(), Fault> {
        if sync {
            // Also without writes of its own: an immediate commit takes the earlier lazy ones to the disk with it.
            self.transaction()?;
        }
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        if !sync && !std::mem::take(&mut self.written) {
            return open.abort().map_err(|error| broken(&error));
        }
        self.written = false;
        let durability = if sync { Durability::Immediate } else { Durability::None };
        open.set_durability(durability).map_err(|error| broken(&error))?;
        open.commit().map_err(|error| broken(&error))
    }

    fn abort(&mut self) {
        self.written = false;
        // Dropping a transaction aborts it.
        self.open = None;
    }

    fn reserve_block(&mut self) -> Result<u64, Fault> {
        let mut counters = self
            .transaction()?
            .open_table(COUNTERS)
            .map_err(|error| broken(&error))?;
        let used = counters
            .get(VERSIONS)
            .map_err(|error| broken(&error))?
            .map_or(0, |found| found.value());
        let reserved = used
            .checked_add(BLOCK)
            .ok_or_else(|| fault(FaultKind::Unavailable, "the store has used up its versions"))?;
        counters.insert(VERSIONS, reserved).map_err(|error| broken(&error))?;
        drop(counters);
        // On disk before the first of them is given out. What the open transaction holds besides was applied anyway.
        self.commit(true)?;
        Ok(used.saturating_add(1))
    }
}

fn read(table: &impl ReadableTable<&'static [u8], &'static [u8]>, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let found = table.get(key).map_err(|error| broken(&error))?;
    Ok(found.map(|value| value.value().to_vec()))
}

fn walk(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    from: &[u8],
    visitor: &mut Visitor<'_>,
) -> Result<(), Fault> {
    for entry in table.range::<&[u8]>(from..).map_err(|error| broken(&error))? {
        let (key, value) = entry.map_err(|error| broken(&error))?;
        if let ControlFlow::Break(()) = visitor(key.value(), value.value()) {
            break;
        }
    }
    Ok(())
}

fn broken(error: &impl std::fmt::Display) -> Fault {
    fault(FaultKind::Unavailable, format!("store: {error}"))
}
