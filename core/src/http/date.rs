//! The `Date` field's format: IMF-fixdate of RFC 9110 section 5.6.7. This module never asks what time it is.

use crate::time::UnixMillis;

const LEN: usize = 29;

/// A second, written as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn imf_fixdate(at: UnixMillis) -> [u8; LEN] {
    let utc = at.to_utc();
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    put(
        &mut text,
        0,
        name(b"ThuFriSatSunMonTueWed", (utc.day_number % 7) as usize),
    );
    put(&mut text, 5, two(u32::from(utc.day)));
    put(
        &mut text,
        8,
        name(
            b"JanFebMarAprMayJunJulAugSepOctNovDec",
            usize::from(utc.month).wrapping_sub(1),
        ),
    );
    put(&mut text, 12, two(utc.year / 100));
    put(&mut text, 14, two(utc.year));
    put(&mut text, 17, two(u32::from(utc.hour)));
    put(&mut text, 20, two(u32::from(utc.minute)));
    put(&mut text, 23, two(u32::from(utc.second)));
    text
}

fn put<const N: usize>(text: &mut [u8; LEN], at: usize, part: [u8; N]) {
    if let Some(place) = text.get_mut(at..at + N) {
        place.copy_from_slice(&part);
    }
}

fn name(names: &[u8], index: usize) -> [u8; 3] {
    names.as_chunks::<3>().0.get(index).copied().unwrap_or(*b"???")
}

const fn two(number: u32) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_795_264_496, "Sat, 21 Nov 2026 12:34:56 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
        ] {
            assert_eq!(
                core::str::from_utf8(&imf_fixdate(UnixMillis(seconds * 1_000 + 999))),
                Ok(text)
            );
        }
    }
}
