//! The operator surface of a build without it: no path leads here, and nothing is ever under way.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::audit::AuditRecord;
use crate::auth::Authenticator;
use crate::calls::Calls;
use crate::effect::{Outcome, Progress};
use crate::fetch::{FetchFault, Fetched, Fetches};
use crate::id::{ChatId, ConnId, EffectId, FetchId};
use crate::machine::{DrainHow, Peer};
use crate::metrics::Metrics;
use crate::outbound::Exchanges;
use crate::outbox::Outbox;
use crate::policy::forwarded::Client;
use crate::providers::{ChatEvent, Providers};
use crate::random::Random;
use crate::report::Report;
use crate::settings::Settings;
use crate::time::{Instant, Now, UnixMillis};

/// The version of the protocol that would be spoken.
pub const PROTOCOL: u32 = 1;

/// What the surface would use.
pub struct Context<'a> {
    /// The time.
    pub now: Now,
    /// The settings in force.
    pub settings: &'a Arc<Settings>,
    /// Randomness.
    pub random: &'a mut Random,
    /// The lock on the door.
    pub auth: &'a mut Authenticator,
    /// Where answers go.
    pub outbox: &'a mut Outbox,
    /// Where effects are started.
    pub calls: &'a mut Calls,
    /// Where URLs are fetched.
    pub fetches: &'a mut Fetches,
    /// Where requests to other servers go.
    pub exchanges: &'a mut Exchanges,
    /// Where facts for the log go.
    pub reports: &'a mut Vec<Report>,
    /// Where records for the journal go.
    pub audit: &'a mut Vec<AuditRecord>,
    /// What is counted.
    pub metrics: &'a mut Metrics,
    /// Who answers for agents that are providers.
    pub providers: &'a mut Providers,
}

/// What an upgraded request told about its sender.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeFacts<'a> {
    /// The `Origin` header.
    pub origin: Option<&'a str>,
    /// The `Host` header.
    pub host: Option<&'a str>,
    /// When the connection was opened.
    pub connected_at: UnixMillis,
    /// Who asks.
    pub client: Client,
    /// A trusted proxy named a user whom the settings let in without a token.
    pub vouched_for: bool,
}

/// A client's connection; none is ever made.
#[derive(Debug)]
pub struct Session(());

#[allow(
    missing_docs,
    clippy::unused_self,
    reason = "the real surface has them, and uses itself"
)]
impl Session {
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        false
    }

    #[must_use]
    pub const fn not_before(&self) -> Instant {
        Instant::ZERO
    }

    #[must_use]
    pub const fn refused(&self) -> u64 {
        0
    }

    pub const fn answered(&mut self, _: u32) {}
}

/// The surface: nothing is in it.
#[derive(Debug)]
pub struct Operator;

#[allow(
    missing_docs,
    clippy::unused_self,
    reason = "the real surface has them, and uses itself"
)]
impl Operator {
    #[must_use]
    pub const fn new(_: &Settings, _: Now, _: &mut Calls) -> Self {
        Self
    }

    pub const fn reconfigure(&mut self, _: &Settings, _: &mut Calls) {}

    #[must_use]
    pub const fn clients(&self) -> u32 {
        0
    }

    #[must_use]
    pub const fn runs(&self) -> usize {
        0
    }

    /// There is no run.
    #[must_use]
    pub const fn oldest_run(&self) -> Option<Instant> {
        None
    }

    /// Whoever should come here after all is closed.
    pub fn opened(&mut self, cx: &mut Context<'_>, conn: ConnId, _: UpgradeFacts<'_>) -> Session {
        cx.outbox
            .close(conn, crate::websocket::CloseCode::POLICY, "no such surface");
        Session(())
    }

    pub fn message(&mut self, _: &mut Context<'_>, _: ConnId, _: Peer, _: &mut Session, _: Option<&str>) {}

    pub fn tick(&mut self, _: &mut Context<'_>, _: ConnId, _: &Session) {}

    pub const fn closed(&mut self, _: ConnId, _: &Session) {}

    pub fn completed(&mut self, _: &mut Context<'_>, _: EffectId, _: Outcome) {}

    pub fn progressed(&mut self, _: &mut Context<'_>, _: EffectId, _: &Progress) {}

    pub fn fetch_event(&mut self, _: &mut Context<'_>, _: FetchId, _: Result<Fetched, FetchFault>) {}

    pub fn chat_event(&mut self, _: &mut Context<'_>, _: ChatId, _: ChatEvent) {}

    #[must_use]
    pub const fn next_deadline(&self) -> Option<Instant> {
        None
    }

    pub fn on_deadline(&mut self, _: &mut Context<'_>) {}

    pub const fn drain(&mut self) {}

    pub const fn announce_shutdown(&self, _: &mut Outbox, _: ConnId, _: &Session, _: DrainHow) {}

    pub fn stop(&mut self, _: &mut Context<'_>) {}

    pub fn abandon(&mut self, _: &mut Context<'_>) {}

    #[must_use]
    pub const fn lost_runs(&self) -> u32 {
        0
    }

    /// There is nothing to wait for.
    #[must_use]
    pub const fn has_started(&self) -> bool {
        true
    }
}
