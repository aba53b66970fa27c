//! The store's thread: takes batches in the order of their arrival and commits them in groups. While a commit waits for
//! the disk the next batches gather, so many writers cost hardly more syncs than one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use portcullis_core::effect::{Fault, Outcome};
use portcullis_core::store::{Batch, Durability};
use portcullis_core::time::UnixMillis;

use super::backend::Backend;
use super::engine::Engine;

/// The most batches that share a transaction.
const MAX_GROUP: usize = 512;
/// Lazy writes are promised to the disk within a second; this leaves the disk a part of it.
const LAZY_DELAY: Duration = Duration::from_millis(600);

/// One batch and who waits for it.
pub(super) struct Job {
    pub(super) batch: Batch,
    pub(super) done: Done,
}

pub(super) type Done = Box<dyn FnOnce(Outcome) + Send>;

/// Works until the last handle on the store has gone, then syncs what is lazy.
pub(super) fn run<B: Backend>(
    mut engine: Engine<B>,
    jobs: &Receiver<Job>,
    waiting: &AtomicUsize,
    clock: &dyn Fn() -> UnixMillis,
) {
    let mut sync_by: Option<Instant> = None;
    loop {
        let first = match sync_by {
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(by) => jobs.recv_timeout(by.saturating_duration_since(Instant::now())),
        };
        match first {
            Ok(first) => {
                let group = std::iter::once(first).chain(jobs.try_iter()).take(MAX_GROUP);
                let counted = group.inspect(|_| {
                    waiting.fetch_sub(1, Ordering::Relaxed);
                });
                engine.mend();
                commit_group(&mut engine, counted, clock, &mut sync_by);
                if sync_by.is_some_and(|by| by <= Instant::now()) {
                    sync(&mut engine, &mut sync_by);
                }
            }
            Err(RecvTimeoutError::Timeout) => sync(&mut engine, &mut sync_by),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if sync_by.is_some() {
        sync(&mut engine, &mut sync_by);
    }
}

fn sync<B: Backend>(engine: &mut Engine<B>, sync_by: &mut Option<Instant>) {
    *sync_by = None;
    // The backend has told the log when its trouble began.
    if let Err(fault) = engine.commit(true) {
        log::debug!("lazy records did not reach the disk: {fault}");
    }
}

fn commit_group<B: Backend>(
    engine: &mut Engine<B>,
    group: impl Iterator<Item = Job>,
    clock: &dyn Fn() -> UnixMillis,
    sync_by: &mut Option<Instant>,
) {
    // From the first durable write on, every answer of the group waits for the disk: what a later batch read or refused
    // because of that write must not be told before the write can no longer be lost.
    let mut held: Vec<(Done, Outcome)> = Vec::new();
    let (mut wrote, mut must_sync) = (false, false);
    for Job { batch, done } in group {
        let (outcome, wrote_now) = engine.apply(&batch, clock());
        wrote |= wrote_now;
        // An empty durable batch asks for what came before it.
        must_sync |= batch.durability == Durability::Durable && (wrote_now || batch.ops.is_empty());
        if must_sync {
            held.push((done, outcome));
        } else {
            done(outcome);
        }
    }
    let committed = engine.commit(must_sync);
    if must_sync && committed.is_ok() {
        *sync_by = None;
    } else if wrote {
        sync_by.get_or_insert_with(|| Instant::now() + LAZY_DELAY);
    }
    if let Err(fault) = &committed {
        log::debug!("a commit of the store failed: {fault}");
    }
    for (done, outcome) in held {
        done(settled(outcome, &committed));
    }
}

/// A batch of a group that could not be committed has failed, whatever it would have brought.
fn settled(outcome: Outcome, committed: &Result<(), Fault>) -> Outcome {
    committed.clone().and(outcome)
}
