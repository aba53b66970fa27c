//! Refusals on one connection: the first are answered at once, the further ones at a bounded rate, and past a threshold
//! the connection is closed. Without it one looping client can take all capacity and fill the log.
//! Spec: `spec/operator.md` section 8.

use core::time::Duration;

use super::window::SlidingWindow;
use crate::time::Instant;

/// How refusals are limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefusalLimits {
    /// Answered at once.
    pub burst: u32,
    /// Answered per second after that.
    pub per_second: u32,
    /// More than so many in 60 s: close.
    pub per_minute: u32,
}

/// The refusals of one connection.
#[derive(Clone, Debug)]
pub struct Refusals {
    /// When the bucket of refusals is full again; each refusal moves it by `1 / per_second`.
    full_at: Instant,
    window: SlidingWindow,
    /// Altogether, for the report.
    pub count: u64,
}

/// What follows a refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Go on; take nothing more from this connection before the given time.
    Continue {
        /// When the next message may be taken; not after now when at once.
        not_before: Instant,
    },
    /// Too many: close the connection.
    Close,
}

impl Refusals {
    /// No refusal yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            full_at: now,
            window: SlidingWindow::default(),
            count: 0,
        }
    }

    /// Counts one refusal that is being answered now.
    pub fn count(&mut self, now: Instant, limits: RefusalLimits) -> Verdict {
        self.count += 1;
        if self.window.admit(now, limits.per_minute).is_err() {
            return Verdict::Close;
        }
        let each = Duration::from_micros(1_000_000 / u64::from(limits.per_second.max(1)));
        self.full_at = self.full_at.max(now).plus(each);
        // The last refusal of a burst is answered at once, and the next message waits for the first one's place.
        let burst = each.saturating_mul(limits.burst.saturating_sub(1));
        Verdict::Continue {
            not_before: self.full_at.minus(burst),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RefusalLimits = RefusalLimits {
        burst: 3,
        per_second: 10,
        per_minute: 6,
    };

    #[test]
    fn a_burst_then_a_rate_then_the_end() {
        let start = Instant::from_millis(1_000);
        let mut refusals = Refusals::new(start);
        for _ in 0..2 {
            assert!(matches!(refusals.count(start, LIMITS), Verdict::Continue { not_before } if not_before <= start));
        }
        for extra in 1..=4 {
            let not_before = start.plus(Duration::from_millis(100 * extra));
            assert_eq!(refusals.count(start, LIMITS), Verdict::Continue { not_before });
        }
        assert_eq!(refusals.count(start, LIMITS), Verdict::Close);
        assert_eq!(refusals.count, 7);
    }

    #[test]
    fn the_burst_comes_back_with_time() {
        let mut refusals = Refusals::new(Instant::ZERO);
        for minute in 1..10 {
            let now = Instant::from_millis(minute * 60_000);
            for _ in 0..2 {
                assert!(matches!(refusals.count(now, LIMITS), Verdict::Continue { not_before } if not_before <= now));
            }
        }
    }
}
