//! One request for an authorization code: what it asks, the checks in their order, and the three ways in which it is
//! answered (JSON, redirect, page). It keeps nothing and knows no user. Spec: `spec/relay.md` section 10.

use alloc::string::String;
use core::net::IpAddr;

use serde::Serialize;

use super::form::Form;
use super::{page, pkce, redirect, scope};
use crate::http::Status;
use crate::random::Random;
use crate::settings::RelaySettings;
use crate::surfaces::relay::http::{Answer, Request};

/// The longest `state`: it goes out again in a header.
const MAX_STATE_BYTES: usize = 4_096;

/// The parameters that the login page sends back.
const KEPT: [&str; 9] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
    "response_mode",
    "id_token_nonce",
];

/// A request that may go on to ask who the user is.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) client: String,
    pub(super) redirect_uri: String,
    pub(super) client_ip: Option<IpAddr>,
    pub(super) challenge: String,
    state: String,
    scope: String,
    method: String,
    by: By,
}

/// How it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    /// The client reads the answer itself.
    Json,
    /// A browser that a person looks at: errors go back to the client, too.
    Browser,
    /// Something that follows redirects, but is told errors as JSON.
    Redirect,
}

impl Ask {
    /// The checks 1 to 4: whom to answer, and where to.
    ///
    /// # Errors
    /// The answer.
    pub(super) fn read(form: &Form, request: &Request<'_>, settings: &RelaySettings) -> Result<Self, Answer> {
        let bad = |text: &str| Err(Answer::error(Status::BAD_REQUEST, text));
        if !matches!(form.get("response_type"), "" | "code") {
            return bad("unsupported response_type");
        }
        let client = match form.get("client_id") {
            "" => settings.client_ids.first(),
            named => settings.client_ids.iter().find(|id| *id == named),
        };
        let Some(client) = client else {
            return Err(Answer::described(
                Status::BAD_REQUEST,
                "invalid_client",
                "unknown client_id",
            ));
        };
        let redirect_uri = form.get("redirect_uri");
        if redirect_uri.is_empty() {
            return bad("redirect_uri is required");
        }
        if !redirect::is_allowed(redirect_uri, &settings.redirect_allowlist) {
            return bad("redirect_uri not allowed");
        }
        let accepts = |kind: &str| {
            request
                .headers
                .get_all("accept")
                .any(|value| value.to_lowercase().contains(kind))
        };
        let by = if redirect_uri.starts_with("urn:")
            || form.get("response_mode").eq_ignore_ascii_case("json")
            || accepts("application/json")
        {
            By::Json
        } else if accepts("text/html") {
            By::Browser
        } else {
            By::Redirect
        };
        Ok(Self {
            client: client.clone(),
            redirect_uri: redirect_uri.into(),
            client_ip: request.client,
            challenge: form.get("code_challenge").into(),
            state: form.get("state").into(),
            scope: form.get("scope").into(),
            method: form.get("code_challenge_method").into(),
            by,
        })
    }

    /// The checks 6 to 9; the scope that is granted.
    ///
    /// # Errors
    /// The answer.
    pub(super) fn check(&self) -> Result<String, Answer> {
        if self.state.len() > MAX_STATE_BYTES {
            return Err(self.refused("invalid_request", "state is too long"));
        }
        pkce::check_challenge(&self.challenge, &self.method).map_err(|text| self.refused("invalid_request", &text))?;
        let not = || self.refused("invalid_scope", "device:<id> needs the id of a device");
        scope::grant(&self.scope).ok_or_else(not)
    }

    /// Whether an agent asks: with a scope that only agents have a use for.
    pub(super) fn is_agent(&self) -> bool {
        scope::is_of_agent(&self.client, &self.scope)
    }

    /// A person who is shown the login page is told before, not after logging in, that the request is no good.
    pub(super) fn check_before_page(&self) -> Result<(), Answer> {
        if self.by == By::Browser {
            self.check()?;
        }
        Ok(())
    }

    fn refused(&self, code: &str, text: &str) -> Answer {
        if self.by != By::Browser {
            return Answer::described(Status::BAD_REQUEST, code, text);
        }
        let state = if self.state.len() > MAX_STATE_BYTES {
            ""
        } else {
            &self.state
        };
        let parameters = [("error", code), ("error_description", text), ("state", state.trim())];
        moved(redirect::with_query(&self.redirect_uri, &parameters))
    }

    /// The login page for this request.
    pub(super) fn page(&self, form: &Form, settings: &RelaySettings, random: &mut Random) -> Answer {
        let hidden = KEPT.map(|name| (name, form.get(name)));
        page::login(settings, random, &hidden, &self.redirect_uri)
    }

    /// The answer with a code.
    pub(super) fn granted(&self, code: &str, seconds: u64) -> Answer {
        #[derive(Serialize)]
        struct Granted<'a> {
            code: &'a str,
            state: &'a str,
            redirect_uri: &'a str,
            expires_in: u64,
            code_challenge: &'a str,
            challenge_method: &'a str,
        }
        if self.by == By::Json {
            let granted = Granted {
                code,
                state: &self.state,
                redirect_uri: &self.redirect_uri,
                expires_in: seconds,
                code_challenge: &self.challenge,
                challenge_method: "S256",
            };
            return Answer::json(Status::OK, &granted)
                .with("Cache-Control", "no-store")
                .with("Pragma", "no-cache");
        }
        let state = if self.state.trim().is_empty() { "" } else { &self.state };
        moved(redirect::with_query(
            &self.redirect_uri,
            &[("code", code), ("state", state)],
        ))
    }
}

fn moved(target: String) -> Answer {
    Answer::empty(Status::FOUND)
        .with("Location", target)
        .with("Cache-Control", "no-store")
        .with("Referrer-Policy", "no-referrer")
}
