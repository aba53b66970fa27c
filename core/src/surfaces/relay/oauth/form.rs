//! The parameters of a request: those of the query, then those of a form in the body (`application/x-www-form-urlencoded`
//! or `multipart/form-data`). Anything else in a body is not looked at, and no input is refused here: what cannot be
//! read is not there.

use alloc::string::String;
use alloc::vec::Vec;

use crate::surfaces::relay::http::Request;
use crate::surfaces::relay::percent::decode_form;

/// Parameters that are read; further ones are left out.
pub const MAX_FIELDS: usize = 64;
/// The longest value that is read: an id token with room. A longer one is left out; of which names is known.
pub const MAX_VALUE_BYTES: usize = 16_384;

/// The longest name of a value that was left out and is remembered.
const MAX_NAME_BYTES: usize = 64;

/// The parameters of a request.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Form {
    fields: Vec<(String, String)>,
    /// The names of values that were too long.
    too_long: Vec<String>,
}

/// Values may be secrets.
impl core::fmt::Debug for Form {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Form({} fields)", self.fields.len())
    }
}

impl Form {
    /// Those of this request.
    #[must_use]
    pub fn of(request: &Request<'_>) -> Self {
        Self::read(
            request.query,
            request.headers.get("content-type").unwrap_or_default(),
            request.body,
        )
    }

    /// Those of this query and body.
    #[must_use]
    pub fn read(query: &str, content_type: &str, body: &[u8]) -> Self {
        let mut form = Self::default();
        form.urlencoded(query);
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            form.urlencoded(&String::from_utf8_lossy(body));
        } else if kind.eq_ignore_ascii_case("multipart/form-data")
            && let Some(boundary) = parameter(content_type, "boundary")
        {
            form.multipart(&boundary, body);
        }
        form
    }

    /// The first value of this name that is not empty; empty when there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        let mut values = self
            .fields
            .iter()
            .filter(|(field, value)| field == name && !value.is_empty());
        values.next().map_or("", |(_, value)| value)
    }

    /// Whether there is no value of this name because it was too long.
    #[must_use]
    pub fn is_too_long(&self, name: &str) -> bool {
        self.get(name).is_empty() && self.too_long.iter().any(|field| field == name)
    }

    fn add(&mut self, name: String, value: String) {
        if value.len() > MAX_VALUE_BYTES {
            self.left_out(name);
        } else if self.fields.len() < MAX_FIELDS && !name.is_empty() {
            self.fields.push((name, value));
        }
    }

    fn left_out(&mut self, name: String) {
        if self.too_long.len() < MAX_FIELDS && name.len() <= MAX_NAME_BYTES {
            self.too_long.push(name);
        }
    }

    fn urlencoded(&mut self, text: &str) {
        for pair in text.split('&').filter(|pair| !pair.is_empty()).take(MAX_FIELDS) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if value.len() <= 3 * MAX_VALUE_BYTES {
                self.add(decode_form(name), decode_form(value));
            } else {
                self.left_out(decode_form(name));
            }
        }
    }

    /// RFC 7578: parts between lines that begin with two dashes and the boundary. Files are left out.
    fn multipart(&mut self, boundary: &str, body: &[u8]) {
        let delimiter = alloc::format!("--{boundary}");
        let Some(mut at) = find(body, delimiter.as_bytes(), 0) else {
            return;
        };
        for _ in 0..MAX_FIELDS {
            let begin = at + delimiter.len();
            let inner = alloc::format!("\r\n{delimiter}");
            let Some(end) = find(body, inner.as_bytes(), begin) else {
                return;
            };
            let part = body.get(begin..end).unwrap_or_default();
            if let Some(part) = part.strip_prefix(b"\r\n") {
                self.part(part);
            }
            at = end + 2;
        }
    }

    fn part(&mut self, part: &[u8]) {
        let (head, value) = match find(part, b"\r\n\r\n", 0) {
            Some(end) => (part.get(..end), part.get(end + 4..)),
            None => return,
        };
        let head = String::from_utf8_lossy(head.unwrap_or_default());
        let disposition = head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
        });
        let Some(disposition) = disposition else { return };
        if parameter(disposition, "filename").is_some() {
            return;
        }
        if let (Some(name), Some(value)) = (parameter(disposition, "name"), value) {
            if value.len() <= MAX_VALUE_BYTES {
                self.add(name, String::from_utf8_lossy(value).into_owned());
            } else {
                self.left_out(name);
            }
        }
    }
}

/// A parameter of a field's value, with or without quotes.
fn parameter(field: &str, name: &str) -> Option<String> {
    let mut parameters = field
        .split(';')
        .skip(1)
        .filter_map(|parameter| parameter.split_once('='));
    let (_, value) = parameters.find(|(field, _)| field.trim().eq_ignore_ascii_case(name))?;
    let value = value.trim();
    let value = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value);
    (!value.is_empty() && value.len() <= 200).then(|| value.into())
}

/// Where a text of at least one byte first is, from `from` on.
fn find(bytes: &[u8], text: &[u8], from: usize) -> Option<usize> {
    let first = *text.first()?;
    let mut at = from;
    loop {
        let rest = bytes.get(at..)?;
        at += rest.iter().position(|byte| *byte == first)?;
        if bytes.get(at..)?.starts_with(text) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const URLENCODED: &str = "Application/X-WWW-form-urlencoded; charset=utf-8";

    #[test]
    fn the_query_goes_before_the_body() {
        let form = Form::read("a=1&b=&c=x%20y+z&a=2&%61b=q", URLENCODED, b"a=3&b=4&d");
        for (name, value) in [
            ("a", "1"),
            ("b", "4"),
            ("c", "x y z"),
            ("d", ""),
            ("e", ""),
            ("ab", "q"),
        ] {
            assert_eq!(form.get(name), value, "{name}");
        }
        assert_eq!(Form::read("", "application/json", b"a=1").get("a"), "");
        assert_eq!(Form::read("", "", b"a=1").get("a"), "");
    }

    #[test]
    fn multipart_forms() {
        let body = b"before\r\n--X y\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n2\r\n--X y\r\ncontent-disposition:form-data;name=b\r\nContent-Type: text/plain\r\n\r\n\r\n--X y\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\nsecret\r\n--X y--\r\n";
        let form = Form::read("", "multipart/form-data; boundary=\"X y\"", body);
        assert_eq!((form.get("a"), form.get("b"), form.get("f")), ("1\r\n2", "", ""));
        for content_type in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=Z",
        ] {
            assert_eq!(Form::read("", content_type, body), Form::default(), "{content_type}");
        }
    }

    #[test]
    fn forms_are_bounded() {
        let many = "a=1&".repeat(1_000);
        assert_eq!(Form::read(&many, URLENCODED, many.as_bytes()).fields.len(), MAX_FIELDS);
        let long = alloc::format!("a={}", "x".repeat(MAX_VALUE_BYTES + 1));
        let form = Form::read(&long, "", b"");
        assert!(form.fields.is_empty() && form.is_too_long("a") && !form.is_too_long("b"));
        let longer = alloc::format!("a={}&b=1", "x".repeat(3 * MAX_VALUE_BYTES + 1));
        let form = Form::read(&longer, "", b"");
        assert!(form.is_too_long("a") && form.get("b") == "1");
        assert!(
            !Form::read(&longer, URLENCODED, b"a=2").is_too_long("a"),
            "there is a good one"
        );
        let body = alloc::format!(
            "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n{}\r\n--b--",
            &long[2..]
        );
        assert!(Form::read("", "multipart/form-data; boundary=b", body.as_bytes()).is_too_long("a"));
        let part = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n".repeat(1_000);
        let form = Form::read("", "multipart/form-data; boundary=b", part.as_bytes());
        assert_eq!(form.fields.len(), MAX_FIELDS);
    }

    proptest! {
        #[test]
        fn no_input_panics(query in any::<String>(), boundary in "[-a-z\"= ]{0,4}", body in "(--|\r\n|a|;|=|:|\"|b){0,60}") {
            let content_type = alloc::format!("multipart/form-data; boundary={boundary}");
            let _ = Form::read(&query, &content_type, body.as_bytes());
            let _ = Form::read(&query, URLENCODED, body.as_bytes());
        }
    }
}
