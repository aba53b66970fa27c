//! JSON5 text as a JSON value. Stricter than the library: an object that names a key twice and a text nested without
//! end are mistakes, because the one that a person meant cannot be known. It knows no names of keys.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

/// Settings are three levels deep; a text this deep is an accident or an attack on the stack.
const MAX_DEPTH: u8 = 16;

/// Reads one JSON5 text.
///
/// # Errors
/// What is wrong and where, without the text itself: it may hold a secret.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    json5::from_str::<Document>(text)
        .map(|document| document.0)
        .map_err(|error| error.to_string())
}

struct Document(Value);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Strict { depth: MAX_DEPTH }.deserialize(deserializer).map(Self)
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth: u8,
}

impl Strict {
    fn inner<E: Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth }),
            None => Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON5 value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inner)?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "key {key:?} is given twice in one object"
                )));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_json5() {
        let text = "{ // a comment\n gateway: { port: 0x10, host: '::1', list: [1, 2.5, true, null,], }, }";
        let value = json!({"gateway": {"port": 16, "host": "::1", "list": [1, 2.5, true, null]}});
        assert_eq!(parse(text).unwrap(), value);
    }

    #[test]
    fn refuses_what_nobody_can_have_meant() {
        assert!(parse("{a: 1, a: 2}").unwrap_err().contains("key \"a\" is given twice"));
        assert!(parse(&"[".repeat(100_000)).unwrap_err().contains("nested deeper"));
        assert!(parse("{a: Infinity}").unwrap_err().contains("finite"));
        assert!(parse("{a: 1} x").is_err());
        assert!(parse("").is_err());
    }

    #[test]
    fn a_syntax_error_says_where_and_never_shows_the_text() {
        let error = parse("{\n  token: 'hunter22' 'x'}").unwrap_err();
        assert!(error.contains("line 2") && !error.contains("hunter22"), "{error}");
    }
}
