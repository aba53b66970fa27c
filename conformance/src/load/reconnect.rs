//! Whole lives of connections: connect, upgrade and handshake in one, `health`, close, again; and beside them the lives of
//! plain TCP connections with the same round trips: four, the one that opens the connection included, and one for the end.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Measurement;
use super::link;
use super::measure::Latencies;
use crate::client::frames::client_frame;

/// Clients at the same time.
const CLIENTS: u64 = 4;

/// `total` rounds with a gateway.
pub(super) fn rounds(address: SocketAddr, total: u64, at_most: Duration) -> Result<Measurement, String> {
    live("connect + handshake + health + close", address, total, at_most, round)
}

/// `total` rounds with the raw TCP echo, by as many clients: what the client of [`rounds`] sends comes back as it was.
pub(super) fn raw_rounds(address: SocketAddr, total: u64, at_most: Duration) -> Result<Measurement, String> {
    live("raw TCP connect + 3 echoes + close", address, total, at_most, raw_round)
}

/// One life of a connection.
type Round = fn(SocketAddr) -> Result<(), String>;

fn live(name: &str, address: SocketAddr, total: u64, at_most: Duration, round: Round) -> Result<Measurement, String> {
    let start = Instant::now();
    let mut latencies = Latencies::new();
    let each = total.div_ceil(CLIENTS).max(1);
    let results: Vec<Result<Latencies, String>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(move || client(address, each, start + at_most, round)))
            .collect();
        let ended = |client: std::thread::ScopedJoinHandle<'_, _>| {
            client.join().unwrap_or_else(|_| Err("a client failed".into()))
        };
        clients.into_iter().map(ended).collect()
    });
    for result in results {
        latencies.merge(&result?);
    }
    Ok(Measurement {
        name: name.into(),
        count: latencies.count(),
        wall: start.elapsed(),
        p50: latencies.quantile(0.5),
        p99: latencies.quantile(0.99),
        ..Measurement::default()
    })
}

fn client(address: SocketAddr, rounds: u64, until: Instant, round: Round) -> Result<Latencies, String> {
    let mut latencies = Latencies::new();
    for _ in 0..rounds {
        let start = Instant::now();
        if start > until {
            break;
        }
        round(address)?;
        latencies.add(start.elapsed());
    }
    Ok(latencies)
}

fn round(address: SocketAddr) -> Result<(), String> {
    let mut stream = link::authenticated(address)?;
    let failed = |error: std::io::Error| format!("a round broke off: {error}");
    stream.write_all(&link::health_frame()).map_err(failed)?;
    let mut buffer = Vec::new();
    link::next_text(&mut stream, &mut buffer).map_err(|why| format!("waiting for the health: {why}"))?;
    stream.write_all(&close_frame()).map_err(failed)?;
    let (opcode, _) =
        link::next_frame(&mut stream, &mut buffer).map_err(|why| format!("waiting for the close frame: {why}"))?;
    if opcode != 8 {
        return Err(format!("a frame with opcode {opcode} instead of the close frame"));
    }
    // The gateway ends the stream after its close frame.
    stream.read(&mut [0; 64]).map_err(failed).map(drop)
}

fn raw_round(address: SocketAddr) -> Result<(), String> {
    let mut stream = link::open(address)?;
    let failed = |error: std::io::Error| format!("a raw round broke off: {error}");
    for message in [link::opening(address), link::health_frame(), close_frame()] {
        stream.write_all(&message).map_err(failed)?;
        let mut echo = vec![0; message.len()];
        stream.read_exact(&mut echo).map_err(failed)?;
    }
    // The echo ends the stream after the close frame, as the gateway does.
    stream.read(&mut [0; 64]).map_err(failed).map(drop)
}

fn close_frame() -> Vec<u8> {
    client_frame(8, &1000_u16.to_be_bytes())
}
