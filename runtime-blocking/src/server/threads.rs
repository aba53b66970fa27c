//! How many threads serve connections: a bound on them, and a way to wait until all have ended.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts what is alive.
pub(super) struct Threads {
    alive: Mutex<usize>,
    ended: Condvar,
    most: usize,
}

/// One that is alive; counts itself out when dropped.
pub(super) struct Alive(Arc<Threads>);

impl Threads {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            alive: Mutex::new(0),
            ended: Condvar::new(),
            most,
        })
    }

    /// Counts one in; `None` when there are as many as there may be.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Alive> {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if *alive >= self.most {
            return None;
        }
        *alive += 1;
        Some(Alive(Arc::clone(self)))
    }

    /// Waits until nothing is alive, at most so long.
    pub(super) fn wait_for_none(&self, at_most: Duration) {
        let until = Instant::now() + at_most;
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        while *alive > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            alive = self
                .ended
                .wait_timeout(alive, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let mut alive = self.0.alive.lock().unwrap_or_else(PoisonError::into_inner);
        *alive = alive.saturating_sub(1);
        self.0.ended.notify_all();
    }
}
