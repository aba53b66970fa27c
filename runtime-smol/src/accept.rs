//! Accepts connections, a few in a row, and goes on when the system is out of something for a while.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use portcullis_core::id::ListenerId;
use portcullis_core::machine::{Machine, Peer};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use crate::driver::Driver;

/// One connection is accepted for so many sockets that are ready, and one at least: so accepting keeps pace with a loop that
/// has much to do, and one that has little makes no second call only to hear that nobody waits.
const READY_FOR_EACH: usize = 8;
/// How long to wait when the system has no more descriptors or memory for a connection.
const BACK_OFF: Duration = Duration::from_millis(100);

impl<M: Machine + 'static> Driver<M> {
    /// Has a listening socket's connections accepted until [`Self::stop_accepting`].
    pub(crate) fn listen(&self, listener: TcpListener, id: ListenerId) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        // Connections inherit it: one system call less for each. Only a delay is lost when it fails.
        let _ = rustix::net::sockopt::set_tcp_nodelay(&listener, true);
        self.watch.listen(&listener, id)?;
        self.listeners.borrow_mut().push((id, Rc::new(listener)));
        Ok(())
    }

    /// Closes the listening sockets.
    pub(crate) fn stop_accepting(&self) {
        self.listeners.borrow_mut().clear();
    }

    /// Accepts what waits, as befits a look that found so many sockets `ready`. What waits longer is found by the next.
    pub(crate) fn accept(self: &Rc<Self>, id: ListenerId, ready: usize) {
        let Some(listener) = self.listener(id) else { return };
        for _ in 0..=ready / READY_FOR_EACH {
            let accepted = match acceptfrom_with(&listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((socket, peer)) => self.take_over(socket, peer.and_then(|peer| peer.try_into().ok()), id),
                Err(Errno::AGAIN) => return,
                Err(errno) if is_of_one_connection(errno) => Ok(()),
                Err(errno) => Err(errno.into()),
            };
            let line = match &accepted {
                Ok(()) => self.shortage.borrow_mut().passed(Instant::now),
                Err(error) => self.shortage.borrow_mut().met(error, Instant::now()),
            };
            if let Some(line) = line {
                log::warn!("{line}");
            }
            if accepted.is_err() {
                return self.back_off(&listener, id);
            }
        }
    }

    fn listener(&self, id: ListenerId) -> Option<Rc<TcpListener>> {
        let listeners = self.listeners.borrow();
        listeners
            .iter()
            .find(|(other, _)| *other == id)
            .map(|(_, listener)| listener.clone())
    }

    /// Looks away from a listener for a while.
    fn back_off(&self, listener: &TcpListener, id: ListenerId) {
        self.watch.ignore(listener);
        self.resting.borrow_mut().push((Instant::now() + BACK_OFF, id));
    }

    /// How long until a listener is looked at again; `None`: none was looked away from.
    pub(crate) fn rest_left(&self) -> Option<Duration> {
        let resting = self.resting.borrow();
        resting
            .iter()
            .map(|(until, _)| until.saturating_duration_since(Instant::now()))
            .min()
    }

    /// Looks at the listeners again whose rest is over.
    pub(crate) fn end_rests(&self) -> io::Result<()> {
        let now = Instant::now();
        let over: Vec<ListenerId> = {
            let mut resting = self.resting.borrow_mut();
            resting
                .extract_if(.., |(until, _)| *until <= now)
                .map(|(_, id)| id)
                .collect()
        };
        for id in over {
            if let Some(listener) = self.listener(id) {
                self.watch.listen(&*listener, id)?;
            }
        }
        Ok(())
    }

    fn take_over(self: &Rc<Self>, socket: OwnedFd, peer: Option<SocketAddr>, id: ListenerId) -> io::Result<()> {
        // A peer without an address is one that is gone already.
        let Some(peer) = peer else { return Ok(()) };
        self.open(socket, id, Peer::Tcp(peer))
    }
}

/// Errors that `accept` hands on from the connection that it would have returned.
const fn is_of_one_connection(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::INTR
            | Errno::CONNABORTED
            | Errno::PROTO
            | Errno::PERM
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTUNREACH
            | Errno::HOSTDOWN
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::NONET
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_descriptors_is_not_one_connections_error() {
        assert!(is_of_one_connection(Errno::CONNABORTED));
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert!(!is_of_one_connection(errno), "{errno:?}");
        }
    }

    #[test]
    fn a_connection_inherits_that_nothing_is_held_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::sockopt::set_tcp_nodelay(&listener, true).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = acceptfrom_with(&listener, SocketFlags::CLOEXEC).unwrap();
        assert!(rustix::net::sockopt::tcp_nodelay(&socket).unwrap());
    }
}
