//! The relay: OAuth, devices, end-to-end-encrypted sessions, shares. Clients and agents meet here; what they say to each
//! other is sealed for it. This page is its front door: whose request it is, and which part answers it (the table is in
//! `routes`). It never sees a socket: requests come in whole, answers and events go out as values. Spec: `spec/relay.md`.

mod agents;
mod bearer;
pub mod body;
pub mod context;
pub mod cors;
pub mod devices;
pub mod envelope;
pub mod http;
pub mod identity;
pub mod ids;
pub mod keys;
pub mod ledger;
pub mod loading;
pub mod oauth;
mod open;
pub mod percent;
pub mod records;
mod routes;
pub mod sessions;
mod shares;
pub mod stamp;
pub mod streams;
mod system;
pub mod tokens;
pub mod transcript;
pub mod transport;
mod upkeep;
#[cfg(test)]
mod world;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use bearer::KnownTokens;
use context::RelayContext;
use cors::Cors;
use devices::Devices;
use http::{Answer, Caller, Reply, Request};
use ledger::Ledger;
use oauth::rate::Buckets;
use oauth::{OAuth, bound};
use open::Open;
pub use routes::{CLASSES, Class};
use routes::{Found, Page, Part};
use sessions::Sessions;
use streams::Streams;
use tokens::TokenFault;

use crate::audit::AuditRecord;
use crate::calls::Calls;
use crate::http::{Headers, Method, PeerFault, Status};
use crate::outbound::Exchanges;
use crate::outbox::Outbox;
use crate::random::Random;
use crate::report::Report;
use crate::settings::{RelaySettings, Settings};
use crate::time::Now;

/// What is answered when there is no access token.
const NO_TOKEN: &str = "missing bearer token";
/// The largest body of a request that needs no access token.
const OPEN_BODY: usize = 65_536;

/// Forged access tokens of one address whose signatures are checked, and the time in which these come back.
const MAX_FORGED: u32 = 600;
const FORGED_WINDOW: Duration = Duration::from_secs(60);

/// The relay.
pub struct Relay {
    config: RelaySettings,
    parts: Parts,
    ledger: Ledger,
    streams: Streams,
    known: KnownTokens,
    /// Who showed tokens whose signatures are not ours: to find that out costs more than anything else a stranger can ask.
    forged: Buckets,
    open: Open,
    is_draining: bool,
    /// It was told that the records are read.
    is_told: bool,
}

/// The parts, each with its own business.
#[derive(Debug)]
struct Parts {
    oauth: OAuth,
    devices: Devices,
    sessions: Sessions,
}

/// What the relay may use while it handles one input.
#[derive(Debug)]
pub struct Context<'a> {
    /// The time.
    pub now: Now,
    /// The settings in force.
    pub settings: &'a Arc<Settings>,
    /// Randomness.
    pub random: &'a mut Random,
    /// Where messages for agents go.
    pub outbox: &'a mut Outbox,
    /// Where effects are started.
    pub calls: &'a mut Calls,
    /// Requests to other servers.
    pub exchanges: &'a mut Exchanges,
    /// Where facts for the log go.
    pub reports: &'a mut Vec<Report>,
    /// Where records for the audit journal go.
    pub audit: &'a mut Vec<AuditRecord>,
}

/// What a request's head led to.
#[derive(Debug)]
pub struct Begun {
    /// What its answer says to the page that asked.
    pub cors: Cors,
    /// What it is counted as.
    pub class: Class,
    /// Whether its body is wanted.
    pub verdict: Result<Admitted, Refused>,
}

/// A request that goes to a part once its body is there.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Who asks, where that is known.
    pub caller: Option<Arc<Caller>>,
    /// The largest body that it may have.
    pub max_body_bytes: usize,
    part: Part,
}

/// A request that is answered without a look at its body.
#[derive(Debug)]
pub struct Refused {
    /// What is answered.
    pub answer: Answer,
    /// Its access token failed this check.
    pub fault: Option<TokenFault>,
}

impl From<Answer> for Refused {
    fn from(answer: Answer) -> Self {
        Self { answer, fault: None }
    }
}

impl Relay {
    /// The relay that the settings ask for, if they do. Its records are not read yet: [`Self::load`] completes the start.
    #[must_use]
    pub fn new(settings: &Settings, calls: &mut Calls) -> Option<Self> {
        let config = settings.relay.clone()?;
        Some(Self {
            parts: Parts {
                oauth: OAuth::new(&config),
                devices: Devices::new(calls),
                sessions: Sessions::new(&config, calls),
            },
            config,
            ledger: Ledger::default(),
            streams: Streams::default(),
            known: KnownTokens::default(),
            forged: Buckets::default(),
            open: Open::default(),
            is_draining: false,
            is_told: false,
        })
    }

    /// The settings in force.
    #[must_use]
    pub const fn settings(&self) -> &RelaySettings {
        &self.config
    }

    /// Judges a request by its head; `name`: the method as it was written, `client`: who asks, as far as it is known.
    pub fn begin(
        &mut self,
        now: Now,
        (method, name): (Method, &str),
        path: &str,
        headers: &Headers,
        client: Option<IpAddr>,
    ) -> Begun {
        let cors = Cors::of(&self.config.allow_origins, headers);
        if let Some(answer) = cors.preflight(method, headers) {
            return Begun {
                // It says everything itself.
                cors: Cors::Silent,
                class: Class::Other,
                verdict: Err(answer.into()),
            };
        }
        let found = routes::find(method, path);
        let class = match &found {
            Found::Route(route) => route.class,
            Found::Methods(_) | Found::Nothing => Class::Other,
        };
        Begun {
            cors,
            class,
            // `TRACE` is a method that everybody knows and nothing here answers to.
            verdict: if method == Method::Other && name != "TRACE" {
                Err(framework(Status::NOT_IMPLEMENTED, "Not Implemented").into())
            } else {
                self.judge(now, path, headers, client, found)
            },
        }
    }

    fn judge(
        &mut self,
        now: Now,
        path: &str,
        headers: &Headers,
        client: Option<IpAddr>,
        found: Found,
    ) -> Result<Admitted, Refused> {
        let is_page = matches!(&found, Found::Route(route) if matches!(route.part, Part::Front(_)));
        if !is_page {
            self.is_open()?;
        }
        let caller = if routes::needs_token(path) {
            Some(self.caller(now, headers, client)?)
        } else if matches!(&found, Found::Route(route) if route.part == Part::Front(Page::Figures)) {
            self.caller(now, headers, client).ok()
        } else {
            None
        };
        match found {
            Found::Route(route) => Ok(Admitted {
                max_body_bytes: if caller.is_some() && !is_page {
                    self.config.limits.body_bytes as usize
                } else {
                    OPEN_BODY
                },
                caller,
                part: route.part,
            }),
            Found::Methods(allow) => {
                let answer = framework(Status::METHOD_NOT_ALLOWED, "Method Not Allowed");
                Err(answer.with("Allow", allow).into())
            }
            Found::Nothing => Err(framework(Status::NOT_FOUND, "Not Found").into()),
        }
    }

    /// Whether requests are taken: not before the records are read, and not any more once the gateway goes away.
    fn is_open(&self) -> Result<(), Answer> {
        let why = if self.is_draining {
            "server is shutting down"
        } else if !self.is_ready() {
            "server is starting"
        } else {
            return Ok(());
        };
        Err(Answer::error(Status::SERVICE_UNAVAILABLE, why).with("Retry-After", "1"))
    }

    /// Who makes a request.
    fn caller(&mut self, now: Now, headers: &Headers, client: Option<IpAddr>) -> Result<Arc<Caller>, Refused> {
        let no_token = || Refused::from(Answer::error(Status::UNAUTHORIZED, NO_TOKEN));
        let token = bearer::token(headers).ok_or_else(no_token)?;
        let refused = |fault: TokenFault| Refused {
            answer: fault.answer(),
            fault: Some(fault),
        };
        let oauth = &self.parts.oauth;
        if !oauth.is_ready() {
            return Err(self.is_open().err().unwrap_or_else(|| no_token().answer).into());
        }
        let key = KnownTokens::key(token);
        if let Some(caller) = self.known.get(now, &key) {
            let stands = caller.login.as_deref().is_none_or(|login| oauth.is_login(now, login));
            return if stands {
                Ok(caller)
            } else {
                Err(refused(TokenFault::LoginOver))
            };
        }
        // This machine's own address is everybody's behind a proxy that nobody named.
        let stranger = client.filter(|client| !client.to_canonical().is_loopback());
        if stranger.is_some() {
            let looked = self.forged.look(now.monotonic, stranger, MAX_FORGED, FORGED_WINDOW);
            looked.map_err(|seconds| {
                let answer = Answer::error(Status::TOO_MANY_REQUESTS, "too_many_requests");
                Refused::from(answer.with("Retry-After", alloc::format!("{seconds}")))
            })?;
        }
        let judged = oauth.verify(now, token);
        if stranger.is_some() && matches!(judged, Err(TokenFault::Signature)) {
            let _ = self.forged.take(now.monotonic, stranger, MAX_FORGED, FORGED_WINDOW);
        }
        let caller = Arc::new(judged.map_err(refused)?);
        self.known.insert(key, Arc::clone(&caller));
        Ok(caller)
    }

    /// Answers a request that was admitted and is here whole.
    pub fn handle(&mut self, cx: &mut Context<'_>, request: &Request<'_>, admitted: &Admitted) -> Reply {
        let caller = admitted.caller.as_deref();
        if let Some(Err(answer)) = caller.map(|caller| bound::check(caller, request)) {
            return Reply::Now(answer);
        }
        let is_head = request.method == Method::Head;
        // What would be told to `GET` is told to `HEAD`, but for the body, which the layer below leaves out.
        let as_get = Request {
            method: if is_head { Method::Get } else { request.method },
            ..*request
        };
        let reply = match (admitted.part, caller) {
            (Part::Front(page), caller) => Some(Reply::Now(self.page(cx.now, page, caller))),
            (Part::OAuth, _) => {
                let (parts, mut cx) = self.split(cx);
                parts.oauth.handle(&mut cx, request)
            }
            (Part::Devices, Some(caller)) => {
                let (parts, mut cx) = self.split(cx);
                parts.devices.handle(&mut cx, caller, &as_get)
            }
            (Part::Sessions, Some(caller)) => {
                let (parts, mut cx) = self.split(cx);
                parts.sessions.handle(&mut cx, &mut parts.devices, caller, &as_get)
            }
            (Part::Devices | Part::Sessions, None) => None,
        };
        let reply = reply.unwrap_or_else(|| Reply::Now(framework(Status::NOT_FOUND, "Not Found")));
        match &reply {
            Reply::Events(_) if is_head => {
                self.closed(request.conn);
                Reply::Now(stream_head())
            }
            Reply::Events(_) | Reply::Upgrade(_) => {
                if let Some(login) = caller.and_then(|caller| caller.login.as_deref()) {
                    self.open.insert(request.conn, login);
                }
                reply
            }
            Reply::Now(_) | Reply::Later => reply,
        }
    }

    /// The parts and what they may use.
    fn split<'a>(&'a mut self, cx: &'a mut Context<'_>) -> (&'a mut Parts, RelayContext<'a>) {
        let context = RelayContext {
            now: cx.now,
            settings: cx.settings,
            relay: &self.config,
            random: cx.random,
            outbox: cx.outbox,
            calls: cx.calls,
            exchanges: cx.exchanges,
            ledger: &mut self.ledger,
            streams: &mut self.streams,
            reports: cx.reports,
            audit: cx.audit,
        };
        (&mut self.parts, context)
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

/// What every event stream begins with; an answer to `HEAD` is nothing else.
#[must_use]
pub fn stream_head() -> Answer {
    Answer {
        content_type: "text/event-stream",
        ..Answer::empty(Status::OK)
    }
    .with("Cache-Control", "no-cache")
    .with("X-Accel-Buffering", "no")
}

/// An answer that no part gives: `{"code":<status>,"error":"<text>"}`.
#[must_use]
pub fn framework(status: Status, text: &str) -> Answer {
    #[derive(serde::Serialize)]
    struct Framework<'a> {
        code: u16,
        error: &'a str,
    }
    let code = status.code();
    Answer::json(status, &Framework { code, error: text })
}

/// The answer to a request that broke a rule of HTTP.
#[must_use]
pub fn broken(fault: PeerFault) -> Answer {
    match fault.status() {
        Status::CONTENT_TOO_LARGE => framework(Status::CONTENT_TOO_LARGE, "Request Entity Too Large"),
        // A long request line is a large head here, as its original says.
        Status::URI_TOO_LONG | Status::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            let status = Status::REQUEST_HEADER_FIELDS_TOO_LARGE;
            framework(status, status.reason())
        }
        status => framework(status, status.reason()),
    }
}
