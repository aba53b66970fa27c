//! The control surface of a build without it: there is none, so nothing of it can be called.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::audit::AuditRecord;
use crate::auth::Authenticator;
use crate::calls::Calls;
use crate::effect::Outcome;
use crate::id::{ConnId, EffectId};
use crate::outbound::Exchanges;
use crate::outbox::Outbox;
use crate::policy::forwarded::Client;
use crate::providers::{HealthReport, Providers};
use crate::random::Random;
use crate::report::Report;
use crate::settings::{ControlSettings, ProviderSettings, Settings};
use crate::time::{Instant, Now};

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
    /// Where facts for the log go.
    pub reports: &'a mut Vec<Report>,
    /// Where records for the audit journal go.
    pub audit: &'a mut Vec<AuditRecord>,
    /// The AI providers.
    pub providers: &'a mut dyn Steering,
}

/// What commands would need of the providers.
pub trait Steering {}

/// The real providers, lent for one input.
pub struct ProviderAccess<'a> {
    /// The providers.
    pub providers: &'a mut Providers,
    /// Where their requests go.
    pub exchanges: &'a mut Exchanges,
    /// Their settings in force.
    pub settings: &'a ProviderSettings,
}

impl Steering for ProviderAccess<'_> {}

/// An upgrade that is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// Its body.
    pub body: &'static str,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// The address may not connect.
    pub const ADDRESS: Self = Self {
        status: 403,
        body: "IP not permitted",
        retry_after: None,
    };
}

/// What follows when a session's time has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Go on.
    Keep,
    /// Drop the connection.
    Drop,
}

/// A client's connection; there is none.
#[derive(Debug)]
pub enum Session {}

#[allow(missing_docs, reason = "the real surface has them")]
impl Session {
    #[must_use]
    pub const fn is_authenticated(&self) -> bool {
        match *self {}
    }

    #[must_use]
    pub const fn not_before(&self) -> Instant {
        match *self {}
    }

    pub const fn released(&mut self) {
        match *self {}
    }

    pub const fn heard(&mut self) {
        match *self {}
    }

    #[must_use]
    pub const fn deadline(&self) -> Instant {
        match *self {}
    }
}

/// The surface; there is none.
#[derive(Debug)]
pub enum Control {}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "the real surface has them")]
impl Control {
    #[must_use]
    pub const fn new(
        _: &Settings,
        _: Now,
        _: &mut Random,
        _: &mut Calls,
        _: &mut Vec<Report>,
        _: &mut Vec<AuditRecord>,
    ) -> Option<Self> {
        None
    }

    #[must_use]
    pub const fn settings(&self) -> &ControlSettings {
        match *self {}
    }

    #[must_use]
    pub const fn trusts(&self, _: Client) -> bool {
        match *self {}
    }

    pub const fn judge(&mut self, _: &mut Context<'_>, _: Client, _: Option<&str>) -> Result<(), Refusal> {
        match *self {}
    }

    pub const fn opened(&mut self, _: &mut Context<'_>, _: ConnId, _: Client, _: Option<&str>) -> Session {
        match *self {}
    }

    pub const fn message(&mut self, _: &mut Context<'_>, _: ConnId, _: &mut Session, _: Option<&str>) {
        match *self {}
    }

    pub const fn failed(&mut self, _: &mut Context<'_>, _: ConnId, _: &Session, _: &str) {
        match *self {}
    }

    pub const fn due(&mut self, _: &mut Context<'_>, _: ConnId, _: &mut Session) -> Due {
        match *self {}
    }

    pub const fn closed(&mut self, _: &mut Context<'_>, _: ConnId, _: &Session) {
        match *self {}
    }

    pub fn completed(&mut self, _: &mut Context<'_>, _: EffectId, _: Outcome) {
        match *self {}
    }

    pub const fn health_checked(&mut self, _: &mut Context<'_>, _: u64, _: &HealthReport) {
        match *self {}
    }

    pub const fn take_released(&mut self) -> Option<ConnId> {
        match *self {}
    }

    pub const fn reconfigure(&mut self, _: &mut Context<'_>) {
        match *self {}
    }

    pub const fn drain(&mut self) {
        match *self {}
    }

    pub const fn stop(&mut self, _: &mut Context<'_>) {
        match *self {}
    }

    #[must_use]
    pub const fn in_progress(&self) -> usize {
        match *self {}
    }
}
