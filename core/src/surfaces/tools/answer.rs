//! How a tool call is answered over HTTP: the bodies of each row of the table. Spec: `spec/hardening.md`, HD-120 to HD-129.

use core::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::body::BodyFault;
use crate::http::Status;
use crate::json::write_string;

/// An answer to an HTTP request; its content type is `application/json; charset=utf-8`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: Status,
    /// For `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The JSON body.
    pub body: Bytes,
}

/// How a tool call ended, when it did not end well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ToolFault {
    /// The tool rejects its input: why.
    Rejected(alloc::string::String),
    /// The input leads where nobody may go: why. Only where the settings want it told apart.
    Forbidden(alloc::string::String),
    /// The tool fails otherwise; the caller is not told how.
    Failed,
    /// There is no place for the call now.
    Busy,
    /// The gateway goes away before the tool is done.
    Stopped,
}

impl ToolFault {
    /// What the journal is told: never what the caller wrote.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Rejected(_) => "input rejected",
            Self::Forbidden(_) => "blocked",
            Self::Failed => "failed",
            Self::Busy => "too many calls",
            Self::Stopped => "the gateway stops",
        }
    }
}

impl HttpAnswer {
    fn new(status: Status, body: BytesMut) -> Self {
        Self {
            status,
            retry_after: None,
            body: body.freeze(),
        }
    }

    /// A tool's result, which is JSON.
    pub(super) fn result(result: &[u8]) -> Self {
        let mut body = BytesMut::with_capacity(result.len() + 24);
        body.put_slice(b"{\"ok\":true,\"result\":");
        body.put_slice(result);
        body.put_u8(b'}');
        Self::new(Status::OK, body)
    }

    /// The call would have been allowed.
    pub(super) fn dry_run(tool: &str) -> Self {
        let mut body = BytesMut::from(&b"{\"ok\":true,\"dryRun\":true,\"tool\":"[..]);
        write_string(&mut body, tool);
        body.put_slice(b",\"allowed\":true}");
        Self::new(Status::OK, body)
    }

    /// There is no such tool, or it is denied: nobody is told which.
    pub(super) fn not_available(tool: &str) -> Self {
        let message = alloc::format!("Tool not available: {tool}");
        Self::error(Status::NOT_FOUND, "not_found", &message)
    }

    fn error(status: Status, kind: &str, message: &str) -> Self {
        let mut body = BytesMut::from(&b"{\"ok\":false,\"error\":{\"type\":"[..]);
        write_string(&mut body, kind);
        body.put_slice(b",\"message\":");
        write_string(&mut body, message);
        body.put_slice(b"}}");
        Self::new(status, body)
    }

    /// The form of the answers that come from before the tools.
    fn plain_error(status: Status, kind: &str, message: &str, code: Option<&str>) -> Self {
        let mut body = BytesMut::from(&b"{\"error\":{\"message\":"[..]);
        write_string(&mut body, message);
        body.put_slice(b",\"type\":");
        write_string(&mut body, kind);
        if let Some(code) = code {
            body.put_slice(b",\"code\":");
            write_string(&mut body, code);
        }
        body.put_slice(b"}}");
        Self::new(status, body)
    }
}

impl From<&BodyFault> for HttpAnswer {
    fn from(fault: &BodyFault) -> Self {
        match fault {
            BodyFault::NotJson(text) => Self::plain_error(Status::BAD_REQUEST, "invalid_request_error", text, None),
            BodyFault::Invalid(text) => Self::error(Status::BAD_REQUEST, "invalid_request", text),
        }
    }
}

impl From<&ToolFault> for HttpAnswer {
    fn from(fault: &ToolFault) -> Self {
        let unavailable = |message| {
            let (kind, code) = ("service_unavailable", Some("gateway_unavailable"));
            Self {
                retry_after: Some(Duration::from_secs(1)),
                ..Self::plain_error(Status::SERVICE_UNAVAILABLE, kind, message, code)
            }
        };
        match fault {
            ToolFault::Rejected(text) => Self::error(Status::BAD_REQUEST, "tool_error", text),
            ToolFault::Forbidden(text) => Self::error(Status::FORBIDDEN, "ssrf_blocked", text),
            ToolFault::Failed => Self::error(Status::INTERNAL_SERVER_ERROR, "tool_error", "tool execution failed"),
            ToolFault::Busy => unavailable("Too many tool calls are under way"),
            ToolFault::Stopped => unavailable("Gateway is temporarily unavailable while suspending or restarting"),
        }
    }
}
