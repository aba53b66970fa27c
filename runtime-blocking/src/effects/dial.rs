//! Opens a connection: TCP or Unix, and TLS on it if asked. Where to may be dialled was decided in the core; here the
//! address is taken as it is.

use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use portcullis_core::effect::{Dial, DialTo, Fault, FaultKind};
use portcullis_core::machine::Peer;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::fault::{doing, fault};
use crate::server::socket::Socket;
use crate::tls::{ClientTls, TlsSession};

/// An open connection, ready for its reader.
pub(crate) struct Dialled {
    pub(crate) socket: Socket,
    pub(crate) peer: Peer,
    pub(crate) session: Option<TlsSession>,
    /// What the peer said in the same breath as the end of its handshake.
    pub(crate) plain: Vec<u8>,
}

/// Dials and shakes hands within the time that `dial` allows.
pub(crate) fn run(dial: &Dial, tls: &ClientTls) -> Result<Dialled, Fault> {
    let deadline = Instant::now().checked_add(dial.timeout);
    let (socket, peer, name) = match &dial.to {
        DialTo::Tcp(address) => {
            let name = address.to_string();
            let stream = TcpStream::connect_timeout(address, left(deadline)?).map_err(|error| doing(&name, &error))?;
            // A small message must not wait for the acknowledgement of the one before.
            stream.set_nodelay(true).map_err(|error| doing(&name, &error))?;
            (Socket::Tcp(stream), Peer::Tcp(*address), name)
        }
        DialTo::Unix(path) => {
            let stream = unix(path).map_err(|error| doing(path, &error))?;
            (Socket::Unix(stream), Peer::Local, path.clone())
        }
    };
    let mut plain = Vec::new();
    let mut session = dial
        .tls
        .as_ref()
        .map(|client| tls.session(&client.server_name))
        .transpose()?;
    if let Some(session) = &mut session {
        shake_hands(&socket, session, &mut plain, deadline).map_err(|what| match what {
            Stop::Io(error) => doing(&name, &error),
            Stop::Fault(fault) => fault,
        })?;
        socket.set_timeout(None).map_err(|error| doing(&name, &error))?;
    }
    Ok(Dialled {
        socket,
        peer,
        session,
        plain,
    })
}

/// A Unix socket connects at once or not at all: a listener whose backlog is full refuses, so nobody waits without limit.
fn unix(path: &str) -> io::Result<UnixStream> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(UnixStream::from(socket))
}

enum Stop {
    Io(io::Error),
    Fault(Fault),
}

fn shake_hands(
    socket: &Socket,
    session: &mut TlsSession,
    plain: &mut Vec<u8>,
    deadline: Option<Instant>,
) -> Result<(), Stop> {
    let mut buffer = [0; 4_096];
    let mut wire = Vec::new();
    loop {
        session.take_wire(&mut wire);
        socket
            .set_timeout(Some(left(deadline).map_err(Stop::Fault)?))
            .map_err(Stop::Io)?;
        socket.send_all(&wire).map_err(|error| Stop::Io(late(error)))?;
        wire.clear();
        if !session.is_handshaking() {
            return Ok(());
        }
        let count = socket.receive(&mut buffer).map_err(|error| Stop::Io(late(error)))?;
        if count == 0 {
            return Err(Stop::Fault(fault(
                FaultKind::Tls,
                "the peer ended the connection in its TLS handshake",
            )));
        }
        if let Err(refusal) = session.received(buffer.get(..count).unwrap_or_default(), plain) {
            // The alert is a courtesy: the refusal stands whether it arrives or not.
            session.take_wire(&mut wire);
            let _ = socket.send_all(&wire);
            return Err(Stop::Fault(refusal));
        }
    }
}

/// A read that ran into its time-out says that it would have blocked.
fn late(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        io::ErrorKind::TimedOut.into()
    } else {
        error
    }
}

fn left(deadline: Option<Instant>) -> Result<Duration, Fault> {
    // A deadline beyond what the clock can say is none.
    let Some(deadline) = deadline else {
        return Ok(Duration::from_secs(86_400));
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(fault(FaultKind::TimedOut, "the time to dial is over"))
    } else {
        Ok(left)
    }
}
