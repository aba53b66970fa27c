//! Watches the sockets of all connections with one epoll set of their own, inside the reactor: the reactor sees the set as
//! one readable thing, so a request needs no re-arming of its socket, and an idle connection no task, no waker and no
//! entry in the reactor. It only says which connection is ready; what to do about it is the driver's.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use async_io::Async;
use portcullis_core::id::ConnId;
use portcullis_core::machine::Machine;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use smol::future::yield_now;

use crate::driver::Driver;

/// Events taken in one look.
const EVENTS_MAX: usize = 256;
/// Looks in a row before the reactor has its turn; every look is worth a few system calls less than a turn of it.
const LOOKS_MAX: usize = 8;

/// What of a socket is watched; nothing at all is not watched either, so that a broken one cannot keep us busy.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Interest {
    const NONE: Self = Self {
        read: false,
        write: false,
    };

    fn flags(self) -> EventFlags {
        let read = if self.read {
            EventFlags::IN | EventFlags::RDHUP
        } else {
            EventFlags::empty()
        };
        let write = if self.write {
            EventFlags::OUT
        } else {
            EventFlags::empty()
        };
        read | write
    }
}

/// The set of watched sockets.
pub(crate) struct Watch(Async<OwnedFd>);

impl Watch {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Async::new_nonblocking(epoll::create(CreateFlags::CLOEXEC)?)?))
    }

    /// Has a socket watched for what it is wanted for now, which was `was` before.
    pub(crate) fn change(&self, socket: &OwnedFd, conn: ConnId, was: Interest, now: Interest) -> io::Result<()> {
        let data = EventData::new_u64(conn.get());
        match (was, now) {
            _ if was == now => {}
            (Interest::NONE, _) => epoll::add(&self.0, socket, data, now.flags())?,
            (_, Interest::NONE) => epoll::delete(&self.0, socket)?,
            _ => epoll::modify(&self.0, socket, data, now.flags())?,
        }
        Ok(())
    }

    fn look(&self, events: &mut Vec<Event>) -> io::Result<()> {
        events.clear();
        match epoll::wait(&self.0, spare_capacity(events), Some(&Timespec::default())) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Serves every watched connection, as long as the task lives.
pub(crate) async fn serve<M: Machine + 'static>(driver: Rc<Driver<M>>) {
    if let Err(error) = serve_until_failure(&driver).await {
        driver.fail(error);
    }
}

async fn serve_until_failure<M: Machine + 'static>(driver: &Rc<Driver<M>>) -> io::Result<()> {
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        poll_fn(|context| driver.watch.0.poll_readable(context)).await?;
        for _ in 0..LOOKS_MAX {
            driver.watch.look(&mut events)?;
            if events.is_empty() {
                break;
            }
            for event in &events {
                let (flags, data) = (event.flags, event.data);
                let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
                let read = failed || flags.intersects(EventFlags::IN | EventFlags::RDHUP);
                let write = failed || flags.contains(EventFlags::OUT);
                if let Some(conn) = ConnId::new(data.u64()) {
                    driver.ready(conn, Interest { read, write });
                }
            }
            yield_now().await;
        }
    }
}
