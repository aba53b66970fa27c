//! Closed loop over pairs of a client and an agent: each message that is answered is followed by the next one.

use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use super::pair::{Pair, Side};
use crate::child::Child;
use crate::load::Measurement;
use crate::load::measure::{Latencies, Usage};

/// `total` messages over `agents` sessions.
pub(super) fn run(child: &Child, agents: usize, total: u64, at_most: Duration) -> Result<Measurement, String> {
    let mut pairs = Vec::with_capacity(agents);
    for number in 0..agents {
        pairs.push(Pair::new(child.address(), number).map_err(|why| format!("pair {number}: {why}"))?);
    }
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| format!("epoll: {error}"))?;
    for (number, pair) in (0_u64..).zip(&pairs) {
        for (place, side) in (0_u64..).zip(Side::ALL) {
            let data = epoll::EventData::new_u64(number * 3 + place);
            epoll::add(&poller, pair.stream(side), data, epoll::EventFlags::IN)
                .map_err(|error| format!("epoll: {error}"))?;
        }
    }
    // What came before is no message.
    let before = Usage::of(child.id())?;
    let (start, mut latencies, mut unsent) = (Instant::now(), Latencies::new(), total);
    for pair in &mut pairs {
        if unsent > 0 {
            unsent -= 1;
            pair.prompt()?;
        }
    }
    let mut events = Vec::with_capacity(256);
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    while latencies.count() < total && start.elapsed() < at_most {
        events.clear();
        match epoll::wait(&poller, rustix::buffer::spare_capacity(&mut events), Some(&second)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(format!("epoll: {error}")),
        }
        for event in &events {
            let at = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            let (Some(pair), Some(side)) = (pairs.get_mut(at / 3), Side::ALL.get(at % 3)) else {
                continue;
            };
            if let Some(took) = pair.receive(*side)? {
                latencies.add(took);
                if unsent > 0 {
                    unsent -= 1;
                    pair.prompt()?;
                }
            }
        }
    }
    Ok(Measurement {
        name: format!("relay messages, {agents} agent{}", if agents == 1 { "" } else { "s" }),
        count: latencies.count(),
        wall: start.elapsed(),
        cpu: Usage::of(child.id())?.cpu.saturating_sub(before.cpu),
        p50: latencies.quantile(0.5),
        p99: latencies.quantile(0.99),
        ..Measurement::default()
    })
}
