//! A JSON object on its way through: members are taken over as they were written, some are replaced, and all are written
//! in one pass, sorted by name, on one line. No value is parsed.

use alloc::vec::Vec;

use bytes::{BufMut, BytesMut};

use crate::json::{Object, write_string};

/// A member's value.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    /// JSON, as it was written.
    Raw(&'a str),
    /// A text.
    Text(&'a str),
}

/// An object that is being put together.
#[derive(Debug, Default)]
pub(super) struct Frame<'a>(Vec<(&'a str, Value<'a>)>);

impl<'a> Frame<'a> {
    /// All members of an object but these.
    pub(super) fn of(object: &'a Object<'_>, without: &[&str]) -> Self {
        let members = object.members().filter(|(name, _)| !without.contains(name));
        let mut all = Vec::with_capacity(object.members().len() + 8);
        all.extend(members.map(|(name, value)| (name, Value::Raw(value.get()))));
        Self(all)
    }

    /// Sets a member to a text.
    pub(super) fn set(&mut self, name: &'a str, text: &'a str) {
        match self.0.iter_mut().find(|(other, _)| *other == name) {
            Some((_, value)) => *value = Value::Text(text),
            None => self.0.push((name, Value::Text(text))),
        }
    }

    /// Says which transcript was signed: nothing for the usual one.
    pub(super) fn set_version(&mut self, is_bound: bool) {
        self.0.retain(|(name, _)| *name != "transcript_version");
        if is_bound {
            self.0.push(("transcript_version", Value::Raw("2")));
        }
    }

    /// Sets a member that is there.
    pub(super) fn replace(&mut self, name: &str, text: &'a str) {
        if let Some((_, value)) = self.0.iter_mut().find(|(other, _)| *other == name) {
            *value = Value::Text(text);
        }
    }

    /// Appends the object.
    pub(super) fn write(mut self, out: &mut BytesMut) {
        self.0.sort_unstable_by_key(|(name, _)| *name);
        let mut separator = b'{';
        if self.0.is_empty() {
            out.put_u8(b'{');
        }
        for (name, value) in self.0 {
            out.put_u8(separator);
            separator = b',';
            write_string(out, name);
            out.put_u8(b':');
            match value {
                Value::Raw(raw) => write_raw(out, raw),
                Value::Text(text) => write_string(out, text),
            }
        }
        out.put_u8(b'}');
    }
}

/// Appends JSON on one line: outside strings, line breaks are blanks, and inside there are none.
pub(super) fn write_raw(out: &mut BytesMut, raw: &str) {
    if !raw.starts_with(['{', '[']) {
        return out.put_slice(raw.as_bytes());
    }
    for piece in raw.as_bytes().split(|byte| matches!(byte, b'\n' | b'\r')) {
        out.put_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_taken_over_verbatim_sorted_and_on_one_line() {
        let text = "{\"z\":12345678901234567890.50e1,\"a\":{\n\"x\" :\r\n[1,\n2]},\"t_seq\":1,\"s\":\"<\\u00e4\\n>\"}";
        let object = Object::parse(text).unwrap();
        let mut frame = Frame::of(&object, &["t_seq"]);
        frame.set("m", "a\"b");
        frame.set("z2", "x");
        frame.replace("q", "nothing");
        let mut out = BytesMut::new();
        frame.write(&mut out);
        let expected = r#"{"a":{"x" :[1,2]},"m":"a\"b","s":"<\u00e4\n>","z":12345678901234567890.50e1,"z2":"x"}"#;
        assert_eq!(out, expected);
        out.clear();
        Frame::default().write(&mut out);
        assert_eq!(out, "{}");
    }
}
