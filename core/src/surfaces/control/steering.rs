//! What the commands need of the AI providers: which one is active, switching it, and asking whether they answer. The
//! gateway lends the real ones; tests lend their own. Nothing here talks to a provider.

use alloc::string::String;

use crate::calls::Calls;
use crate::outbound::Exchanges;
use crate::providers::{NotConfigured, ProviderContext, Providers, Switched};
use crate::random::Random;
use crate::settings::{ProviderKey, ProviderSettings};
use crate::time::Now;

/// The providers, as far as commands steer them.
pub trait Steering {
    /// The one that answers now.
    fn active(&self) -> ActiveProvider;

    /// Makes another one answer, or the same one with another model. `None`: the model that it had last. Nothing changes
    /// unless everything can.
    ///
    /// # Errors
    /// Why it cannot be asked, in the words that the client is told.
    fn switch(&mut self, to: ProviderKey, model: Option<&str>) -> Result<Switched, NotConfigured>;

    /// Asks all providers whether they answer; the result comes back under `ticket`, within a bounded time.
    fn check_health(&mut self, now: Now, calls: &mut Calls, random: &mut Random, ticket: u64);
}

/// The provider that answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActiveProvider {
    /// Which.
    pub key: ProviderKey,
    /// Its model.
    pub model: String,
    /// Whether it has a key.
    pub configured: bool,
}

/// The real providers, lent for one input.
pub struct ProviderAccess<'a> {
    /// The providers.
    pub providers: &'a mut Providers,
    /// Where their requests go.
    pub exchanges: &'a mut Exchanges,
    /// Their settings in force.
    pub settings: &'a ProviderSettings,
}

impl Steering for ProviderAccess<'_> {
    fn active(&self) -> ActiveProvider {
        let active = self.providers.active(self.settings);
        ActiveProvider {
            key: active.key,
            model: active.model.into(),
            configured: active.configured,
        }
    }

    fn switch(&mut self, to: ProviderKey, model: Option<&str>) -> Result<Switched, NotConfigured> {
        self.providers.switch(self.settings, to, model)
    }

    fn check_health(&mut self, now: Now, calls: &mut Calls, random: &mut Random, ticket: u64) {
        let mut cx = ProviderContext {
            now,
            settings: self.settings,
            random,
            calls,
            exchanges: self.exchanges,
        };
        self.providers.check_health(&mut cx, ticket);
    }
}
