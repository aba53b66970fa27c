//! The tools of a build without them: no path leads here, and nothing is ever under way.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use bytes::Bytes;

use crate::audit::AuditRecord;
use crate::calls::Calls;
use crate::effect::{Outcome, Progress};
use crate::fetch::{Asking, FetchFault, Fetched, Fetches};
use crate::http::Status;
use crate::id::{ConnId, EffectId, FetchId};
use crate::random::Random;
use crate::report::Report;
use crate::settings::Settings;
use crate::time::{Instant, Now, UnixMillis};

/// What the surface would use.
pub struct Context<'a> {
    /// The time.
    pub now: Now,
    /// The settings in force.
    pub settings: &'a Arc<Settings>,
    /// Randomness.
    pub random: &'a mut Random,
    /// Where effects are started.
    pub calls: &'a mut Calls,
    /// Where URLs are fetched.
    pub fetches: &'a mut Fetches,
    /// Where the fetches ask.
    pub exchanges: &'a mut dyn Asking,
    /// Where facts for the log go.
    pub reports: &'a mut Vec<Report>,
    /// Where facts for the audit journal go.
    pub audit: &'a mut Vec<AuditRecord>,
}

/// A request that passed every check before the tools.
#[derive(Clone, Debug)]
pub struct ToolCall {
    /// Where the answer goes.
    pub conn: ConnId,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// When the connection was opened.
    pub connected_at: UnixMillis,
    /// The whole body.
    pub body: Bytes,
}

/// An answer to an HTTP request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: Status,
    /// For `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The JSON body.
    pub body: Bytes,
}

/// The surface: nothing is in it.
#[derive(Debug)]
pub struct Tools;

#[allow(
    missing_docs,
    clippy::unused_self,
    reason = "the real surface has them, and uses itself"
)]
impl Tools {
    #[must_use]
    pub const fn new(_: &Settings) -> Self {
        Self
    }

    pub const fn reconfigure(&mut self, _: &Settings) {}

    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "only this is asked for")]
    pub const fn len(&self) -> usize {
        0
    }

    #[must_use]
    pub const fn awaited(&self) -> usize {
        0
    }

    pub fn invoke(&mut self, _: &mut Context<'_>, _: &ToolCall) -> Option<HttpAnswer> {
        Some(HttpAnswer {
            status: Status::NOT_FOUND,
            retry_after: None,
            body: Bytes::new(),
        })
    }

    #[must_use]
    pub const fn has_answers(&self) -> bool {
        false
    }

    pub const fn take_answer(&mut self) -> Option<(ConnId, HttpAnswer)> {
        None
    }

    pub fn completed(&mut self, _: &mut Context<'_>, _: EffectId, _: Outcome) {}

    pub fn progressed(&mut self, _: &mut Context<'_>, _: EffectId, _: &Progress) {}

    pub fn fetch_event(&mut self, _: &mut Context<'_>, _: FetchId, _: Result<Fetched, FetchFault>) {}

    pub fn closed(&mut self, _: &mut Context<'_>, _: ConnId) {}

    #[must_use]
    pub const fn next_deadline(&self) -> Option<Instant> {
        None
    }

    pub fn on_deadline(&mut self, _: &mut Context<'_>) {}

    pub fn stop(&mut self, _: &mut Context<'_>) {}
}
