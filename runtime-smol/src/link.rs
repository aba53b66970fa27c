//! One connection as the runtime keeps it: the socket, which directions are still open, and what the socket did not take
//! yet. It is small, because there are thousands of them and most are idle: the queue exists only while something waits.
//!
//! It never talks to the machine; [`Driver`](crate::driver::Driver) does.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;

use bytes::{Buf, Bytes};
use portcullis_core::id::ConnId;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};

use crate::secure::Secure;
use crate::watch::{Interest, Watch};

/// What is true of a connection now.
#[derive(Clone, Copy, Default)]
struct Flags {
    /// The machine wants no more bytes for now.
    paused: bool,
    /// The peer's direction ended.
    read_ended: bool,
    /// The machine asked to close in order.
    closing: bool,
    /// Our direction ended.
    write_ended: bool,
    /// It is over; only the socket must still be dropped.
    gone: bool,
}

/// What waits for the socket. Exists only while there is something in it, and always for TLS.
#[derive(Default)]
struct Waiting {
    queue: VecDeque<Bytes>,
    tls: Option<Secure>,
}

/// One connection.
pub(crate) struct Link {
    conn: ConnId,
    flags: Cell<Flags>,
    watched: Cell<Interest>,
    socket: OwnedFd,
    waiting: RefCell<Option<Box<Waiting>>>,
}

// An idle connection is paid for in memory: this, its place in the table, and the machine's own record.
const _: () = assert!(size_of::<Link>() <= 40);

/// The most pieces handed to one `sendmsg`.
const SLICES_MAX: usize = 16;

impl Link {
    /// A connection over a connected non-blocking socket, with TLS on it when there is a session.
    pub(crate) fn new(conn: ConnId, socket: OwnedFd, tls: Option<Secure>) -> Self {
        let waiting = tls.map(|tls| {
            Box::new(Waiting {
                queue: VecDeque::new(),
                tls: Some(tls),
            })
        });
        Self {
            conn,
            flags: Cell::default(),
            watched: Cell::default(),
            socket,
            waiting: RefCell::new(waiting),
        }
    }

    /// Its name.
    pub(crate) const fn conn(&self) -> ConnId {
        self.conn
    }

    /// Whether its end was told (or is about to be).
    pub(crate) fn is_gone(&self) -> bool {
        self.flags.get().gone
    }

    /// Whether the socket is to be read.
    pub(crate) fn wants_read(&self) -> bool {
        let flags = self.flags.get();
        // While it closes in order the peer's end is waited for, whatever was paused before.
        !flags.gone && !flags.read_ended && (!flags.paused || flags.closing)
    }

    /// Whether something waits for the socket to take it.
    pub(crate) fn wants_write(&self) -> bool {
        !self.flags.get().gone && self.is_waiting()
    }

    /// Whether something handed over waits.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
            .borrow()
            .as_ref()
            .is_some_and(|waiting| !waiting.queue.is_empty() || waiting.tls.as_ref().is_some_and(Secure::wants_write))
    }

    /// Whether bytes handed over now may be tried on the socket directly.
    pub(crate) fn is_direct(&self) -> bool {
        self.waiting.borrow().is_none()
    }

    /// Whether there is TLS on it.
    pub(crate) fn is_secure(&self) -> bool {
        self.waiting
            .borrow()
            .as_ref()
            .is_some_and(|waiting| waiting.tls.is_some())
    }

    /// Whether bytes may still be handed over.
    pub(crate) fn is_open_for_writing(&self) -> bool {
        let flags = self.flags.get();
        !flags.gone && !flags.closing
    }

    /// Stops or resumes reading.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.flags.set(Flags {
            paused,
            ..self.flags.get()
        });
    }

    /// Close in order, once what waits is written.
    pub(crate) fn set_closing(&self) {
        self.flags.set(Flags {
            closing: true,
            ..self.flags.get()
        });
    }

    /// The peer's direction ended.
    pub(crate) fn set_read_ended(&self) {
        self.flags.set(Flags {
            read_ended: true,
            ..self.flags.get()
        });
    }

    /// It is over. Returns whether it was not before, so that its end is told once.
    pub(crate) fn set_gone(&self) -> bool {
        let flags = self.flags.replace(Flags {
            gone: true,
            ..self.flags.get()
        });
        if !flags.gone {
            self.waiting.replace(None);
        }
        !flags.gone
    }

    /// What the system has not sent yet is dropped with the socket, and the peer is told with a reset.
    pub(crate) fn reset_on_drop(&self) {
        // A socket that knows no lingering is simply closed.
        let _ = rustix::net::sockopt::set_socket_linger(&self.socket, Some(std::time::Duration::ZERO));
    }

    /// Ends our direction once it was asked for and nothing waits. Returns whether both directions have now ended.
    pub(crate) fn finish(&self) -> bool {
        let flags = self.flags.get();
        if flags.gone || !flags.closing {
            return false;
        }
        if !flags.write_ended {
            if self.is_waiting() || self.say_goodbye() {
                return false;
            }
            // It fails only when the connection is already gone, which the next read tells.
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
            self.flags.set(Flags {
                write_ended: true,
                ..flags
            });
        }
        flags.read_ended
    }

    /// TLS has a last record of its own. Returns whether it still waits for the socket.
    fn say_goodbye(&self) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let Some(tls) = waiting.as_mut().and_then(|waiting| waiting.tls.as_mut()) else {
            return false;
        };
        tls.close();
        // What the last record cannot be given to the socket now waits like anything else.
        tls.flush(&self.socket).is_ok() && tls.wants_write()
    }

    /// Has the socket watched for what it is wanted for now.
    pub(crate) fn watch(&self, watch: &Watch) -> io::Result<()> {
        let interest = Interest {
            read: self.wants_read(),
            write: self.wants_write(),
        };
        watch.change(&self.socket, self.conn, self.watched.replace(interest), interest)
    }

    /// One read of what the peer sent. Zero is the end of its direction.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, _) = rustix::net::recv(&self.socket, buffer, RecvFlags::empty())?;
        Ok(count)
    }

    /// Turns bytes from the socket into bytes for the machine.
    pub(crate) fn decrypt(&self, bytes: &[u8]) -> io::Result<Decrypted> {
        let mut waiting = self.waiting.borrow_mut();
        let Some(tls) = waiting.as_mut().and_then(|waiting| waiting.tls.as_mut()) else {
            return Ok(Decrypted {
                plain: bytes.to_vec(),
                ended: false,
            });
        };
        let decrypted = tls.receive(bytes);
        // What TLS has to say goes first, also when it is why the connection fails.
        tls.flush(&self.socket)?;
        decrypted.map_err(|fault| io::Error::other(fault.detail))
    }

    /// Tries to send at once what nothing waits before. Returns how much the socket took.
    pub(crate) fn send(&self, bytes: &[u8], more: More) -> io::Result<usize> {
        let flags = match more {
            More::Nothing => SendFlags::NOSIGNAL,
            More::End => SendFlags::NOSIGNAL | SendFlags::MORE,
        };
        match rustix::net::send(&self.socket, bytes, flags) {
            Ok(count) => Ok(count),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Queues bytes after what waits.
    pub(crate) fn queue(&self, bytes: Bytes) {
        self.waiting.borrow_mut().get_or_insert_default().queue.push_back(bytes);
    }

    /// Sends what waits as far as the socket takes it. Returns how many of the machine's bytes are done with.
    pub(crate) fn flush(&self) -> io::Result<usize> {
        let mut slot = self.waiting.borrow_mut();
        let Some(waiting) = slot.as_mut() else { return Ok(0) };
        if let Some(tls) = &mut waiting.tls {
            return tls.send(&self.socket, &mut waiting.queue);
        }
        let done = send_queue(&self.socket, &mut waiting.queue)?;
        if waiting.queue.is_empty() {
            *slot = None;
        }
        Ok(done)
    }
}

/// What follows bytes at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum More {
    Nothing,
    /// The end of our direction. The system puts it into the same segment: one packet and one wakened peer for both.
    End,
}

/// Bytes for the machine out of bytes from the socket.
pub(crate) struct Decrypted {
    /// What the peer said.
    pub(crate) plain: Vec<u8>,
    /// Whether it will say no more.
    pub(crate) ended: bool,
}

/// One system call with the oldest pieces; the queue loses what the socket took.
fn send_queue(socket: &OwnedFd, queue: &mut VecDeque<Bytes>) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = slices
        .iter_mut()
        .zip(queue.iter())
        .map(|(slice, bytes)| *slice = IoSlice::new(bytes))
        .count();
    let slices = slices.get(..count).unwrap_or_default();
    let sent = match slices {
        // For one piece the system has the shorter way.
        [only] => rustix::net::send(socket, only, SendFlags::NOSIGNAL),
        many => rustix::net::sendmsg(socket, many, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL),
    };
    let sent = match sent {
        Ok(sent) => sent,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let mut left = sent;
    while let Some(first) = queue.front_mut() {
        if left < first.len() {
            first.advance(left);
            break;
        }
        left -= first.len();
        queue.pop_front();
    }
    Ok(sent)
}
