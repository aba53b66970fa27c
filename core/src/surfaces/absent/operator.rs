//! The operator surface of a build without it: no path leads here, and nothing is ever under way.

#[path = "../operator/context.rs"]
mod context;

use crate::calls::Calls;
use crate::effect::{Outcome, Progress};
use crate::fetch::{FetchFault, Fetched};
use crate::id::{ChatId, ConnId, EffectId, FetchId};
use crate::machine::{DrainHow, Peer};
use crate::outbox::Outbox;
use crate::providers::ChatEvent;
use crate::settings::Settings;
use crate::time::{Instant, Now};

pub use context::{Context, UpgradeFacts};

/// The version of the protocol that would be spoken.
pub const PROTOCOL: u32 = 1;

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
