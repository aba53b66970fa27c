//! Browser origins: whether a page may talk to the gateway. Parsed by hand and in ASCII only, because an origin that needs
//! more than that is not one that anybody wrote into an allow list. An origin that is let in still has to authenticate.
//! Spec: `spec/hardening.md`, `spec/operator.md` section 4.

use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};

use super::address::is_loopback_host;
use super::bind::Class;
use super::host;
use crate::settings::Settings;

/// What the settings say about origins.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Serialised origins (lower case); `*` lets every one in.
    pub allowed: &'a [String],
    /// Names of this gateway: a page that was loaded from one of them is its own.
    pub own_hosts: &'a [String],
    /// Whatever `Host` says is a name of this gateway. Dangerous: it is what DNS rebinding makes pages say.
    pub trust_host: bool,
}

impl<'a> Rules<'a> {
    /// The rules of these settings.
    #[must_use]
    pub fn of(settings: &'a Settings) -> Self {
        Self {
            allowed: &settings.gateway.allowed_origins,
            own_hosts: &settings.doors.allowed_hosts,
            trust_host: settings.doors.host_header_origin_fallback,
        }
    }
}

/// Why a page is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OriginFault {
    /// It is no origin: `null`, with credentials or a path, or not a URL at all.
    Invalid,
    /// It is neither listed nor this gateway's own.
    NotAllowed,
}

impl fmt::Display for OriginFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "origin missing or invalid",
            Self::NotAllowed => {
                "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)"
            }
        })
    }
}

impl core::error::Error for OriginFault {}

/// Judges the `Origin` and `Host` of a request. `is_local`: it comes from a program on this machine and no proxy speaks
/// for it ([`Client::is_local`](super::forwarded::Client::is_local)). Without an origin it is not a page's.
///
/// # Errors
/// Why the page is not let in.
pub fn judge(origin: Option<&str>, host: Option<&str>, is_local: bool, rules: Rules<'_>) -> Result<(), OriginFault> {
    let Some(origin) = present(origin) else { return Ok(()) };
    let origin = Origin::parse(origin).ok_or(OriginFault::Invalid)?;
    let host = host.map(str::trim).unwrap_or_default();
    let is_listed = || {
        let serialised = origin.serialise();
        rules.allowed.iter().any(|entry| entry == "*" || *entry == serialised)
    };
    let is_own = || {
        origin.host_and_port().eq_ignore_ascii_case(host)
            && (rules.trust_host || is_own_name(&origin.host, host, is_local, rules.own_hosts))
    };
    let both_here = || is_local && is_loopback_host(&origin.host) && is_loopback_host(host::split(host).0);
    if is_listed() || is_own() || both_here() {
        Ok(())
    } else {
        Err(OriginFault::NotAllowed)
    }
}

/// Whether nobody on the internet can have made this name point here: it is an address, a name that no public resolver
/// answers for, or one that the settings vouch for.
fn is_own_name(name: &str, host: &str, is_local: bool, own_hosts: &[String]) -> bool {
    if is_loopback_host(name) {
        return is_local;
    }
    let bare = host::split(name).0;
    let is_private = bare
        .parse::<IpAddr>()
        .is_ok_and(|address| matches!(Class::of(address), Class::Lan | Class::Tailnet));
    is_private || name.ends_with(".local") || name.ends_with(".ts.net") || host::is_listed(host, own_hosts)
}

/// The rules of `spec/operator.md` section 4 alone: there is no origin, it is in the allow list, its host and port are
/// those of `Host`, or both hosts are this machine.
#[must_use]
pub fn is_allowed(origin: Option<&str>, host: Option<&str>, allowed: &[String]) -> bool {
    let rules = Rules {
        allowed,
        own_hosts: &[],
        trust_host: true,
    };
    judge(origin, host, true, rules).is_ok()
}

/// What a page is counted by when it guesses, under the rules of [`is_allowed`]: its origin; those that are not allowed
/// count together, because whoever owns a domain has as many origins as he likes.
#[must_use]
pub fn counted<'a>(origin: Option<&'a str>, host: Option<&str>, allowed: &[String]) -> Option<&'a str> {
    let origin = present(origin)?;
    Some(if is_allowed(Some(origin), host, allowed) {
        origin
    } else {
        "any other page"
    })
}

/// The `Origin` header when it says anything.
#[must_use]
pub fn present(origin: Option<&str>) -> Option<&str> {
    origin.map(str::trim).filter(|origin| !origin.is_empty())
}

/// The serialised form of an origin for an allow list; `None` for what is none.
#[must_use]
pub fn serialised(text: &str) -> Option<String> {
    Origin::parse(text.trim()).map(|origin| origin.serialise())
}

struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    /// Reads `scheme://host[:port]`, with at most a slash after it.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let mut letters = scheme.bytes();
        let scheme_is_good = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (address, after) = bracketed.split_once(']')?;
                let address: Ipv6Addr = address.parse().ok()?;
                let port = after.strip_prefix(':').or_else(|| after.is_empty().then_some(""))?;
                (alloc::format!("[{address}]"), port)
            }
            None => {
                let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
                let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                if host.is_empty() || !host.bytes().all(is_good) {
                    return None;
                }
                (host.to_ascii_lowercase(), port)
            }
        };
        if !scheme_is_good || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let port = if port.is_empty() {
            None
        } else {
            Some(port.parse().ok()?)
        };
        let default = match scheme.as_str() {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        };
        Some(Self {
            scheme,
            host,
            port: port.filter(|port| Some(*port) != default),
        })
    }

    fn host_and_port(&self) -> String {
        match self.port {
            Some(port) => alloc::format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    fn serialise(&self) -> String {
        alloc::format!("{}://{}", self.scheme, self.host_and_port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_rules_of_section_4() {
        let allowed = [
            String::from("https://app.example"),
            String::from("http://tools.example:8080"),
        ];
        for (origin, host, verdict) in [
            (None, "gw.example", true),
            (Some("  "), "gw.example", true),
            (Some("https://app.example"), "gw.example", true),
            (Some("HTTPS://App.Example:443/"), "gw.example", true),
            (Some("https://app.example/page"), "gw.example", false),
            (Some("http://app.example"), "gw.example", false),
            (Some("http://tools.example:8080"), "gw.example", true),
            (Some("http://tools.example"), "gw.example", false),
            (Some("https://gw.example:18789"), "GW.example:18789", true),
            (Some("https://gw.example"), "gw.example:18789", false),
            (Some("http://localhost:3000"), "127.0.0.1:18789", true),
            (Some("http://[::1]:3000"), "localhost:18789", true),
            (Some("http://127.5.5.5"), "[::1]:18789", true),
            (Some("http://127.evil.example"), "127.0.0.1:18789", false),
            (Some("http://evil.example"), "127.0.0.1:18789", false),
            (Some("http://localhost:3000"), "gw.example", false),
            (Some("null"), "127.0.0.1:18789", false),
            (Some("http://user@localhost"), "127.0.0.1", false),
            (Some("http://localhost:99999"), "127.0.0.1", false),
            (Some("http://[::1"), "127.0.0.1", false),
            (Some("://localhost"), "127.0.0.1", false),
            (Some("file://"), "127.0.0.1", false),
            (Some("http://loc\u{e4}lhost"), "127.0.0.1", false),
        ] {
            assert_eq!(is_allowed(origin, Some(host), &allowed), verdict, "{origin:?} {host}");
        }
    }

    #[test]
    fn a_public_name_is_our_own_only_where_the_settings_say_so() {
        let own = ["gw.example".to_string(), "other.example:8443".to_string()];
        let rules = Rules {
            allowed: &[],
            own_hosts: &own,
            trust_host: false,
        };
        for (origin, host, is_local, verdict) in [
            ("https://gw.example", "gw.example", false, true),
            ("https://gw.example:444", "gw.example:444", false, true),
            ("https://other.example:8443", "other.example:8443", false, true),
            ("https://other.example", "other.example", false, false),
            ("https://rebound.example", "rebound.example", true, false),
            ("https://gw.example", "gw.example:444", false, false),
            ("http://localhost:1", "localhost:1", true, true),
            ("http://localhost:1", "localhost:1", false, false),
            ("http://localhost:1", "127.0.0.1:2", false, false),
            ("http://localhost:1", "127.0.0.1:2", true, true),
            ("http://192.168.1.5:18789", "192.168.1.5:18789", false, true),
            ("http://100.64.0.5", "100.64.0.5", false, true),
            ("http://[fd00::1]:18789", "[fd00::1]:18789", false, true),
            ("http://203.0.113.5", "203.0.113.5", false, false),
            ("http://box.local:18789", "Box.local:18789", false, true),
            ("https://box.tail.ts.net", "box.tail.ts.net", false, true),
            ("http://box.local", "gw.example", false, false),
        ] {
            assert_eq!(
                judge(Some(origin), Some(host), is_local, rules).is_ok(),
                verdict,
                "{origin} {host} {is_local}"
            );
        }
        let trusting = Rules {
            trust_host: true,
            ..rules
        };
        assert!(
            judge(
                Some("https://rebound.example"),
                Some("rebound.example"),
                false,
                trusting
            )
            .is_ok()
        );
    }

    #[test]
    fn faults_and_the_star() {
        let star = ["*".to_string()];
        let rules = Rules {
            allowed: &star,
            own_hosts: &[],
            trust_host: false,
        };
        assert!(judge(Some("https://any.example"), None, false, rules).is_ok());
        for text in [
            "null",
            "https://u:p@any.example",
            "https://any.example/path",
            "https://any.example?q",
            "any.example",
            "https://any.example//",
        ] {
            assert_eq!(
                judge(Some(text), None, false, rules),
                Err(OriginFault::Invalid),
                "{text}"
            );
        }
        let rules = Rules { allowed: &[], ..rules };
        let fault = judge(Some("https://any.example"), Some("x"), true, rules).unwrap_err();
        assert!(fault.to_string().starts_with("origin not allowed (open the Control UI"));
        assert!(judge(None, None, false, rules).is_ok());
        assert_eq!(
            serialised("HTTPS://A.example:443/").as_deref(),
            Some("https://a.example")
        );
        assert_eq!(serialised("https://a.example/x"), None);
    }
}
