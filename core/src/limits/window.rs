//! A sliding window: how many things happened in the last 60 seconds. Exact to the millisecond for limits up to
//! [`EXACT`]; above it, times are rounded up to 1/1000 of the window, so that memory stays bounded whatever the limit is and
//! the window never lets more through than it should.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::time::Instant;

const WINDOW_MS: u64 = 60_000;
/// The largest limit for which every time is kept by itself.
pub const EXACT: u32 = 1_000;

/// Counts what happened in the last 60 seconds.
#[derive(Clone, Debug, Default)]
pub struct SlidingWindow {
    /// When (milliseconds) and how many, oldest first.
    counted: VecDeque<(u64, u32)>,
    total: u32,
}

impl SlidingWindow {
    /// Counts one more if there are fewer than `limit`.
    ///
    /// # Errors
    /// How long until the oldest leaves the window: at least one millisecond.
    pub fn admit(&mut self, now: Instant, limit: u32) -> Result<(), Duration> {
        let now_ms = now.as_millis();
        self.expire(now_ms);
        if self.total >= limit {
            let wait = self
                .counted
                .front()
                .map_or(1_000, |(oldest, _)| (oldest + WINDOW_MS).saturating_sub(now_ms));
            return Err(Duration::from_millis(wait.max(1)));
        }
        let at = if limit <= EXACT {
            now_ms
        } else {
            now_ms.next_multiple_of(WINDOW_MS / u64::from(EXACT))
        };
        match self.counted.back_mut() {
            Some((last, count)) if *last >= at => *count += 1,
            _ => self.counted.push_back((at, 1)),
        }
        self.total += 1;
        Ok(())
    }

    fn expire(&mut self, now_ms: u64) {
        while let Some((oldest, count)) = self.counted.front()
            && oldest + WINDOW_MS <= now_ms
        {
            self.total -= count;
            self.counted.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn the_oldest_leaves_after_sixty_seconds() {
        let mut window = SlidingWindow::default();
        assert_eq!(window.admit(at(0), 2), Ok(()));
        assert_eq!(window.admit(at(10_000), 2), Ok(()));
        assert_eq!(window.admit(at(10_000), 2), Err(Duration::from_millis(50_000)));
        assert_eq!(window.admit(at(59_999), 2), Err(Duration::from_millis(1)));
        assert_eq!(window.admit(at(60_000), 2), Ok(()));
        assert_eq!(window.admit(at(60_000), 2), Err(Duration::from_millis(10_000)));
    }

    #[test]
    fn a_refused_one_is_not_counted() {
        let mut window = SlidingWindow::default();
        assert_eq!(window.admit(at(0), 1), Ok(()));
        for second in 1..60 {
            assert!(window.admit(at(second * 1_000), 1).is_err());
        }
        assert_eq!(window.admit(at(60_000), 1), Ok(()));
    }

    #[test]
    fn a_huge_limit_takes_bounded_memory_and_never_lets_more_through() {
        let mut window = SlidingWindow::default();
        let limit = 50_000;
        let mut admitted = 0;
        for millis in 1..=60_000 {
            admitted += u32::from(window.admit(at(millis), limit).is_ok());
        }
        assert_eq!(admitted, limit);
        assert!(window.counted.len() <= EXACT as usize + 1);
        assert!(
            window.admit(at(60_000), limit).is_err(),
            "rounded up, the first bucket leaves a little later"
        );
        assert!(window.admit(at(60_060), limit).is_ok());
    }
}
