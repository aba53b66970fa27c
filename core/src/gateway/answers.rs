//! The gateway's own HTTP answers: the fields that every one of them carries, and how refusals look.
//! Spec: `spec/operator.md` sections 1 and 8, `spec/http.md`.

use alloc::string::{String, ToString};
use core::time::Duration;

use bytes::BytesMut;

use crate::http::{Method, PeerFault, Response, ServerConnection, Status};
use crate::settings::GatewaySettings;
use crate::time::UnixMillis;

/// Fields that keep a browser from doing more with an answer than reading it.
pub(super) const SECURITY: [(&str, &str); 6] = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
    ("Cache-Control", "no-store"),
];

const JSON: (&str, &str) = ("Content-Type", "application/json; charset=utf-8");

/// Writes answers.
#[derive(Debug)]
pub(super) struct Answers {
    /// The quota of requests that a connection starts with, as text.
    quota: String,
}

/// An answer to a request.
pub(super) struct Answer<'a> {
    pub(super) status: Status,
    pub(super) body: &'a [u8],
    pub(super) extra: Option<(&'a str, &'a str)>,
    /// When to come back, for refusals.
    pub(super) retry_after: Option<Duration>,
}

impl<'a> Answer<'a> {
    pub(super) const fn new(status: Status, body: &'a [u8]) -> Self {
        Self {
            status,
            body,
            extra: None,
            retry_after: None,
        }
    }

    /// No room, or no time: come back in a second.
    pub(super) const fn unavailable() -> Self {
        let answer = Self::new(Status::SERVICE_UNAVAILABLE, br#"{"error":"Service Unavailable"}"#);
        Self {
            retry_after: Some(Duration::from_secs(1)),
            ..answer
        }
    }
}

impl Answers {
    pub(super) fn new(settings: &GatewaySettings) -> Self {
        Self {
            quota: settings.rate_limit_per_minute.to_string(),
        }
    }

    /// Writes an answer. The limits fields tell the quota of requests that a connection starts with; on a refusal nothing is
    /// left of it until the time to come back.
    pub(super) fn write(&self, http: &mut ServerConnection, answer: &Answer<'_>, date: UnixMillis, out: &mut BytesMut) {
        let seconds = answer
            .retry_after
            .map(|after| after.as_millis().div_ceil(1_000).max(1).to_string());
        let (remaining, reset) = match &seconds {
            Some(seconds) => ("0", seconds.as_str()),
            None => (self.quota.as_str(), "60"),
        };
        let [a, b, c, d, e, f] = SECURITY;
        let quota = ("RateLimit-Limit", self.quota.as_str());
        let mut fields = [
            JSON,
            a,
            b,
            c,
            d,
            e,
            f,
            quota,
            ("RateLimit-Remaining", remaining),
            ("RateLimit-Reset", reset),
            // Room for the two that not every answer has.
            ("", ""),
            ("", ""),
        ];
        let mut used = 10;
        let retry_after = seconds.as_deref().map(|seconds| ("Retry-After", seconds));
        for field in [answer.extra, retry_after].into_iter().flatten() {
            if let Some(slot) = fields.get_mut(used) {
                *slot = field;
                used += 1;
            }
        }
        let headers = fields.get(..used).unwrap_or_default();
        http.respond(
            &Response {
                status: answer.status,
                headers,
                body: answer.body,
                date,
            },
            out,
        );
    }

    /// Answers a request that broke a rule of HTTP, or took too long.
    pub(super) fn write_fault(
        &self,
        http: &mut ServerConnection,
        fault: PeerFault,
        date: UnixMillis,
        out: &mut BytesMut,
    ) {
        let body = alloc::format!(r#"{{"error":"{}"}}"#, fault.status().reason());
        self.write(http, &Answer::new(fault.status(), body.as_bytes()), date, out);
    }
}

/// What a request gets that would change what can only be read.
pub(super) fn check_reads(method: Method) -> Result<(), Answer<'static>> {
    if matches!(method, Method::Get | Method::Head) {
        return Ok(());
    }
    let answer = Answer::new(Status::METHOD_NOT_ALLOWED, br#"{"error":"Method Not Allowed"}"#);
    Err(Answer {
        extra: Some(("Allow", "GET, HEAD")),
        ..answer
    })
}
