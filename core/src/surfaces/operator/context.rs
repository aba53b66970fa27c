//! What the surface is lent while it handles one input, and what an upgraded request told about its sender. It owns nothing.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::audit::AuditRecord;
use crate::auth::Authenticator;
use crate::calls::Calls;
use crate::fetch::{FetchContext, Fetches};
use crate::metrics::Metrics;
use crate::outbound::Exchanges;
use crate::outbox::Outbox;
use crate::policy::forwarded::Client;
use crate::providers::{ProviderContext, Providers};
use crate::random::Random;
use crate::report::Report;
use crate::settings::Settings;
use crate::time::{Now, UnixMillis};

/// What the surface may use while it handles one input.
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

impl Context<'_> {
    /// The providers and what they may use.
    pub(super) fn providers(&mut self) -> (&mut Providers, ProviderContext<'_>) {
        let context = ProviderContext {
            now: self.now,
            settings: &self.settings.providers,
            random: self.random,
            calls: self.calls,
            exchanges: self.exchanges,
        };
        (self.providers, context)
    }

    /// What fetches URLs, and what it may use.
    pub(super) fn fetching(&mut self) -> (&mut Fetches, FetchContext<'_>) {
        let context = FetchContext {
            now: self.now,
            settings: &self.settings.fetch,
            calls: self.calls,
            exchanges: self.exchanges,
        };
        (self.fetches, context)
    }
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
