//! The one timer of the machine: sleeps until its earliest deadline and then sends a tick. Nothing polls while it sleeps,
//! and a deadline that moves later does not even wake it: it looks again when its sleep ends.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use async_io::Timer;
use portcullis_core::machine::{Input, Machine};
use portcullis_core::time::Instant;

use crate::driver::Driver;

/// When the machine wants its next tick.
#[derive(Default)]
pub(crate) struct Deadline {
    wanted: Cell<Option<Instant>>,
    /// When the sleep under way ends.
    armed: Cell<Option<Instant>>,
    waker: Cell<Option<Waker>>,
}

impl Deadline {
    /// What the machine said last. Wakes the timer's task only when it would sleep too long.
    pub(crate) fn set(&self, wanted: Option<Instant>) {
        self.wanted.set(wanted);
        let is_late = match (wanted, self.armed.get()) {
            (Some(wanted), Some(armed)) => wanted < armed,
            (wanted, None) => wanted.is_some(),
            (None, Some(_)) => false,
        };
        if is_late {
            let waker = self.waker.take();
            if let Some(waker) = &waker {
                waker.wake_by_ref();
            }
            self.waker.set(waker);
        }
    }
}

/// The timer's task.
pub(crate) struct Ticking<M> {
    driver: Rc<Driver<M>>,
    timer: Timer,
}

impl<M> Ticking<M> {
    /// The task's work, to be spawned.
    pub(crate) fn new(driver: Rc<Driver<M>>) -> Self {
        Self {
            driver,
            timer: Timer::never(),
        }
    }
}

impl<M: Machine + 'static> Future for Ticking<M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let driver = self.driver.clone();
        let deadline = &driver.deadline;
        deadline.waker.set(Some(context.waker().clone()));
        if deadline.armed.get().is_some() && Pin::new(&mut self.timer).poll(context).is_ready() {
            deadline.armed.set(None);
        }
        let Some(wanted) = deadline.wanted.get() else {
            return Poll::Pending;
        };
        if wanted <= driver.clock.now().monotonic {
            driver.turn(None, Input::Tick);
            // A machine that wants its next tick at once still lets everybody else have a turn.
            context.waker().wake_by_ref();
        } else if deadline.armed.get().is_none_or(|armed| wanted < armed)
            && let Some(at) = driver.clock.to_std(wanted)
        {
            self.timer.set_at(at);
            deadline.armed.set(Some(wanted));
            // The timer learns whom to wake when it is asked.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
