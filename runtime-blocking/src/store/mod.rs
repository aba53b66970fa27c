//! The embedded store: records in one file (redb), or in memory for tests. One thread owns them; batches that arrive while
//! it waits for the disk share the next transaction. The language of the store is the core's; here it is carried out.

mod backend;
mod disk;
mod engine;
mod held;
mod record;
#[cfg(test)]
mod tests;
mod trouble;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use portcullis_core::effect::{Fault, FaultKind, Outcome};
use portcullis_core::store::{Batch, Durability};
use portcullis_core::time::UnixMillis;

use self::backend::{Backend, Memory};
use self::disk::Disk;
use self::engine::Engine;
use self::writer::{Done, Job};
use crate::effects::fault::fault;

/// The most batches that wait; further ones are refused with [`FaultKind::Unavailable`].
const MAX_WAITING: usize = 16_384;

/// Where the store reads the wall clock, by which records expire.
pub type WallClock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// A handle on the store. Clones share it; when the last one goes, what is lazy is synced and the file is released.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    jobs: Option<mpsc::Sender<Job>>,
    waiting: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens or makes the file at `path` (mode 0600, its folder 0700) and holds it until the last handle goes.
    ///
    /// # Errors
    /// When another gateway holds it, or when it cannot be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let disk = Disk::open(path)?;
        Self::start(disk, Arc::new(crate::clock::wall)).map_err(|error| StoreError::at(path, error.to_string()))
    }

    /// A store without a file: the same meaning, gone with its last handle.
    ///
    /// # Panics
    /// When the system has no thread left for it.
    #[must_use]
    pub fn memory() -> Self {
        Self::memory_with_clock(Arc::new(crate::clock::wall))
    }

    /// [`Self::memory`] with a wall clock of the caller's, for virtual time.
    ///
    /// # Panics
    /// When the system has no thread left for it.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a program that cannot start its first threads cannot go on"
    )]
    pub fn memory_with_clock(clock: WallClock) -> Self {
        Self::start(Memory::default(), clock).expect("a thread for the store")
    }

    fn start(backend: impl Backend + 'static, clock: WallClock) -> std::io::Result<Self> {
        let (jobs, arriving) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&waiting);
        let thread = thread::Builder::new()
            .name(String::from("store"))
            .stack_size(256 * 1024)
            .spawn(move || writer::run(Engine::new(backend), &arriving, &counter, &*clock))?;
        Ok(Self {
            inner: Arc::new(Inner {
                jobs: Some(jobs),
                waiting,
                thread: Some(thread),
            }),
        })
    }

    /// Carries out a batch and calls `done` with its outcome: on the store's own thread, so `done` must be short and must
    /// not call [`Self::apply`]. Batches are applied in the order in which they were submitted.
    pub fn submit(&self, batch: Batch, done: impl FnOnce(Outcome) + Send + 'static) {
        if let Err((done, fault)) = self.offer(batch, Box::new(done)) {
            done(Err(fault));
        }
    }

    /// [`Self::submit`], but a batch that the store cannot take comes back with the reason: `done` is never called on this
    /// thread.
    pub(crate) fn offer(&self, batch: Batch, done: Done) -> Result<(), (Done, Fault)> {
        let unavailable = |why: &str| fault(FaultKind::Unavailable, why);
        let Some(jobs) = &self.inner.jobs else {
            return Err((done, unavailable("the store has ended")));
        };
        if self.inner.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.inner.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err((done, unavailable("too many batches wait for the store")));
        }
        let sent = jobs.send(Job { batch, done });
        sent.map_err(|mpsc::SendError(job)| (job.done, unavailable("the store has ended")))
    }

    /// Carries out a batch and waits for its outcome. Never call it from a `done` of [`Self::submit`].
    pub fn apply(&self, batch: Batch) -> Outcome {
        let (answer, outcome) = mpsc::sync_channel(1);
        self.submit(batch, move |outcome| {
            // The receiver waits below until it has the answer, so it is there.
            let _ = answer.send(outcome);
        });
        outcome
            .recv()
            .unwrap_or_else(|_| Err(fault(FaultKind::Unavailable, "the store has ended")))
    }

    /// Waits until everything that was submitted is on disk, also what is lazy. The last handle's end does the same, but who
    /// holds that one when threads still run is not known. Never call it from a `done` of [`Self::submit`].
    ///
    /// # Errors
    /// Why it is not there.
    pub fn settle(&self) -> Result<(), Fault> {
        let batch = Batch {
            ops: Vec::new(),
            durability: Durability::Durable,
        };
        self.apply(batch).map(drop)
    }
}

/// What a runtime says when [`Store::settle`] failed at its end.
#[must_use]
pub fn unsettled(fault: Fault) -> std::io::Error {
    std::io::Error::other(format!("what was written last is not on disk: {fault}"))
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A panic of the store's thread was told when it happened.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("waiting", &self.inner.waiting)
            .finish_non_exhaustive()
    }
}

/// Why the store could not be opened, in words for people.
#[derive(Debug)]
pub struct StoreError {
    path: PathBuf,
    what: String,
}

impl StoreError {
    fn at(path: &Path, what: impl Into<String>) -> Self {
        Self {
            path: path.to_path_buf(),
            what: what.into(),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store {}: {}", self.path.display(), self.what)
    }
}

impl std::error::Error for StoreError {}
