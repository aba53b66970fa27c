//! The OAuth 2 server of the relay: discovery, the login of users, codes, access and refresh tokens. A login is written to
//! disk before its tokens are handed out. What a token allows is decided elsewhere. Spec: `spec/relay.md`.

mod authorize;
pub mod bound;
mod codes;
mod discovery;
pub mod form;
mod grants;
mod handing;
mod logins;
mod page;
mod pkce;
pub mod rate;
pub mod redirect;
mod refresh;
mod scope;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use self::authorize::Ask;
use self::codes::{Code, Codes};
use self::form::Form;
use self::grants::no_store;
use self::handing::Handing;
use self::logins::Logins;
use self::rate::Buckets;
use self::refresh::LoginId;
use super::context::RelayContext;
use super::http::{Answer, Caller, Reply, Request};
use super::identity::demo::{Known, Said, identify};
use super::identity::{Identity, Refusal, Upstream};
use super::keys::Keys;
use super::tokens::{self, Expected, TokenFault};
use crate::audit::{AuditEvent, AuditOutcome, AuditRecord, Surface};
use crate::calls::Owner;
use crate::effect::{Completion, Effect, Outcome};
use crate::http::{Method, Status};
use crate::id::{ConnId, EffectId, ExchangeId};
use crate::jws::MAX_TOKEN_BYTES;
use crate::outbound::ExchangeEvent;
use crate::report::Report;
use crate::settings::{RelayAuth, RelaySettings};
use crate::store::{Batch, Durability, Op, Reply as StoreAnswer, StoreReply};
use crate::time::{Instant, Now};

/// How often what is over is forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// After a failure to read the records.
const RETRY: Duration = Duration::from_secs(1);
/// The largest form; the front may allow other bodies more.
const MAX_FORM_BYTES: usize = 65_536;

/// The OAuth server.
pub struct OAuth {
    keys: Keys,
    issuer: String,
    audience: String,
    /// `auth_mode` in tokens.
    mode: &'static str,
    /// Who tells who users are: what a login must be of to be good.
    realm: String,
    upstream: Option<Upstream>,
    codes: Codes,
    logins: Logins,
    buckets: Buckets,
    /// Requests whose user the identity provider is asked about.
    pending: BTreeMap<ConnId, Ask>,
    /// Tokens whose login is being written, by who asked for them.
    handing: BTreeMap<ConnId, Handing>,
    /// Those that reach nobody.
    undo: Vec<Handing>,
    answers: VecDeque<(ConnId, Answer)>,
    ended: VecDeque<String>,
    loading: Loading,
    sweep_at: Instant,
}

/// How far the records were read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Loading {
    Reading(EffectId),
    /// It failed; it is tried again then.
    Until(Instant),
    Done,
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth")
            .field("keys", &self.keys)
            .field("realm", &self.realm)
            .field("codes", &self.codes.len())
            .field("logins", &self.logins.len())
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

fn seconds(now: Now) -> u64 {
    now.wall.0 / 1_000
}

fn realm_of(auth: &RelayAuth) -> String {
    match auth {
        RelayAuth::Demo => "demo".into(),
        RelayAuth::Oidc { issuer, .. } => alloc::format!("oidc {issuer}"),
        RelayAuth::Firebase { project_id, .. } => alloc::format!("firebase {project_id}"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    Metadata,
    Keys,
    Register,
    Authorize,
    Token,
    Revoke,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/.well-known/openid-configuration"
            | "/.well-known/oauth-authorization-server"
            | "/oauth/.well-known/openid-configuration" => Self::Metadata,
            "/.well-known/jwks.json" | "/oauth/.well-known/jwks.json" => Self::Keys,
            "/register" => Self::Register,
            "/oauth/authorize" => Self::Authorize,
            "/oauth/token" => Self::Token,
            "/oauth/token/revoke" => Self::Revoke,
            _ => return None,
        })
    }

    const fn allow(self) -> &'static str {
        match self {
            Self::Metadata | Self::Keys => "GET, HEAD",
            Self::Register | Self::Token | Self::Revoke => "POST",
            Self::Authorize => "GET, HEAD, POST",
        }
    }

    const fn allows(self, method: Method) -> bool {
        match self {
            Self::Metadata | Self::Keys => matches!(method, Method::Get | Method::Head),
            Self::Register | Self::Token | Self::Revoke => matches!(method, Method::Post),
            Self::Authorize => matches!(method, Method::Get | Method::Head | Method::Post),
        }
    }
}

impl OAuth {
    /// A server without logins; [`Self::load`] reads those on disk.
    #[must_use]
    pub fn new(settings: &RelaySettings) -> Self {
        Self {
            keys: Keys::derive(&settings.signing_key),
            issuer: settings.public_base_url.clone(),
            audience: settings.audience.clone(),
            mode: settings.auth.name(),
            realm: realm_of(&settings.auth),
            upstream: Upstream::new(settings),
            codes: Codes::default(),
            logins: Logins::default(),
            buckets: Buckets::default(),
            pending: BTreeMap::new(),
            handing: BTreeMap::new(),
            undo: Vec::new(),
            answers: VecDeque::new(),
            ended: VecDeque::new(),
            loading: Loading::Until(Instant::END),
            sweep_at: Instant::END,
        }
    }

    /// The settings changed. Logins stay; those that the new settings do not know are good for nothing.
    pub fn reconfigure(&mut self, cx: &mut RelayContext<'_>) {
        let new = Self::new(cx.relay);
        let waiting = core::mem::take(&mut self.pending);
        let refused = waiting.into_keys().map(|conn| (conn, Refusal::Unavailable.answer()));
        self.answers.extend(refused);
        *self = Self {
            codes: core::mem::take(&mut self.codes),
            logins: core::mem::take(&mut self.logins),
            buckets: core::mem::take(&mut self.buckets),
            handing: core::mem::take(&mut self.handing),
            undo: core::mem::take(&mut self.undo),
            answers: core::mem::take(&mut self.answers),
            ended: core::mem::take(&mut self.ended),
            loading: self.loading,
            sweep_at: self.sweep_at,
            ..new
        };
        if let Some(upstream) = &mut self.upstream {
            upstream.warm_up(cx);
        }
    }

    /// The keys, for whoever derives from the same root.
    #[must_use]
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Begins to read what is on disk, and to ask the identity provider for its documents.
    pub fn load(&mut self, cx: &mut RelayContext<'_>) {
        self.read(cx);
        self.sweep_at = cx.now.monotonic.plus(SWEEP_EVERY);
        if let Some(upstream) = &mut self.upstream {
            upstream.warm_up(cx);
        }
    }

    fn read(&mut self, cx: &mut RelayContext<'_>) {
        let scan = |table, limit| Op::Scan {
            table,
            prefix: String::new(),
            limit,
        };
        let batch = Batch {
            ops: alloc::vec![
                scan(logins::TABLE, cx.relay.limits.logins),
                scan(codes::TABLE, cx.relay.limits.auth_codes),
            ],
            durability: Durability::Lazy,
        };
        self.loading = Loading::Reading(cx.calls.start(Effect::Store(batch), Owner::Relay));
    }

    /// Whether the records are read: before that no token can be judged.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.loading == Loading::Done
    }

    /// Judges an access token. Not before [`Self::is_ready`]: until then the logins are unknown.
    ///
    /// # Errors
    /// The first check that it fails; [`TokenFault::answer`] is what a client is told.
    pub fn verify(&self, now: Now, token: &str) -> Result<Caller, TokenFault> {
        let expected = Expected {
            issuer: &self.issuer,
            audience: &self.audience,
            mode: self.mode,
            now: seconds(now),
        };
        let caller = tokens::verify(&self.keys, token, expected)?;
        if caller.login.as_deref().is_some_and(|login| !self.is_login(now, login)) {
            return Err(TokenFault::LoginOver);
        }
        Ok(caller)
    }

    /// Whether a login ([`Caller::login`]) still stands.
    #[must_use]
    pub fn is_login(&self, now: Now, login: &str) -> bool {
        let login = LoginId::parse(login).and_then(|id| self.logins.get(id, seconds(now)));
        login.is_some_and(|login| login.realm == self.realm)
    }

    /// The next login that was ended before its time: streams and sockets of its tokens end with it.
    pub fn take_ended(&mut self) -> Option<String> {
        self.ended.pop_front()
    }

    /// Answers a request; `None`: it is for another part.
    pub fn handle(&mut self, cx: &mut RelayContext<'_>, request: &Request<'_>) -> Option<Reply> {
        let route = Route::of(request.path)?;
        if !route.allows(request.method) {
            #[derive(serde::Serialize)]
            struct Framework<'a> {
                code: u16,
                error: &'a str,
            }
            let error = Framework {
                code: 405,
                error: "Method Not Allowed",
            };
            let answer = Answer::json(Status::METHOD_NOT_ALLOWED, &error).with("Allow", route.allow());
            return Some(Reply::Now(answer));
        }
        match route {
            Route::Metadata => return Some(Reply::Now(discovery::metadata(cx.relay))),
            Route::Keys => return Some(Reply::Now(discovery::keys(&self.keys))),
            Route::Register => return Some(Reply::Now(discovery::registration(cx.relay))),
            Route::Authorize | Route::Token | Route::Revoke => {}
        }
        if let Err(answer) = self.admit(cx, request) {
            return Some(Reply::Now(no_store(answer)));
        }
        let form = Form::of(request);
        Some(match route {
            Route::Token => self.token(cx, request, &form),
            Route::Revoke => self.revoke(cx, request, &form),
            _ => self.authorize(cx, request, &form),
        })
    }

    fn admit(&mut self, cx: &RelayContext<'_>, request: &Request<'_>) -> Result<(), Answer> {
        if !self.is_ready() {
            return Err(Answer::error(Status::SERVICE_UNAVAILABLE, "temporarily_unavailable").with("Retry-After", "1"));
        }
        // A refresh token whose successor cannot be written would be lost to its client.
        if cx.ledger.is_failing() {
            return Err(Answer::error(Status::SERVICE_UNAVAILABLE, "storage_unavailable").with("Retry-After", "5"));
        }
        let (limit, window) = (cx.relay.oauth_limit, cx.relay.rate_window);
        let taken = self.buckets.take(cx.now.monotonic, request.client, limit, window);
        taken.map_err(|seconds| {
            Answer::error(Status::TOO_MANY_REQUESTS, "too_many_requests")
                .with("Retry-After", alloc::format!("{seconds}"))
        })?;
        if request.body.len() > MAX_FORM_BYTES {
            let text = "the form is larger than 65536 bytes";
            return Err(Answer::described(Status::BAD_REQUEST, "invalid_request", text));
        }
        Ok(())
    }

    /// `GET` and `POST /oauth/authorize`
    fn authorize(&mut self, cx: &mut RelayContext<'_>, request: &Request<'_>, form: &Form) -> Reply {
        let ask = match Ask::read(form, request, cx.relay) {
            Ok(ask) => ask,
            Err(answer) => return Reply::Now(no_store(answer)),
        };
        let is_post = request.method == Method::Post;
        let Some(upstream) = &mut self.upstream else {
            let said = Said {
                uid: form.get("demo_uid"),
                email: form.get("demo_email"),
                name: form.get("demo_name"),
                is_post,
                is_cross_site: request.headers.get("sec-fetch-site") == Some("cross-site"),
            };
            return match identify(&self.keys, cx.random, said) {
                Ok(Known::Page) => show_page(cx, &ask, form),
                Ok(Known::User(identity)) => self.settle(cx, request.conn, &ask, Ok(identity)),
                Err(refusal) => self.settle(cx, request.conn, &ask, Err(refusal)),
            };
        };
        let bearer = request.headers.get("authorization").and_then(bearer);
        let named = [
            bearer.unwrap_or_default(),
            form.get("id_token"),
            form.get("firebase_token"),
        ];
        let Some(token) = named.into_iter().find(|token| !token.is_empty()) else {
            if form.is_too_long("id_token") || form.is_too_long("firebase_token") {
                return self.settle(cx, request.conn, &ask, Err(Refusal::TooLong));
            }
            return if is_post {
                self.settle(cx, request.conn, &ask, Err(Refusal::Missing))
            } else {
                show_page(cx, &ask, form)
            };
        };
        if token.trim().len() > MAX_TOKEN_BYTES {
            return self.settle(cx, request.conn, &ask, Err(Refusal::TooLong));
        }
        let nonce = Some(form.get("id_token_nonce")).filter(|nonce| !nonce.is_empty());
        self.pending.insert(request.conn, ask);
        upstream.verify(cx, request.conn, token.trim(), nonce);
        self.settle_verdicts(cx);
        Reply::Later
    }

    fn settle_verdicts(&mut self, cx: &mut RelayContext<'_>) {
        while let Some((conn, verdict)) = self.upstream.as_mut().and_then(Upstream::take_verdict) {
            if let Some(ask) = self.pending.remove(&conn)
                && let Reply::Now(answer) = self.settle(cx, conn, &ask, verdict)
            {
                self.answers.push_back((conn, answer));
            }
        }
    }

    /// It is known who the user is, or that nobody is: the code, or the refusal.
    fn settle(
        &mut self,
        cx: &mut RelayContext<'_>,
        conn: ConnId,
        ask: &Ask,
        identity: Result<Identity, Refusal>,
    ) -> Reply {
        let record = |event, outcome| {
            let record = AuditRecord::new(event, outcome).on(conn, Surface::Relay);
            record.from_ip(ask.client_ip)
        };
        let identity = match identity {
            Ok(identity) => identity,
            Err(refusal) => {
                let record = record(AuditEvent::AuthFailed, AuditOutcome::Denied);
                cx.audit.push(record.because(refusal.text()));
                return Reply::Now(no_store(refusal.answer()));
            }
        };
        let scope = match ask.check() {
            Ok(scope) => scope,
            Err(answer) => return Reply::Now(no_store(answer)),
        };
        if self.codes.len() >= cx.relay.limits.auth_codes as usize {
            let answer = Answer::error(Status::SERVICE_UNAVAILABLE, "temporarily_unavailable");
            return Reply::Now(no_store(answer).with("Retry-After", "60"));
        }
        let uid = alloc::format!("relay login of {}", identity.uid);
        cx.audit.push(record(AuditEvent::AuthOk, AuditOutcome::Ok).because(uid));
        let lifetime = cx.relay.auth_code_ttl.as_secs();
        let text = cx.random.token();
        let code = Code {
            client: ask.client.clone(),
            redirect_uri: ask.redirect_uri.clone(),
            scope,
            is_agent: ask.is_agent(),
            challenge: ask.challenge.clone(),
            identity,
            realm: self.realm.clone(),
            expires_at: seconds(cx.now).saturating_add(lifetime),
        };
        self.codes.insert(cx.ledger, codes::digest(&text), code);
        cx.ledger.answer(cx.now, conn, ask.granted(&text, lifetime));
        Reply::Later
    }

    /// The next answer to a request that was answered with [`Reply::Later`]; others come from the ledger.
    pub fn take_answer(&mut self) -> Option<(ConnId, Answer)> {
        self.answers.pop_front()
    }

    /// A connection ended: nobody waits for its answer.
    pub fn closed(&mut self, conn: ConnId) {
        self.undo.extend(self.handing.remove(&conn));
        if self.pending.remove(&conn).is_some()
            && let Some(upstream) = &mut self.upstream
        {
            upstream.forget(conn);
        }
    }

    /// Whether this effect was started here.
    #[must_use]
    pub fn owns(&self, effect: EffectId) -> bool {
        self.loading == Loading::Reading(effect) || self.upstream.as_ref().is_some_and(|upstream| upstream.owns(effect))
    }

    /// An effect that was started here is over.
    pub fn completed(&mut self, cx: &mut RelayContext<'_>, effect: EffectId, outcome: Outcome) {
        if self.loading == Loading::Reading(effect) {
            self.loaded(cx, outcome);
        } else if let Some(upstream) = &mut self.upstream {
            upstream.completed(cx, effect, outcome);
            self.settle_verdicts(cx);
        }
    }

    fn loaded(&mut self, cx: &mut RelayContext<'_>, outcome: Outcome) {
        let detail = match outcome {
            Ok(Completion::Stored(StoreReply::Applied(replies))) => {
                let mut tables = replies.into_iter().filter_map(|reply| match reply {
                    StoreAnswer::Records(records) => Some(records),
                    _ => None,
                });
                self.logins.load(tables.next().unwrap_or_default(), seconds(cx.now));
                self.codes.load(tables.next().unwrap_or_default(), seconds(cx.now));
                self.loading = Loading::Done;
                return;
            }
            Ok(_) => String::from("unexpected answer"),
            Err(fault) => alloc::format!("{fault}"),
        };
        cx.reports.push(Report::EffectFailed {
            what: "the relay's logins cannot be read",
            detail,
        });
        self.loading = Loading::Until(cx.now.monotonic.plus(RETRY));
    }

    /// An exchange of [`Asker::Relay`](crate::outbound::Asker::Relay) tells something.
    pub fn exchange_event(&mut self, cx: &mut RelayContext<'_>, exchange: ExchangeId, event: ExchangeEvent) {
        if let Some(upstream) = &mut self.upstream {
            upstream.exchange_event(cx, exchange, event);
            self.settle_verdicts(cx);
        }
    }

    /// When [`Self::on_deadline`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let reading = match self.loading {
            Loading::Until(until) => Some(until),
            Loading::Reading(_) | Loading::Done => None,
        };
        let is_empty = self.codes.len() == 0 && self.logins.len() == 0;
        let sweep = (!is_empty && self.sweep_at < Instant::END).then_some(self.sweep_at);
        let upstream = self.upstream.as_ref().and_then(Upstream::next_deadline);
        // Asked for with every input: no list of them is made.
        Instant::first(Instant::first(reading, sweep), upstream.filter(|at| *at < Instant::END))
    }

    /// A deadline passed.
    pub fn on_deadline(&mut self, cx: &mut RelayContext<'_>) {
        let now = cx.now.monotonic;
        if matches!(self.loading, Loading::Until(until) if until <= now) {
            self.read(cx);
        }
        if self.sweep_at <= now {
            self.codes.sweep(seconds(cx.now));
            // What a login opened ends with it, however it ends.
            for login in self.logins.sweep(seconds(cx.now)) {
                self.tell_ended(login);
            }
            self.sweep_at = now.plus(SWEEP_EVERY);
        }
        if let Some(upstream) = &mut self.upstream {
            upstream.on_deadline(cx);
            self.settle_verdicts(cx);
        }
    }
}

fn show_page(cx: &mut RelayContext<'_>, ask: &Ask, form: &Form) -> Reply {
    Reply::Now(match ask.check_before_page() {
        Ok(()) => ask.page(form, cx.relay, cx.random),
        Err(answer) => no_store(answer),
    })
}

/// The token of an `Authorization` field.
fn bearer(field: &str) -> Option<&str> {
    let (scheme, token) = field.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
