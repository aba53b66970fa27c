//! Counters for monitoring: plain numbers that surfaces add to. Every label comes from a closed list, so that no peer can
//! make the set of series grow. How they are written is the gateway's business. Spec: `spec/hardening.md`.

use core::time::Duration;

use crate::audit::{AuditEvent, AuditOutcome, AuditRecord};
use crate::http::Status;
use crate::surfaces::relay::CLASSES;

/// What a gateway has counted since its start.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Bytes from accepted connections, and to them.
    pub bytes: Labelled<2>,
    /// Connections turned away: for want of room, by a door.
    pub turned_away: Labelled<2>,
    /// HTTP requests, by the class of the answer's status: 1xx to 5xx.
    pub http_responses: Labelled<5>,
    /// Handshakes of the operator protocol: finished, refused.
    pub operator_handshakes: Labelled<2>,
    /// Operator requests, by method and outcome.
    pub operator_requests: [Labelled<{ OUTCOMES.len() }>; METHODS.len()],
    /// Wrong or missing credentials, by surface.
    pub auth_failures: Labelled<{ SURFACES.len() }>,
    /// Guessers that were locked out.
    pub lockouts: u64,
    /// Runs of agents, by how they ended.
    pub runs: Labelled<{ RUN_ENDS.len() }>,
    /// How long runs took.
    pub run_seconds: Histogram,
    /// Calls of tools: done, denied, failed.
    pub tool_calls: Labelled<3>,
    /// Fetches that were not made or given up, by why.
    pub fetches_blocked: Labelled<3>,
    /// Requests to other servers, by who asked (fetches, providers, the relay) and then done or failed.
    pub exchanges: [Labelled<2>; 3],
    /// Requests to the relay, by what they are for and the class of the answer's status: 2xx to 5xx.
    pub relay_requests: [Labelled<4>; CLASSES.len()],
}

/// The methods of the operator protocol, and what is none.
pub const METHODS: [&str; 7] = [
    "health",
    "agent.list",
    "agent.run",
    "session.list",
    "session.history",
    "agent.cancel",
    "other",
];
/// How a request is answered; `accepted`: later.
pub const OUTCOMES: [&str; 8] = [
    "ok",
    "accepted",
    "invalid_request",
    "protocol_mismatch",
    "unauthorized",
    "forbidden",
    "rate_limited",
    "unavailable",
];
/// Where credentials are asked for.
pub const SURFACES: [&str; 4] = ["operator", "control", "http", "relay"];
/// How runs end.
pub const RUN_ENDS: [&str; 4] = ["ok", "exit_code", "failed", "lost"];
/// The upper bounds of the buckets of [`Histogram`], in seconds.
pub const SECONDS: [f64; 9] = [0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];

/// A counter for each value of a label.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<const N: usize>([u64; N]);

impl<const N: usize> Default for Labelled<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Labelled<N> {
    /// Adds to one; to none when there is no such label.
    pub const fn add(&mut self, label: usize, count: u64) {
        if label < N {
            #[allow(clippy::indexing_slicing, reason = "compared in the line before")]
            let counter = &mut self.0[label];
            *counter = counter.wrapping_add(count);
        }
    }

    /// All of them, in the order of the labels.
    #[must_use]
    pub const fn all(&self) -> &[u64; N] {
        &self.0
    }
}

/// How long things took, in buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Not cumulative; the last is for what took longer than every bound.
    pub buckets: Labelled<{ SECONDS.len() + 1 }>,
    /// Milliseconds altogether.
    pub sum_ms: u64,
}

impl Histogram {
    /// Takes a duration in.
    pub fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = SECONDS.iter().position(|bound| seconds <= *bound);
        self.buckets.add(bucket.unwrap_or(SECONDS.len()), 1);
        self.sum_ms = self
            .sum_ms
            .wrapping_add(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    }
}

impl Metrics {
    /// Counts an answer of the relay.
    pub fn relay_answered(&mut self, class: usize, status: Status) {
        let hundreds = usize::from(status.code() / 100);
        self.http_responses.add(hundreds.saturating_sub(1), 1);
        if let Some(counts) = self.relay_requests.get_mut(class) {
            counts.add(hundreds.saturating_sub(2), 1);
        }
    }

    /// Counts what only the audit journal is told.
    pub fn recorded(&mut self, record: &AuditRecord) {
        match (record.event, record.outcome) {
            (AuditEvent::ToolInvoke, AuditOutcome::Ok) => self.tool_calls.add(0, 1),
            (AuditEvent::ToolDenied, _) | (AuditEvent::ToolInvoke, AuditOutcome::Denied) => self.tool_calls.add(1, 1),
            (AuditEvent::ToolInvoke, AuditOutcome::Failed) => self.tool_calls.add(2, 1),
            (AuditEvent::SsrfBlocked, _) => self.fetches_blocked.add(0, 1),
            (AuditEvent::UrlDenied, _) => self.fetches_blocked.add(1, 1),
            (AuditEvent::FetchRejected, _) => self.fetches_blocked.add(2, 1),
            (AuditEvent::AuthLocked, _) => self.lockouts = self.lockouts.wrapping_add(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_first_bucket_that_holds_them() {
        let mut histogram = Histogram::default();
        for millis in [1, 100, 101, 600_000, 600_001] {
            histogram.observe(Duration::from_millis(millis));
        }
        assert_eq!(histogram.buckets.all(), &[2, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(histogram.sum_ms, 1_200_203);
        histogram.buckets.add(99, 1);
        assert_eq!(histogram.buckets.all().iter().sum::<u64>(), 5);
    }
}
