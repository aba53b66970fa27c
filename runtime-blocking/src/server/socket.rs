//! One connected socket, TCP or Unix, with the few calls that the server makes: reads may wait, writes never do.

use std::io::{self, IoSlice, Read};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Waits for bytes; 0 is the end of the stream.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Self::Tcp(socket) => (&*socket).read(buffer),
                Self::Unix(socket) => (&*socket).read(buffer),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Hands bytes to the system as far as it takes them now; `WouldBlock` when it takes none. When `then_end`, the end of
    /// the write direction follows at once: the system puts both into one segment.
    pub(crate) fn send(&self, slices: &[IoSlice<'_>], then_end: bool) -> io::Result<usize> {
        let mut flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        flags.set(SendFlags::MORE, then_end);
        loop {
            // The usual case is one piece, for which the system has the shorter way.
            let sent = match slices {
                [only] => send(self, only, flags),
                many => sendmsg(self, many, &mut SendAncillaryBuffer::default(), flags),
            };
            match sent {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(count) => return Ok(count),
            }
        }
    }

    /// Waits until a send may take bytes again, or the connection has ended.
    pub(crate) fn wait_writable(&self) {
        let mut wanted = [PollFd::new(self, PollFlags::OUT)];
        while poll(&mut wanted, None) == Err(Errno::INTR) {}
    }

    /// Ends the write direction in order.
    pub(crate) fn end_writing(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    /// Ends both directions, which also wakes whoever waits in a read. `reset` drops what the system has not sent yet.
    pub(crate) fn end(&self, reset: bool) {
        if reset {
            // The system may refuse it for a Unix socket, which keeps nothing to drop.
            let _ = rustix::net::sockopt::set_socket_linger(self, Some(Duration::ZERO));
        }
        // A connection that has ended already cannot be ended again.
        let _ = self.shutdown(Shutdown::Both);
    }

    /// Bounds how long a read or a write may wait; `None` is for ever.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket
                .set_read_timeout(timeout)
                .and_then(|()| socket.set_write_timeout(timeout)),
            Self::Unix(socket) => socket
                .set_read_timeout(timeout)
                .and_then(|()| socket.set_write_timeout(timeout)),
        }
    }

    /// Writes everything, waiting as long as the timeout allows.
    pub(crate) fn send_all(&self, bytes: &[u8]) -> io::Result<()> {
        use std::io::Write;
        match self {
            Self::Tcp(socket) => (&*socket).write_all(bytes),
            Self::Unix(socket) => (&*socket).write_all(bytes),
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.shutdown(how),
            Self::Unix(socket) => socket.shutdown(how),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}
