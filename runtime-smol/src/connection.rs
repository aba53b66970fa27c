//! The task of one connection: waits for its socket and hands what happens to the driver. It is a future by hand, two
//! pointers large, because an idle connection keeps one.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use portcullis_core::machine::{GoneReason, Machine};

use crate::driver::Driver;
use crate::link::Link;

/// Serves one connection until it is gone.
pub(crate) struct Connection<M> {
    driver: Rc<Driver<M>>,
    link: Rc<Link>,
}

impl<M> Connection<M> {
    /// The task's work, to be spawned.
    pub(crate) const fn new(driver: Rc<Driver<M>>, link: Rc<Link>) -> Self {
        Self { driver, link }
    }
}

/// Whether a direction was ready and used, so that everything must be looked at again.
enum Step {
    Again,
    Wait,
}

impl<M: Machine + 'static> Connection<M> {
    fn step(&self, ready: Poll<io::Result<()>>, act: impl FnOnce(&Rc<Driver<M>>, &Rc<Link>)) -> Step {
        match ready {
            Poll::Pending => return Step::Wait,
            Poll::Ready(Ok(())) => act(&self.driver, &self.link),
            Poll::Ready(Err(_)) => self.driver.lost(&self.link, GoneReason::Failed),
        }
        Step::Again
    }
}

impl<M: Machine + 'static> Future for Connection<M> {
    type Output = ();

    /// After a read or a write the direction is asked for anew and is then always pending, until the reactor has looked
    /// at the socket again: a peer that floods us gets one read in each round, like everybody else.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.link.remember(context.waker());
        loop {
            if self.link.is_gone() {
                return Poll::Ready(());
            }
            if self.link.wants_write()
                && let Step::Again = self.step(self.link.poll_writable(context), Driver::write)
            {
                continue;
            }
            if self.link.wants_read()
                && let Step::Again = self.step(self.link.poll_readable(context), Driver::read)
            {
                continue;
            }
            return Poll::Pending;
        }
    }
}
