//! The field rules of requests in JSON, with the exact reasons that clients print. An object's unknown keys are refused
//! before its fields are looked at; the fields are checked in the order in which the protocol lists them.
//! Spec: `spec/operator.md` section 3.

use alloc::borrow::Cow;
use alloc::string::String;

use serde_json::value::RawValue;

use crate::json::{self, Object, ObjectFault};

/// A reason that is told to the client word for word.
pub(crate) type Reason = Cow<'static, str>;

/// What is told when a text cannot be read as JSON without doubt.
pub(crate) const INVALID_JSON: &str = "invalid json frame";

/// Reads an object: `what_must_be` when it is none, `unknown` when it has other keys.
pub(crate) fn object<'a>(
    value: Option<&'a RawValue>,
    keys: &[&str],
    what_must_be: &'static str,
    unknown: &'static str,
) -> Result<Object<'a>, Reason> {
    let object = match value.map(|value| Object::parse(value.get())) {
        Some(Ok(object)) => object,
        Some(Err(ObjectFault::Malformed)) => return Err(INVALID_JSON.into()),
        None | Some(Err(ObjectFault::NotAnObject)) => return Err(what_must_be.into()),
    };
    if object.has_only(keys) {
        Ok(object)
    } else {
        Err(unknown.into())
    }
}

/// A required string: trimmed, then measured in UTF-16 code units.
pub(crate) fn string<'a>(
    value: Option<&'a RawValue>,
    field: &'static str,
    min: usize,
    max: usize,
) -> Result<Cow<'a, str>, Reason> {
    let text = value
        .and_then(json::string)
        .ok_or_else(|| alloc::format!("{field} must be a string"))?;
    let trimmed = match text {
        Cow::Borrowed(text) => Cow::Borrowed(trim(text)),
        Cow::Owned(text) => Cow::Owned(String::from(trim(&text))),
    };
    // Every UTF-8 byte is at most one code unit and every three at least one, so most texts need no counting.
    let units = if trimmed.len() <= max && trimmed.len() >= min * 3 {
        trimmed.len()
    } else {
        trimmed.encode_utf16().count()
    };
    if units < min {
        return Err(alloc::format!("{field} must be at least {min} character(s)").into());
    }
    if units > max {
        return Err(alloc::format!("{field} must be at most {max} character(s)").into());
    }
    Ok(trimmed)
}

/// An optional string: absent and `null` are the same.
pub(crate) fn optional_string<'a>(
    value: Option<&'a RawValue>,
    field: &'static str,
    min: usize,
    max: usize,
) -> Result<Option<Cow<'a, str>>, Reason> {
    value
        .filter(|value| !is_null(value))
        .map(|value| string(Some(value), field, min, max))
        .transpose()
}

/// A required integer, as JavaScript sees one: `1.0` and `1e0` are integers too.
pub(crate) fn integer(value: Option<&RawValue>, field: &'static str, min: u32, max: u32) -> Result<u32, Reason> {
    let number = value
        .map(RawValue::get)
        .filter(|text| text.starts_with(|first: char| first == '-' || first.is_ascii_digit()))
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|number| number.is_finite() && (*number % 1.0 == 0.0))
        .ok_or_else(|| alloc::format!("{field} must be an integer"))?;
    if number < f64::from(min) || number > f64::from(max) {
        return Err(alloc::format!("{field} must be between {min} and {max}").into());
    }
    Ok(number as u32)
}

/// An optional boolean: absent and `null` are the same.
pub(crate) fn optional_boolean(value: Option<&RawValue>, field: &'static str) -> Result<Option<bool>, Reason> {
    match value.map(RawValue::get) {
        None | Some("null") => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(alloc::format!("{field} must be a boolean").into()),
    }
}

/// Whether the value is `null`.
pub(crate) fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// Trims what JavaScript's `trim` does: white space and line ends of ECMAScript, which has U+FEFF and not U+0085.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn strings_are_trimmed_and_measured_in_utf_16() {
        assert_eq!(string(Some(raw("\" \u{feff}ab\\n\"")), "f", 1, 2).unwrap(), "ab");
        assert_eq!(string(Some(raw("\"\u{1f40e}\"")), "f", 1, 2).unwrap(), "\u{1f40e}");
        assert_eq!(
            string(Some(raw("\"\u{1f40e}\"")), "f", 1, 1).unwrap_err(),
            "f must be at most 1 character(s)"
        );
        assert_eq!(
            string(Some(raw("\"\u{1f40e}\"")), "f", 3, 9).unwrap_err(),
            "f must be at least 3 character(s)"
        );
        assert_eq!(
            string(Some(raw("\"  \"")), "f", 1, 9).unwrap_err(),
            "f must be at least 1 character(s)"
        );
        assert_eq!(string(Some(raw("\"\u{85}\"")), "f", 1, 9).unwrap(), "\u{85}");
        for other in [None, Some(raw("1")), Some(raw("null")), Some(raw("[\"a\"]"))] {
            assert_eq!(string(other, "f", 1, 9).unwrap_err(), "f must be a string");
        }
        assert_eq!(optional_string(Some(raw("null")), "f", 1, 9), Ok(None));
    }

    #[test]
    fn lengths_at_their_limits() {
        for (text, ok) in [
            ("aaaaaaa", false),
            ("aaaaaaaa", true),
            ("ääääääää", true),
            ("äääääää", false),
        ] {
            assert_eq!(
                string(Some(raw(&alloc::format!("\"{text}\""))), "f", 8, 8).is_ok(),
                ok,
                "{text}"
            );
        }
    }

    #[test]
    fn integers_are_javascripts() {
        for (text, number) in [("1", 1), ("1.0", 1), ("1e0", 1), ("10e-1", 1), ("1000", 1_000)] {
            assert_eq!(integer(Some(raw(text)), "f", 1, 1_000), Ok(number), "{text}");
        }
        for text in ["1.5", "\"1\"", "null", "true", "1e999"] {
            assert_eq!(
                integer(Some(raw(text)), "f", 1, 1_000).unwrap_err(),
                "f must be an integer",
                "{text}"
            );
        }
        for text in ["0", "-1", "1001", "-0.0", "1e9"] {
            assert_eq!(
                integer(Some(raw(text)), "f", 1, 1_000).unwrap_err(),
                "f must be between 1 and 1000",
                "{text}"
            );
        }
    }
}
