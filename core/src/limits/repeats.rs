//! How often facts of one kind are told: the first ones at once, then one a second; the others are counted, and the next
//! one that is told says how many they were. A client that comes back again and again does not grow the log.

use core::time::Duration;

use crate::time::Instant;

/// Told at once after a quiet time.
const BURST: u32 = 10;
/// Between two that are told after that.
const EACH: Duration = Duration::from_secs(1);

/// The facts of one kind.
#[derive(Clone, Copy, Default, Debug)]
pub struct Repeats {
    /// When a whole burst may be told again; each one told moves it by [`EACH`].
    full_at: Instant,
    left_out: u64,
}

impl Repeats {
    /// Whether to tell one more, and then how many were left out before it.
    pub fn tell(&mut self, now: Instant) -> Option<u64> {
        let next = self.full_at.max(now).plus(EACH);
        if next.since(now) > EACH * BURST {
            self.left_out += 1;
            return None;
        }
        self.full_at = next;
        Some(core::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_a_second_and_none_is_forgotten() {
        let mut repeats = Repeats::default();
        let mut told = (0_u64, 0_u64);
        for millis in 0..10_000 {
            if let Some(left_out) = repeats.tell(Instant::from_millis(5_000 + millis)) {
                told = (told.0 + 1, told.1 + left_out);
            }
        }
        assert_eq!(told.0, 19);
        assert_eq!(repeats.tell(Instant::from_millis(60_000)), Some(10_000 - 19 - told.1));
        assert_eq!(repeats.tell(Instant::from_millis(60_000)), Some(0));
    }
}
