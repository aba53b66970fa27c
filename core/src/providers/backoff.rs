//! How long to wait before asking again: doubling from half a second to eight, less up to a quarter by chance so that many
//! do not come back at once, unless the server itself says when.

use core::time::Duration;

use crate::outbound::ClientResponse;
use crate::random::Random;

/// The longest wait that a server can ask for.
pub(super) const MAX_ASKED: Duration = Duration::from_secs(60);

/// The wait before attempt number `attempt` (the first repetition is 1).
pub(super) fn pause(attempt: u32, asked: Option<Duration>, random: &mut Random) -> Duration {
    if let Some(asked) = asked {
        return asked.min(MAX_ASKED);
    }
    let millis = 500_u64 << attempt.saturating_sub(1).min(4);
    let chance = u64::from(u16::from_be_bytes(random.bytes()));
    Duration::from_millis(millis - (millis / 4 * chance) / 65_536)
}

/// What the response says about when to come back: milliseconds, or seconds.
pub(super) fn asked(head: &ClientResponse) -> Option<Duration> {
    let number = |name: &str| {
        let text = head.header(name)?;
        let number: f64 = text.parse().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number)
    };
    let seconds = match number("retry-after-ms") {
        Some(millis) => millis / 1_000.0,
        None => number("retry-after")?,
    };
    // Bounded before the conversion, which would panic on what does not fit.
    Some(Duration::from_secs_f64(seconds.min(MAX_ASKED.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seed;
    use alloc::string::String;

    #[test]
    fn waits_double_up_to_eight_seconds_less_a_quarter() {
        let mut random = Random::new(Seed([1; 32]));
        for (attempt, most) in [
            (1, 500),
            (2, 1_000),
            (3, 2_000),
            (4, 4_000),
            (5, 8_000),
            (6, 8_000),
            (99, 8_000),
        ] {
            for _ in 0..50 {
                let millis = pause(attempt, None, &mut random).as_millis();
                assert!((most * 3 / 4..=most).contains(&millis), "{attempt}: {millis}");
            }
        }
    }

    #[test]
    fn what_the_server_asks_for_counts_up_to_a_minute() {
        for (name, value, millis) in [
            ("retry-after-ms", "1500", Some(1_500)),
            ("retry-after", "2", Some(2_000)),
            ("retry-after", "0.5", Some(500)),
            ("retry-after", "99999999999999999999", Some(60_000)),
            ("retry-after", "-1", None),
            ("retry-after", "NaN", None),
            ("retry-after", "soon", None),
            ("other", "1", None),
        ] {
            let head = ClientResponse {
                status: 429,
                reason: String::new(),
                headers: alloc::vec![(name.into(), value.into())],
            };
            assert_eq!(asked(&head).map(|wait| wait.as_millis()), millis, "{name} {value}");
        }
    }
}
