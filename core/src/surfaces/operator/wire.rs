//! Frames on the wire: the request's envelope, and the responses and events that answer it.
//! Spec: `spec/operator.md` section 1.

use alloc::borrow::Cow;
use alloc::string::String;
use core::time::Duration;

use bytes::{BufMut, BytesMut};
use serde_json::value::RawValue;

use crate::fields::{self, INVALID_JSON, Reason};
use crate::json::{Object, ObjectFault, write_number, write_string, write_value};

/// The version of the protocol.
pub const PROTOCOL: u32 = 1;

/// A request: its shape is good, its params are not looked at.
#[derive(Debug)]
pub(super) struct RequestFrame<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) method: Cow<'a, str>,
    pub(super) params: Option<&'a RawValue>,
    /// It carries a `traceparent`.
    pub(super) is_traced: bool,
}

impl<'a> RequestFrame<'a> {
    /// Reads a message. `traced`: it may carry a `traceparent`, as in the OpenClaw dialect, which nobody looks at.
    ///
    /// # Errors
    /// The reason, for an answer with the id `invalid`.
    pub(super) fn parse(text: &'a str, traced: bool) -> Result<Self, Reason> {
        let frame = Object::parse(text).map_err(|fault| match fault {
            ObjectFault::NotAnObject => "frame must be an object",
            ObjectFault::Malformed => INVALID_JSON,
        })?;
        let (mut r#type, mut id, mut method, mut params) = (None, None, None, None);
        let mut is_traced = false;
        for (name, value) in frame.members() {
            match name {
                "type" => r#type = Some(value),
                "id" => id = Some(value),
                "method" => method = Some(value),
                "params" => params = Some(value),
                "traceparent" if traced => is_traced = true,
                _ => return Err("frame has unknown fields".into()),
            }
        }
        if r#type.and_then(crate::json::string).as_deref() != Some("req") {
            return Err("frame.type must be req".into());
        }
        Ok(Self {
            id: fields::string(id, "id", 1, 200)?,
            method: fields::string(method, "method", 1, 120)?,
            params,
            is_traced,
        })
    }
}

/// The protocol's error codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorCode {
    /// The request is malformed, or asks for what does not exist.
    InvalidRequest,
    /// Client and gateway share no version.
    ProtocolMismatch,
    /// The client did not prove who it is.
    Unauthorized,
    /// The client may not do this.
    Forbidden,
    /// Too much at once.
    RateLimited,
    /// It was tried and failed.
    Unavailable,
}

impl ErrorCode {
    /// The code on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::ProtocolMismatch => "PROTOCOL_MISMATCH",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Forbidden => "FORBIDDEN",
            Self::RateLimited => "RATE_LIMITED",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

/// Why a request is refused or failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WireError {
    /// The code.
    pub code: ErrorCode,
    /// For people.
    pub message: Cow<'static, str>,
    /// JSON text of `details`, if any.
    pub details: Option<Cow<'static, str>>,
    /// Whether the same request may succeed later, and how much later.
    pub retry: Option<Option<Duration>>,
}

impl WireError {
    /// An error that a retry does not help.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            details: None,
            retry: None,
        }
    }

    /// The request is malformed.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// It was tried and failed.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    /// The same error, retryable after a time.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        Self {
            retry: Some(Some(after)),
            ..self
        }
    }

    fn write(&self, out: &mut BytesMut) {
        out.put_slice(b"{\"code\":\"");
        out.put_slice(self.code.as_str().as_bytes());
        out.put_slice(b"\",\"message\":");
        write_string(out, &self.message);
        if let Some(details) = &self.details {
            out.put_slice(b",\"details\":");
            out.put_slice(details.as_bytes());
        }
        if let Some(after) = self.retry {
            out.put_slice(b",\"retryable\":true");
            if let Some(after) = after {
                out.put_slice(b",\"retryAfterMs\":");
                write_number(out, u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1));
            }
        }
        out.put_u8(b'}');
    }
}

/// Writes a response with a payload; `payload` must write exactly one JSON value.
pub(super) fn write_ok(out: &mut BytesMut, id: &str, payload: impl FnOnce(&mut BytesMut)) {
    out.put_slice(b"{\"type\":\"res\",\"id\":");
    write_string(out, id);
    out.put_slice(b",\"ok\":true,\"payload\":");
    payload(out);
    out.put_u8(b'}');
}

/// Writes a response with an error.
pub(super) fn write_error(out: &mut BytesMut, id: &str, error: &WireError) {
    out.put_slice(b"{\"type\":\"res\",\"id\":");
    write_string(out, id);
    out.put_slice(b",\"ok\":false,\"error\":");
    error.write(out);
    out.put_u8(b'}');
}

/// Writes an event.
pub(super) fn write_event<P: serde::Serialize>(out: &mut BytesMut, event: &str, payload: &P, seq: Option<u64>) {
    out.put_slice(b"{\"type\":\"event\",\"event\":");
    write_string(out, event);
    out.put_slice(b",\"payload\":");
    write_value(out, payload);
    if let Some(seq) = seq {
        out.put_slice(b",\"seq\":");
        write_number(out, seq);
    }
    out.put_u8(b'}');
}

/// `connect.challenge`.
#[derive(serde::Serialize)]
pub(super) struct Challenge<'a> {
    pub(super) nonce: &'a str,
    pub(super) ts: u64,
}

/// `tick`.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tick {
    pub(super) ts: u64,
    /// Not in the OpenClaw dialect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uptime_ms: Option<u64>,
}

/// `shutdown`.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shutdown {
    pub(super) reason: &'static str,
    pub(super) restart_expected_ms: Option<u32>,
}

/// `agent.stream`.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AgentStream<'a> {
    pub(super) run_id: &'a str,
    pub(super) stream: &'static str,
    pub(super) chunk: &'a str,
}

/// The payload of a successful `connect`.
#[derive(serde::Serialize)]
pub(super) struct Hello<'a> {
    pub(super) r#type: &'static str,
    pub(super) protocol: u32,
    pub(super) server: HelloServer<'a>,
    pub(super) features: HelloFeatures,
    pub(super) policy: HelloPolicy,
    pub(super) snapshot: HelloSnapshot,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HelloServer<'a> {
    pub(super) version: &'static str,
    pub(super) conn_id: &'a str,
    pub(super) started_at_ms: u64,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HelloFeatures {
    pub(super) methods: &'static [&'static str],
    pub(super) events: &'static [&'static str],
    pub(super) optional_gateway: bool,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HelloPolicy {
    pub(super) max_payload: usize,
    pub(super) max_buffered_bytes: usize,
    pub(super) handshake_timeout_ms: u128,
    pub(super) tick_interval_ms: u128,
    pub(super) rate_limit_per_minute: u32,
    pub(super) idempotency_ttl_ms: u128,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HelloSnapshot {
    pub(super) connected_clients: u32,
    pub(super) uptime_ms: u64,
}

/// A request's id and who waits for the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Waiter {
    pub(super) conn: crate::id::ConnId,
    pub(super) id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_in_the_order_of_the_checks() {
        for (text, reason) in [
            ("nonsense", "invalid json frame"),
            ("{\"a\":1,\"a\":1}", "invalid json frame"),
            ("[]", "frame must be an object"),
            ("null", "frame must be an object"),
            (r#"{"x":1,"type":"y"}"#, "frame has unknown fields"),
            (r#"{"type":"res"}"#, "frame.type must be req"),
            (r#"{"type":" req","id":1}"#, "frame.type must be req"),
            (r#"{"type":"req","method":1}"#, "id must be a string"),
            (
                r#"{"type":"req","id":" ","method":1}"#,
                "id must be at least 1 character(s)",
            ),
            (r#"{"type":"req","id":"1"}"#, "method must be a string"),
            (
                r#"{"type":"req","id":"1","method":""}"#,
                "method must be at least 1 character(s)",
            ),
        ] {
            assert_eq!(RequestFrame::parse(text, false).unwrap_err(), reason, "{text}");
        }
        let frame = RequestFrame::parse(
            r#"{"params":{"a":[]},"method":" health ","id":"7","type":"req"}"#,
            false,
        )
        .unwrap();
        assert_eq!((frame.id.as_ref(), frame.method.as_ref()), ("7", "health"));
        assert_eq!(frame.params.unwrap().get(), r#"{"a":[]}"#);
    }

    #[test]
    fn absent_keys_are_left_out() {
        let mut out = BytesMut::new();
        write_error(&mut out, "a\"b", &WireError::invalid("no"));
        let plain = r#"{"type":"res","id":"a\"b","ok":false,"error":{"code":"INVALID_REQUEST","message":"no"}}"#;
        assert_eq!(core::str::from_utf8(&out).unwrap(), plain);
        out.clear();
        let error = WireError::new(ErrorCode::RateLimited, "wait").retry_after(Duration::from_micros(10));
        write_error(&mut out, "1", &error);
        assert!(out.ends_with(br#""retryable":true,"retryAfterMs":1}}"#));
        out.clear();
        write_ok(&mut out, "1", |out| out.put_slice(b"{}"));
        assert_eq!(&out[..], br#"{"type":"res","id":"1","ok":true,"payload":{}}"#);
    }
}
