//! The floor: a server that only echoes bytes, one thread and one epoll, to see what the sockets alone cost. It makes the
//! system calls that no server of the same traffic can do without: accept, watch, read, write, and for the end shutdown,
//! one more read and close.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use rustix::event::epoll;
use rustix::net::{SendFlags, SocketFlags, accept_with, send, sockopt};

/// The listener's name among the sockets.
const LISTENER: u64 = 0;
/// A message that begins so, as a client's WebSocket close frame with a code does, is the last: the server ends its direction
/// first.
const LAST: [u8; 2] = [0x88, 0x82];

/// Prints its URL as a gateway does and echoes until it is killed.
///
/// # Errors
/// What the system refused.
pub fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind(super::loopback())?;
    listener.set_nonblocking(true)?;
    // Connections inherit it.
    sockopt::set_tcp_nodelay(&listener, true)?;
    println!("{{\"url\":\"tcp://{}\"}}", listener.local_addr()?);
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &poller,
        &listener,
        epoll::EventData::new_u64(LISTENER),
        epoll::EventFlags::IN,
    )?;
    let mut streams: BTreeMap<u64, TcpStream> = BTreeMap::new();
    let (mut last, mut chunk, mut events) = (LISTENER, [0; 16_384], Vec::with_capacity(256));
    loop {
        events.clear();
        match epoll::wait(&poller, rustix::buffer::spare_capacity(&mut events), None) {
            Err(error) if error != rustix::io::Errno::INTR => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            let name = event.data.u64();
            if name == LISTENER {
                if let Ok(socket) = accept_with(&listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                    let stream = TcpStream::from(socket);
                    last += 1;
                    epoll::add(&poller, &stream, epoll::EventData::new_u64(last), epoll::EventFlags::IN)?;
                    streams.insert(last, stream);
                }
            } else if streams.get_mut(&name).is_some_and(|stream| !echo(stream, &mut chunk)) {
                streams.remove(&name);
            }
        }
    }
}

/// Echoes what one read brings; whether the connection lives on. The load client never lets more wait than a socket holds.
fn echo(stream: &mut TcpStream, chunk: &mut [u8]) -> bool {
    match stream.read(chunk) {
        Ok(0) => false,
        Ok(size) => {
            let message = chunk.get(..size).unwrap_or_default();
            if message.starts_with(&LAST) {
                // The end of the stream leaves in the same segment.
                return send(&*stream, message, SendFlags::MORE).is_ok() && stream.shutdown(Shutdown::Write).is_ok();
            }
            stream.write_all(message).is_ok()
        }
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    }
}
