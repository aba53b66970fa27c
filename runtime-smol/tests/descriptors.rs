//! A host that is out of descriptors goes on when there are some again. Alone in its program, because the limit is for a
//! whole process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use portcullis_blocking::clock::Clock;
use portcullis_blocking::store::Store;
use portcullis_blocking::tls::ClientTls;
use portcullis_core::machine::{CloseHow, Input, Machine, Output};
use portcullis_core::time::Now;
use portcullis_smol::{Host, serve};
use rustix::net::{AddressFamily, SocketType, connect, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[derive(Default)]
struct Echo(VecDeque<Output>);

impl Machine for Echo {
    fn handle(&mut self, _now: Now, input: Input<'_>) {
        match input {
            Input::Received { bytes, .. } if *bytes == *b"quit" => self.0.push_back(Output::Drained { clean: true }),
            Input::Received { conn, bytes } => {
                self.0.push_back(Output::Transmit {
                    conn,
                    bytes: Bytes::copy_from_slice(bytes),
                });
            }
            Input::ReadClosed { conn } => self.0.push_back(Output::Close {
                conn,
                how: CloseHow::Flush,
            }),
            _ => {}
        }
    }

    fn poll(&mut self) -> Output {
        self.0.pop_front().unwrap_or(Output::Idle { wake_at: None })
    }
}

/// Takes every descriptor that the process may still have.
fn take_all() -> Vec<File> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(64),
            ..limit
        },
    )
    .unwrap();
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

fn round_trip(stream: &mut TcpStream) {
    let mut back = [0; 4];
    stream.write_all(b"ping").unwrap();
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"ping");
}

#[test]
fn without_descriptors_connections_wait_and_are_served_later() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let host = Host::new(Store::memory(), ClientTls::new(None), Clock::start());
    let serving = std::thread::spawn(move || serve(Echo::default(), vec![listener], host).unwrap());
    let mut first = TcpStream::connect(address).unwrap();
    round_trip(&mut first);
    // Sockets of the clients are made while they can be; then two descriptors are left to the server.
    let clients: Vec<_> = (0..6)
        .map(|_| socket(AddressFamily::INET, SocketType::STREAM, None).unwrap())
        .collect();
    let mut taken = take_all();
    taken.truncate(taken.len() - 2);
    clients.iter().for_each(|client| connect(client, &address).unwrap());
    // Until the server has used both up.
    while File::open("/dev/null").is_ok() {
        std::thread::yield_now();
    }
    for client in clients {
        let mut stream = TcpStream::from(client);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        round_trip(&mut stream);
    }
    // Whoever was served all along still is.
    round_trip(&mut first);
    first.write_all(b"quit").unwrap();
    serving.join().unwrap();
}
