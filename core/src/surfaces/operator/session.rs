//! What the operator surface keeps for one connection. Small: there are thousands of them, and most are idle.

use alloc::boxed::Box;
use alloc::string::String;
use core::net::IpAddr;

use super::scope::Scopes;
use crate::limits::throttle::{RefusalLimits, Refusals, Verdict};
use crate::limits::window::SlidingWindow;
use crate::policy::forwarded::Client;
use crate::time::{Instant, UnixMillis};

/// A client's connection, from the upgrade to its end.
#[derive(Debug)]
pub struct Session {
    pub(super) stage: Stage,
    /// Nothing while no request was refused.
    pub(super) refusals: Option<Box<Refusals>>,
    /// No message may be taken before this time.
    pub(super) not_before: Instant,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The challenge is sent; `connect` is awaited.
    Awaiting(Box<Awaiting>),
    /// The handshake is finished.
    Ready(Box<Ready>),
    /// It was refused, and is told so at this time; what else it says means nothing.
    Refused { told_at: Instant },
}

/// What the handshake is checked against.
#[derive(Debug)]
pub(super) struct Awaiting {
    pub(super) nonce: String,
    pub(super) conn_id: String,
    pub(super) origin: Option<String>,
    pub(super) host: Option<String>,
    pub(super) connected_at: UnixMillis,
    pub(super) client: Client,
    /// A trusted proxy named a user whom the settings let in.
    pub(super) vouched_for: bool,
}

/// A client that is in.
#[derive(Debug)]
pub(super) struct Ready {
    /// Whose idempotency keys these are: a digest of client id, instance id and token.
    pub(super) identity: [u8; 32],
    /// The client's address, for the journal.
    pub(super) ip: Option<IpAddr>,
    pub(super) scopes: Scopes,
    pub(super) connected_at: UnixMillis,
    /// The version of the OpenClaw dialect, where the client speaks that.
    pub(super) dialect: Option<u32>,
    pub(super) requests: SlidingWindow,
    pub(super) in_flight: u32,
}

impl Session {
    /// Whether the handshake is finished.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready(_))
    }

    /// Whether the client speaks the OpenClaw dialect.
    pub(super) fn speaks_dialect(&self) -> bool {
        matches!(&self.stage, Stage::Ready(ready) if ready.dialect.is_some())
    }

    /// When the next message may be taken: later than now while refusals are answered at a bounded rate.
    #[must_use]
    pub const fn not_before(&self) -> Instant {
        self.not_before
    }

    /// How many requests were refused; for the report.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refusals.as_ref().map_or(0, |refusals| refusals.count)
    }

    /// Some of the requests in flight were answered.
    pub fn answered(&mut self, count: u32) {
        if let Stage::Ready(ready) = &mut self.stage {
            ready.in_flight = ready.in_flight.saturating_sub(count);
        }
    }

    /// Counts a refusal; `false` when there were too many.
    pub(super) fn refuse(&mut self, now: Instant, limits: RefusalLimits) -> bool {
        let refusals = self.refusals.get_or_insert_with(|| Box::new(Refusals::new(now)));
        match refusals.count(now, limits) {
            Verdict::Continue { not_before } => {
                self.not_before = self.not_before.max(not_before);
                true
            }
            Verdict::Close => false,
        }
    }
}
