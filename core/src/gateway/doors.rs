//! The doors: what is judged before anybody looks at what a connection or a request wants. Network, client, host, origin,
//! token in the URL, lock, credential: in this order, and each refusal says which setting would open it.
//! Spec: `spec/hardening.md`.

use alloc::boxed::Box;

use super::Gateway;
use super::answers::Answer;
use super::connection::Connection;
use super::routes::Route;
use crate::audit::{AuditEvent, AuditOutcome, Surface};
use crate::auth::Verdict;
use crate::http::{Request, Status};
use crate::id::ConnId;
use crate::limits::lockout::{Guesser, Scope};
use crate::machine::Peer;
use crate::policy::forwarded::{AttributionRequired, Client, client, is_admitted, is_trusted};
use crate::policy::{host, identity, origin};
use crate::report::Report;
use crate::time::{Instant, Now};

/// A door that stayed shut.
struct Shut {
    /// What the client is told.
    answer: Answer<'static>,
    /// The same for logs and the journal.
    reason: &'static str,
    /// What would open it.
    setting: &'static str,
}

impl Shut {
    fn new(answer: Answer<'static>, reason: &'static str, setting: &'static str) -> Box<Self> {
        Box::new(Self {
            answer,
            reason,
            setting,
        })
    }
}

/// Query parameters that would carry a credential: a URL is logged by everybody who sees it.
const SECRET_PARAMETERS: [&str; 4] = ["token", "access_token", "password", "auth"];

impl Gateway {
    /// Whether a peer is served before it has said anything. For a trusted proxy the clients behind it are judged.
    pub(super) fn is_admitted(&self, peer: Peer) -> bool {
        let doors = &self.settings.doors;
        let direct = Client::of_peer(peer);
        is_admitted(direct, doors.allowed_networks.as_deref())
            || direct.address().is_some_and(|address| is_trusted(address, doors))
    }

    /// Finds out who asks, and whether that client, host and origin are served at all.
    pub(super) fn judge_doors(
        &mut self,
        now: Now,
        id: ConnId,
        connection: &mut Connection,
        request: &Request,
        route: Route,
    ) -> Result<(), Answer<'static>> {
        self.try_doors(connection, request, route).map_err(|shut| {
            self.reports.push(Report::DoorShut {
                conn: id,
                peer: connection.peer,
                reason: shut.reason,
                setting: shut.setting,
            });
            self.metrics.turned_away.add(1, 1);
            self.reject(now, id, connection, Some(request), shut.reason);
            if route == Route::Relay {
                relay_shut(shut.reason)
            } else {
                shut.answer
            }
        })
    }

    fn try_doors(&self, connection: &mut Connection, request: &Request, route: Route) -> Result<(), Box<Shut>> {
        let doors = &self.settings.doors;
        // Most requests come straight from their client: no forwarding field, and nobody is trusted to send one.
        if doors.trusted_proxies.is_empty() && !request.headers().any_begins_with(b"fx") {
            connection.client = Client::of_peer(connection.peer);
        } else {
            connection.client = client(connection.peer, request.headers().iter(), doors).map_err(|_| {
                Shut::new(
                    Answer::refusal(
                        Status::FORBIDDEN,
                        AttributionRequired::MESSAGE,
                        AttributionRequired::TYPE,
                    ),
                    AttributionRequired::TYPE,
                    "gateway.trustedProxies",
                )
            })?;
        }
        // The control plane's list of addresses comes before everything else: who is not in it learns that and no more.
        if route == Route::Control
            && self
                .control
                .as_ref()
                .is_some_and(|control| !control.trusts(connection.client))
        {
            return Ok(());
        }
        if !is_admitted(connection.client, doors.allowed_networks.as_deref()) {
            return Err(Shut::new(
                Answer::stranger(),
                "address_not_allowed",
                "gateway.allowedNetworks",
            ));
        }
        let host = request.host();
        if !host::is_allowed(host, doors) {
            return Err(Shut::new(
                Answer::refusal(Status::FORBIDDEN, host::REFUSAL_MESSAGE, host::REFUSAL_TYPE).closing(),
                host::REFUSAL_TYPE,
                "gateway.allowedHosts",
            ));
        }
        // The relay takes pages of every origin (CORS tells their browsers what they may read), and no token from a URL.
        if route == Route::Relay {
            return Ok(());
        }
        self.try_origin(connection.client, request, host, route)?;
        let secret_in_url = |query: &str| {
            query.split('&').any(|pair| {
                let name = pair.split('=').next().unwrap_or_default();
                SECRET_PARAMETERS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
            })
        };
        if request.target().query().is_some_and(secret_in_url) {
            let message =
                "Credentials in the URL are refused: send the token in the Authorization header, or in connect params";
            return Err(Shut::new(
                Answer::refusal(Status::BAD_REQUEST, message, "credential_in_url").closing(),
                "credential_in_url",
                "gateway.auth",
            ));
        }
        Ok(())
    }

    /// Operator clients learn of a wrong origin after `connect`, as their protocol says.
    fn try_origin(&self, client: Client, request: &Request, host: Option<&str>, route: Route) -> Result<(), Box<Shut>> {
        if matches!(route, Route::Operator | Route::Control) {
            return Ok(());
        }
        // Two origins are none that could be judged.
        let origin = request.headers().get_only("origin").map_err(|_| {
            Shut::new(
                Answer::bad_request(),
                "origin_repeated",
                "gateway.controlUi.allowedOrigins",
            )
        })?;
        let rules = origin::Rules::of(&self.settings);
        origin::judge(origin, host, client.is_local(), rules).map_err(|fault| {
            Shut::new(
                Answer::refusal(Status::FORBIDDEN, &alloc::format!("{fault}"), "origin_not_allowed"),
                "origin_not_allowed",
                "gateway.controlUi.allowedOrigins",
            )
        })
    }

    /// Whether the request may do what needs a credential: a lock comes first, then the token in `Authorization`.
    /// With the refusal comes the time before which it is not to be told.
    pub(super) fn judge_bearer(
        &mut self,
        now: Now,
        id: ConnId,
        connection: &Connection,
        request: &Request,
    ) -> Result<(), (Answer<'static>, Option<Instant>)> {
        if !self.auth.is_required() {
            return Ok(());
        }
        let page = origin::present(request.headers().get("origin"));
        let who = Guesser::of(Scope::SharedSecret, connection.client, page);
        let verdict = match self.auth.locked_for(now.monotonic, who) {
            Some(left) => Verdict::LockedOut(left),
            None if self.has_proxy_user(connection, request) => Verdict::Right,
            None => self.auth.judge(now.monotonic, who, bearer(request)),
        };
        let facts = self.facts(id, connection, Some(request), Surface::Http);
        let Some(reason) = verdict.reason(self.settings.auth.credential) else {
            self.audit.push(facts.record(AuditEvent::AuthOk, AuditOutcome::Ok));
            return Ok(());
        };
        self.metrics.auth_failures.add(2, 1);
        self.audit.push(
            facts
                .record(AuditEvent::AuthFailed, AuditOutcome::Denied)
                .because(reason),
        );
        Err(match verdict {
            Verdict::LockedOut(left) => (Answer::locked_out(left), None),
            Verdict::Wrong { locked, delay } => {
                if let Some(lockout) = locked {
                    self.audit
                        .push(facts.record(AuditEvent::AuthLocked, AuditOutcome::Denied));
                    self.reports.push(Report::LockedOut {
                        who: who.name(page),
                        seconds: lockout.as_secs(),
                    });
                }
                let until = (!delay.is_zero()).then(|| now.monotonic.plus(delay));
                (Answer::unauthorized(), until)
            }
            _ => (Answer::unauthorized(), None),
        })
    }

    /// Whether a trusted proxy names a user whom the settings let in without a token.
    pub(super) fn has_proxy_user(&self, connection: &Connection, request: &Request) -> bool {
        self.settings.auth.proxy_identity.as_ref().is_some_and(|rules| {
            let fields = || request.headers().iter();
            identity::user(connection.peer, fields, &self.settings.doors, rules).is_ok()
        })
    }
}

/// The same refusals in the relay's form, with the names of its variables.
fn relay_shut(reason: &str) -> Answer<'static> {
    let body: &[u8] = match reason {
        AttributionRequired::TYPE => {
            br#"{"error":"a proxy on this machine sent forwarding header fields, but it is not a trusted one: add its address to RELAY_TRUSTED_PROXIES"}"#
        }
        host::REFUSAL_TYPE => br#"{"error":"host not allowed: set PUBLIC_BASE_URL, or add it to RELAY_ALLOWED_HOSTS"}"#,
        _ => br#"{"error":"address not allowed: add its network to RELAY_ALLOWED_NETWORKS"}"#,
    };
    Answer::new(Status::FORBIDDEN, body).closing()
}

/// The token of `Authorization: Bearer`.
fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get_only("authorization").ok()??;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
