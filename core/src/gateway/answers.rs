//! The gateway's own HTTP answers: the fields that every one of them carries, and how refusals look.
//! Spec: `spec/operator.md` sections 1 and 8, `spec/hardening.md`, `spec/http.md`.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::BytesMut;

use crate::http::{Fields, Method, Preset, Response, ServerConnection, Status};
use crate::json::write_string;
use crate::settings::Settings;
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

pub(super) const HSTS: &str = "Strict-Transport-Security";

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Writes answers.
#[derive(Debug)]
pub(super) struct Answers {
    /// What an answer carries; the limits fields tell the quota of requests that a connection starts with.
    served: Preset,
    /// What an answer carries that says when to come back: nothing is left of the quota until then.
    refused: Preset,
    /// What a `101` carries.
    upgraded: Preset,
}

/// An answer to a request.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: Status,
    pub(super) body: Cow<'a, [u8]>,
    pub(super) media: &'a str,
    pub(super) extra: Option<(&'a str, &'a str)>,
    /// When to come back, for refusals.
    pub(super) retry_after: Option<Duration>,
    /// Whether the connection ends after it.
    pub(super) close: bool,
}

impl<'a> Answer<'a> {
    pub(super) fn new(status: Status, body: &'a [u8]) -> Self {
        Self {
            status,
            body: Cow::Borrowed(body),
            media: JSON,
            extra: None,
            retry_after: None,
            close: false,
        }
    }

    /// The same answer, with one more field.
    pub(super) fn with(self, name: &'a str, value: &'a str) -> Self {
        Self {
            extra: Some((name, value)),
            ..self
        }
    }

    /// The same answer, which says when to come back.
    pub(super) fn retry_after(self, after: Duration) -> Self {
        Self {
            retry_after: Some(after),
            ..self
        }
    }

    /// The same answer, as the connection's last.
    pub(super) fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    /// No room, or no time: come back in a second.
    pub(super) fn unavailable() -> Self {
        Self::new(Status::SERVICE_UNAVAILABLE, br#"{"error":"Service Unavailable"}"#)
            .retry_after(Duration::from_secs(1))
            .closing()
    }

    /// The gateway goes away: what was asked for is not begun any more.
    pub(super) fn draining() -> Self {
        let body = br#"{"error":{"message":"Gateway is temporarily unavailable while suspending or restarting","type":"service_unavailable","code":"gateway_unavailable"}}"#;
        Self::new(Status::SERVICE_UNAVAILABLE, body)
            .retry_after(Duration::from_secs(1))
            .closing()
    }

    /// The peer's network is not served.
    pub(super) fn stranger() -> Self {
        let body = br#"{"error":{"message":"Address not allowed (allow its network in gateway.allowedNetworks)","type":"address_not_allowed"}}"#;
        Self::new(Status::FORBIDDEN, body).closing()
    }

    /// A short text.
    pub(super) fn text(status: Status, body: &'a str) -> Self {
        Self {
            media: TEXT,
            ..Self::new(status, body.as_bytes())
        }
    }

    /// A page of text.
    pub(super) fn page(body: String, media: &'a str) -> Self {
        Self {
            body: Cow::Owned(body.into_bytes()),
            media,
            ..Self::new(Status::OK, b"")
        }
    }

    /// An error in the form of the OpenClaw family.
    pub(super) fn refusal(status: Status, message: &str, kind: &str) -> Self {
        let mut body = BytesMut::new();
        body.extend_from_slice(b"{\"error\":{\"message\":");
        write_string(&mut body, message);
        body.extend_from_slice(b",\"type\":");
        write_string(&mut body, kind);
        body.extend_from_slice(b"}}");
        Self {
            body: Cow::Owned(body.to_vec()),
            ..Self::new(status, b"")
        }
    }

    /// Too many wrong credentials.
    pub(super) fn locked_out(left: Duration) -> Self {
        let message = "Too many failed authentication attempts. Please try again later.";
        Self::refusal(Status::TOO_MANY_REQUESTS, message, "rate_limited").retry_after(left)
    }

    /// A missing or wrong credential.
    pub(super) fn unauthorized() -> Self {
        Self::refusal(Status::UNAUTHORIZED, "Unauthorized", "unauthorized").with("WWW-Authenticate", "Bearer")
    }

    pub(super) fn not_found() -> Self {
        Self::new(Status::NOT_FOUND, br#"{"error":"Not Found"}"#)
    }

    pub(super) fn bad_request() -> Self {
        Self::new(Status::BAD_REQUEST, br#"{"error":"Bad Request"}"#).closing()
    }

    pub(super) fn upgrade_required() -> Self {
        Self::new(Status::UPGRADE_REQUIRED, br#"{"error":"Upgrade Required"}"#)
    }
}

impl Answers {
    pub(super) fn new(settings: &Settings) -> Self {
        let hsts = settings.doors.strict_transport_security.as_deref();
        let quota = settings.gateway.rate_limit_per_minute.to_string();
        let preset = |limits: &[(&str, &str)]| {
            let hsts = hsts.map(|value| (HSTS, value));
            let fields = SECURITY.into_iter().chain(hsts).chain(limits.iter().copied());
            Preset::new(&fields.collect::<Vec<_>>())
        };
        let limit = ("RateLimit-Limit", quota.as_str());
        Self {
            served: preset(&[
                limit,
                ("RateLimit-Remaining", quota.as_str()),
                ("RateLimit-Reset", "60"),
            ]),
            refused: preset(&[limit, ("RateLimit-Remaining", "0")]),
            upgraded: preset(&[]),
        }
    }

    /// Writes an answer.
    pub(super) fn write(&self, http: &mut ServerConnection, answer: &Answer<'_>, date: UnixMillis, out: &mut BytesMut) {
        if answer.close {
            http.close_after_response();
        }
        let media = ("Content-Type", answer.media);
        let mut respond = |headers: Fields<'_>| {
            let response = Response {
                status: answer.status,
                headers,
                body: &answer.body,
                date,
            };
            http.respond(&response, out);
        };
        match (answer.retry_after, answer.extra) {
            (None, None) => respond(self.served.with(&[media])),
            (None, Some(extra)) => respond(self.served.with(&[media, extra])),
            (Some(after), extra) => {
                let seconds = after.as_millis().div_ceil(1_000).max(1).to_string();
                let come_back = [("RateLimit-Reset", seconds.as_str()), ("Retry-After", &seconds)];
                let fields: Vec<_> = [media].into_iter().chain(come_back).chain(extra).collect();
                respond(self.refused.with(&fields));
            }
        }
    }

    /// The fields of the answer that ends HTTP on a connection.
    pub(super) const fn upgraded<'a>(&'a self, each: &'a [(&'a str, &'a str)]) -> Fields<'a> {
        self.upgraded.with(each)
    }
}

/// What a request gets that would change what can only be read.
pub(super) fn check_reads(method: Method) -> Result<(), Answer<'static>> {
    if matches!(method, Method::Get | Method::Head) {
        return Ok(());
    }
    let answer = Answer::new(Status::METHOD_NOT_ALLOWED, br#"{"error":"Method Not Allowed"}"#);
    Err(answer.with("Allow", "GET, HEAD"))
}
