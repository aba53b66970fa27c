//! What a process costs, from `/proc`, and the distribution of latencies.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Processor time and memory of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    /// Bytes.
    pub(super) resident: u64,
}

impl Usage {
    /// Of the process with this id, now.
    pub(super) fn of(pid: u32) -> Result<Self, String> {
        let read = |file: &str| {
            std::fs::read_to_string(format!("/proc/{pid}/{file}"))
                .map_err(|error| format!("/proc/{pid}/{file}: {error}"))
        };
        let stat = read("stat")?;
        // The name in brackets may contain anything; what counts comes after the last bracket.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_whitespace()
            .collect();
        let ticks = |index: usize| {
            fields
                .get(index)
                .and_then(|field| field.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        let cpu = Duration::from_micros((ticks(11) + ticks(12)) * 1_000_000 / per_second);
        let statm = read("statm")?;
        let pages = statm
            .split_whitespace()
            .nth(1)
            .and_then(|pages| pages.parse::<u64>().ok())
            .unwrap_or(0);
        Ok(Self {
            cpu,
            resident: pages * rustix::param::page_size() as u64,
        })
    }
}

/// As many open files as the system lets us have; children inherit it.
pub(super) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot be raised, large scenarios say so when they run out.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// Latencies in a fixed number of buckets: each at most 1.6 % wide.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
}

/// Buckets for each doubling.
const STEPS: u64 = 64;

impl Latencies {
    pub(super) fn new() -> Self {
        Self {
            buckets: vec![0; 64 * 64],
            count: 0,
        }
    }

    pub(super) fn add(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(STEPS);
        let doubling = u64::from(nanos.ilog2()) - 6;
        let index = doubling * STEPS + ((nanos >> doubling) - STEPS);
        if let Some(bucket) = usize::try_from(index)
            .ok()
            .and_then(|index| self.buckets.get_mut(index))
        {
            *bucket += 1;
            self.count += 1;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.buckets
            .iter_mut()
            .zip(&other.buckets)
            .for_each(|(mine, theirs)| *mine += theirs);
        self.count += other.count;
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The latency within which `part` (0 to 1) of all lie.
    pub(super) fn quantile(&self, part: f64) -> Duration {
        let wanted = (self.count as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (index, bucket) in (0_u64..).zip(&self.buckets) {
            seen += bucket;
            if seen >= wanted && seen > 0 {
                return Duration::from_nanos((STEPS + index % STEPS) << (index / STEPS));
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_near_the_truth() {
        let mut latencies = Latencies::new();
        (1..=1_000).for_each(|micros| latencies.add(Duration::from_micros(micros)));
        for (part, truth) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let micros = latencies.quantile(part).as_secs_f64() * 1e6;
            assert!((micros - truth).abs() / truth < 0.02, "{part}: {micros}");
        }
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(Usage::of(std::process::id()).unwrap().resident > 100_000);
    }
}
