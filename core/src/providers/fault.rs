//! What can go wrong with a provider, in texts of our own: a provider's own words may repeat what it was sent, and change
//! from day to day, so none of them is passed on. Spec: `spec/providers.md`.

use core::fmt;

use super::endpoint::NotConfigured;
use crate::outbound::ExchangeFault;
use crate::settings::ProviderKey;

/// A provider did not answer as it should.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProviderFault {
    /// Which one.
    pub provider: ProviderKey,
    /// What was wrong.
    pub trouble: Trouble,
}

/// What was wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// It cannot be asked with these settings.
    NotConfigured(NotConfigured),
    /// The conversation does not end with the user.
    LastMessage,
    /// The key is not accepted.
    KeyRefused,
    /// The key may not do this.
    Forbidden,
    /// There is no such model, or not for this key.
    ModelUnavailable,
    /// The request is not accepted.
    Rejected(u16),
    /// The account is out of balance.
    QuotaUsedUp,
    /// Too many requests.
    RateLimited,
    /// It failed, or is overloaded.
    Failing(u16),
    /// It answered with a redirect.
    Redirect(u16),
    /// The conversation or the answer was blocked.
    Blocked,
    /// There is nothing in the answer.
    Empty,
    /// The answer is not what the provider's API says.
    Unreadable,
    /// The answer ended in its middle.
    EndedEarly,
    /// There was no answer from the server, or no whole one.
    Outbound(ExchangeFault),
    /// Too many chats.
    Busy,
    /// Whoever asked cancelled it.
    Cancelled,
}

impl ProviderFault {
    pub(super) const fn new(provider: ProviderKey, trouble: Trouble) -> Self {
        Self { provider, trouble }
    }

    /// Whether the same question may be answered later: it was not refused, it did not come through.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(
            self.trouble,
            Trouble::EndedEarly
                | Trouble::Busy
                | Trouble::Cancelled
                | Trouble::Outbound(ExchangeFault::Cancelled | ExchangeFault::Malformed(_))
        ) || self.trouble.may_pass()
    }
}

impl Trouble {
    /// Whether it may pass by itself.
    pub(super) const fn may_pass(&self) -> bool {
        match self {
            Self::RateLimited | Self::Failing(_) => true,
            Self::Rejected(status) => matches!(status, 408 | 409),
            Self::Outbound(fault) => matches!(
                fault,
                ExchangeFault::Unresolved
                    | ExchangeFault::Unreachable(_)
                    | ExchangeFault::TimedOut
                    | ExchangeFault::Cut { .. }
                    | ExchangeFault::Busy
            ),
            _ => false,
        }
    }
}

impl fmt::Display for ProviderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.provider {
            ProviderKey::Kimi => "KimiProvider",
            ProviderKey::Gemini => "GeminiProvider",
        };
        if let (Trouble::Empty, ProviderKey::Kimi) = (&self.trouble, self.provider) {
            return f.write_str("KimiProvider: received empty response from Moonshot API");
        }
        if let Trouble::NotConfigured(error @ NotConfigured::Model(_)) = &self.trouble {
            return write!(f, "{prefix}: {error}");
        }
        write!(f, "{prefix}: {}", self.trouble)
    }
}

impl core::error::Error for ProviderFault {}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfigured(NotConfigured::Provider { why, .. }) => why.fmt(f),
            Self::NotConfigured(error @ NotConfigured::Model(_)) => error.fmt(f),
            Self::LastMessage => f.write_str("last message must be a user message"),
            Self::KeyRefused => f.write_str("the API key was refused"),
            Self::Forbidden => f.write_str("the API key may not do this"),
            Self::ModelUnavailable => f.write_str("model not available"),
            Self::Rejected(status) => write!(f, "the request was rejected (status {status})"),
            Self::QuotaUsedUp => f.write_str("the account's quota is used up"),
            Self::RateLimited => f.write_str("too many requests"),
            Self::Failing(status) => write!(f, "the provider is failing (status {status})"),
            Self::Redirect(status) => write!(f, "the server redirects (status {status}), which is not followed"),
            Self::Blocked => f.write_str("the content was blocked"),
            Self::Empty => f.write_str("received an empty response"),
            Self::Unreadable => f.write_str("the response cannot be read"),
            Self::EndedEarly => f.write_str("the response ended too early"),
            // What the system said may name addresses and paths; which kind of failure it was is enough.
            Self::Outbound(ExchangeFault::Unreachable(_)) => f.write_str("cannot connect"),
            Self::Outbound(ExchangeFault::Tls(_)) => f.write_str("no trusted TLS connection"),
            Self::Outbound(fault) => fault.fmt(f),
            Self::Busy => f.write_str("too many chats at the same time"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}
