//! JSON bodies of requests. Endpoints of a fixed shape find their fields in any letter case and refuse a field of the
//! wrong type; free objects have exact names and ignore such a field. What a field means is decided elsewhere.

use alloc::borrow::Cow;
use alloc::string::String;

use super::http::Request;
use crate::json::{self, Object};

/// The body is not what the endpoint asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable;

/// The object in a request's body; `null` is an empty one.
///
/// # Errors
/// It is not announced as JSON, or is none, or no object, or has a name twice.
pub fn object<'a>(request: &Request<'a>) -> Result<Object<'a>, Unreadable> {
    let kind = request.headers.get("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_json = kind.eq_ignore_ascii_case("application/json")
        || kind
            .len()
            .checked_sub(5)
            .and_then(|at| kind.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case("+json"));
    if !is_json {
        return Err(Unreadable);
    }
    let text = core::str::from_utf8(request.body).map_err(|_| Unreadable)?;
    let text = if text.trim_ascii() == "null" { "{}" } else { text };
    Object::parse(text).map_err(|_| Unreadable)
}

/// The first of these fields of a free object that is a string and not blank, trimmed.
#[must_use]
pub fn first<'a>(object: &Object<'a>, names: &[&str]) -> Option<Cow<'a, str>> {
    names.iter().find_map(|name| {
        let text = match json::string(object.get(name)?)? {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) => Cow::Owned(String::from(text.trim())),
        };
        (!text.is_empty()).then_some(text)
    })
}

/// A field of a fixed shape, as it is written; `None` when it is absent or `null`.
fn fixed<'a>(object: &'a Object<'a>, name: &str) -> Result<Option<&'a str>, Unreadable> {
    let mut found = object.members().filter(|(key, _)| key.eq_ignore_ascii_case(name));
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(Unreadable),
        (Some((_, value)), None) if value.get() != "null" => Ok(Some(value.get())),
        _ => Ok(None),
    }
}

/// A text of a fixed shape, trimmed; empty when it is absent.
///
/// # Errors
/// It is of another type, or there twice.
pub fn fixed_text<'a>(object: &'a Object<'a>, name: &str) -> Result<Cow<'a, str>, Unreadable> {
    let Some(written) = fixed(object, name)? else {
        return Ok(Cow::Borrowed(""));
    };
    let inner = written.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner.trim())),
        Some(_) => serde_json::from_str::<String>(written)
            .map(|text| Cow::Owned(String::from(text.trim())))
            .map_err(|_| Unreadable),
        None => Err(Unreadable),
    }
}

/// A whole number of a fixed shape; 0 when it is absent.
///
/// # Errors
/// It is of another type, or there twice.
pub fn fixed_integer(object: &Object<'_>, name: &str) -> Result<i64, Unreadable> {
    fixed(object, name)?.map_or(Ok(0), |written| written.parse().map_err(|_| Unreadable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_shapes_are_read_in_any_case_and_by_their_types() {
        let object = Object::parse(r#"{"Email":" a\u0040b ","n":-7,"x":null,"A":1,"a":2,"f":1.5}"#).unwrap();
        assert_eq!(fixed_text(&object, "email").as_deref(), Ok("a@b"));
        assert_eq!(fixed_text(&object, "x").as_deref(), Ok(""));
        assert_eq!(fixed_text(&object, "n"), Err(Unreadable));
        assert_eq!(fixed_integer(&object, "N"), Ok(-7));
        assert_eq!(fixed_integer(&object, "y"), Ok(0));
        assert_eq!(fixed_integer(&object, "a"), Err(Unreadable));
        assert_eq!(fixed_integer(&object, "f"), Err(Unreadable));
        assert_eq!(fixed_integer(&object, "email"), Err(Unreadable));
    }

    #[test]
    fn free_objects_ignore_what_is_no_text() {
        let object = Object::parse(r#"{"a":1,"b":"  ","c":" x "}"#).unwrap();
        assert_eq!(first(&object, &["a", "b", "c"]).as_deref(), Some("x"));
        assert_eq!(first(&object, &["a", "b", "C"]), None);
    }
}
