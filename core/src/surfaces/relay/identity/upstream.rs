//! Id tokens of an identity provider, judged: claims, then the key, then the signature. A user waits while the provider's
//! documents or the check of a signature are under way; how many may wait is bounded. Spec: `spec/relay.md` section 11.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::claims::Trust;
use super::documents::{Documents, State};
use super::jwk::{Algorithm, Jwk, Way, verify_ed25519};
use super::{Identity, Refusal};
use crate::calls::Owner;
use crate::effect::{Completion, Effect, Outcome, SignatureCheck};
use crate::id::{ConnId, EffectId, ExchangeId};
use crate::json::Object;
use crate::jws::{Parts, text_of};
use crate::outbound::ExchangeEvent;
use crate::settings::RelayAuth;
use crate::surfaces::relay::context::RelayContext;
use crate::time::Instant;

/// Users that may wait at the same time.
const MAX_WAITING: usize = 256;

/// Who a token is of, or why it is not good.
pub type Verdict = Result<Identity, Refusal>;

/// The identity provider, where there is one.
#[derive(Debug)]
pub struct Upstream {
    trust: Trust,
    documents: Documents,
    /// Tokens that wait for documents.
    waiting: VecDeque<(ConnId, Unverified)>,
    /// Signatures that are being checked, and who it is if they are right.
    checks: BTreeMap<EffectId, (ConnId, Identity)>,
    verdicts: VecDeque<(ConnId, Verdict)>,
}

/// A token whose claims are as they must be and whose signature nobody has looked at.
#[derive(Debug)]
struct Unverified {
    identity: Identity,
    algorithm: Algorithm,
    kid: Option<String>,
    input: Bytes,
    signature: Bytes,
    /// The keys were fetched for it.
    is_second_try: bool,
}

impl Upstream {
    /// The provider of these settings; `None` in demo mode.
    #[must_use]
    pub fn new(auth: &RelayAuth, loopback_only: bool) -> Option<Self> {
        Some(Self {
            trust: Trust::of(auth)?,
            documents: Documents::of(auth, loopback_only)?,
            waiting: VecDeque::new(),
            checks: BTreeMap::new(),
            verdicts: VecDeque::new(),
        })
    }

    /// Asks for the documents before anybody needs them, so that a wrong setting shows at the start.
    pub fn warm_up(&mut self, cx: &mut RelayContext<'_>) {
        self.documents.want(cx);
    }

    /// Judges an id token. The verdict comes from [`Self::take_verdict`], perhaps at once.
    pub fn verify(&mut self, cx: &mut RelayContext<'_>, conn: ConnId, token: &str, nonce: Option<&str>) {
        if self.waiting.len() + self.checks.len() >= MAX_WAITING {
            return self.verdicts.push_back((conn, Err(Refusal::Unavailable)));
        }
        match self.read(token, nonce, cx.now.wall.0 / 1_000) {
            Ok(token) => {
                self.waiting.push_back((conn, token));
                self.go_on(cx);
            }
            Err(refusal) => self.verdicts.push_back((conn, Err(refusal))),
        }
    }

    fn read(&self, token: &str, nonce: Option<&str>, now: u64) -> Result<Unverified, Refusal> {
        let not = |_| Refusal::NotVerified;
        let parts = Parts::split(token).map_err(|_| Refusal::NotVerified)?;
        let header = Object::parse(&parts.header).map_err(|_| Refusal::NotVerified)?;
        let algorithm = text_of(&header, "alg").and_then(|name| Algorithm::named(&name));
        let kid = text_of(&header, "kid").map(alloc::borrow::Cow::into_owned);
        let is_odd = header.get("crit").is_some() || (header.get("kid").is_some() && kid.is_none());
        let algorithm = algorithm.filter(|_| !is_odd).ok_or(Refusal::NotVerified)?;
        if self.trust.is_firebase && kid.is_none() {
            return Err(Refusal::NotVerified);
        }
        Ok(Unverified {
            identity: self.trust.judge(&parts.payload, nonce, now)?,
            algorithm,
            kid,
            input: Bytes::copy_from_slice(parts.input.as_bytes()),
            signature: URL_SAFE_NO_PAD.decode(parts.signature).map(Bytes::from).map_err(not)?,
            is_second_try: false,
        })
    }

    /// Takes every waiting token as far as it gets.
    fn go_on(&mut self, cx: &mut RelayContext<'_>) {
        for _ in 0..self.waiting.len() {
            let state = self.documents.want(cx);
            let Some((conn, token)) = self.waiting.pop_front() else {
                return;
            };
            match state {
                State::Waiting => self.waiting.push_front((conn, token)),
                State::Failing => self.verdicts.push_back((conn, Err(Refusal::Unavailable))),
                State::Ready => self.check(cx, conn, token),
            }
            if state == State::Waiting {
                // What comes now is as new as can be for all that wait for it.
                for (_, token) in &mut self.waiting {
                    token.is_second_try = true;
                }
                return;
            }
        }
    }

    fn check(&mut self, cx: &mut RelayContext<'_>, conn: ConnId, mut token: Unverified) {
        if !self.documents.allows(token.algorithm) {
            return self.verdicts.push_back((conn, Err(Refusal::NotVerified)));
        }
        let mut ways = self.ways(&token);
        let named = |key: &Jwk| token.kid.is_none() || key.kid == token.kid;
        let is_known = self.documents.keys().iter().any(named);
        let way = ways.pop().filter(|_| ways.is_empty() || token.kid.is_some());
        let verdict = match way {
            Some(Way::Ed25519(key)) if verify_ed25519(&key, &token.input, &token.signature) => Ok(token.identity),
            Some(Way::Ed25519(_)) => Err(Refusal::NotVerified),
            Some(Way::Effect(scheme)) => {
                let check = SignatureCheck {
                    scheme,
                    message: token.input,
                    signature: token.signature,
                };
                let effect = cx.calls.start(Effect::VerifySignature(check), Owner::Relay);
                self.checks.insert(effect, (conn, token.identity));
                return;
            }
            // The provider may have new keys.
            None if !is_known && (!token.is_second_try || self.documents.is_under_way()) => {
                match self.documents.want_newer(cx) {
                    State::Waiting => {
                        token.is_second_try = true;
                        return self.waiting.push_back((conn, token));
                    }
                    State::Failing => Err(Refusal::Unavailable),
                    State::Ready => Err(Refusal::NotVerified),
                }
            }
            None => Err(Refusal::NotVerified),
        };
        self.verdicts.push_back((conn, verdict));
    }

    /// The keys that the token may mean, two at most, and how it is checked with them. One that names its key means the
    /// first of that name; one that names none is taken only when there is no choice.
    fn ways(&self, token: &Unverified) -> Vec<Way> {
        let keys = self.documents.keys().iter();
        let fitting = keys.filter(|key| token.kid.is_none() || key.kid == token.kid);
        let fitting = fitting.filter_map(|key| key.way(token.algorithm));
        fitting.take(if token.kid.is_some() { 1 } else { 2 }).collect()
    }

    /// The next verdict.
    pub fn take_verdict(&mut self) -> Option<(ConnId, Verdict)> {
        self.verdicts.pop_front()
    }

    /// Nobody waits for this token any more.
    pub fn forget(&mut self, conn: ConnId) {
        self.waiting.retain(|(of, _)| *of != conn);
        self.checks.retain(|_, (of, _)| *of != conn);
        self.verdicts.retain(|(of, _)| *of != conn);
    }

    /// Whether this effect was started here.
    #[must_use]
    pub fn owns(&self, effect: EffectId) -> bool {
        self.checks.contains_key(&effect) || self.documents.owns(effect)
    }

    /// An effect that was started here is over.
    pub fn completed(&mut self, cx: &mut RelayContext<'_>, effect: EffectId, outcome: Outcome) {
        if let Some((conn, identity)) = self.checks.remove(&effect) {
            let verdict = match outcome {
                Ok(Completion::Verified(true)) => Ok(identity),
                Ok(_) => Err(Refusal::NotVerified),
                Err(_) => Err(Refusal::Unavailable),
            };
            self.verdicts.push_back((conn, verdict));
        } else if self.documents.owns(effect) && self.documents.completed(cx, outcome) {
            self.go_on(cx);
        }
    }

    /// An exchange of [`Asker::Relay`](crate::outbound::Asker::Relay) tells something.
    pub fn exchange_event(&mut self, cx: &mut RelayContext<'_>, exchange: ExchangeId, event: ExchangeEvent) {
        if self.documents.told(cx, exchange, event) {
            self.go_on(cx);
        }
    }

    /// When [`Self::on_deadline`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.documents.next_deadline()
    }

    /// A deadline passed.
    pub fn on_deadline(&mut self, cx: &mut RelayContext<'_>) {
        if self.documents.on_deadline(cx) {
            self.go_on(cx);
        }
    }
}
