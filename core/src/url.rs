//! URLs of servers that the gateway talks to: `http` and `https` only, read strictly, in ASCII. A host that looks like a
//! number is an address in its one canonical form or refused, so that no two readers can disagree about where it leads.
//! Whether a URL may be fetched is not decided here. Spec: `spec/hardening.md`.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};

/// The longest URL that is read, in bytes.
pub const MAX_URL_BYTES: usize = 2_048;

/// `http` or `https`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// The port when the URL names none.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Where a URL leads.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Host {
    /// A DNS name: lower case, without a final dot.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// A URL without its fragment.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Url {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// The host.
    pub host: Host,
    /// The port, the scheme's own when the URL names none.
    pub port: u16,
    /// The path and query, as a request target; starts with `/`.
    pub target: String,
}

/// Why a text is no URL for us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UrlFault {
    /// Longer than [`MAX_URL_BYTES`].
    TooLong,
    /// Not `http` or `https`, or not absolute.
    Scheme,
    /// It holds a user name or password.
    UserInfo,
    /// The host is missing, not ASCII, or not a name.
    Host,
    /// The host looks like an address but is not written as one.
    OddAddress,
    /// The port is not a number from 1 to 65535.
    Port,
    /// It holds blanks, control characters or other bytes that a URL must encode.
    Characters,
}

impl fmt::Display for UrlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "Invalid URL: longer than 2048 bytes",
            Self::Scheme => "Invalid URL: must be http or https",
            Self::UserInfo => "Invalid URL: must not contain credentials",
            Self::Host => "Invalid hostname",
            Self::OddAddress => "Blocked hostname or private/internal/special-use IP address",
            Self::Port => "Invalid URL: bad port",
            Self::Characters => "Invalid URL: contains characters that must be percent-encoded",
        })
    }
}

impl core::error::Error for UrlFault {}

impl Url {
    /// Reads an absolute URL.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, UrlFault> {
        if text.len() > MAX_URL_BYTES {
            return Err(UrlFault::TooLong);
        }
        if !text
            .bytes()
            .all(|byte| (0x21..=0x7e).contains(&byte) && !b"\"<>\\^`{|}".contains(&byte))
        {
            return Err(UrlFault::Characters);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlFault::Scheme)?;
        let scheme = if scheme.eq_ignore_ascii_case("http") {
            Scheme::Http
        } else if scheme.eq_ignore_ascii_case("https") {
            Scheme::Https
        } else {
            return Err(UrlFault::Scheme);
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(end);
        let (host, port) = authority_of(authority)?;
        let url = Self {
            scheme,
            host,
            port: port.unwrap_or_else(|| scheme.default_port()),
            target: target_of(after),
        };
        // Written out it may be a little longer: a path of its own, an address in its canonical form.
        if text.len() > MAX_URL_BYTES - 32 && alloc::format!("{url}").len() > MAX_URL_BYTES {
            return Err(UrlFault::TooLong);
        }
        Ok(url)
    }

    /// Reads a `Location`: absolute, with a scheme of its own, or relative to this URL.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn join(&self, location: &str) -> Result<Self, UrlFault> {
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&alloc::format!("{}://{rest}", self.scheme.name()));
        }
        let is_absolute = location.split_once(':').is_some_and(|(scheme, _)| {
            !scheme.is_empty()
                && scheme
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        });
        if is_absolute {
            return Self::parse(location);
        }
        let path = self.target.split('?').next().unwrap_or("/");
        let target = match location.as_bytes().first() {
            None | Some(b'#') => self.target.clone(),
            Some(b'/') => without_dots(location),
            Some(b'?') => alloc::format!("{path}{location}"),
            Some(_) => {
                let folder = path.rfind('/').and_then(|last| path.get(..=last)).unwrap_or("/");
                without_dots(&alloc::format!("{folder}{location}"))
            }
        };
        let origin = self.origin();
        Self::parse(&alloc::format!("{origin}{target}"))
    }

    /// `scheme://host[:port]`: the port only where it is not the scheme's own.
    #[must_use]
    pub fn origin(&self) -> String {
        alloc::format!("{}://{}", self.scheme.name(), self.authority())
    }

    /// `host[:port]`, the value of the `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            alloc::format!("{}", self.host)
        } else {
            alloc::format!("{}:{}", self.host, self.port)
        }
    }

    /// How many segments the path has; an empty last one is not counted.
    #[must_use]
    pub fn path_segments(&self) -> usize {
        let path = self.target.split('?').next().unwrap_or_default();
        path.split('/').filter(|segment| !segment.is_empty()).count()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.target)
    }
}

/// The request target of what follows the authority: no fragment, at least `/`.
fn target_of(after: &str) -> String {
    let after = after.split('#').next().unwrap_or_default();
    if after.starts_with('/') {
        String::from(after)
    } else {
        alloc::format!("/{after}")
    }
}

/// A target whose path has no `.` and `..` segments any more (RFC 3986 section 5.2.4).
fn without_dots(target: &str) -> String {
    let end = target.find(['?', '#']).unwrap_or(target.len());
    let (path, after) = target.split_at(end);
    let mut kept: Vec<&str> = Vec::new();
    let mut is_folder = true;
    for segment in path.split('/').skip(1) {
        is_folder = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let slash = if is_folder && !kept.is_empty() { "/" } else { "" };
    alloc::format!("/{}{slash}{after}", kept.join("/"))
}

fn authority_of(authority: &str) -> Result<(Host, Option<u16>), UrlFault> {
    if authority.contains('@') {
        return Err(UrlFault::UserInfo);
    }
    let (host, port) = if let Some(bracketed) = authority.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']').ok_or(UrlFault::Host)?;
        let address: Ipv6Addr = address.parse().map_err(|_| UrlFault::OddAddress)?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return Err(UrlFault::Host),
        };
        (Host::Address(IpAddr::V6(address)), port)
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        (host_of(host)?, port)
    };
    let port = match port {
        None | Some("") => None,
        Some(port) if port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()) => Some(
            port.parse::<u16>()
                .ok()
                .filter(|port| *port > 0)
                .ok_or(UrlFault::Port)?,
        ),
        Some(_) => return Err(UrlFault::Port),
    };
    Ok((host, port))
}

/// Reads a host outside brackets: a name, or four plain decimals.
pub(crate) fn host_of(written: &str) -> Result<Host, UrlFault> {
    let host = written.strip_suffix('.').unwrap_or(written);
    if host.is_empty() || host.len() > 253 {
        return Err(UrlFault::Host);
    }
    let mut last = "";
    for label in host.split('.') {
        let good = !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-');
        if !good {
            let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            return Err(if numeric { UrlFault::OddAddress } else { UrlFault::Host });
        }
        last = label;
    }
    // What ends in a number is read as an IPv4 address by every browser and C library, in one of many spellings; only
    // the canonical one is taken, and as written: a final dot is one of the odd spellings.
    let is_numeric = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .or_else(|| last.strip_prefix("0X"))
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if is_numeric {
        return match host.parse() {
            Ok(address) if host.len() == written.len() => Ok(Host::Address(IpAddr::V4(address))),
            _ => Err(UrlFault::OddAddress),
        };
    }
    Ok(Host::Name(host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn what_is_read() {
        for (text, read) in [
            ("http://Example.COM", "http://example.com/"),
            ("HTTPS://example.com.:443/a?b#c", "https://example.com/a?b"),
            ("http://example.com:8080?x", "http://example.com:8080/?x"),
            ("http://1.2.3.4:80/", "http://1.2.3.4/"),
            ("https://[2001:DB8::1]:444/", "https://[2001:db8::1]:444/"),
            ("http://0x.example.com/", "http://0x.example.com/"),
            ("http://1password.com/", "http://1password.com/"),
        ] {
            assert_eq!(
                Url::parse(text).map(|url| url.to_string()).as_deref(),
                Ok(read),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_refused() {
        for (text, fault) in [
            ("ftp://example.com", UrlFault::Scheme),
            ("//example.com", UrlFault::Scheme),
            ("example.com", UrlFault::Scheme),
            ("http://", UrlFault::Host),
            ("http:///x", UrlFault::Host),
            ("http://user@example.com", UrlFault::UserInfo),
            ("http://ex ample.com", UrlFault::Characters),
            ("http://ex\u{e4}mple.com", UrlFault::Characters),
            ("http://a..b", UrlFault::Host),
            ("http://-a.b", UrlFault::Host),
            ("http://a.b:0", UrlFault::Port),
            ("http://a.b:65536", UrlFault::Port),
            ("http://a.b:+1", UrlFault::Port),
            ("http://2130706433/", UrlFault::OddAddress),
            ("http://0x7f000001/", UrlFault::OddAddress),
            ("http://0x7f.1/", UrlFault::OddAddress),
            ("http://127.1/", UrlFault::OddAddress),
            ("http://0177.0.0.1/", UrlFault::OddAddress),
            ("http://08.0.0.1/", UrlFault::OddAddress),
            ("http://256.1.1.1/", UrlFault::OddAddress),
            ("http://127.0.0.1./", UrlFault::OddAddress),
            ("http://1.2.3.4.5/", UrlFault::OddAddress),
            ("http://1..2/", UrlFault::OddAddress),
            ("http://[::gggg]/", UrlFault::OddAddress),
            ("http://[::1%25eth0]/", UrlFault::OddAddress),
            ("http://[::1/", UrlFault::Host),
        ] {
            assert_eq!(Url::parse(text).err(), Some(fault), "{text}");
        }
        let long = alloc::format!("http://a.b/{}", "x".repeat(MAX_URL_BYTES));
        assert_eq!(Url::parse(&long), Err(UrlFault::TooLong));
        let grows = alloc::format!("http://a.b?{}", "x".repeat(MAX_URL_BYTES - 11));
        assert_eq!(grows.len(), MAX_URL_BYTES);
        assert_eq!(Url::parse(&grows), Err(UrlFault::TooLong), "with its path");
    }

    #[test]
    fn locations() {
        let base = Url::parse("https://a.example:444/x/y?z").unwrap();
        for (location, read) in [
            ("http://b.example/", "http://b.example/"),
            ("//b.example/p", "https://b.example/p"),
            ("/p?q#f", "https://a.example:444/p?q"),
            ("p", "https://a.example:444/x/p"),
            ("?q", "https://a.example:444/x/y?q"),
            ("", "https://a.example:444/x/y?z"),
            ("#f", "https://a.example:444/x/y?z"),
            ("../p", "https://a.example:444/p"),
            ("../../../p/.", "https://a.example:444/p/"),
            ("./", "https://a.example:444/x/"),
            ("..", "https://a.example:444/"),
            ("/a/./b/../c?../d", "https://a.example:444/a/c?../d"),
            ("/a//b/", "https://a.example:444/a//b/"),
        ] {
            assert_eq!(
                base.join(location).map(|url| url.to_string()).as_deref(),
                Ok(read),
                "{location}"
            );
        }
        assert_eq!(base.join("javascript:alert(1)"), Err(UrlFault::Scheme));
        assert_eq!(base.join("file:///etc/passwd"), Err(UrlFault::Scheme));
    }
}
