//! What monitors ask: does the gateway live, has it started, does it take new work? Answered without authentication, so
//! nothing here tells more than that. Spec: `spec/operator.md` section 1, `spec/hardening.md`.

use bytes::{BufMut, BytesMut};

use super::Gateway;
use super::answers::Answer;
use super::routes::Route;
use crate::http::Status;
use crate::json::write_number;
use crate::surfaces::operator::PROTOCOL;
use crate::time::Now;

impl Gateway {
    /// The answer of a probe that is one of a few texts.
    pub(super) fn probe(&self, route: Route) -> Answer<'static> {
        let unavailable =
            |body| Answer::new(Status::SERVICE_UNAVAILABLE, body).retry_after(core::time::Duration::from_secs(1));
        match route {
            Route::Ready | Route::Startup if self.draining.is_some() => {
                unavailable(br#"{"ok":false,"status":"draining"}"#)
            }
            Route::Ready | Route::Startup if !self.operator.has_started() => {
                unavailable(br#"{"ok":false,"status":"starting"}"#)
            }
            Route::Ready => Answer::new(Status::OK, br#"{"ok":true,"status":"ready"}"#),
            Route::Startup => Answer::new(Status::OK, br#"{"ok":true,"status":"started"}"#),
            _ => Answer::new(Status::OK, br#"{"ok":true,"status":"live"}"#),
        }
    }

    /// The body of `GET /health`.
    pub(super) fn health(&self, now: Now) -> BytesMut {
        let mut out = BytesMut::with_capacity(192);
        out.put_slice(b"{\"status\":\"ok\",\"protocol\":");
        write_number(&mut out, u64::from(PROTOCOL));
        out.put_slice(b",\"connectedClients\":");
        write_number(&mut out, u64::from(self.operator.clients()));
        out.put_slice(b",\"uptimeMs\":");
        write_number(&mut out, now.monotonic.since(self.started.monotonic).as_millis() as u64);
        let required: &[u8] = if self.auth.is_required() { b"true" } else { b"false" };
        out.put_slice(b",\"authRequired\":");
        out.put_slice(required);
        // A gateway that requires a token has one: it would not start without.
        out.put_slice(b",\"hasAuthToken\":");
        out.put_slice(required);
        out.put_slice(b",\"ok\":true}");
        out
    }
}
