//! Times as the relay writes them: RFC 3339 in UTC, whole seconds, `Z`.

use alloc::string::String;

use crate::time::UnixMillis;

/// The text of a time.
#[must_use]
pub fn text(at: UnixMillis) -> String {
    let utc = at.to_utc();
    alloc::format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        utc.year,
        utc.month,
        utc.day,
        utc.hour,
        utc.minute,
        utc.second
    )
}

/// The time of a text in exactly that form.
#[must_use]
pub fn parse(text: &str) -> Option<UnixMillis> {
    let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let [
        y1,
        y2,
        y3,
        y4,
        b'-',
        mo1,
        mo2,
        b'-',
        d1,
        d2,
        b'T',
        h1,
        h2,
        b':',
        mi1,
        mi2,
        b':',
        s1,
        s2,
        b'Z',
    ] = *bytes
    else {
        return None;
    };
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_u64, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
        })
    };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[mo1, mo2])?, number(&[d1, d2])?);
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[mi1, mi2])?, number(&[s1, s2])?);
    if year < 1970 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Years that begin on 1 March, as the calendar of `Utc` counts them.
    let (from_march, year) = ((month + 9) % 12, if month <= 2 { year - 1 } else { year });
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * from_march + 2) / 5 + day;
    let days = days.checked_sub(719_469)?;
    let at = UnixMillis((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000);
    let back = at.to_utc();
    // A day that the month does not have comes back as another one.
    (u64::from(back.day) == day && u64::from(back.month) == month).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_and_what_is_none() {
        assert_eq!(text(UnixMillis(1_893_456_000_999)), "2030-01-01T00:00:00Z");
        assert_eq!(parse("2030-01-01T00:00:00Z"), Some(UnixMillis(1_893_456_000_000)));
        for wrong in [
            "",
            "2030-02-30T00:00:00Z",
            "2030-00-01T00:00:00Z",
            "2030-01-00T00:00:00Z",
            "2030-13-01T00:00:00Z",
            "2030-01-01T24:00:00Z",
            "2030-01-01T00:00:00z",
            "2030-01-01T00:00:0+Z",
            "1969-12-31T23:59:59Z",
            "2030-01-01T00:00:00.0Z",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_second_reads_back(seconds in 0_u64..253_402_300_800) {
            let at = UnixMillis(seconds * 1_000);
            prop_assert_eq!(parse(&text(at)), Some(at));
        }
    }
}
