//! Tells the service manager how the gateway is (systemd's notification protocol: datagrams to the Unix socket that
//! `NOTIFY_SOCKET` names). Without a service manager it does nothing. It never waits and never fails the gateway.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// What the service manager is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Connections are taken.
    Ready,
    /// Settings are read again. `Ready` follows.
    Reloading {
        /// `CLOCK_MONOTONIC` in microseconds, which systemd asks for.
        monotonic_us: u64,
    },
    /// The gateway drains and then ends.
    Stopping,
}

/// The service manager's socket, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Supervisor(Option<SocketAddr>);

impl Supervisor {
    /// The one that the value of `NOTIFY_SOCKET` names: a path, or an abstract name after `@`. Anything else is none.
    #[must_use]
    pub fn of(notify_socket: Option<&std::ffi::OsStr>) -> Self {
        let address = notify_socket.and_then(|name| match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
            [b'/', ..] => SocketAddr::from_pathname(Path::new(name)).ok(),
            _ => None,
        });
        Self(address)
    }

    /// Tells it.
    pub fn tell(&self, state: State) {
        let Some(address) = &self.0 else { return };
        let message = match state {
            State::Ready => String::from("READY=1\nSTATUS=serving\n"),
            State::Reloading { monotonic_us } => format!("RELOADING=1\nMONOTONIC_USEC={monotonic_us}\n"),
            State::Stopping => String::from("STOPPING=1\nSTATUS=draining\n"),
        };
        if let Err(error) = send(address, message.as_bytes()) {
            log::warn!("the service manager cannot be told {state:?}: {error}");
        }
    }
}

fn send(address: &SocketAddr, message: &[u8]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // A service manager that does not read must not hold the gateway up.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message, address).map(drop)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn both_kinds_of_sockets_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listening = UnixDatagram::bind(&path).unwrap();
        Supervisor::of(Some(path.as_os_str())).tell(State::Ready);
        let mut buffer = [0; 100];
        let read = listening.recv(&mut buffer).unwrap();
        assert!(buffer[..read].starts_with(b"READY=1\n"));
        let name = format!("portcullis-test-{}", std::process::id());
        let listening = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Supervisor::of(Some(OsStr::new(&format!("@{name}")))).tell(State::Stopping);
        let read = listening.recv(&mut buffer).unwrap();
        assert!(buffer[..read].starts_with(b"STOPPING=1\n"));
    }

    #[test]
    fn no_service_manager_or_a_dead_one_is_nobody() {
        for name in [
            None,
            Some(OsStr::new("")),
            Some(OsStr::new("relative")),
            Some(OsStr::new("/no/such/socket")),
        ] {
            Supervisor::of(name).tell(State::Ready);
        }
    }
}
