//! Accepts connections, a few in a row, and goes on when the system is out of something for a while.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use async_io::{Async, Timer};
use portcullis_core::id::ListenerId;
use portcullis_core::machine::{Machine, Peer};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use crate::driver::Driver;

/// Connections accepted before the others have their turn.
const BATCH_MAX: usize = 32;
/// How long to wait when the system has no more descriptors or memory for a connection.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Accepts until the task is dropped, which closes the listening socket.
pub(crate) async fn accept<M: Machine + 'static>(driver: Rc<Driver<M>>, listener: Async<TcpListener>, id: ListenerId) {
    loop {
        if poll_fn(|context| listener.poll_readable(context)).await.is_err() || !accept_batch(&driver, &listener, id) {
            Timer::after(BACK_OFF).await;
        }
    }
}

/// Accepts what waits, up to a batch. Returns whether the system could keep up.
fn accept_batch<M: Machine + 'static>(driver: &Rc<Driver<M>>, listener: &Async<TcpListener>, id: ListenerId) -> bool {
    for _ in 0..BATCH_MAX {
        let accepted = match acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((socket, peer)) => open(driver, socket, peer.and_then(|peer| peer.try_into().ok()), id),
            Err(Errno::AGAIN) => return true,
            Err(errno) if is_of_one_connection(errno) => Ok(()),
            Err(errno) => Err(errno.into()),
        };
        if let Err(error) = accepted {
            log::warn!("cannot accept connections for now: {error}; trying again in {BACK_OFF:?}");
            return false;
        }
    }
    true
}

fn open<M: Machine + 'static>(
    driver: &Rc<Driver<M>>,
    socket: OwnedFd,
    peer: Option<SocketAddr>,
    id: ListenerId,
) -> io::Result<()> {
    // A peer without an address is one that is gone already.
    let Some(peer) = peer else { return Ok(()) };
    // Only a delay is lost when it fails.
    let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
    driver.open(socket, id, Peer::Tcp(peer))
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
}
