//! Watches the sockets of all connections and listeners in one epoll set, level-triggered: a request needs no re-arming of
//! its socket, and an idle connection no task, no waker and no entry in a reactor. It only says what is ready; what to do
//! about it is the driver's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::id::{ConnId, ListenerId};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::bell::Bell;

/// Events taken in one look.
pub(crate) const EVENTS_MAX: usize = 256;
/// What marks a listener among the connections, whose names never grow so large.
const LISTENER: u64 = 1 << 63;
/// The bell: no connection has this name.
const BELL: u64 = 0;

/// What of a socket is watched; nothing at all is not watched either, so that a broken one cannot keep us busy.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
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

/// Something that is ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReadyEvent {
    /// A task was woken from another thread.
    Bell,
    /// A connection waits to be accepted.
    Listener(ListenerId),
    /// A connection may be read or written.
    Connection(ConnId, Interest),
}

/// The set of watched sockets.
pub(crate) struct Watch {
    set: OwnedFd,
    pub(crate) bell: Arc<Bell>,
}

impl Watch {
    pub(crate) fn new() -> io::Result<Self> {
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = Arc::new(Bell::new()?);
        epoll::add(&set, &bell.event, EventData::new_u64(BELL), EventFlags::IN)?;
        Ok(Self { set, bell })
    }

    /// Has a socket watched for what it is wanted for now, which was `was` before.
    pub(crate) fn change(&self, socket: &OwnedFd, conn: ConnId, was: Interest, now: Interest) -> io::Result<()> {
        let data = EventData::new_u64(conn.get());
        match (was, now) {
            _ if was == now => {}
            (Interest::NONE, _) => epoll::add(&self.set, socket, data, now.flags())?,
            (_, Interest::NONE) => epoll::delete(&self.set, socket)?,
            _ => epoll::modify(&self.set, socket, data, now.flags())?,
        }
        Ok(())
    }

    /// Watches a listening socket.
    pub(crate) fn listen(&self, socket: impl AsFd, id: ListenerId) -> io::Result<()> {
        let data = EventData::new_u64(LISTENER | u64::from(id.0));
        Ok(epoll::add(&self.set, socket, data, EventFlags::IN)?)
    }

    /// Does so no longer.
    pub(crate) fn ignore(&self, socket: impl AsFd) {
        // It fails only when the socket is not watched.
        let _ = epoll::delete(&self.set, socket);
    }

    /// Waits until something is ready, at most so long (`None`: for ever).
    pub(crate) fn wait(&self, events: &mut Vec<Event>, at_most: Option<Duration>) -> io::Result<()> {
        events.clear();
        // Whole milliseconds, rounded up: nobody is woken too early only to wait again. A day is for ever.
        let timeout = at_most.map(|time| {
            let millis = time.as_micros().div_ceil(1_000).min(86_400_000) as u32;
            Timespec {
                tv_sec: i64::from(millis / 1_000),
                tv_nsec: i64::from(millis % 1_000) * 1_000_000,
            }
        });
        match epoll::wait(&self.set, spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What an event says.
    pub(crate) fn read(event: &Event) -> Option<ReadyEvent> {
        let (flags, data) = (event.flags, event.data);
        let data = data.u64();
        if data == BELL {
            return Some(ReadyEvent::Bell);
        }
        if data & LISTENER != 0 {
            return u16::try_from(data & !LISTENER)
                .ok()
                .map(|id| ReadyEvent::Listener(ListenerId(id)));
        }
        let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let read = failed || flags.intersects(EventFlags::IN | EventFlags::RDHUP);
        let write = failed || flags.contains(EventFlags::OUT);
        ConnId::new(data).map(|conn| ReadyEvent::Connection(conn, Interest { read, write }))
    }
}
