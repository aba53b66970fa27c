//! The table of the relay's routes: which path and method belong to which part. A path is looked up as it was sent; what its
//! variable segments mean is the part's business. Spec: `spec/relay.md` section 2, `spec/openapi.yaml`.

use alloc::string::String;

use crate::http::Method;

/// Who answers a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// The front itself.
    Front(Page),
    /// The OAuth server.
    OAuth,
    /// Devices and shares.
    Devices,
    /// Sessions and agents.
    Sessions,
}

/// What the front itself answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Page {
    /// What this server is.
    Index,
    /// It lives.
    Health,
    /// It takes requests.
    Ready,
    /// The figures of a user.
    Figures,
    /// The description of the interface.
    OpenApi,
}

/// What a request is counted as.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Class {
    /// Health, readiness, descriptions.
    System,
    /// The OAuth server.
    OAuth,
    /// Devices.
    Devices,
    /// Handshakes and event streams.
    Sessions,
    /// Messages of clients.
    Messages,
    /// Agents' connections.
    Agents,
    /// Invites and grants.
    Shares,
    /// What is not there.
    Other,
}

/// Their names, in their order.
pub const CLASSES: [&str; 8] = [
    "system", "oauth", "devices", "sessions", "messages", "agents", "shares", "other",
];

/// One line of the table. Segments that begin with `:` stand for any that is not empty.
pub(super) struct Route {
    pub(super) pattern: &'static str,
    /// How many bytes of it come before the first segment that stands for any.
    literal: usize,
    pub(super) method: Method,
    pub(super) part: Part,
    pub(super) class: Class,
}

const fn route(method: Method, pattern: &'static str, part: Part, class: Class) -> Route {
    Route {
        pattern,
        literal: literal(pattern.as_bytes()),
        method,
        part,
        class,
    }
}

const fn literal(pattern: &[u8]) -> usize {
    let (mut at, mut rest) = (0, pattern);
    while let [byte, after @ ..] = rest
        && *byte != b':'
    {
        (at, rest) = (at + 1, after);
    }
    at
}

use Class as C;
use Method::{Delete, Get, Post, Put};
use Part::{Devices, Front, OAuth, Sessions};

/// All of them. `HEAD` goes where `GET` goes.
pub(super) const ROUTES: &[Route] = &[
    route(Get, "/", Front(Page::Index), C::System),
    route(Get, "/health", Front(Page::Health), C::System),
    route(Get, "/healthz", Front(Page::Health), C::System),
    route(Get, "/readyz", Front(Page::Ready), C::System),
    route(Get, "/openapi.json", Front(Page::OpenApi), C::System),
    route(Get, "/.well-known/openid-configuration", OAuth, C::OAuth),
    route(Get, "/.well-known/oauth-authorization-server", OAuth, C::OAuth),
    route(Get, "/oauth/.well-known/openid-configuration", OAuth, C::OAuth),
    route(Get, "/.well-known/jwks.json", OAuth, C::OAuth),
    route(Get, "/oauth/.well-known/jwks.json", OAuth, C::OAuth),
    route(Post, "/register", OAuth, C::OAuth),
    route(Get, "/oauth/authorize", OAuth, C::OAuth),
    route(Post, "/oauth/authorize", OAuth, C::OAuth),
    route(Post, "/oauth/token", OAuth, C::OAuth),
    route(Post, "/oauth/token/revoke", OAuth, C::OAuth),
    route(Get, HEALTH, Front(Page::Figures), C::System),
    route(Get, "/gateway/v1/devices", Devices, C::Devices),
    route(Get, "/gateway/v1/devices/events", Devices, C::Devices),
    route(Delete, "/gateway/v1/devices/:device_id", Devices, C::Devices),
    route(Put, "/gateway/v1/devices/:device_id/identity-key", Devices, C::Devices),
    route(Get, "/gateway/v1/devices/:device_id/identity-key", Devices, C::Devices),
    route(
        Post,
        "/gateway/v1/sessions/:session_id/handshake/client-init",
        Sessions,
        C::Sessions,
    ),
    route(
        Post,
        "/gateway/v1/sessions/:session_id/handshake/agent-ack",
        Sessions,
        C::Sessions,
    ),
    route(
        Get,
        "/gateway/v1/sessions/:session_id/handshake/:handshake_id",
        Sessions,
        C::Sessions,
    ),
    route(Post, "/gateway/v1/sessions/:session_id/messages", Sessions, C::Messages),
    route(Get, "/gateway/v1/sessions/:session_id/events", Sessions, C::Sessions),
    route(Get, "/gateway/v1/agent/connect", Sessions, C::Agents),
    route(Post, "/gateway/v1/shares/invites", Devices, C::Shares),
    route(Post, "/gateway/v1/shares/invites/accept", Devices, C::Shares),
    route(Get, "/gateway/v1/shares/devices/:device_id/grants", Devices, C::Shares),
    route(Post, "/gateway/v1/shares/grants/:grant_id/revoke", Devices, C::Shares),
    route(Post, "/gateway/v1/shares/grants/:grant_id/leave", Devices, C::Shares),
];

/// The one path below [`API`] that needs no token.
const HEALTH: &str = "/gateway/v1/health";
const API: &str = "/gateway/v1";

/// Whether a path needs an access token, whatever is there.
pub(super) fn needs_token(path: &str) -> bool {
    path.strip_prefix(API)
        .is_some_and(|rest| (rest.is_empty() || rest.starts_with('/')) && path != HEALTH)
}

/// Where a request goes.
pub(super) enum Found {
    /// To this part.
    Route(&'static Route),
    /// The path is there for these methods only.
    Methods(String),
    /// Nowhere.
    Nothing,
}

/// Looks a request up.
pub(super) fn find(method: Method, path: &str) -> Found {
    let wanted = if method == Method::Head { Method::Get } else { method };
    let mut methods = String::new();
    for route in ROUTES.iter().filter(|route| route.matches(path)) {
        if route.method == wanted {
            return Found::Route(route);
        }
        let names = name(route.method);
        if !methods.is_empty() {
            methods.push_str(", ");
        }
        methods.push_str(names);
    }
    if methods.is_empty() {
        Found::Nothing
    } else {
        Found::Methods(methods)
    }
}

const fn name(method: Method) -> &'static str {
    match method {
        Method::Get => "GET, HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Head | Method::Options | Method::Patch | Method::Other => "",
    }
}

impl Route {
    /// Whether it is for this path. Most routes are told apart by the text that they begin with.
    fn matches(&self, path: &str) -> bool {
        let (Some((literal, wanted)), Some((begins, given))) = (
            self.pattern.split_at_checked(self.literal),
            path.split_at_checked(self.literal),
        ) else {
            return false;
        };
        if literal != begins {
            return false;
        }
        let (mut wanted, mut given) = (wanted.split('/'), given.split('/'));
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return true,
                (Some(wanted), Some(given)) if wanted == given => {}
                (Some(wanted), Some(given)) if wanted.starts_with(':') && !given.is_empty() => {}
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn status(method: Method, path: &str) -> (u16, String) {
        match find(method, path) {
            Found::Route(_) => (200, String::new()),
            Found::Methods(allow) => (405, allow),
            Found::Nothing => (404, String::new()),
        }
    }

    #[test]
    fn paths_are_exact_and_methods_are_named() {
        for (method, path, code, allow) in [
            (Get, "/", 200, ""),
            (Method::Head, "/healthz", 200, ""),
            (Get, "/healthz/", 404, ""),
            (Get, "/HEALTHZ", 404, ""),
            (Get, "/console", 404, ""),
            (Post, "/healthz", 405, "GET, HEAD"),
            (Put, "/oauth/authorize", 405, "GET, HEAD, POST"),
            (Delete, "/gateway/v1/devices/dev%3A1", 200, ""),
            (Get, "/gateway/v1/devices/events", 200, ""),
            (Get, "/gateway/v1/devices/other", 405, "DELETE"),
            (Get, "/gateway/v1/devices//identity-key", 404, ""),
            (Post, "/gateway/v1/devices/d/identity-key", 405, "PUT, GET, HEAD"),
            (
                Method::Options,
                "/gateway/v1/sessions/s/handshake/client-init",
                405,
                "POST, GET, HEAD",
            ),
            (Get, "/gateway/v1/sessions/s/handshake/h", 200, ""),
            (Post, "/gateway/v1/shares/grants/g/leave", 200, ""),
            (Post, "/gateway/v1/integrations/routes", 404, ""),
        ] {
            assert_eq!(status(method, path), (code, allow.into()), "{method:?} {path}");
        }
    }

    #[test]
    fn the_description_has_every_route_and_no_other() {
        let api: serde_json::Value = serde_json::from_str(super::super::system::OPENAPI).unwrap();
        let mut described = Vec::new();
        for (path, item) in api["paths"].as_object().unwrap() {
            for method in ["get", "post", "put", "delete"]
                .into_iter()
                .filter(|method| item.get(*method).is_some())
            {
                let needs = !item[method]["security"]
                    .as_array()
                    .is_none_or(|ways| ways.iter().any(|way| way == &serde_json::json!({})));
                assert_eq!(needs, needs_token(path), "{path}");
                described.push(alloc::format!("{method} {}", path.replace('{', ":").replace('}', "")));
            }
        }
        let mut served: Vec<_> = ROUTES
            .iter()
            .map(|route| {
                alloc::format!(
                    "{} {}",
                    alloc::format!("{:?}", route.method).to_lowercase(),
                    route.pattern
                )
            })
            .collect();
        described.sort();
        served.sort();
        assert_eq!(served, described);
    }

    #[test]
    fn everything_below_the_api_needs_a_token_but_its_health() {
        for (path, needed) in [
            ("/gateway/v1", true),
            ("/gateway/v1/nothing", true),
            ("/gateway/v1/health", false),
            ("/gateway/v1/health/", true),
            ("/gateway/v10", false),
            ("/", false),
        ] {
            assert_eq!(needs_token(path), needed, "{path}");
        }
    }
}
