//! The token endpoint and the end of logins: codes and refresh tokens become access tokens. Each is good once; one that
//! comes a second time ends its login, because then two hold it. Spec: `spec/relay.md` section 12.

use alloc::string::String;
use core::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Serialize;

use super::codes;
use super::form::Form;
use super::handing::{Before, Handing};
use super::logins::Login;
use super::refresh::{self, LoginId};
use super::{OAuth, pkce, scope, seconds};
use crate::audit::{AuditEvent, AuditOutcome};
use crate::http::Status;
use crate::settings::{RelayAuth, RelaySettings};
use crate::surfaces::relay::context::RelayContext;
use crate::surfaces::relay::http::{Answer, Reply, Request};
use crate::surfaces::relay::identity::Identity;
use crate::surfaces::relay::tokens::{Claims, issue};

/// A published client begins a new login when it finds this.
const NOT_FOUND: &str = "refresh token not found or expired";
/// Logins that were ended and not told yet.
const MAX_UNTOLD: usize = 4_096;
/// The longest client id of a program in demo mode.
const MAX_CLIENT_BYTES: usize = 128;

fn bad(text: &str) -> Reply {
    Reply::Now(no_store(Answer::error(Status::BAD_REQUEST, text)))
}

fn invalid_grant(text: &str) -> Answer {
    no_store(Answer::described(Status::BAD_REQUEST, "invalid_grant", text))
}

fn invalid_client() -> Reply {
    Reply::Now(no_store(Answer::error(Status::UNAUTHORIZED, "invalid_client")))
}

/// Tokens, and what is said of them, are no business of caches (RFC 6749 section 5.1).
pub(super) fn no_store(answer: Answer) -> Answer {
    answer.with("Cache-Control", "no-store").with("Pragma", "no-cache")
}

/// A client that does not say who it is is the one that the code or token was made for.
fn is_client(named: &str, bound: &str) -> bool {
    named.is_empty() || named == bound
}

fn is_refusal(status: Status) -> bool {
    status == Status::BAD_REQUEST || status == Status::UNAUTHORIZED
}

#[derive(Serialize)]
struct Granted<'a> {
    access_token: &'a str,
    token_type: &'a str,
    expires_in: u64,
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
}

impl OAuth {
    /// `POST /oauth/token`
    pub(super) fn token(&mut self, cx: &mut RelayContext<'_>, request: &Request<'_>, form: &Form) -> Reply {
        let (kind, reply) = match form.get("grant_type") {
            "authorization_code" => ("code", self.by_code(cx, request, form)),
            "refresh_token" => ("refresh token", self.by_refresh_token(cx, request, form)),
            "client_credentials" => ("client", self.by_client(cx, form)),
            _ => return bad("unsupported grant_type"),
        };
        if matches!(&reply, Reply::Now(answer) if is_refusal(answer.status)) {
            let who = (request.conn, request.client);
            cx.record(AuditEvent::TokenRefused, AuditOutcome::Denied, who, kind);
        }
        reply
    }

    fn by_code(&mut self, cx: &mut RelayContext<'_>, request: &Request<'_>, form: &Form) -> Reply {
        let now = seconds(cx.now);
        if form.get("code").is_empty() {
            return bad("code is required");
        }
        let digest = codes::digest(form.get("code"));
        let found = self.codes.get(&digest, now).filter(|code| code.realm == self.realm);
        let Some(code) = found.cloned() else {
            return match self.logins.of_code(&digest) {
                Some(login) => self.used_twice(
                    cx,
                    request,
                    login,
                    "relay: a code was used twice",
                    no_store(Answer::error(Status::BAD_REQUEST, "invalid_grant")),
                ),
                None => bad("invalid_grant"),
            };
        };
        if !is_client(form.get("client_id"), &code.client) {
            return invalid_client();
        }
        if form.get("redirect_uri") != code.redirect_uri {
            return bad("invalid_grant");
        }
        if let Err(text) = pkce::check_verifier(form.get("code_verifier"), &code.challenge) {
            return Reply::Now(invalid_grant(text));
        }
        if self.logins.len() >= cx.relay.limits.logins as usize {
            let answer = Answer::error(Status::SERVICE_UNAVAILABLE, "temporarily_unavailable");
            return Reply::Now(no_store(answer).with("Retry-After", "60"));
        }
        self.codes.remove(cx.ledger, &digest);
        let before = Before::Code(digest.clone(), code.clone());
        let login = Login {
            client: code.client,
            scope: code.scope,
            is_agent: code.is_agent,
            identity: code.identity,
            realm: code.realm,
            code: digest,
            generation: 0,
            used_at: now,
            refresh_until: 0,
            ends_at: now.saturating_add(cx.relay.refresh_absolute_ttl.as_secs()),
            keep_until: 0,
        };
        let id = LoginId(cx.random.bytes());
        self.give(cx, request, id, login, before)
    }

    fn by_refresh_token(&mut self, cx: &mut RelayContext<'_>, request: &Request<'_>, form: &Form) -> Reply {
        let now = seconds(cx.now);
        if form.get("refresh_token").is_empty() {
            return bad("refresh_token is required");
        }
        let known = refresh::read(&self.keys, form.get("refresh_token")).and_then(|(id, generation)| {
            let login = self.logins.get(id, now)?;
            (login.realm == self.realm).then(|| (id, generation, login.clone()))
        });
        let Some((id, generation, login)) = known else {
            return Reply::Now(invalid_grant(NOT_FOUND));
        };
        if generation != login.generation {
            let answer = invalid_grant(NOT_FOUND);
            return self.used_twice(cx, request, id, "relay: a refresh token was used twice", answer);
        }
        if login.refresh_until <= now {
            return Reply::Now(invalid_grant(NOT_FOUND));
        }
        if !is_client(form.get("client_id"), &login.client) {
            return invalid_client();
        }
        let before = Before::Login(login.clone());
        let login = Login {
            generation: generation.saturating_add(1),
            used_at: now,
            ..login
        };
        self.give(cx, request, id, login, before)
    }

    /// Writes a login down and hands its tokens out once it is on disk.
    fn give(
        &mut self,
        cx: &mut RelayContext<'_>,
        request: &Request<'_>,
        id: LoginId,
        mut login: Login,
        before: Before,
    ) -> Reply {
        let now = seconds(cx.now);
        let access_until = now
            .saturating_add(self.lifetime(cx.relay, &login).as_secs())
            .min(login.ends_at);
        let refresh_until = now.saturating_add(cx.relay.refresh_token_ttl.as_secs());
        login.refresh_until = refresh_until.min(login.ends_at);
        login.keep_until = login.refresh_until.max(access_until);
        let access = self.access_token(cx, &login.identity, &login.scope, &id.text(), access_until);
        let refresh = refresh::write(&self.keys, id, login.generation);
        let granted = Granted {
            access_token: &access,
            token_type: "Bearer",
            expires_in: access_until - now,
            scope: &login.scope,
            refresh_token: Some(&refresh),
        };
        let answer = no_store(Answer::json(Status::OK, &granted));
        let handing = Handing {
            login: id,
            generation: login.generation,
            before,
        };
        self.handing.insert(request.conn, handing);
        let per_user = cx.relay.limits.logins_per_user as usize;
        if let Some(evicted) = self.logins.put(cx.ledger, id, login, per_user) {
            self.tell_ended(evicted);
        }
        cx.ledger.answer(cx.now, request.conn, answer);
        Reply::Later
    }

    /// How long an access token of this login is good: a published agent cannot renew its own while it runs.
    fn lifetime(&self, relay: &RelaySettings, login: &Login) -> Duration {
        let usual = relay.access_token_ttl;
        if login.is_agent {
            relay.agent_token_ttl.max(usual)
        } else {
            usual
        }
    }

    fn by_client(&self, cx: &mut RelayContext<'_>, form: &Form) -> Reply {
        if cx.relay.auth != RelayAuth::Demo {
            return bad("unsupported_grant_type");
        }
        let client = match form.get("client_id") {
            "" => cx.relay.client_ids.first().cloned().unwrap_or_default(),
            named => named.into(),
        };
        if client.len() > MAX_CLIENT_BYTES || !client.bytes().all(|byte| byte.is_ascii_graphic()) {
            return invalid_client();
        }
        let Some(scope) = scope::as_asked(form.get("scope")) else {
            return bad("invalid_scope");
        };
        let identity = Identity {
            uid: alloc::format!("client:{client}"),
            email: String::new(),
            email_verified: false,
            name: client,
        };
        let lifetime = cx.relay.access_token_ttl.as_secs();
        let until = seconds(cx.now).saturating_add(lifetime);
        let access = self.access_token(cx, &identity, &scope, "", until);
        let granted = Granted {
            access_token: &access,
            token_type: "Bearer",
            expires_in: lifetime,
            scope: &scope,
            refresh_token: None,
        };
        Reply::Now(no_store(Answer::json(Status::OK, &granted)))
    }

    fn access_token(
        &self,
        cx: &mut RelayContext<'_>,
        identity: &Identity,
        scope: &str,
        login: &str,
        expires_at: u64,
    ) -> String {
        let id = URL_SAFE_NO_PAD.encode(cx.random.bytes::<16>());
        let claims = Claims {
            issuer: &self.issuer,
            subject: &identity.uid,
            audience: &self.audience,
            issued_at: seconds(cx.now),
            expires_at,
            scope,
            mode: self.mode,
            email: &identity.email,
            name: &identity.name,
            id: &id,
            login,
            email_verified: identity.email_verified,
        };
        issue(&self.keys, &claims)
    }

    /// A code or token that was used already: somebody else has it, too. The login ends for everybody.
    fn used_twice(
        &mut self,
        cx: &mut RelayContext<'_>,
        request: &Request<'_>,
        login: LoginId,
        reason: &'static str,
        answer: Answer,
    ) -> Reply {
        self.end(cx, login);
        let who = (request.conn, request.client);
        cx.record(AuditEvent::TokenReused, AuditOutcome::Denied, who, reason);
        cx.ledger.answer(cx.now, request.conn, answer);
        Reply::Later
    }

    /// Ends a login: nothing of it is good from now on.
    fn end(&mut self, cx: &mut RelayContext<'_>, login: LoginId) {
        if self.logins.end(cx.ledger, login) {
            self.tell_ended(login);
        }
    }

    pub(super) fn tell_ended(&mut self, login: LoginId) {
        // Whoever drives this takes them after every input; one that never does loses the oldest.
        if self.ended.len() >= MAX_UNTOLD {
            self.ended.pop_front();
        }
        self.ended.push_back(login.text());
    }

    /// `POST /oauth/token/revoke` (RFC 7009): also an unknown token is answered with OK.
    pub(super) fn revoke(&mut self, cx: &mut RelayContext<'_>, request: &Request<'_>, form: &Form) -> Reply {
        let known = refresh::read(&self.keys, form.get("token"))
            .and_then(|(id, _)| Some((id, self.logins.get(id, seconds(cx.now))?)));
        let ok = no_store(Answer {
            status: Status::OK,
            content_type: "text/plain; charset=utf-8",
            headers: alloc::vec::Vec::new(),
            body: Bytes::from_static(b"OK"),
        });
        let Some((id, login)) = known else {
            return Reply::Now(ok);
        };
        if !is_client(form.get("client_id"), &login.client) {
            return invalid_client();
        }
        let whose = alloc::format!("revoked: login of {}", login.identity.uid);
        self.end(cx, id);
        let who = (request.conn, request.client);
        cx.record(AuditEvent::LoginEnded, AuditOutcome::Ok, who, whose);
        cx.ledger.answer(cx.now, request.conn, ok);
        Reply::Later
    }
}
