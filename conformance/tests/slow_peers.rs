//! Peers that do not read, or are not there any more, over real sockets on both runtimes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use portcullis_conformance::child::Child;
use portcullis_conformance::client::frames::client_frame;
use portcullis_conformance::serve::{self, Runtime};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

const PATIENCE: Duration = Duration::from_secs(20);

fn on_both(set: &[&str], story: impl Fn(&Child) -> Result<(), Failure>) {
    for runtime in [Runtime::Smol, Runtime::Blocking] {
        let program = serve::own(PathBuf::from(env!("CARGO_BIN_EXE_portcullis-conformance")), runtime);
        let args = set
            .iter()
            .flat_map(|set| ["--set".to_owned(), (*set).to_owned()])
            .collect();
        let child = Child::start(&program, args, true).unwrap_or_else(|why| panic!("{why}"));
        if let Err(why) = story(&child) {
            panic!("{}: {why}", runtime.name());
        }
    }
}

/// A connection that has finished the handshake; it has read nothing but the 101.
fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let client = json!({"id": "slow", "version": "1", "platform": "test", "mode": "test"});
    let params = json!({"minProtocol": 1, "maxProtocol": 1, "client": client,
        "auth": {"token": portcullis_conformance::vector::TOKEN}});
    let connect = json!({"type": "req", "id": "c", "method": "connect", "params": params}).to_string();
    let head = format!(
        "GET /gateway HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&client_frame(1, connect.as_bytes()))?;
    let mut byte = [0; 1];
    stream.read_exact(&mut byte)?;
    Ok(stream)
}

/// What `GET /health` tells as `connectedClients`.
fn clients(address: SocketAddr) -> Result<u64, Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let body = text.split_once("\r\n\r\n").ok_or("no body")?.1;
    let health: Value = serde_json::from_str(body)?;
    Ok(health
        .get("connectedClients")
        .and_then(Value::as_u64)
        .ok_or("no connectedClients")?)
}

fn until_clients(address: SocketAddr, count: u64) -> Result<(), Failure> {
    let start = Instant::now();
    while clients(address)? != count {
        if start.elapsed() > PATIENCE {
            return Err(format!("there are {} clients, not {count}", clients(address)?).into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Asks for more output than the sockets of both ends hold.
fn ask_for_much(stream: &mut TcpStream) -> Result<(), Failure> {
    for number in 0..60 {
        let params =
            json!({"idempotencyKey": format!("k{number}"), "message": "m".repeat(100_000), "disableSession": true});
        let request = json!({"type": "req", "id": "r", "method": "agent.run", "params": params}).to_string();
        stream.write_all(&client_frame(1, request.as_bytes()))?;
    }
    Ok(())
}

#[test]
fn a_client_that_never_reads_is_dropped() {
    on_both(&["gateway.maxBufferedBytes=65536"], |child| {
        let mut slow = connect(child.address())?;
        until_clients(child.address(), 1)?;
        ask_for_much(&mut slow)?;
        until_clients(child.address(), 0)
    });
}

#[test]
fn a_client_that_reads_again_learns_why_it_was_closed() {
    on_both(&["gateway.maxBufferedBytes=65536"], |child| {
        let mut slow = connect(child.address())?;
        ask_for_much(&mut slow)?;
        std::thread::sleep(Duration::from_millis(300));
        let mut all = Vec::new();
        // The end may be a reset: the gateway does not wait for ever.
        let _ = slow.read_to_end(&mut all);
        let close = [&[0x88, 15, 0x03, 0xf0][..], b"slow consumer"].concat();
        if all.ends_with(&close) {
            Ok(())
        } else {
            let end = all.get(all.len().saturating_sub(40)..).unwrap_or_default();
            Err(format!(
                "{} bytes came; the last are {:?}",
                all.len(),
                String::from_utf8_lossy(end)
            )
            .into())
        }
    });
}

#[test]
fn a_peer_that_leaves_two_pings_unanswered_is_dropped() {
    on_both(&["gateway.tickIntervalMs=1000"], |child| {
        let mut silent = connect(child.address())?;
        until_clients(child.address(), 1)?;
        let start = Instant::now();
        let mut all = Vec::new();
        let _ = silent.read_to_end(&mut all);
        let pings = all.windows(2).filter(|pair| *pair == [0x89, 0]).count();
        if pings == 2 && start.elapsed() < PATIENCE {
            until_clients(child.address(), 0)
        } else {
            Err(format!("{pings} pings came in {} ms", start.elapsed().as_millis()).into())
        }
    });
}
