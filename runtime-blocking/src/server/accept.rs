//! The accept threads: one for each listener. What the system lacks for a moment (descriptors, memory) is waited for.

use std::io::{self, PipeReader};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_core::id::ListenerId;
use portcullis_core::machine::{Machine, Peer};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::hub::Hub;
use super::peers;
use super::socket::Socket;
use crate::shortage::Shortage;

/// After an error that accepting on could only repeat.
const BACK_OFF: Duration = Duration::from_millis(50);
const STACK: usize = 64 * 1024;

/// Starts the threads. They end, and close their listeners, when the writing end of `stop` is closed.
pub(super) fn start<M: Machine + Send + 'static>(
    hub: &Arc<Hub<M>>,
    listeners: Vec<TcpListener>,
    stop: PipeReader,
) -> io::Result<()> {
    let stop = Arc::new(stop);
    for (number, listener) in (0..=u16::MAX).zip(listeners) {
        // A connection that is gone between the wait and the accept must not hold the thread.
        listener.set_nonblocking(true)?;
        // Connections inherit it: one system call less for each. Only a delay is lost when it fails.
        let _ = rustix::net::sockopt::set_tcp_nodelay(&listener, true);
        let (hub, stop) = (Arc::clone(hub), Arc::clone(&stop));
        let alive = hub.accepters.enter();
        thread::Builder::new()
            .name(format!("accept-{number}"))
            .stack_size(STACK)
            .spawn(move || {
                let _alive = alive;
                run(&hub, &listener, ListenerId(number), &stop);
            })?;
    }
    Ok(())
}

fn run<M: Machine + Send + 'static>(hub: &Arc<Hub<M>>, listener: &TcpListener, id: ListenerId, stop: &PipeReader) {
    let mut shortage = Shortage::default();
    loop {
        let mut wanted = [PollFd::new(listener, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut wanted, None) {
            Err(Errno::INTR) => continue,
            Err(_) => thread::sleep(BACK_OFF),
            Ok(_) => {}
        }
        if wanted.last().is_some_and(|stop| !stop.revents().is_empty()) {
            return;
        }
        match listener.accept() {
            Ok((stream, address)) => {
                if let Some(line) = shortage.passed(Instant::now) {
                    log::warn!("{line}");
                }
                admit(hub, stream, Peer::Tcp(address), id);
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                _ => {
                    if let Some(line) = shortage.met(&error, Instant::now()) {
                        log::warn!("{line}");
                    }
                    thread::sleep(BACK_OFF);
                }
            },
        }
    }
}

fn admit<M: Machine + Send + 'static>(hub: &Arc<Hub<M>>, stream: TcpStream, peer: Peer, listener: ListenerId) {
    // The standard library accepts by `accept4`, whose flags decide whether a connection waits: it does, unlike the listener.
    let Some(alive) = hub.threads.enter() else {
        log::debug!("a connection from {peer} is closed at once: no thread is left for it");
        return;
    };
    let back = Arc::clone(hub);
    let started = hub.pools.readers.run_now(Box::new(move || {
        let _alive = alive;
        peers::accepted(&back, Socket::Tcp(stream), listener, peer);
    }));
    if let Err(error) = started {
        log::warn!("a connection from {peer} is closed at once: {error}");
        thread::sleep(BACK_OFF);
    }
}
