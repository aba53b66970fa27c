//! Requests, written. What would break the framing (a line end in a value, a framing field from the caller) makes the
//! whole request unwritable: a key that was read with a line end in it must not become a field of its own.

use core::fmt;

use bytes::{BufMut, BytesMut};

use crate::http::Method;
use crate::http::scan::{first_control, is_token};

/// A request's line, fields and the length of its body.
#[derive(Clone, Copy)]
pub struct RequestParts<'a> {
    /// The method.
    pub method: Method,
    /// The target in origin form.
    pub target: &'a str,
    /// The value of `Host`.
    pub authority: &'a str,
    /// Further fields, but for those that the layer writes: `Host`, `Connection`, `Content-Length`, `Transfer-Encoding`,
    /// `Accept-Encoding`.
    pub fields: &'a [(&'a str, &'a str)],
    /// The bytes of the body that follow.
    pub body_bytes: usize,
}

/// A request has a part that cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unwritable(pub &'static str);

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request's {} cannot be written", self.0)
    }
}

impl core::error::Error for Unwritable {}

/// The fields that a caller must leave to this layer.
const OWNED: [&str; 5] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "accept-encoding",
];

/// Writes a request head. The connection is for this request only, and its response may be compressed with gzip.
///
/// # Errors
/// Which part has a character that would end it early, or is the layer's to write. Nothing is written then.
pub fn write_request(parts: &RequestParts<'_>, out: &mut BytesMut) -> Result<(), Unwritable> {
    let method = name(parts.method).ok_or(Unwritable("method"))?;
    let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !parts.target.starts_with('/') || !visible(parts.target) || parts.target.contains('#') {
        return Err(Unwritable("target"));
    }
    if !visible(parts.authority) {
        return Err(Unwritable("host"));
    }
    let good = |(name, value): &(&str, &str)| {
        is_token(name.as_bytes())
            && first_control(value.as_bytes()).is_none()
            && !OWNED.iter().any(|owned| name.eq_ignore_ascii_case(owned))
    };
    if !parts.fields.iter().all(good) {
        return Err(Unwritable("fields"));
    }
    let has_agent = parts
        .fields
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("user-agent"));
    let fields: usize = parts
        .fields
        .iter()
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    out.reserve(parts.target.len() + parts.authority.len() + fields + 160);
    for text in [method, " ", parts.target, " HTTP/1.1\r\nHost: ", parts.authority] {
        out.put_slice(text.as_bytes());
    }
    out.put_slice(b"\r\nConnection: close\r\nAccept-Encoding: identity, gzip\r\n");
    if !has_agent {
        out.put_slice(concat!("User-Agent: Portcullis/", env!("CARGO_PKG_VERSION"), "\r\n").as_bytes());
    }
    for (name, value) in parts.fields {
        for text in [*name, ": ", *value, "\r\n"] {
            out.put_slice(text.as_bytes());
        }
    }
    // RFC 9110 section 8.6: a method that gives a body a meaning tells its length, even when it is zero.
    if parts.body_bytes > 0 || matches!(parts.method, Method::Post | Method::Put | Method::Patch) {
        out.put_slice(b"Content-Length: ");
        crate::json::write_number(out, parts.body_bytes as u64);
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
    Ok(())
}

const fn name(method: Method) -> Option<&'static str> {
    Some(match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Options => "OPTIONS",
        Method::Patch => "PATCH",
        Method::Other => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: RequestParts<'_> = RequestParts {
        method: Method::Post,
        target: "/a?b=c",
        authority: "example.com:8443",
        fields: &[("Accept", "text/plain")],
        body_bytes: 7,
    };

    fn written(parts: &RequestParts<'_>) -> Result<alloc::string::String, Unwritable> {
        let mut out = BytesMut::new();
        write_request(parts, &mut out).map(|()| alloc::string::String::from_utf8(out.to_vec()).unwrap())
    }

    #[test]
    fn a_request_is_written_for_one_connection_of_its_own() {
        let version = env!("CARGO_PKG_VERSION");
        let head = alloc::format!(
            "POST /a?b=c HTTP/1.1\r\nHost: example.com:8443\r\nConnection: close\r\nAccept-Encoding: identity, gzip\r\n\
             User-Agent: Portcullis/{version}\r\nAccept: text/plain\r\nContent-Length: 7\r\n\r\n"
        );
        assert_eq!(written(&PARTS).unwrap(), head);
        let get = RequestParts {
            method: Method::Get,
            fields: &[("user-agent", "me")],
            body_bytes: 0,
            ..PARTS
        };
        let head = written(&get).unwrap();
        assert!(
            !head.contains("Content-Length") && !head.contains("Portcullis"),
            "{head}"
        );
        assert!(head.ends_with("user-agent: me\r\n\r\n"));
    }

    #[test]
    fn what_would_end_a_part_early_is_not_written() {
        for fields in [
            [("Authorization", "Bearer a\r\nX: y")],
            [("X Y", "a")],
            [("", "a")],
            [("Content-length", "5")],
            [("Transfer-Encoding", "chunked")],
            [("HOST", "other")],
        ] {
            assert_eq!(
                written(&RequestParts {
                    fields: &fields,
                    ..PARTS
                }),
                Err(Unwritable("fields"))
            );
        }
        for target in ["", "a", "/a b", "/\r\n", "/a#b", "http://x/"] {
            assert_eq!(written(&RequestParts { target, ..PARTS }), Err(Unwritable("target")));
        }
        assert!(
            written(&RequestParts {
                authority: "a\r\nb",
                ..PARTS
            })
            .is_err()
        );
        assert!(
            written(&RequestParts {
                method: Method::Other,
                ..PARTS
            })
            .is_err()
        );
    }
}
