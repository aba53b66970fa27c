//! Which provider is active, and which model of each: the settings', until somebody switches.

use alloc::collections::BTreeMap;
use alloc::string::String;

use super::endpoint::{Endpoint, NotConfigured};
use crate::settings::{ProviderKey, ProviderSettings};

/// The choice in force.
#[derive(Debug)]
pub(super) struct Choice {
    key: ProviderKey,
    models: BTreeMap<ProviderKey, String>,
    /// What the settings said when they were last read: where they say something else, they count again.
    said_key: ProviderKey,
    said_models: BTreeMap<ProviderKey, String>,
}

/// The active provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Active<'a> {
    /// Which one.
    pub key: ProviderKey,
    /// What people read.
    pub display_name: &'static str,
    /// The model in force.
    pub model: &'a str,
    /// Whether it can be asked.
    pub configured: bool,
}

/// A switch that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Switched {
    /// The provider that was active before; it may be the same one.
    pub previous: ProviderKey,
    /// The active one now.
    pub active: ProviderKey,
    /// Its model.
    pub model: String,
}

impl Choice {
    pub(super) fn new(settings: &ProviderSettings) -> Self {
        Self {
            key: settings.active,
            models: BTreeMap::new(),
            said_key: settings.active,
            said_models: said_models(settings),
        }
    }

    pub(super) fn reconfigure(&mut self, settings: &ProviderSettings) {
        if settings.active != self.said_key {
            self.key = settings.active;
        }
        let said = said_models(settings);
        self.models.retain(|key, _| said.get(key) == self.said_models.get(key));
        self.said_key = settings.active;
        self.said_models = said;
    }

    pub(super) const fn key(&self) -> ProviderKey {
        self.key
    }

    /// The model in force of a provider.
    pub(super) fn model<'a>(&'a self, settings: &'a ProviderSettings, key: ProviderKey) -> &'a str {
        self.models.get(&key).unwrap_or_else(|| &settings.get(key).model)
    }

    pub(super) fn active<'a>(&'a self, settings: &'a ProviderSettings) -> Active<'a> {
        Active {
            key: self.key,
            display_name: self.key.display_name(),
            model: self.model(settings, self.key),
            configured: self.endpoint(settings, self.key, None).is_ok(),
        }
    }

    /// How a provider is asked, with this model or the one in force.
    pub(super) fn endpoint(
        &self,
        settings: &ProviderSettings,
        key: ProviderKey,
        model: Option<&str>,
    ) -> Result<Endpoint, NotConfigured> {
        let model = model.unwrap_or_else(|| self.model(settings, key));
        Endpoint::new(key, settings.get(key), model)
    }

    /// Built first, then committed.
    pub(super) fn switch(
        &mut self,
        settings: &ProviderSettings,
        to: ProviderKey,
        model: Option<&str>,
    ) -> Result<Switched, NotConfigured> {
        let built = self.endpoint(settings, to, model)?;
        let previous = core::mem::replace(&mut self.key, to);
        if model.is_some() {
            self.models.insert(to, built.model.clone());
        }
        Ok(Switched {
            previous,
            active: to,
            model: built.model,
        })
    }
}

fn said_models(settings: &ProviderSettings) -> BTreeMap<ProviderKey, String> {
    let all = ProviderKey::ALL.into_iter();
    all.map(|key| (key, settings.get(key).model.clone())).collect()
}
