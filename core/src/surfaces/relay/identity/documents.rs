//! What an identity provider publishes: its discovery document and its keys. Fetched when needed, one document at a time,
//! kept as long as the provider says (within bounds), never used when too old. No redirect is followed.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::{Bytes, BytesMut};

use super::jwk::{self, Algorithm, Jwk};
use super::place::{Inside, Place};
use crate::calls::Owner;
use crate::effect::{Completion, Effect, Outcome};
use crate::http::Method;
use crate::id::{EffectId, ExchangeId};
use crate::outbound::{Asker, ClientRequest, ClientResponse, Destination, Exchange, ExchangeEvent, ExchangeLimits};
use crate::report::Report;
use crate::settings::{RelayAuth, RelaySettings};
use crate::surfaces::relay::context::RelayContext;
use crate::time::Instant;
use crate::url::Url;

/// Google's keys of Firebase id tokens, as a JWK set.
const FIREBASE_KEYS: &str = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com";
const MAX_DOCUMENT_BYTES: u64 = 262_144;
/// For the look-up of a name and the whole answer.
const PATIENCE: Duration = Duration::from_secs(12);
/// After a failure nobody is asked for so long.
const BACKOFF: Duration = Duration::from_secs(5);
/// How long keys are good when the provider does not say it.
const DEFAULT_AGE: Duration = Duration::from_secs(3_600);
const LEAST_AGE: Duration = Duration::from_secs(60);
const MOST_AGE: Duration = Duration::from_secs(86_400);
/// An unknown key id makes the keys be fetched again, but not more often.
const REFETCH_EVERY: Duration = Duration::from_secs(60);

/// The documents of one provider.
#[derive(Debug)]
pub(super) struct Documents {
    /// The provider as the settings name it; for a fixed key set, the set.
    root: Result<Url, String>,
    issuer: Option<String>,
    inside: Inside,
    discovery: Option<Discovery>,
    keys: Vec<Jwk>,
    keys_until: Option<Instant>,
    /// When the keys were last fetched again because of an unknown id.
    renewed_at: Option<Instant>,
    under_way: Option<UnderWay>,
    failed_until: Option<Instant>,
}

#[derive(Debug)]
struct Discovery {
    keys: Url,
    algorithms: Vec<Algorithm>,
    until: Instant,
}

#[derive(Debug)]
struct UnderWay {
    what: What,
    url: Url,
    at: At,
    until: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Discovery,
    Keys,
}

#[derive(Debug)]
enum At {
    Name(EffectId),
    Server {
        exchange: ExchangeId,
        age: Option<Duration>,
        body: BytesMut,
    },
}

/// What there is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Keys that may be used.
    Ready,
    /// A document is on its way.
    Waiting,
    /// The provider did not answer a moment ago.
    Failing,
}

impl Documents {
    /// Of these settings; `None` in demo mode.
    pub(super) fn of(settings: &RelaySettings) -> Option<Self> {
        let (root, issuer) = match &settings.auth {
            RelayAuth::Demo => return None,
            RelayAuth::Oidc { issuer, .. } => (issuer.as_str(), Some(issuer.clone())),
            RelayAuth::Firebase { .. } => (FIREBASE_KEYS, None),
        };
        Some(Self {
            root: Url::parse(root).map_err(|fault| fault.to_string()),
            issuer,
            inside: Inside {
                loopback: settings.loopback_only,
                networks: settings.identity_networks.clone(),
            },
            discovery: None,
            keys: Vec::new(),
            keys_until: None,
            renewed_at: None,
            under_way: None,
            failed_until: None,
        })
    }

    /// Whether id tokens may be of this algorithm: those that the provider announces, RS256 when it announces none.
    pub(super) fn allows(&self, algorithm: Algorithm) -> bool {
        match &self.discovery {
            Some(discovery) if !discovery.algorithms.is_empty() => discovery.algorithms.contains(&algorithm),
            _ => algorithm == Algorithm::RS256,
        }
    }

    pub(super) fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// Makes sure that there are keys, or that they are on their way.
    pub(super) fn want(&mut self, cx: &mut RelayContext<'_>) -> State {
        let now = cx.now.monotonic;
        if self.keys_until.is_some_and(|until| now < until) {
            return State::Ready;
        }
        if self.under_way.is_some() {
            return State::Waiting;
        }
        if self.failed_until.is_some_and(|until| now < until) {
            return State::Failing;
        }
        self.fetch(cx)
    }

    /// No key has the id that a token names: the keys are fetched again, unless they were a moment ago.
    pub(super) fn want_newer(&mut self, cx: &mut RelayContext<'_>) -> State {
        let now = cx.now.monotonic;
        let is_recent = self.renewed_at.is_some_and(|at| now < at.plus(REFETCH_EVERY));
        if self.under_way.is_some() {
            State::Waiting
        } else if self.failed_until.is_some_and(|until| now < until) {
            State::Failing
        } else if is_recent {
            State::Ready
        } else {
            self.renewed_at = Some(now);
            self.fetch(cx)
        }
    }

    fn fetch(&mut self, cx: &mut RelayContext<'_>) -> State {
        let now = cx.now.monotonic;
        let root = match &self.root {
            Ok(root) => root.clone(),
            Err(why) => {
                let why = why.clone();
                return self.failed(cx, &why);
            }
        };
        let next = match (&self.issuer, &self.discovery) {
            (None, _) => (What::Keys, Ok(root.clone())),
            (Some(_), Some(discovery)) if now < discovery.until => (What::Keys, Ok(discovery.keys.clone())),
            (Some(issuer), _) => {
                let url = alloc::format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
                (What::Discovery, Url::parse(&url))
            }
        };
        let (what, url) = match next {
            (what, Ok(url)) => (what, url),
            (_, Err(fault)) => return self.failed(cx, &fault.to_string()),
        };
        let place = match self.inside.judge(&url, &root) {
            Ok(place) => place,
            Err(why) => return self.failed(cx, &why),
        };
        let at = match place {
            Place::Known(addresses) => ask(cx, &url, addresses),
            Place::Name(host) => At::Name(cx.calls.start(Effect::Resolve { host }, Owner::Relay)),
        };
        let until = now.plus(PATIENCE);
        self.under_way = Some(UnderWay { what, url, at, until });
        State::Waiting
    }

    fn failed(&mut self, cx: &mut RelayContext<'_>, why: &str) -> State {
        cx.reports.push(Report::EffectFailed {
            what: "the identity provider's documents cannot be read; nobody can log in",
            detail: String::from(why),
        });
        self.under_way = None;
        self.failed_until = Some(cx.now.monotonic.plus(BACKOFF));
        State::Failing
    }

    /// Whether a document is on its way.
    pub(super) const fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Whether this effect is of a document.
    pub(super) fn owns(&self, effect: EffectId) -> bool {
        let at = self.under_way.as_ref().map(|under_way| &under_way.at);
        matches!(at, Some(At::Name(name)) if *name == effect)
    }

    /// A name was looked up. Whether there is news: keys, or a failure.
    pub(super) fn completed(&mut self, cx: &mut RelayContext<'_>, outcome: Outcome) -> bool {
        let Some(under_way) = &mut self.under_way else {
            return false;
        };
        let url = under_way.url.clone();
        let addresses = match (outcome, &self.root) {
            (Ok(Completion::Resolved(answers)), Ok(root)) => self.inside.judge_answers(&url, root, &answers),
            (Ok(_), _) => Err(String::from("unexpected answer")),
            (Err(fault), _) => Err(fault.to_string()),
        };
        match addresses {
            Ok(addresses) => {
                under_way.at = ask(cx, &url, addresses);
                false
            }
            Err(why) => {
                self.failed(cx, &alloc::format!("{}: {why}", url.origin()));
                true
            }
        }
    }

    /// The server tells something. Whether there is news: keys, or a failure.
    pub(super) fn told(&mut self, cx: &mut RelayContext<'_>, id: ExchangeId, event: ExchangeEvent) -> bool {
        let Some(under_way) = &mut self.under_way else {
            return false;
        };
        let At::Server { exchange, age, body } = &mut under_way.at else {
            return false;
        };
        if *exchange != id {
            return false;
        }
        let origin = under_way.url.origin();
        let why = match event {
            ExchangeEvent::Head(head) if head.status == 200 => {
                *age = Some(age_of(&head));
                return false;
            }
            ExchangeEvent::Body(bytes) => {
                body.extend_from_slice(&bytes);
                return false;
            }
            ExchangeEvent::Head(head) => {
                cx.exchanges.cancel(cx.calls, id);
                alloc::format!("{origin} answers {}", head.status)
            }
            ExchangeEvent::Failed(fault) => alloc::format!("{origin}: {fault}"),
            ExchangeEvent::End => {
                let (what, body) = (under_way.what, core::mem::take(body).freeze());
                let until = cx.now.monotonic.plus(age.unwrap_or(DEFAULT_AGE));
                self.under_way = None;
                return self.arrived(cx, what, &origin, &body, until);
            }
        };
        self.failed(cx, &why);
        true
    }

    fn arrived(&mut self, cx: &mut RelayContext<'_>, what: What, origin: &str, body: &Bytes, until: Instant) -> bool {
        let text = core::str::from_utf8(body).unwrap_or_default();
        let read = match what {
            What::Discovery => self.read_discovery(text, until),
            What::Keys => match jwk::read_set(text) {
                Some(keys) if !keys.is_empty() => {
                    self.keys = keys;
                    self.keys_until = Some(until);
                    self.failed_until = None;
                    Ok(())
                }
                _ => Err("no key that could be used"),
            },
        };
        match (read, what) {
            (Err(why), _) => {
                self.failed(cx, &alloc::format!("{origin}: {why}"));
                true
            }
            (Ok(()), What::Keys) => true,
            (Ok(()), What::Discovery) => self.fetch(cx) == State::Failing,
        }
    }

    fn read_discovery(&mut self, text: &str, until: Instant) -> Result<(), &'static str> {
        #[derive(serde::Deserialize)]
        struct Document {
            issuer: String,
            jwks_uri: String,
            #[serde(default)]
            id_token_signing_alg_values_supported: Vec<String>,
        }
        let document: Document = serde_json::from_str(text).map_err(|_| "it is no discovery document")?;
        if Some(&document.issuer) != self.issuer.as_ref() {
            return Err("the discovery document is of another issuer than OIDC_ISSUER_URL");
        }
        let announced = document.id_token_signing_alg_values_supported;
        let algorithms: Vec<Algorithm> = announced.iter().filter_map(|name| Algorithm::named(name)).collect();
        if algorithms.is_empty() && !announced.is_empty() {
            return Err("it signs id tokens with no algorithm that is known here");
        }
        let keys = Url::parse(&document.jwks_uri).map_err(|_| "jwks_uri is no URL")?;
        self.discovery = Some(Discovery {
            keys,
            algorithms,
            until,
        });
        Ok(())
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.under_way.as_ref().map(|under_way| under_way.until)
    }

    /// Gives up what takes too long. Whether there is news.
    pub(super) fn on_deadline(&mut self, cx: &mut RelayContext<'_>) -> bool {
        let Some(late) = self.under_way.take_if(|under_way| under_way.until <= cx.now.monotonic) else {
            return false;
        };
        match late.at {
            At::Name(effect) => cx.calls.cancel(effect),
            At::Server { exchange, .. } => cx.exchanges.cancel(cx.calls, exchange),
        }
        self.failed(cx, &alloc::format!("{} takes too long", late.url.origin()));
        true
    }
}

fn ask(cx: &mut RelayContext<'_>, url: &Url, addresses: Vec<core::net::SocketAddr>) -> At {
    let exchange = Exchange {
        to: Destination::Pinned(addresses),
        request: ClientRequest {
            method: Method::Get,
            url: url.clone(),
            headers: alloc::vec![("Accept", "application/json".into())],
            credentials: Vec::new(),
            body: Bytes::new(),
        },
        limits: ExchangeLimits {
            resolve: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            // A slow provider is given up by the one deadline, which the look-up of its name counts towards.
            head: PATIENCE,
            total: PATIENCE,
            max_body_bytes: MAX_DOCUMENT_BYTES,
        },
    };
    At::Server {
        exchange: cx.exchanges.start(cx.now, cx.calls, exchange, Asker::Relay),
        age: None,
        body: BytesMut::new(),
    }
}

/// How long a document may be kept: `max-age`, within bounds.
fn age_of(head: &ClientResponse) -> Duration {
    let seconds = head.header("cache-control").and_then(|value| {
        let mut directives = value.split(',').filter_map(|directive| directive.split_once('='));
        let (_, age) = directives.find(|(name, _)| name.trim().eq_ignore_ascii_case("max-age"))?;
        age.trim().trim_matches('"').parse().ok()
    });
    seconds
        .map_or(DEFAULT_AGE, Duration::from_secs)
        .clamp(LEAST_AGE, MOST_AGE)
}
