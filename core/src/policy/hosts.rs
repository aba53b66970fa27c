//! Allow lists of host names: `cdn.example.com` means that host, `*.example.com` every name below it and not itself.
//! Being on a list never opens what the address table closes. Spec: `spec/hardening.md`.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::url::{Host, host_of};

/// One entry of a list.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HostPattern {
    /// This host and no other.
    Exactly(Host),
    /// Every name below this one.
    Below(String),
}

/// A text is not an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotAPattern(String);

impl fmt::Display for NotAPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a host name (like cdn.example.com) or all names below one (like *.example.com); write no scheme, port, path or other *",
            self.0
        )
    }
}

impl core::error::Error for NotAPattern {}

impl HostPattern {
    /// Whether the host is meant.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Exactly(one), host) => one == host,
            (Self::Below(parent), Host::Name(name)) => name
                .strip_suffix(parent.as_str())
                .is_some_and(|child| child.len() > 1 && child.ends_with('.')),
            (Self::Below(_), Host::Address(_)) => false,
        }
    }
}

impl FromStr for HostPattern {
    type Err = NotAPattern;

    fn from_str(written: &str) -> Result<Self, NotAPattern> {
        let not = || NotAPattern(written.chars().take(100).collect());
        let text = written.trim();
        if let Some(parent) = text.strip_prefix("*.") {
            return match host_of(parent) {
                // A pattern over a whole top-level domain is no list of trusted hosts.
                Ok(Host::Name(parent)) if parent.contains('.') => Ok(Self::Below(parent)),
                _ => Err(not()),
            };
        }
        let bracketed = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        if let Ok(address) = bracketed.unwrap_or(text).parse() {
            return Ok(Self::Exactly(Host::Address(address)));
        }
        match host_of(text) {
            Ok(Host::Name(name)) if name.contains('.') => Ok(Self::Exactly(Host::Name(name))),
            _ => Err(not()),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(host) => host.fmt(f),
            Self::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::Url;

    #[test]
    fn the_table_of_allowlist_rules() {
        for (pattern, host, matches) in [
            ("cdn.example.com", "cdn.example.com", true),
            ("CDN.example.com.", "cdn.example.com.", true),
            ("cdn.example.com", "a.cdn.example.com", false),
            ("cdn.example.com", "cdn.example.com.evil.net", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "aexample.com", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("[2001:db8::1]", "[2001:db8::1]", true),
            ("2001:db8::1", "[2001:DB8::1]", true),
        ] {
            let url = Url::parse(&alloc::format!("https://{host}/")).unwrap();
            assert_eq!(
                pattern.parse::<HostPattern>().unwrap().matches(&url.host),
                matches,
                "{pattern} {host}"
            );
        }
    }

    #[test]
    fn what_is_not_an_entry() {
        for text in [
            "",
            "*",
            "*.",
            "*.com",
            "com",
            "https://example.com",
            "example.com/x",
            "example.com:443",
            "a.*.com",
            "a b.com",
            "127.1",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}
