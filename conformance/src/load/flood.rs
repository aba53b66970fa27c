//! A flood of refused requests on one connection while another client asks for its health: the flood must cost little and
//! the other client must not notice.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Measurement;
use super::link;
use super::measure::{Latencies, Usage};
use crate::child::Child;
use crate::client::frames::client_frame;

/// Requests that are refused.
const REQUESTS: usize = 20_000;
/// Between two requests of the other client.
const PAUSE: Duration = Duration::from_millis(2);

/// Floods, and measures the other client's latency until the flood is over.
pub(super) fn flood(child: &Child, at_most: Duration) -> Result<Measurement, String> {
    let address = child.address();
    let flooding = link::authenticated(address)?;
    let mut other = link::authenticated(address)?;
    let before = Usage::of(child.id())?;
    let (start, over) = (Instant::now(), AtomicBool::new(false));
    let (latencies, flooded) = std::thread::scope(|scope| {
        let flooded = scope.spawn(|| {
            let flooded = pour(flooding, start + at_most);
            over.store(true, Ordering::Relaxed);
            flooded
        });
        let latencies = watch(&mut other, &over, start + at_most);
        (
            latencies,
            flooded.join().unwrap_or_else(|_| Err("the flood failed".into())),
        )
    });
    let (latencies, flooded) = (latencies?, flooded?);
    let after = Usage::of(child.id())?;
    let reconnected = health_of(address)?;
    Ok(Measurement {
        name: format!("health beside {REQUESTS} refused requests"),
        count: latencies.count(),
        wall: start.elapsed(),
        cpu: after.cpu.saturating_sub(before.cpu),
        p50: latencies.quantile(0.5),
        p99: latencies.quantile(0.99),
        floor: None,
        resident: after.resident,
        more: vec![
            ("refusals sent", flooded.sent.to_string()),
            ("refusals answered", flooded.answered.to_string()),
            ("end of the flood", flooded.end),
            (
                "memory grown by (bytes)",
                after.resident.saturating_sub(before.resident).to_string(),
            ),
            ("log lines", child.log_lines().to_string()),
            ("a new client afterwards (us)", reconnected.as_micros().to_string()),
        ],
    })
}

struct Flooded {
    sent: usize,
    answered: usize,
    end: String,
}

/// Sends as fast as the gateway takes it, reading all the while.
fn pour(mut stream: TcpStream, until: Instant) -> Result<Flooded, String> {
    stream.set_nonblocking(true).map_err(|error| error.to_string())?;
    let request = client_frame(1, br#"{"type":"req","id":"1","method":"no.such"}"#);
    let all = request.repeat(REQUESTS);
    let (mut rest, mut inbox, mut answered) = (all.as_slice(), Vec::new(), 0);
    let mut end = "the time was over".to_owned();
    let mut chunk = [0; 16_384];
    while Instant::now() < until && (answered < REQUESTS || !rest.is_empty()) {
        match stream.write(rest.get(..16_384).unwrap_or(rest)) {
            Ok(size) => rest = rest.get(size..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => rest = &[],
        }
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(size) => inbox.extend_from_slice(chunk.get(..size).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => {
                end = format!("the connection broke: {error}");
                break;
            }
        }
        while let Some((opcode, header, length)) = link::frame_header(&inbox)
            && inbox.len() >= header + length
        {
            let payload: Vec<u8> = inbox.drain(..header + length).skip(header).collect();
            match opcode {
                8 => {
                    end = format!(
                        "close {:?}",
                        String::from_utf8_lossy(payload.get(2..).unwrap_or_default())
                    )
                }
                _ => answered += 1,
            }
        }
    }
    Ok(Flooded {
        sent: (all.len() - rest.len()) / request.len(),
        answered,
        end,
    })
}

fn watch(stream: &mut TcpStream, over: &AtomicBool, until: Instant) -> Result<Latencies, String> {
    let (mut latencies, mut buffer, request) = (Latencies::new(), Vec::new(), link::health_frame());
    while Instant::now() < until && (!over.load(Ordering::Relaxed) || latencies.count() < 100) {
        let start = Instant::now();
        stream
            .write_all(&request)
            .map_err(|error| format!("the other client cannot send: {error}"))?;
        while link::next_frame(stream, &mut buffer)?.0 != 1 {}
        latencies.add(start.elapsed());
        std::thread::sleep(PAUSE);
    }
    Ok(latencies)
}

fn health_of(address: SocketAddr) -> Result<Duration, String> {
    let start = Instant::now();
    let mut stream = link::authenticated(address)?;
    stream
        .write_all(&link::health_frame())
        .map_err(|error| error.to_string())?;
    link::next_frame(&mut stream, &mut Vec::new())?;
    Ok(start.elapsed())
}
