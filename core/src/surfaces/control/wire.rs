//! Messages on the wire: one JSON object in, one out. Members are read once, and an object that has one of them twice is
//! not read at all, so that whoever checks the token and whoever carries the command out see the same message.
//! Spec: `spec/control.md` sections 4 and 5.

use alloc::borrow::Cow;

use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{Object, ObjectFault, string, write_string};

/// What `cmd` says in the answer to a text that is not JSON.
pub(super) const PARSE_ERROR: Echo<'static> = Echo::Text(Cow::Borrowed("(parse error)"));
/// The same for a message without `cmd` that shows no good token.
pub(super) const NO_COMMAND: Echo<'static> = Echo::Text(Cow::Borrowed("(auth)"));

/// A message of a client.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) token: Presented<'a>,
    pub(super) cmd: Option<Echo<'a>>,
    pub(super) data: Option<&'a RawValue>,
    /// A string or a number, as written.
    pub(super) id: Option<&'a str>,
}

/// What stands in `token`.
#[derive(Debug)]
pub(super) enum Presented<'a> {
    /// Nothing, or what JavaScript takes for nothing: `null`, `""`, `0`, `false`.
    Absent,
    /// Something that is no string.
    Other,
    /// A text.
    Text(Cow<'a, str>),
}

/// What `cmd` says in an answer.
#[derive(Clone, Debug)]
pub(super) enum Echo<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// Any other JSON value, as it came.
    Raw(&'a str),
}

impl<'a> Request<'a> {
    /// Reads a message; `None`: it is not JSON, or ambiguous. A value that is no object is a message without members.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let object = match Object::parse(text) {
            Ok(object) => object,
            Err(ObjectFault::NotAnObject) => {
                return Some(Self {
                    token: Presented::Absent,
                    cmd: None,
                    data: None,
                    id: None,
                });
            }
            Err(ObjectFault::Malformed) => return None,
        };
        Some(Self {
            token: object.get("token").map_or(Presented::Absent, Presented::of),
            cmd: object.get("cmd").and_then(Echo::of),
            data: object.get("data"),
            id: object.get("id").map(RawValue::get).filter(|id| is_string_or_number(id)),
        })
    }
}

impl<'a> Presented<'a> {
    fn of(value: &'a RawValue) -> Self {
        match string(value) {
            Some(text) if text.is_empty() => Self::Absent,
            Some(text) => Self::Text(text),
            None if matches!(value.get(), "null" | "false") || is_zero(value) => Self::Absent,
            None => Self::Other,
        }
    }
}

impl<'a> Echo<'a> {
    /// `None` for `null`, which stands for nothing.
    fn of(value: &'a RawValue) -> Option<Self> {
        match string(value) {
            Some(text) => Some(Self::Text(text)),
            None if value.get() == "null" => None,
            None => Some(Self::Raw(value.get())),
        }
    }

    fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Text(text) => write_string(out, text),
            Self::Raw(json) => out.put_slice(json.as_bytes()),
        }
    }
}

fn is_zero(value: &RawValue) -> bool {
    f64::deserialize(&mut serde_json::Deserializer::from_str(value.get())).is_ok_and(|number| number == 0.0)
}

fn is_string_or_number(json: &str) -> bool {
    json.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

/// Writes the answer to a command that was carried out; `result` must write exactly one JSON value.
pub(super) fn write_result(out: &mut BytesMut, cmd: &str, id: Option<&str>, result: impl FnOnce(&mut BytesMut)) {
    out.put_slice(b"{\"ok\":true,\"cmd\":");
    write_string(out, cmd);
    out.put_slice(b",\"result\":");
    result(out);
    end(out, id);
}

/// Writes the answer to a message that was not.
pub(super) fn write_failure(out: &mut BytesMut, cmd: &Echo<'_>, id: Option<&str>, error: &str) {
    out.put_slice(b"{\"ok\":false,\"cmd\":");
    cmd.write(out);
    out.put_slice(b",\"error\":");
    write_string(out, error);
    end(out, id);
}

/// The members of the original keep their places: what it does not have comes last.
fn end(out: &mut BytesMut, id: Option<&str>) {
    if let Some(id) = id {
        out.put_slice(b",\"id\":");
        out.put_slice(id.as_bytes());
    }
    out.put_u8(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};

    fn cmd(text: &str) -> String {
        let mut out = BytesMut::new();
        let request = Request::parse(text).unwrap();
        write_failure(&mut out, &request.cmd.unwrap_or(NO_COMMAND), request.id, "no");
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn what_is_no_message() {
        for text in [
            "",
            " ",
            "not json",
            "{",
            "{} {}",
            r#"{"a":1,"a":1}"#,
            r#"{"cmd":"a","\u0063md":"b"}"#,
        ] {
            assert!(Request::parse(text).is_none(), "{text}");
        }
        for text in ["5", "\"x\"", "true", "[]", "null", " null ", "{}"] {
            let request = Request::parse(text).unwrap();
            assert!(matches!(request.token, Presented::Absent) && request.cmd.is_none() && request.id.is_none());
        }
    }

    #[test]
    fn what_counts_as_no_token() {
        for (token, kind) in [
            ("null", "Absent"),
            ("\"\"", "Absent"),
            ("0", "Absent"),
            ("-0.0", "Absent"),
            ("0e9", "Absent"),
            ("false", "Absent"),
            ("true", "Other"),
            ("5", "Other"),
            ("1e999", "Other"),
            ("[]", "Other"),
            ("{}", "Other"),
            ("\" \"", "Text(\" \")"),
        ] {
            let text = alloc::format!(r#"{{"token":{token}}}"#);
            let presented = alloc::format!("{:?}", Request::parse(&text).unwrap().token);
            assert_eq!(presented, kind, "{token}");
        }
    }

    #[test]
    fn commands_and_ids_are_echoed() {
        for (text, answer) in [
            ("{}", r#"{"ok":false,"cmd":"(auth)","error":"no"}"#),
            (r#"{"cmd":null}"#, r#"{"ok":false,"cmd":"(auth)","error":"no"}"#),
            (r#"{"cmd":""}"#, r#"{"ok":false,"cmd":"","error":"no"}"#),
            (
                r#"{"cmd":"\u0070\"ing"}"#,
                r#"{"ok":false,"cmd":"p\"ing","error":"no"}"#,
            ),
            (r#"{"cmd":5}"#, r#"{"ok":false,"cmd":5,"error":"no"}"#),
            (r#"{"cmd":{"a":[1]}}"#, r#"{"ok":false,"cmd":{"a":[1]},"error":"no"}"#),
            (r#"{"cmd":"\ud800"}"#, r#"{"ok":false,"cmd":"\ud800","error":"no"}"#),
            (r#"{"cmd":"x","id":7}"#, r#"{"ok":false,"cmd":"x","error":"no","id":7}"#),
            (
                r#"{"cmd":"x","id":-1.50}"#,
                r#"{"ok":false,"cmd":"x","error":"no","id":-1.50}"#,
            ),
            (
                r#"{"cmd":"x","id":"a\n"}"#,
                r#"{"ok":false,"cmd":"x","error":"no","id":"a\n"}"#,
            ),
            (r#"{"cmd":"x","id":null}"#, r#"{"ok":false,"cmd":"x","error":"no"}"#),
            (r#"{"cmd":"x","id":[1]}"#, r#"{"ok":false,"cmd":"x","error":"no"}"#),
            (r#"{"cmd":"x","id":true}"#, r#"{"ok":false,"cmd":"x","error":"no"}"#),
        ] {
            assert_eq!(cmd(text), answer.to_string(), "{text}");
        }
    }

    #[test]
    fn a_result() {
        let mut out = BytesMut::new();
        write_result(&mut out, "ping", Some("\"a\""), |out| out.put_slice(b"{}"));
        assert_eq!(&out[..], br#"{"ok":true,"cmd":"ping","result":{},"id":"a"}"#);
    }
}
