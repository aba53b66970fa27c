//! Which pages of other origins may read answers (CORS). It judges the `Origin` field and writes fields; it refuses nothing:
//! a page that is not listed gets an answer that its browser keeps from it. Spec: `spec/relay.md` section 3.

use alloc::string::{String, ToString};

use super::http::Answer;
use crate::http::{Headers, Method, Status};
use crate::settings::AllowedOrigins;

const METHODS: &str = "GET, POST, PUT, DELETE, OPTIONS";
const HEADERS: &str = "Origin, Content-Type, Accept, Authorization, Cache-Control, Last-Event-ID, X-Idempotency-Key";

/// What an answer says to the page that asked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Cors {
    /// Nothing: no page asked.
    #[default]
    Silent,
    /// Every page may read it.
    Any,
    /// The page of this origin may read it, with what it is logged in as.
    Listed(String),
    /// No page may; caches are told that it depends on who asks.
    Unlisted,
}

impl Cors {
    /// What answers to a request with this `Origin` say.
    #[must_use]
    pub fn of(allowed: &AllowedOrigins, headers: &Headers) -> Self {
        // Two origins are none.
        let origin = headers
            .get_only("origin")
            .ok()
            .flatten()
            .filter(|origin| !origin.is_empty());
        match (allowed, origin) {
            (AllowedOrigins::Any, None) => Self::Silent,
            (AllowedOrigins::Any, Some(_)) => Self::Any,
            (AllowedOrigins::These(listed), Some(origin)) if listed.contains(&origin.to_ascii_lowercase()) => {
                Self::Listed(origin.to_string())
            }
            (AllowedOrigins::These(_), _) => Self::Unlisted,
        }
    }

    /// The fields that say it.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let [origin, credentials, vary] = match self {
            Self::Silent => [None, None, None],
            Self::Any => [Some("*"), None, None],
            Self::Listed(origin) => [Some(origin.as_str()), Some("true"), Some("Origin")],
            Self::Unlisted => [None, None, Some("Origin")],
        };
        [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", credentials),
            ("Vary", vary),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    /// The answer to the question that a browser asks before a request; `None`: this is none.
    #[must_use]
    pub fn preflight(&self, method: Method, headers: &Headers) -> Option<Answer> {
        let asks = method == Method::Options
            && headers.get("origin").is_some_and(|origin| !origin.is_empty())
            && headers
                .get("access-control-request-method")
                .is_some_and(|method| !method.is_empty());
        if !asks {
            return None;
        }
        let vary = "Access-Control-Request-Method, Access-Control-Request-Headers, Origin";
        let mut answer = Answer::empty(Status::NO_CONTENT)
            .with("Access-Control-Allow-Methods", METHODS)
            .with("Access-Control-Allow-Headers", HEADERS)
            .with("Vary", vary);
        match self {
            Self::Any => answer = answer.with("Access-Control-Allow-Origin", "*"),
            Self::Listed(origin) => {
                answer = answer
                    .with("Access-Control-Allow-Origin", origin.clone())
                    .with("Access-Control-Allow-Credentials", "true");
            }
            Self::Silent | Self::Unlisted => {}
        }
        Some(answer)
    }
}
