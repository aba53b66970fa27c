//! What a machine may tell an effect under way: end, and go on. One task waits for both.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use portcullis_blocking::effects::fault::fault;
use portcullis_core::effect::{Fault, FaultKind, Outcome};

/// Shared by the machine's thread and the effect's task on it.
#[derive(Default)]
pub(super) struct Control {
    cancelled: Cell<bool>,
    proceed: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Control {
    pub(super) fn cancel(&self) {
        self.cancelled.set(true);
        self.wake();
    }

    pub(super) fn proceed(&self) {
        self.proceed.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll(&self, context: &Context<'_>, flag: &Cell<bool>) -> Poll<()> {
        if flag.replace(false) {
            return Poll::Ready(());
        }
        self.waker.set(Some(context.waker().clone()));
        Poll::Pending
    }

    /// Ends when the machine wants the effect to end.
    pub(super) async fn cancelled(&self) {
        poll_fn(|context| self.poll(context, &self.cancelled)).await;
    }

    /// Ends when the machine has dealt with the last progress.
    pub(super) async fn proceeded(&self) {
        poll_fn(|context| self.poll(context, &self.proceed)).await;
    }

    /// The outcome of `work`, or that it was cancelled before.
    pub(super) async fn or_cancelled(&self, work: impl Future<Output = Outcome>) -> Outcome {
        smol::future::or(work, async {
            self.cancelled().await;
            Err(cancelled())
        })
        .await
    }
}

/// The machine wanted it to end.
pub(super) fn cancelled() -> Fault {
    fault(FaultKind::Cancelled, "")
}
