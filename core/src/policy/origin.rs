//! Browser origins: whether a page may open a connection. Parsed by hand and in ASCII only, because an origin that needs
//! more than that is not one that anybody wrote into an allow list. Spec: `spec/operator.md` section 4.

use alloc::string::String;

use super::address::is_loopback_host;

/// Whether the `Origin` header of a request lets it in: there is none, it is in the allow list (serialised, lower case),
/// its host and port are those of the `Host` header, or both hosts are this machine.
#[must_use]
pub fn is_allowed(origin: Option<&str>, host: Option<&str>, allowed: &[String]) -> bool {
    let Some(origin) = present(origin) else { return true };
    let Some(origin) = Origin::parse(origin) else {
        return false;
    };
    let host = host.map(str::trim).unwrap_or_default().to_ascii_lowercase();
    let serialised = origin.serialise();
    allowed.contains(&serialised)
        || (!host.is_empty() && origin.host_and_port() == host)
        || (is_loopback_host(&origin.host) && is_loopback_host(host_name(&host)))
}

/// The `Origin` header when it says anything.
#[must_use]
pub fn present(origin: Option<&str>) -> Option<&str> {
    origin.map(str::trim).filter(|origin| !origin.is_empty())
}

/// The host name of a `Host` header: without the port, and an IPv6 address without its brackets.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    /// Reads `scheme://host[:port]`, with or without a path after it.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let mut letters = scheme.bytes();
        let scheme_is_good = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (address, after) = bracketed.split_once(']')?;
                address.parse::<core::net::Ipv6Addr>().ok()?;
                (
                    authority.get(..address.len() + 2)?,
                    after.strip_prefix(':').or_else(|| after.is_empty().then_some(""))?,
                )
            }
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        let host_is_good = authority.starts_with('[')
            || (!host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)));
        if !scheme_is_good || !host_is_good || !port.bytes().all(|byte| byte.is_ascii_digit()) {
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
            host: host.to_ascii_lowercase(),
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
            (Some("HTTPS://App.Example:443/page"), "gw.example", true),
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
}
