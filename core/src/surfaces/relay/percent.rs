//! Percent-encoding (RFC 3986) and the form that browsers send (`application/x-www-form-urlencoded`). It reads and writes
//! texts; what a text means is decided elsewhere.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// A segment of a path, decoded; `None` when an escape is broken or what it stands for is not UTF-8.
#[must_use]
pub fn decode(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment));
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => nibble(rest.next()?)? << 4 | nibble(rest.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// A name or value of a form: `+` is a blank, broken escapes stand for themselves, what is not UTF-8 becomes U+FFFD.
#[must_use]
pub fn decode_form(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (nibble(*high), nibble(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            (byte, _) => bytes.push(*byte),
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(not) => String::from_utf8_lossy(not.as_bytes()).into_owned(),
    }
}

/// Appends a text as a value of a query: everything but letters, digits and `-._~` is escaped.
pub fn encode(out: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().map_or('0', char::from);
            out.push('%');
            out.push(digit(byte >> 4));
            out.push(digit(byte & 15));
        }
    }
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn segments_are_decoded_or_refused() {
        for (segment, text) in [
            ("dev:1", Some("dev:1")),
            ("dev%3A1", Some("dev:1")),
            ("a+b", Some("a+b")),
            ("%c3%a4", Some("\u{e4}")),
            ("%", None),
            ("%3", None),
            ("%zz", None),
            ("%+1", None),
            ("%ff", None),
        ] {
            assert_eq!(decode(segment).as_deref(), text, "{segment}");
        }
    }

    #[test]
    fn forms_are_read_whatever_they_hold() {
        for (written, text) in [
            ("a+b%20c", "a b c"),
            ("%zz%4", "%zz%4"),
            ("%ff", "\u{fffd}"),
            ("100%", "100%"),
        ] {
            assert_eq!(decode_form(written), text, "{written}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(text in any::<String>()) {
            let mut out = String::new();
            encode(&mut out, &text);
            prop_assert_eq!(decode(&out).unwrap(), text.as_str());
            prop_assert_eq!(decode_form(&out), text);
        }
    }
}
