//! The two clocks of this host, read together once per input. Nothing else in a runtime looks at the time for the core.

use std::time::{Duration, SystemTime};

use portcullis_core::time::{Instant, Now, UnixMillis};

/// A monotonic clock with the origin at its making, beside the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: std::time::Instant::now(),
        }
    }

    /// Both clocks. Two reads of memory that the kernel shares with us, no system call.
    #[must_use]
    pub fn now(&self) -> Now {
        let micros = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now {
            monotonic: Instant::from_micros(micros),
            wall: wall(),
        }
    }

    /// How long from now until `instant`; zero when it has passed.
    #[must_use]
    pub fn until(&self, instant: Instant) -> Duration {
        instant.since(self.now().monotonic)
    }

    /// The same instant as the standard library writes it; `None` when it lies beyond what that can say.
    #[must_use]
    pub fn to_std(&self, instant: Instant) -> Option<std::time::Instant> {
        self.origin.checked_add(Duration::from_micros(instant.as_micros()))
    }
}

/// The wall clock alone. A clock before 1970 reads as 1970.
#[must_use]
pub fn wall() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_starts_near_zero_and_never_goes_back() {
        let clock = Clock::start();
        let first = clock.now();
        let second = clock.now();
        assert!(second.monotonic >= first.monotonic);
        assert!(first.wall.0 > 1_600_000_000_000, "the wall clock counts from 1970");
        assert_eq!(clock.until(Instant::ZERO), Duration::ZERO);
        assert!(clock.to_std(Instant::from_millis(5)).is_some());
    }
}
