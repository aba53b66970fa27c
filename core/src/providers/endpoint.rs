//! Where and how a provider is asked: put together from the settings, and refused where a key would travel in the clear.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use crate::http::Method;
use crate::outbound::{ClientRequest, Destination};
use crate::secret::Secret;
use crate::settings::{Provider, ProviderKey};
use crate::url::{Host, Scheme, Url};

/// The longest name of a model.
const MAX_MODEL: usize = 128;

/// A provider as it is asked for one call.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) key: ProviderKey,
    pub(super) model: String,
    pub(super) provider: Provider,
    secret: Secret,
    to: Destination,
}

/// Why a provider cannot be asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotConfigured {
    /// This is no name of a model.
    Model(String),
    /// The settings do not allow it.
    Provider {
        /// Which one.
        key: ProviderKey,
        /// What is wrong with them.
        why: Unconfigured,
    },
}

/// What is wrong with a provider's settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unconfigured {
    /// This variable holds no key.
    KeyMissing(&'static str),
    /// This variable's key cannot stand in a header.
    KeyUnusable(&'static str),
    /// The base URL is `http` and leads to another machine.
    NeedsTls,
    /// The base URL has a query.
    BaseUrl,
}

impl fmt::Display for Unconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyMissing(variable) => write!(f, "{variable} is not set"),
            Self::KeyUnusable(variable) => write!(f, "{variable} holds characters that no API key has"),
            Self::NeedsTls => f.write_str("its base URL must be https, because it leads to another machine"),
            Self::BaseUrl => f.write_str("its base URL must not have a query"),
        }
    }
}

impl fmt::Display for NotConfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(model) => write!(f, "Invalid model \"{model}\"."),
            Self::Provider { key, why } => write!(f, "Provider \"{key}\" is not configured: {why}"),
        }
    }
}

impl core::error::Error for NotConfigured {}

/// Whether a text can be a model's name: at most 128 visible ASCII characters, and nothing in it that would lead a URL
/// elsewhere. A single `/` between two names is part of some.
#[must_use]
pub fn is_model(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@+/".contains(&byte);
    name.len() <= MAX_MODEL && name.bytes().all(plain) && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

impl Endpoint {
    /// Puts together what is needed to ask, and judges it.
    pub(super) fn new(key: ProviderKey, provider: &Provider, model: &str) -> Result<Self, NotConfigured> {
        if !is_model(model) {
            return Err(NotConfigured::Model(model.chars().take(MAX_MODEL).collect()));
        }
        let refused = |why| Err(NotConfigured::Provider { key, why });
        let Some(secret) = provider.api_key.clone() else {
            return refused(Unconfigured::KeyMissing(key.key_variable()));
        };
        if secret.reveal().is_empty() {
            return refused(Unconfigured::KeyMissing(key.key_variable()));
        }
        if !secret.reveal().bytes().all(|byte| byte.is_ascii_graphic()) {
            return refused(Unconfigured::KeyUnusable(key.key_variable()));
        }
        let Some(to) = destination(&provider.base_url) else {
            return refused(Unconfigured::NeedsTls);
        };
        if provider.base_url.target.contains('?') {
            return refused(Unconfigured::BaseUrl);
        }
        Ok(Self {
            key,
            model: model.into(),
            provider: provider.clone(),
            secret,
            to,
        })
    }

    /// Where its server is.
    pub(super) fn destination(&self) -> Destination {
        self.to.clone()
    }

    /// A `POST` of JSON below the base URL.
    pub(super) fn post(&self, path: &str, body: Vec<u8>) -> ClientRequest {
        let json = || String::from("application/json");
        let mut request = self.get(path);
        request.method = Method::Post;
        request.headers.push(("Content-Type", json()));
        request.body = Bytes::from(body);
        request
    }

    /// A `GET` below the base URL.
    pub(super) fn get(&self, path: &str) -> ClientRequest {
        let base = &self.provider.base_url;
        let mut url = base.clone();
        url.target = alloc::format!("{}{path}", base.target.trim_end_matches('/'));
        let (headers, credential) = match self.key {
            ProviderKey::Kimi => {
                let bearer = alloc::format!("Bearer {}", self.secret.reveal());
                let accept = ("Accept", String::from("application/json"));
                (alloc::vec![accept], ("Authorization", Secret::new(bearer)))
            }
            ProviderKey::Gemini => (Vec::new(), ("x-goog-api-key", self.secret.clone())),
        };
        ClientRequest {
            method: Method::Get,
            url,
            headers,
            credentials: alloc::vec![credential],
            body: Bytes::new(),
        }
    }
}

/// Where a base URL leads; `None` when a key would travel in the clear. `localhost` is this machine and is not looked up,
/// so that nobody's name server can make it another one.
fn destination(url: &Url) -> Option<Destination> {
    if let Host::Name(name) = &url.host
        && (name == "localhost" || name.ends_with(".localhost"))
    {
        let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let addresses = addresses.map(|address| SocketAddr::new(address, url.port));
        return Some(Destination::Pinned(addresses.into()));
    }
    let is_loopback = match &url.host {
        Host::Address(address) => address.to_canonical().is_loopback(),
        Host::Name(_) => false,
    };
    (url.scheme == Scheme::Https || is_loopback).then_some(Destination::Named)
}
