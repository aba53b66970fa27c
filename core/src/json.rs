//! JSON at the border: objects read as borrowed members whose values are parsed by whoever knows their type, and the
//! strings and numbers of answers written without an intermediate tree. Duplicate keys are refused, because two readers
//! could take different values from them.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The most members of an object that is read: no object of the protocols has more keys than this.
const MAX_MEMBERS: usize = 64;

/// An object whose values are not parsed yet. `O(n)` look-up: these objects have a dozen members at most.
#[derive(Debug)]
pub struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// Why a text is not an object that can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ObjectFault {
    /// It is JSON, but not an object.
    NotAnObject,
    /// It is not JSON, or has a key twice, or has more members than anything we read.
    Malformed,
}

impl<'a> Object<'a> {
    /// Reads a JSON text.
    ///
    /// # Errors
    /// See [`ObjectFault`].
    pub fn parse(text: &'a str) -> Result<Self, ObjectFault> {
        match serde_json::from_str::<Self>(text) {
            Ok(object) => Ok(object),
            // The second look is taken only to tell the two faults apart.
            Err(_) if text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') => Err(ObjectFault::Malformed),
            Err(_) if serde_json::from_str::<&RawValue>(text).is_ok() => Err(ObjectFault::NotAnObject),
            Err(_) => Err(ObjectFault::Malformed),
        }
    }

    /// The value of a key; `None` when it is absent.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// The members, in the order in which they were written.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// Whether every key is one of these.
    #[must_use]
    pub fn has_only(&self, keys: &[&str]) -> bool {
        self.0.iter().all(|(name, _)| keys.contains(&name.as_ref()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(4);
                while let Some(Key(key)) = map.next_key()? {
                    if members.len() >= MAX_MEMBERS || members.iter().any(|(name, _)| *name == key) {
                        return Err(A::Error::custom("a key twice, or too many"));
                    }
                    members.push((key, map.next_value()?));
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// A key, borrowed from the text unless it is written with escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.into())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// A string value; `None` when the value is something else (or a string with an escape that is no character).
#[must_use]
pub fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = value.get();
    let [b'"', .., b'"'] = text.as_bytes() else {
        return None;
    };
    let inner = text.get(1..text.len() - 1)?;
    if !inner.as_bytes().contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<Key<'_>>(text).ok().map(|Key(text)| text)
}

/// Appends a JSON string.
pub fn write_string(out: &mut BytesMut, text: &str) {
    out.reserve(text.len() + 2);
    out.put_u8(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escaped: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x00..0x20 => b"",
            _ => continue,
        };
        out.put_slice(bytes.get(copied..at).unwrap_or_default());
        copied = at + 1;
        if escaped.is_empty() {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.put_slice(b"\\u00");
            out.put_u8(b'0' + (byte >> 4));
            out.put_u8(HEX.get(usize::from(byte & 15)).copied().unwrap_or(b'0'));
        } else {
            out.put_slice(escaped);
        }
    }
    out.put_slice(bytes.get(copied..).unwrap_or_default());
    out.put_u8(b'"');
}

/// Appends a decimal number.
pub fn write_number(out: &mut BytesMut, mut number: u64) {
    let mut digits = [0; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.put_slice(digits.get(20 - used..).unwrap_or_default());
}

/// Appends any value of ours. Types that serde can always write: their keys are strings and nothing in them can fail.
pub fn write_value<T: serde::Serialize>(out: &mut BytesMut, value: &T) {
    let written = serde_json::to_vec(value);
    debug_assert!(written.is_ok(), "a value of ours cannot fail to serialise");
    out.put_slice(written.as_deref().unwrap_or(b"null"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};
    use proptest::prelude::*;

    #[test]
    fn objects_and_what_is_not_one() {
        let object = Object::parse(r#" {"a":1,"b\u0063":[{"x":{}}],"c":null} "#).unwrap();
        assert_eq!(object.get("a").unwrap().get(), "1");
        assert_eq!(object.get("bc").unwrap().get(), r#"[{"x":{}}]"#);
        assert!(object.has_only(&["a", "bc", "c"]) && !object.has_only(&["a", "bc"]));
        for (text, fault) in [
            ("[]", ObjectFault::NotAnObject),
            (" \"x\"", ObjectFault::NotAnObject),
            ("null", ObjectFault::NotAnObject),
            ("", ObjectFault::Malformed),
            ("{", ObjectFault::Malformed),
            ("{} x", ObjectFault::Malformed),
            (r#"{"a":1,"a":1}"#, ObjectFault::Malformed),
            (r#"{"a":1,"\u0061":1}"#, ObjectFault::Malformed),
        ] {
            assert_eq!(Object::parse(text).unwrap_err(), fault, "{text}");
        }
    }

    #[test]
    fn a_deep_text_does_not_exhaust_the_stack() {
        let deep = alloc::format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert!(Object::parse(&deep).is_ok());
        assert_eq!(Object::parse(&"[".repeat(400_000)).unwrap_err(), ObjectFault::Malformed);
    }

    #[test]
    fn strings() {
        for (text, value) in [
            (r#""""#, Some("")),
            (r#""a\n\u00e4""#, Some("a\nä")),
            (r#""\ud800""#, None),
            ("1", None),
        ] {
            let raw: &RawValue = serde_json::from_str(text).unwrap();
            assert_eq!(string(raw).as_deref(), value, "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_strings_and_numbers_read_back(text in any::<String>(), number in any::<u64>()) {
            let mut out = BytesMut::new();
            write_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            out.clear();
            write_number(&mut out, number);
            prop_assert_eq!(core::str::from_utf8(&out).unwrap(), number.to_string());
        }
    }
}
