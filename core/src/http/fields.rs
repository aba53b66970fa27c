//! Header fields of a response. What would break the framing (a line end in a value, a framing field from the caller) is a
//! mistake of this program: asserted in debug builds, left out otherwise. Fields that every response of an owner carries are
//! checked once, not once for each response.

use alloc::vec::Vec;

use bytes::{BufMut, BytesMut};

use super::scan::{first_control, is_token};

/// The fields of one response, but for those that the layer writes: `Date`, `Content-Length`, `Transfer-Encoding`,
/// `Connection`.
#[derive(Clone, Copy, Default, Debug)]
pub struct Fields<'a> {
    /// Written first: lines that were checked when the [`Preset`] was made.
    preset: &'a [u8],
    each: &'a [(&'a str, &'a str)],
}

/// Fields that many responses carry, checked and ready for the wire.
#[derive(Clone, Default, Debug)]
pub struct Preset(Vec<u8>);

impl<'a> Fields<'a> {
    /// No fields.
    pub const NONE: Self = Self::of(&[]);

    /// These names and values.
    #[must_use]
    pub const fn of(each: &'a [(&'a str, &'a str)]) -> Self {
        Self { preset: &[], each }
    }

    /// How many bytes they take on the wire.
    pub(super) fn len(self) -> usize {
        let each = self.each.iter().map(|(name, value)| name.len() + value.len() + 4);
        self.preset.len() + each.sum::<usize>()
    }

    pub(super) fn write(self, out: &mut BytesMut) {
        out.put_slice(self.preset);
        write(self.each, out);
    }
}

impl Preset {
    /// Checks these names and values and keeps them.
    #[must_use]
    pub fn new(fields: &[(&str, &str)]) -> Self {
        let mut lines = Vec::new();
        write(fields, &mut lines);
        Self(lines)
    }

    /// These fields, and others for one response.
    #[must_use]
    pub const fn with<'a>(&'a self, each: &'a [(&'a str, &'a str)]) -> Fields<'a> {
        Fields {
            preset: self.0.as_slice(),
            each,
        }
    }
}

fn write(fields: &[(&str, &str)], out: &mut impl BufMut) {
    for &(name, value) in fields {
        let writable = is_writable(name, value);
        debug_assert!(writable, "a response field {name:?} that cannot be written");
        if writable {
            out.put_slice(name.as_bytes());
            out.put_slice(b": ");
            out.put_slice(value.as_bytes());
            out.put_slice(b"\r\n");
        }
    }
}

/// Whether a caller's field can be written: a token, text on one line, and not a field that is the layer's to write.
fn is_writable(name: &str, value: &str) -> bool {
    let owned = match name.len() {
        4 => name.eq_ignore_ascii_case("date"),
        10 => name.eq_ignore_ascii_case("connection"),
        14 => name.eq_ignore_ascii_case("content-length"),
        17 => name.eq_ignore_ascii_case("transfer-encoding"),
        _ => false,
    };
    !owned && is_token(name.as_bytes()) && first_control(value.as_bytes()).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_would_break_a_response_are_not_written() {
        for (name, value) in [
            ("A\r\nB", "c"),
            ("A", "b\r\nC: d"),
            ("A", "b\n"),
            ("A", "b\0"),
            ("A b", "c"),
            ("", "b"),
            ("A:", "b"),
            ("content-length", "1"),
            ("Transfer-Encoding", "chunked"),
            ("CONNECTION", "close"),
            ("Date", "now"),
        ] {
            assert!(!is_writable(name, value), "{name:?}: {value:?}");
        }
        assert!(is_writable("Retry-After", "1") && is_writable("A", "") && is_writable("A", "caf\u{e9}"));
    }

    #[test]
    fn what_was_checked_before_comes_first() {
        let preset = Preset::new(&[("A", "1"), ("B", "2")]);
        for (fields, written) in [
            (Fields::NONE, ""),
            (Fields::of(&[("C", "3")]), "C: 3\r\n"),
            (preset.with(&[]), "A: 1\r\nB: 2\r\n"),
            (preset.with(&[("C", "3")]), "A: 1\r\nB: 2\r\nC: 3\r\n"),
        ] {
            let mut out = BytesMut::new();
            fields.write(&mut out);
            assert_eq!((&out[..], fields.len()), (written.as_bytes(), written.len()));
        }
    }
}
