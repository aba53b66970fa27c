//! Time as plain integers. The core owns no clock: the adapter reads one and passes it in.
//!
//! This module never looks at the time; it only does arithmetic on it.

use core::fmt;
use core::time::Duration;

/// A point on a clock that never goes back: whole microseconds since an origin that the adapter chose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(u64);

impl Instant {
    /// The origin of the adapter's clock.
    pub const ZERO: Self = Self(0);

    /// Later than every instant that comes: what is set for then does not happen.
    pub const END: Self = Self(u64::MAX);

    /// The instant `micros` microseconds after the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The instant `millis` milliseconds after the origin.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Whole microseconds since the origin.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the origin.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// This instant moved later; it stops at the end of time instead of wrapping.
    #[must_use]
    pub const fn plus(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(micros(delay)))
    }

    /// This instant moved earlier; it stops at the origin.
    #[must_use]
    pub const fn minus(self, delay: Duration) -> Self {
        Self(self.0.saturating_sub(micros(delay)))
    }

    /// The first of two deadlines, each of which may be missing. Asked for with every input.
    #[must_use]
    pub fn first(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, None) => one,
            (None, other) => other,
        }
    }

    /// How long after `earlier` this instant is; zero when it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

const fn micros(delay: Duration) -> u64 {
    let micros = delay.as_micros();
    if micros > u64::MAX as u128 {
        u64::MAX
    } else {
        micros as u64
    }
}

/// Wall-clock time: milliseconds since 1970-01-01T00:00:00Z. It may jump; nothing is scheduled by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This time moved later; it stops at the end of time instead of wrapping.
    #[must_use]
    pub const fn plus(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(micros(delay) / 1_000))
    }

    /// The calendar date and time of day in UTC.
    #[must_use]
    pub const fn to_utc(self) -> Utc {
        Utc::from_unix_millis(self.0)
    }
}

/// Both clocks, read by the adapter once per input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// For deadlines and durations.
    pub monotonic: Instant,
    /// For what people and other machines read.
    pub wall: UnixMillis,
}

/// A date and time of day in UTC, proleptic Gregorian calendar.
/// `Display` writes RFC 3339 with milliseconds and `Z`, the form that JavaScript's `toISOString` writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Utc {
    /// The year, from 1970.
    pub year: u32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999.
    pub millis: u16,
    /// Days since Thursday 1970-01-01.
    pub day_number: u64,
}

impl Utc {
    const fn from_unix_millis(millis: u64) -> Self {
        const DAY: u64 = 86_400_000;
        let day_number = millis / DAY;
        let of_day = millis % DAY;
        // Days from civil, inverted, on 400-year eras that start on 1 March, so that leap days fall at an era year's end.
        let shifted = day_number + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
        Self {
            year: year as u32,
            month: month as u8,
            day: day as u8,
            hour: (of_day / 3_600_000) as u8,
            minute: (of_day / 60_000 % 60) as u8,
            second: (of_day / 1_000 % 60) as u8,
            millis: (of_day % 1_000) as u16,
            day_number,
        }
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Written digit by digit: every answer with a date and every audit record has one.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |end: usize, digits: usize, mut number: u32| {
            for place in text.iter_mut().take(end).rev().take(digits) {
                *place = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(4, 4, self.year);
        put(7, 2, self.month.into());
        put(10, 2, self.day.into());
        put(13, 2, self.hour.into());
        put(16, 2, self.minute.into());
        put(19, 2, self.second.into());
        put(23, 3, self.millis.into());
        match self.year {
            0..10_000 => f.write_str(core::str::from_utf8(&text).unwrap_or_default()),
            year => write!(
                f,
                "{year}{}",
                core::str::from_utf8(text.get(4..).unwrap_or_default()).unwrap_or_default()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn rfc_3339_of_known_times() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (1_795_264_496_007, "2026-11-21T12:34:56.007Z"),
            (4_102_444_799_000, "2099-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(UnixMillis(millis).to_utc().to_string(), text);
        }
    }

    #[test]
    fn instants_saturate_instead_of_wrapping() {
        let end = Instant::from_micros(u64::MAX);
        assert_eq!(end.plus(Duration::from_secs(1)), end);
        assert_eq!(Instant::ZERO.since(end), Duration::ZERO);
        assert_eq!(
            Instant::from_millis(3).since(Instant::from_millis(1)),
            Duration::from_millis(2)
        );
    }
}
