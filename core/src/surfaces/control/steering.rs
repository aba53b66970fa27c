//! What the commands need of the AI providers: which one is active, switching it, and asking whether they answer. The
//! gateway lends the real ones; tests lend their own. Nothing here talks to a provider.

use alloc::string::String;
use core::time::Duration;

use crate::calls::Calls;
use crate::random::Random;
use crate::settings::ProviderKey;
use crate::time::Now;

/// The providers, as far as commands steer them.
pub trait Steering {
    /// The one that answers now.
    fn active(&self) -> ActiveProvider;

    /// Makes another one answer, or the same one with another model. `None`: the model that it had last. Nothing changes
    /// unless everything can.
    ///
    /// # Errors
    /// It has no key.
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

/// A switch that took place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Switched {
    /// Who answered before.
    pub previous: ProviderKey,
    /// Who answers now.
    pub active: ProviderKey,
    /// With which model.
    pub model: String,
}

/// The provider has no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotConfigured(pub ProviderKey);

/// How one provider answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProviderHealth {
    /// Which.
    pub key: ProviderKey,
    /// The model that was asked.
    pub model: String,
    /// Whether it has a key; one without is not asked.
    pub configured: bool,
    /// How long the answer took, or why there is none: a short text without addresses and keys.
    pub outcome: Result<Duration, String>,
}

/// The longest name of a model.
const MAX_MODEL_NAME: usize = 128;

/// Whether a text can name a model: short, and made of characters that mean nothing in a URL path, so that it cannot
/// lead a request elsewhere.
#[must_use]
pub fn is_model_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@+".contains(&byte);
    (1..=MAX_MODEL_NAME).contains(&text.len()) && text.bytes().all(plain) && !text.bytes().all(|byte| byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models() {
        let longest = "m".repeat(128);
        for name in ["moonshot-v1-8k", "gemini-1.5-pro", "kimi_k2:latest", "a", &longest] {
            assert!(is_model_name(name), "{name}");
        }
        let too_long = "m".repeat(129);
        for text in [
            "", " ", "a b", "a/b", "..", ".", "a%2f", "a?b", "a#b", "a\\b", "a\n", "modèle", &too_long,
        ] {
            assert!(!is_model_name(text), "{text}");
        }
    }
}
