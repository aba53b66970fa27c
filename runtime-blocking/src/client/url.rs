//! The URL of a gateway. Parsed by hand: hosts are ASCII, so that the IDNA tables of a URL library are not carried along.

use std::fmt;

use portcullis_core::policy::address::is_loopback_host;

/// `ws://` or `wss://`, a host, a port, a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewayUrl {
    /// Whether TLS is spoken (`wss`).
    pub secure: bool,
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The port written, else the scheme's own.
    pub port: u16,
    /// Path and query; `/gateway` when none was written.
    pub path: String,
}

impl GatewayUrl {
    /// Reads what a person wrote.
    ///
    /// # Errors
    /// What is wrong, without repeating the URL: people put secrets there.
    pub fn parse(written: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = written
            .trim()
            .split_once("://")
            .ok_or("a gateway URL begins with ws:// or wss://, for example ws://127.0.0.1:18789")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            "http" => return Err("write ws:// instead of http://"),
            "https" => return Err("write wss:// instead of https://"),
            _ => return Err("a gateway URL begins with ws:// or wss://"),
        };
        let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err("a gateway URL has no user name or password; give the token with --token");
        }
        let (host, port) = split_port(authority)?;
        let default_port = if secure { 443 } else { 80 };
        let port = port.map_or(Ok(default_port), |port| {
            port.parse().map_err(|_| "the port must be a number from 1 to 65535")
        })?;
        if port == 0 {
            return Err("the port must be a number from 1 to 65535");
        }
        let path = match path {
            "" | "/" => "/gateway".to_owned(),
            query if query.starts_with('?') => format!("/gateway{query}"),
            path => path.to_owned(),
        };
        if path.contains('#')
            || !path
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b))
        {
            return Err(
                "the path must be printable ASCII without blanks and without '#'; other characters are written as %XX",
            );
        }
        Ok(Self {
            secure,
            host: host.to_owned(),
            port,
            path,
        })
    }

    /// Whether the host is plainly this machine: an address of 127.0.0.0/8, `::1` or `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(&self.host)
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest
            .split_once(']')
            .ok_or("an IPv6 address needs its closing bracket: ws://[::1]:18789")?;
        host.parse::<std::net::Ipv6Addr>()
            .map_err(|_| "the brackets must hold an IPv6 address")?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err("after the brackets only a port may follow"),
        };
    }
    let (host, port) = authority
        .split_once(':')
        .map_or((authority, None), |(host, port)| (host, Some(port)));
    if port.is_some_and(|port| port.contains(':')) {
        return Err("an IPv6 address is written in brackets: ws://[::1]:18789");
    }
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || !host.chars().all(sound) {
        return Err("the host must be an address or an ASCII host name (write other names in their xn-- form)");
    }
    Ok((host, port))
}

impl fmt::Display for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}{}", self.host, self.port, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (written, url) in [
            ("ws://127.0.0.1:18789", "ws://127.0.0.1:18789/gateway"),
            (" WS://localhost:18789/ ", "ws://localhost:18789/gateway"),
            ("ws://[::1]:18789/x/y?z=1", "ws://[::1]:18789/x/y?z=1"),
            ("wss://gw.example.com", "wss://gw.example.com:443/gateway"),
            ("ws://gw.example.com?x=1", "ws://gw.example.com:80/gateway?x=1"),
            ("wss://[::1]", "wss://[::1]:443/gateway"),
        ] {
            assert_eq!(GatewayUrl::parse(written).unwrap().to_string(), url, "{written}");
        }
    }

    #[test]
    fn what_is_refused() {
        for written in [
            "",
            "127.0.0.1:18789",
            "http://a",
            "https://a",
            "ftp://a",
            "ws://",
            "ws://:1",
            "ws://a:0",
            "ws://a:65536",
            "ws://a:",
            "ws://a:b",
            "ws://::1:1",
            "ws://[::1",
            "ws://[::1]x",
            "ws://[a]",
            "ws://u:p@a",
            "ws://a/ b",
            "ws://a/#f",
            "ws://ä",
        ] {
            assert!(GatewayUrl::parse(written).is_err(), "{written}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_was_understood_is_understood_again(written in "(wss?://)?[a-z0-9.:\\[\\]@/?# -]{0,24}") {
            if let Ok(url) = GatewayUrl::parse(&written) {
                proptest::prop_assert_eq!(GatewayUrl::parse(&url.to_string()), Ok(url));
            }
        }
    }

    #[test]
    fn this_machine() {
        for (url, loopback) in [
            ("ws://127.9.9.9", true),
            ("ws://LOCALHOST", true),
            ("ws://[::1]", true),
            ("ws://[::ffff:127.0.0.1]", true),
            ("ws://10.0.0.1", false),
            ("ws://localhost.example", false),
        ] {
            assert_eq!(GatewayUrl::parse(url).unwrap().is_loopback(), loopback, "{url}");
        }
    }
}
