//! Opens connections: connect, TLS handshake if asked for, all within the time limit. Where to is decided in the core.

use std::future::poll_fn;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use async_io::{Async, Timer};
use portcullis_blocking::effects::fault::{fault, from_io};
use portcullis_blocking::tls::TlsSession;
use portcullis_core::effect::{Completion, Dial, DialTo, Fault, FaultKind};
use portcullis_core::id::EffectId;
use portcullis_core::machine::{Input, Machine, Peer};
use rustix::net::RecvFlags;
use smol::future::or;

use super::control::{Control, cancelled};
use crate::driver::{Driver, READ_MAX};
use crate::link::Decrypted;
use crate::secure::Secure;

/// A connection that is ready for the machine.
struct Dialled {
    socket: OwnedFd,
    peer: Peer,
    tls: Option<Secure>,
    /// What the peer said right behind its handshake.
    early: Decrypted,
}

/// Starts dialling; completes the effect itself, because the connection must be in place when the machine hears of it.
pub(super) fn start<M: Machine + 'static>(driver: &Rc<Driver<M>>, effect: EffectId, dial: Dial, control: Rc<Control>) {
    let dialling = driver.clone();
    let task = driver.spawn(async move {
        let result = within_limits(&dialling, dial, &control).await;
        dialling.effects.forget(effect);
        match result {
            Ok(dialled) => hand_over(&dialling, effect, dialled),
            Err(fault) => dialling.turn(
                None,
                Input::Completed {
                    effect,
                    outcome: Err(fault),
                },
            ),
        }
    });
    if let Some(task) = task {
        task.detach();
    }
}

async fn within_limits<M: Machine + 'static>(
    driver: &Rc<Driver<M>>,
    dial: Dial,
    control: &Control,
) -> Result<Dialled, Fault> {
    let tls = dial
        .tls
        .as_ref()
        .map(|tls| driver.effects.tls.session(&tls.server_name))
        .transpose()?;
    let timeout = dial.timeout;
    let late = async {
        Timer::after(timeout).await;
        Err(fault(FaultKind::TimedOut, format!("no connection within {timeout:?}")))
    };
    let unwanted = async {
        control.cancelled().await;
        Err(cancelled())
    };
    or(connect(dial.to, tls), or(late, unwanted)).await
}

async fn connect(to: DialTo, tls: Option<TlsSession>) -> Result<Dialled, Fault> {
    let (socket, peer) = open(to).await.map_err(|error| from_io(&error))?;
    let mut early = Decrypted {
        plain: Vec::new(),
        ended: false,
    };
    let mut tls = tls.map(Secure::new);
    if let Some(tls) = &mut tls {
        early = shake_hands(&socket, tls).await?;
    }
    let socket = socket.into_inner().map_err(|error| from_io(&error))?;
    Ok(Dialled {
        socket,
        peer,
        tls,
        early,
    })
}

async fn open(to: DialTo) -> io::Result<(Async<OwnedFd>, Peer)> {
    let (socket, peer): (OwnedFd, Peer) = match to {
        DialTo::Tcp(address) => {
            let stream = Async::<TcpStream>::connect(address).await?.into_inner()?;
            // Only a delay is lost when it fails.
            let _ = stream.set_nodelay(true);
            (stream.into(), Peer::Tcp(address))
        }
        DialTo::Unix(path) => (
            Async::<UnixStream>::connect(path).await?.into_inner()?.into(),
            Peer::Local,
        ),
    };
    Ok((Async::new_nonblocking(socket)?, peer))
}

async fn shake_hands(socket: &Async<OwnedFd>, tls: &mut Secure) -> Result<Decrypted, Fault> {
    let failed = |error: &io::Error| from_io(error);
    let mut early = Decrypted {
        plain: Vec::new(),
        ended: false,
    };
    let mut buffer = vec![0; READ_MAX];
    loop {
        tls.flush(socket.get_ref()).map_err(|error| failed(&error))?;
        if tls.wants_write() {
            poll_fn(|context| socket.poll_writable(context))
                .await
                .map_err(|error| failed(&error))?;
        } else if !tls.is_handshaking() {
            return Ok(early);
        } else {
            poll_fn(|context| socket.poll_readable(context))
                .await
                .map_err(|error| failed(&error))?;
            let count = match rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((0, _)) => {
                    return Err(fault(
                        FaultKind::Tls,
                        "the peer closed the connection during the handshake",
                    ));
                }
                Ok((count, _)) => count,
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(failed(&errno.into())),
            };
            match tls.receive(buffer.get(..count).unwrap_or_default()) {
                Ok(said) => {
                    early.plain.extend_from_slice(&said.plain);
                    early.ended |= said.ended;
                }
                Err(fault) => {
                    // The peer is told why; that it may not hear it changes nothing.
                    let _ = tls.flush(socket.get_ref());
                    return Err(fault);
                }
            }
        }
    }
}

fn hand_over<M: Machine + 'static>(driver: &Rc<Driver<M>>, effect: EffectId, dialled: Dialled) {
    let link = driver.adopt(dialled.socket, dialled.tls);
    let outcome = Ok(Completion::Dialled {
        conn: link.conn(),
        peer: dialled.peer,
    });
    driver.turn(None, Input::Completed { effect, outcome });
    driver.hear(&link, dialled.early);
    driver.serve(&link);
}
