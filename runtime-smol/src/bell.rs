//! How other threads, and tasks among themselves, tell the loop that a task can go on: a bell that costs a system call only
//! while the loop sleeps.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Wake;

use rustix::event::{EventfdFlags, eventfd};

/// Nobody rang; the loop is at work.
const QUIET: u8 = 0;
/// Somebody rang.
const RUNG: u8 = 1;
/// Nobody rang; the loop sleeps, or is about to.
const ASLEEP: u8 = 2;

/// The bell of one loop. It is rung at first, so that the tasks have their first turn.
pub(crate) struct Bell {
    state: AtomicU8,
    /// Readable from a ring in the loop's sleep until [`Bell::heard`].
    pub(crate) event: OwnedFd,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            state: AtomicU8::new(RUNG),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Whether it was rung; it is quiet from now on.
    pub(crate) fn take(&self) -> bool {
        self.state.swap(QUIET, Ordering::AcqRel) == RUNG
    }

    /// Says that the loop goes to sleep. `false`: it was rung, and the loop must not.
    pub(crate) fn sleep(&self) -> bool {
        self.state
            .compare_exchange(QUIET, ASLEEP, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Says that the loop is awake; a ring in its sleep stays rung.
    pub(crate) fn wake_up(&self) {
        let _rung = self
            .state
            .compare_exchange(ASLEEP, QUIET, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Takes back what made [`Self::event`] readable.
    pub(crate) fn heard(&self) {
        // It fails only when there is nothing to take back.
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(RUNG, Ordering::AcqRel) == ASLEEP {
            // It fails only when the counter is full, and then the loop is woken anyway.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_readable(bell: &Bell) -> bool {
        let mut buffer = [0; 8];
        rustix::io::read(&bell.event, &mut buffer).is_ok()
    }

    #[test]
    fn only_a_sleeper_is_woken_by_a_system_call() {
        let bell = Arc::new(Bell::new().unwrap());
        assert!(bell.take() && !bell.take());
        bell.wake_by_ref();
        assert!(!is_readable(&bell) && !bell.sleep() && bell.take());
        assert!(bell.sleep());
        bell.wake_by_ref();
        bell.wake_by_ref();
        bell.wake_up();
        assert!(bell.take() && is_readable(&bell));
        assert!(bell.sleep());
        bell.wake_up();
        assert!(!bell.take());
    }
}
