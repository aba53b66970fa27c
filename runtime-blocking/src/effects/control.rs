//! How an effect under way is held back and called off: one piece of progress at a time, and a cancel that may come at any
//! moment, also before the effect has begun.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// Shared by the threads of one effect and by whoever steers it.
#[derive(Default)]
pub(crate) struct Control {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    /// A piece of progress is told and not yet dealt with.
    outstanding: bool,
    /// The process group to kill on cancel. Set only while its leader is not reaped, so that the number is its own.
    group: Option<Pid>,
}

impl Control {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the effect off. Never waits.
    pub(crate) fn cancel(&self) {
        let mut state = self.state();
        state.cancelled = true;
        kill(&state);
        drop(state);
        self.changed.notify_all();
    }

    /// The last piece of progress is dealt with.
    pub(crate) fn go_on(&self) {
        self.state().outstanding = false;
        self.changed.notify_all();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.state().cancelled
    }

    /// Waits for the turn to tell a piece of progress and takes it; `false` when the effect is cancelled.
    pub(crate) fn take_turn(&self) -> bool {
        let mut state = self.state();
        while state.outstanding && !state.cancelled {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.outstanding = true;
        !state.cancelled
    }

    /// Waits so long, or until cancelled, or until `waiting` says no. Whoever changes what `waiting` looks at must
    /// [`Self::nudge`].
    pub(crate) fn pause(&self, at_most: Duration, waiting: impl Fn() -> bool) {
        let state = self.state();
        let waited = self
            .changed
            .wait_timeout_while(state, at_most, |state| !state.cancelled && waiting());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Has waiters look again.
    pub(crate) fn nudge(&self) {
        // The lock keeps the nudge from falling between a waiter's look and its sleep.
        drop(self.state());
        self.changed.notify_all();
    }

    /// Names the process group that a cancel kills; a cancel that came before kills it now. `None` before the leader is
    /// reaped: afterwards the number may be somebody else's.
    pub(crate) fn set_group(&self, group: Option<Pid>) {
        let mut state = self.state();
        state.group = group;
        if state.cancelled {
            kill(&state);
        }
    }

    /// Kills the process group without cancelling the effect.
    pub(crate) fn kill_group(&self) {
        kill(&self.state());
    }
}

fn kill(state: &State) {
    if let Some(group) = state.group {
        // It fails only when nobody of the group is left.
        let _ = kill_process_group(group, Signal::KILL);
    }
}
