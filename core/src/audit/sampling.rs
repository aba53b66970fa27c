//! What strangers can cause as often as they like, failed credentials above all: of each kind and address the first twenty of a minute are recorded, the others counted, and the next one that
//! is recorded says how many they were. A guesser does not fill the disk.

use alloc::collections::BTreeMap;
use core::time::Duration;

use super::record::AuditEvent;
use crate::policy::address::AddressGroup;
use crate::time::Instant;

const WINDOW: Duration = Duration::from_secs(60);
const PER_WINDOW: u32 = 20;
/// Addresses that are remembered. When there are more, all are forgotten and begin anew.
const MAX_TRACKED: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Sampling(BTreeMap<(AuditEvent, Option<AddressGroup>), Sample>);

#[derive(Debug)]
struct Sample {
    since: Instant,
    recorded: u32,
    left_out: u64,
}

impl Sampling {
    /// Whether this one is recorded, and how many were left out before it.
    pub(super) fn take(&mut self, now: Instant, event: AuditEvent, who: Option<AddressGroup>) -> Option<u64> {
        let who = (event, who);
        if self.0.len() >= MAX_TRACKED && !self.0.contains_key(&who) {
            self.0.clear();
        }
        let sample = self.0.entry(who).or_insert(Sample {
            since: now,
            recorded: 0,
            left_out: 0,
        });
        if now.since(sample.since) >= WINDOW {
            sample.since = now;
            sample.recorded = 0;
        }
        if sample.recorded >= PER_WINDOW {
            sample.left_out += 1;
            return None;
        }
        sample.recorded += 1;
        Some(core::mem::take(&mut sample.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_a_minute_and_then_the_number_of_the_others() {
        let mut sampling = Sampling::default();
        let at = |seconds: u64| Instant::from_millis(seconds * 1_000);
        let recorded = (0..100)
            .filter(|_| sampling.take(at(1), AuditEvent::AuthFailed, None).is_some())
            .count();
        assert_eq!(recorded, 20);
        assert_eq!(sampling.take(at(60), AuditEvent::AuthFailed, None), None);
        assert_eq!(sampling.take(at(61), AuditEvent::AuthFailed, None), Some(81));
        assert_eq!(sampling.take(at(61), AuditEvent::AuthFailed, None), Some(0));
        assert_eq!(
            sampling.take(at(1), AuditEvent::TokenReused, None),
            Some(0),
            "each kind for itself"
        );
    }
}
