//! The floor: a server that only echoes bytes, one thread and one epoll, to see what the sockets alone cost.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::event::epoll;

/// The listener's name among the sockets.
const LISTENER: u64 = 0;

/// Prints its URL as a gateway does and echoes until it is killed.
///
/// # Errors
/// What the system refused.
pub fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind(super::loopback())?;
    listener.set_nonblocking(true)?;
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
                if let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
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
        Ok(size) => stream.write_all(chunk.get(..size).unwrap_or_default()).is_ok(),
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    }
}
