//! The loop of the one thread: tasks that can go on, sockets that are ready, the machine's deadline; then sleep until the
//! next of them. A request on a connection costs one wait shared by all that are ready, one read and one write: it wakes no
//! task. Tasks are for what is rare (programs, dialling, files), and async-io's own thread wakes them.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portcullis_core::machine::{Input, Machine};
use smol::LocalExecutor;
use smol::channel::Receiver;

use crate::driver::Driver;
use crate::watch::{EVENTS_MAX, ReadyEvent, Watch};

/// Turns until `ended` says how it ended.
pub(crate) fn turn<M: Machine + 'static>(
    driver: Rc<Driver<M>>,
    executor: &LocalExecutor<'static>,
    ended: &Receiver<io::Result<()>>,
) -> io::Result<()> {
    let bell = driver.watch.bell.clone();
    let waker = Waker::from(bell.clone());
    let mut context = Context::from_waker(&waker);
    let mut tasks = pin!(executor.run(ended.recv()));
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        if bell.take()
            && let Poll::Ready(how) = tasks.as_mut().poll(&mut context)
        {
            return how.unwrap_or(Ok(()));
        }
        // Also while tasks go on and on the sockets are looked at.
        let at_most = if bell.sleep() {
            [driver.time_left(), driver.rest_left()].into_iter().flatten().min()
        } else {
            Some(Duration::ZERO)
        };
        let waited = driver.watch.wait(&mut events, at_most);
        bell.wake_up();
        waited?;
        for event in &events {
            match Watch::read(event) {
                Some(ReadyEvent::Connection(conn, ready)) => driver.ready(conn, ready),
                Some(ReadyEvent::Listener(id)) => driver.accept(id, events.len()),
                Some(ReadyEvent::Bell) => bell.heard(),
                None => {}
            }
        }
        if driver.time_left() == Some(Duration::ZERO) {
            driver.turn(None, Input::Tick);
        }
        if driver.rest_left() == Some(Duration::ZERO) {
            driver.end_rests()?;
        }
    }
}
