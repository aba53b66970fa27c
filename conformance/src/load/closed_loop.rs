//! Closed-loop load: so many connections with so many requests in flight on each; every answer sends the next request.
//! One thread, one epoll, one read buffer.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use super::Measurement;
use super::link::{self, Answer};
use super::measure::Latencies;

/// `health` over the operator protocol.
pub(super) fn health(
    address: SocketAddr,
    connections: usize,
    in_flight: usize,
    total: u64,
    at_most: Duration,
) -> Result<Measurement, String> {
    let streams = (0..connections)
        .map(|_| link::authenticated(address))
        .collect::<Result<_, _>>()?;
    let work = Work {
        request: link::health_frame(),
        answer: Answer::Frame,
        in_flight,
        total,
        at_most,
    };
    let name = format!("health, {connections} x {in_flight} in flight");
    run(name, streams, &work)
}

/// `GET /health` on connections that are kept alive.
pub(super) fn http(
    address: SocketAddr,
    connections: usize,
    total: u64,
    at_most: Duration,
) -> Result<Measurement, String> {
    let streams = (0..connections)
        .map(|_| link::open(address))
        .collect::<Result<_, _>>()?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
    let work = Work {
        request,
        answer: Answer::Http,
        in_flight: 1,
        total,
        at_most,
    };
    run(format!("GET /health, {connections} x 1"), streams, &work)
}

/// Bytes through an echo: what the sockets alone cost.
pub(super) fn raw(
    address: SocketAddr,
    connections: usize,
    in_flight: usize,
    total: u64,
    at_most: Duration,
) -> Result<Measurement, String> {
    let name = format!("raw TCP echo, {connections} x {in_flight} in flight");
    let echoed = echoes(address, (connections, in_flight), link::health_frame(), total, at_most)?;
    Ok(Measurement { name, ..echoed })
}

/// Any message through an echo, on so many connections with so many in flight on each.
pub(super) fn echoes(
    address: SocketAddr,
    (connections, in_flight): (usize, usize),
    request: Vec<u8>,
    total: u64,
    at_most: Duration,
) -> Result<Measurement, String> {
    let streams = (0..connections)
        .map(|_| link::open(address))
        .collect::<Result<_, _>>()?;
    let work = Work {
        answer: Answer::Bytes(request.len()),
        request,
        in_flight,
        total,
        at_most,
    };
    run(String::new(), streams, &work)
}

struct Work {
    request: Vec<u8>,
    answer: Answer,
    in_flight: usize,
    total: u64,
    at_most: Duration,
}

struct Link {
    stream: TcpStream,
    inbox: Vec<u8>,
    sent_at: VecDeque<Instant>,
}

fn run(name: String, streams: Vec<TcpStream>, work: &Work) -> Result<Measurement, String> {
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| format!("epoll: {error}"))?;
    let mut links = Vec::with_capacity(streams.len());
    for (index, stream) in (0_u64..).zip(streams) {
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        epoll::add(
            &poller,
            &stream,
            epoll::EventData::new_u64(index),
            epoll::EventFlags::IN,
        )
        .map_err(|error| format!("epoll: {error}"))?;
        links.push(Link {
            stream,
            inbox: Vec::new(),
            sent_at: VecDeque::new(),
        });
    }
    let start = Instant::now();
    let mut latencies = Latencies::new();
    let mut unsent = work.total;
    for link in &mut links {
        link.send(work, work.in_flight, &mut unsent)?;
    }
    let mut events = Vec::with_capacity(256);
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    while latencies.count() < work.total {
        if start.elapsed() > work.at_most {
            break;
        }
        events.clear();
        match epoll::wait(&poller, rustix::buffer::spare_capacity(&mut events), Some(&second)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(format!("epoll: {error}")),
        }
        for event in &events {
            let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            if let Some(link) = links.get_mut(index) {
                let answers = link.receive(work, &mut latencies)?;
                link.send(work, answers, &mut unsent)?;
            }
        }
    }
    Ok(Measurement {
        name,
        count: latencies.count(),
        wall: start.elapsed(),
        p50: latencies.quantile(0.5),
        p99: latencies.quantile(0.99),
        ..Measurement::default()
    })
}

impl Link {
    /// Sends up to `count` requests in one write.
    fn send(&mut self, work: &Work, count: usize, unsent: &mut u64) -> Result<(), String> {
        let count = count.min(usize::try_from(*unsent).unwrap_or(usize::MAX));
        if count == 0 {
            return Ok(());
        }
        *unsent -= count as u64;
        let bytes = work.request.repeat(count);
        let now = Instant::now();
        (0..count).for_each(|_| self.sent_at.push_back(now));
        let mut rest = bytes.as_slice();
        let deadline = now + Duration::from_secs(10);
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(size) => rest = rest.get(size..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                    std::thread::yield_now()
                }
                Err(error) => return Err(format!("cannot send: {error}")),
            }
        }
        Ok(())
    }

    /// Reads once and counts the answers.
    fn receive(&mut self, work: &Work, latencies: &mut Latencies) -> Result<usize, String> {
        let mut chunk = [0; 65_536];
        let size = match self.stream.read(&mut chunk) {
            Ok(0) => return Err("the server ended a connection".into()),
            Ok(size) => size,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(0),
            Err(error) => return Err(format!("cannot receive: {error}")),
        };
        let read = chunk.get(..size).unwrap_or_default();
        let whole = self.inbox.is_empty();
        if !whole {
            self.inbox.extend_from_slice(read);
        }
        let bytes: &[u8] = if whole { read } else { &self.inbox };
        let (mut used, mut answers) = (0, 0);
        let now = Instant::now();
        while let Some((size, counts)) = work.answer.size(bytes.get(used..).unwrap_or_default()) {
            used += size;
            if counts && let Some(sent) = self.sent_at.pop_front() {
                latencies.add(now.saturating_duration_since(sent));
                answers += 1;
            }
        }
        let rest = bytes.get(used..).unwrap_or_default().to_vec();
        self.inbox = rest;
        Ok(answers)
    }
}
