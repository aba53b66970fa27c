//! The body of `POST /tools/invoke`: what its members are and what is made of odd ones. It is read once, its depth is
//! bounded before anything recurses into it, and what another reader could take differently is refused.
//! Spec: `spec/hardening.md`, HD-100 to HD-109.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};

use bytes::{BufMut, BytesMut};
use serde_json::value::RawValue;

use crate::fields::{self, Reason};
use crate::json::{Object, ObjectFault, string, write_string};
use crate::policy::tools::normalise;

/// The most levels of objects and arrays in a body.
const MAX_DEPTH: usize = 64;
/// The most of a name that is told back.
const MAX_TOLD: usize = 200;

/// Every member that a body may have.
const MEMBERS: &[&str] = &[
    "tool",
    "name",
    "action",
    "args",
    "sessionKey",
    "agentId",
    "idempotencyKey",
    "dryRun",
];

/// A body that was understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ToolRequest {
    /// The tool's name as it is told back: trimmed, and cut where it is too long to be one.
    pub(super) told: String,
    /// The tool's name as it is looked up.
    pub(super) name: String,
    pub(super) action: Option<String>,
    pub(super) args: Args,
    pub(super) session_key: Option<String>,
    pub(super) agent_id: Option<String>,
    pub(super) idempotency_key: Option<String>,
    pub(super) dry_run: bool,
}

/// Why a body is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum BodyFault {
    /// It cannot be read as JSON without doubt: what the parser says.
    NotJson(String),
    /// It is JSON, and something in it is wrong.
    Invalid(Reason),
}

/// The arguments of a tool: the text of a JSON object without a key twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Args(String);

impl ToolRequest {
    pub(super) fn parse(body: &[u8], strict: bool) -> Result<Self, BodyFault> {
        let body = body.trim_ascii();
        let text = if body.is_empty() { "{}" } else { json_text(body)? };
        let members = match Object::parse(text) {
            Ok(members) => members,
            // What is no object has no members, so it names no tool.
            Err(ObjectFault::NotAnObject) => return Err(BodyFault::Invalid("tools.invoke requires body.tool".into())),
            Err(ObjectFault::Malformed) => return Err(ambiguous("the body")),
        };
        if strict && !members.has_only(MEMBERS) {
            return Err(BodyFault::Invalid("body contains unknown members".into()));
        }
        let written = |member: &str| members.get(member).and_then(string);
        let told = written("name").or_else(|| written("tool")).unwrap_or_default();
        let told = told.trim();
        if told.is_empty() {
            return Err(BodyFault::Invalid("tools.invoke requires body.tool".into()));
        }
        Ok(Self {
            told: told.chars().take(MAX_TOLD).collect(),
            name: normalise(told),
            action: text_of(&members, "action", 200)?,
            args: Args::of(members.get("args"))?,
            session_key: text_of(&members, "sessionKey", 200)?,
            agent_id: text_of(&members, "agentId", 120)?,
            idempotency_key: text_of(&members, "idempotencyKey", 200)?,
            dry_run: fields::optional_boolean(members.get("dryRun"), "dryRun")
                .map_err(BodyFault::Invalid)?
                .unwrap_or(false),
        })
    }
}

impl Args {
    /// Anything but an object counts as an empty one.
    fn of(value: Option<&RawValue>) -> Result<Self, BodyFault> {
        let Some(value) = value else {
            return Ok(Self(String::from("{}")));
        };
        match Object::parse(value.get()) {
            Ok(_) => Ok(Self(value.get().to_string())),
            Err(ObjectFault::NotAnObject) => Ok(Self(String::from("{}"))),
            Err(ObjectFault::Malformed) => Err(ambiguous("args")),
        }
    }

    /// The JSON text.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// The same value, for a reader of params.
    pub(super) fn value(&self) -> Option<&RawValue> {
        serde_json::from_str(&self.0).ok()
    }

    /// Whether there is such a member.
    pub(super) fn has(&self, member: &str) -> bool {
        Object::parse(&self.0).is_ok_and(|args| args.get(member).is_some())
    }

    /// The same arguments with a further member, unless there is one of that name.
    pub(super) fn with_text(self, member: &str, value: &str) -> Self {
        if self.has(member) {
            return self;
        }
        let mut out = BytesMut::with_capacity(self.0.len() + member.len() + value.len() + 16);
        out.put_u8(b'{');
        write_string(&mut out, member);
        out.put_u8(b':');
        write_string(&mut out, value);
        let rest = self.0.get(1..).unwrap_or("}");
        if rest.trim_start() != "}" {
            out.put_u8(b',');
        }
        out.put_slice(rest.as_bytes());
        // Two texts put together are a text.
        Self(String::from_utf8(out.to_vec()).unwrap_or_else(|_| String::from("{}")))
    }
}

/// A member that is a string if it is there; `null` and blank are as good as absent.
fn text_of(members: &Object<'_>, member: &'static str, max: usize) -> Result<Option<String>, BodyFault> {
    let text = fields::optional_string(members.get(member), member, 0, max).map_err(BodyFault::Invalid)?;
    Ok(text.filter(|text| !text.is_empty()).map(Cow::into_owned))
}

/// The body as a text that holds one JSON value and is not too deep.
fn json_text(body: &[u8]) -> Result<&str, BodyFault> {
    if !is_shallow(body) {
        return Err(BodyFault::NotJson(alloc::format!(
            "nested deeper than {MAX_DEPTH} levels"
        )));
    }
    // Checked as a whole first, because the parser's words for a broken text are what the caller is told.
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(value) => Ok(value.get()),
        Err(error) => Err(BodyFault::NotJson(error.to_string())),
    }
}

fn is_shallow(body: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return false;
        }
    }
    true
}

fn ambiguous(what: &str) -> BodyFault {
    BodyFault::NotJson(alloc::format!(
        "{what} has a key twice, more than 64 keys, or a broken escape"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<ToolRequest, BodyFault> {
        ToolRequest::parse(body.as_bytes(), false)
    }

    fn invalid(text: &'static str) -> BodyFault {
        BodyFault::Invalid(text.into())
    }

    #[test]
    fn what_names_no_tool() {
        for body in [
            "",
            " \r\n",
            "{}",
            "[]",
            "null",
            "\"exec\"",
            r#"{"tool":""}"#,
            r#"{"tool":"  "}"#,
            r#"{"tool":1}"#,
            r#"{"name":" ","tool":"health"}"#,
        ] {
            assert_eq!(parse(body), Err(invalid("tools.invoke requires body.tool")), "{body}");
        }
    }

    #[test]
    fn the_alias_wins_when_both_are_sent() {
        for (body, told, name) in [
            (r#"{"tool":" Health "}"#, "Health", "health"),
            (r#"{"tool":"a","name":"B"}"#, "B", "b"),
            (r#"{"tool":"a","name":7}"#, "a", "a"),
        ] {
            let request = parse(body).unwrap();
            assert_eq!((request.told.as_str(), request.name.as_str()), (told, name), "{body}");
        }
        let long = alloc::format!(r#"{{"tool":"{}"}}"#, "x".repeat(1_000));
        assert_eq!(parse(&long).unwrap().told.len(), 200);
    }

    #[test]
    fn args_that_are_no_object_count_as_an_empty_one() {
        for (args, read) in [
            ("null", "{}"),
            ("[1]", "{}"),
            ("\"x\"", "{}"),
            (r#"{ "a" : 1 }"#, r#"{ "a" : 1 }"#),
        ] {
            let request = parse(&alloc::format!(r#"{{"tool":"t","args":{args}}}"#)).unwrap();
            assert_eq!(request.args.text(), read);
        }
        assert_eq!(parse(r#"{"tool":"t"}"#).unwrap().args.text(), "{}");
    }

    #[test]
    fn a_member_is_added_only_where_it_is_missing() {
        for (args, with) in [
            ("{}", r#"{"action":"a\"b"}"#),
            ("{ }", r#"{"action":"a\"b" }"#),
            (r#"{"x":1}"#, r#"{"action":"a\"b","x":1}"#),
            (r#"{"action":null}"#, r#"{"action":null}"#),
        ] {
            let added = Args(args.into()).with_text("action", "a\"b");
            assert_eq!(added.text(), with);
            assert!(added.value().is_some() && added.has("action"));
        }
    }

    #[test]
    fn members_of_the_wrong_type() {
        for (body, reason) in [
            (r#"{"tool":"t","action":1}"#, "action must be a string"),
            (r#"{"tool":"t","sessionKey":{}}"#, "sessionKey must be a string"),
            (r#"{"tool":"t","agentId":[]}"#, "agentId must be a string"),
            (r#"{"tool":"t","idempotencyKey":1}"#, "idempotencyKey must be a string"),
            (r#"{"tool":"t","dryRun":"yes"}"#, "dryRun must be a boolean"),
        ] {
            assert_eq!(parse(body), Err(invalid(reason)), "{body}");
        }
        let nothing = parse(r#"{"tool":"t","action":null,"sessionKey":" ","agentId":null,"dryRun":null,"x":1}"#);
        let nothing = nothing.unwrap();
        assert!(nothing.action.is_none() && nothing.session_key.is_none() && nothing.agent_id.is_none());
        assert!(!nothing.dry_run);
    }

    #[test]
    fn what_is_not_json_and_what_could_be_read_twice() {
        for (body, text) in [
            ("{", "EOF while parsing an object at line 1 column 1"),
            ("nonsense", "expected ident at line 1 column 2"),
            ("{} {}", "trailing characters at line 1 column 4"),
            (
                r#"{"tool":"a","tool":"b"}"#,
                "the body has a key twice, more than 64 keys, or a broken escape",
            ),
            (
                r#"{"tool":"a","args":{"x":1,"\u0078":2}}"#,
                "args has a key twice, more than 64 keys, or a broken escape",
            ),
        ] {
            assert_eq!(parse(body), Err(BodyFault::NotJson(text.into())), "{body}");
        }
        assert!(matches!(
            ToolRequest::parse(b"{\"tool\":\"\xff\"}", false),
            Err(BodyFault::NotJson(_))
        ));
    }

    #[test]
    fn depth_at_its_limit() {
        let nested = |levels: usize| {
            let levels = levels - 2;
            alloc::format!(
                r#"{{"tool":"[[{{\"","args":{{"a":{}{}}}}}"#,
                "[".repeat(levels),
                "]".repeat(levels)
            )
        };
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        let text = "nested deeper than 64 levels";
        assert_eq!(parse(&nested(MAX_DEPTH + 1)), Err(BodyFault::NotJson(text.into())));
        assert_eq!(parse(&"[".repeat(400_000)), Err(BodyFault::NotJson(text.into())));
    }

    #[test]
    fn unknown_members_are_refused_only_when_strict() {
        let body = br#"{"tool":"t","arg":{}}"#;
        assert!(ToolRequest::parse(body, false).is_ok());
        assert_eq!(
            ToolRequest::parse(body, true),
            Err(invalid("body contains unknown members"))
        );
        let whole = br#"{"tool":"t","name":"t","action":"a","args":{},"sessionKey":"main","agentId":"goat","idempotencyKey":"k","dryRun":true}"#;
        assert!(ToolRequest::parse(whole, true).unwrap().dry_run);
    }
}
