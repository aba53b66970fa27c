//! The AI providers that agents can answer through. Spec: `spec/control.md`.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::secret::Secret;
use crate::url::Url;

/// The providers that there are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ProviderKey {
    /// Google's generateContent.
    Gemini,
    /// Moonshot's chat completions.
    Kimi,
}

impl ProviderKey {
    /// All of them, in the order in which people read them.
    pub const ALL: [Self; 2] = [Self::Kimi, Self::Gemini];

    /// What requests and settings name it by.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gemini => "gemini",
            Self::Kimi => "kimi",
        }
    }

    /// The one with this name, exactly.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.as_str() == text)
    }

    /// What people read.
    #[must_use]
    pub const fn display_name(self) -> &'static str {
        match self {
            Self::Gemini => "Gemini",
            Self::Kimi => "Kimi (Moonshot AI)",
        }
    }

    /// The environment variable that holds its key.
    #[must_use]
    pub const fn key_variable(self) -> &'static str {
        match self {
            Self::Gemini => "GEMINI_API_KEY",
            Self::Kimi => "MOONSHOT_API_KEY",
        }
    }
}

impl fmt::Display for ProviderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// All providers, and which one is active at the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProviderSettings {
    /// The one that `{"provider":"active"}` means until it is switched.
    pub active: ProviderKey,
    /// Moonshot.
    pub kimi: Provider,
    /// Google.
    pub gemini: Provider,
    /// What a health check asks.
    pub health: HealthProbe,
    /// The most bytes of the body of one answer to a chat.
    pub max_response_bytes: u64,
}

impl ProviderSettings {
    /// One provider's settings.
    #[must_use]
    pub const fn get(&self, key: ProviderKey) -> &Provider {
        match key {
            ProviderKey::Gemini => &self.gemini,
            ProviderKey::Kimi => &self.kimi,
        }
    }
}

/// What a health check asks a provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HealthProbe {
    /// A completion of a few tokens, as the original does. It costs.
    Completion,
    /// The list of models. Free; a provider without one counts as healthy.
    Models,
}

/// One provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provider {
    /// Where its API is; `http` only on this machine.
    pub base_url: Url,
    /// `None`: it is not configured.
    pub api_key: Option<Secret>,
    /// The model until another is chosen.
    pub model: String,
    /// For one attempt.
    pub timeout: Duration,
    /// Further attempts after a failure that may pass.
    pub retries: u32,
}

impl Provider {
    fn new(base_url: &str, model: &str) -> Self {
        Self {
            // The two addresses below are good ones; the unspecified address answers nobody.
            base_url: Url::parse(base_url).unwrap_or_else(|_| Url {
                scheme: crate::url::Scheme::Https,
                host: crate::url::Host::Name(String::from("invalid.invalid")),
                port: 443,
                target: String::from("/"),
            }),
            api_key: None,
            model: String::from(model),
            timeout: Duration::from_secs(120),
            retries: 2,
        }
    }
}

impl Default for ProviderSettings {
    fn default() -> Self {
        Self {
            active: ProviderKey::Gemini,
            kimi: Provider::new("https://api.moonshot.cn/v1", "moonshot-v1-8k"),
            gemini: Provider::new("https://generativelanguage.googleapis.com", "gemini-1.5-pro"),
            health: HealthProbe::Completion,
            max_response_bytes: 16_777_216,
        }
    }
}
