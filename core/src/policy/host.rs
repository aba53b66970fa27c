//! The `Host` check: on a gateway that only this machine can reach, a page that made its own name point here (DNS
//! rebinding) is told apart by the name that it asked for. Spec: `spec/hardening.md`.

use alloc::string::String;
use core::net::Ipv6Addr;

use super::address::is_loopback_host;
use crate::settings::DoorSettings;

/// The `type` of the error in the answer (403).
pub const REFUSAL_TYPE: &str = "host_not_allowed";
/// The `message` of the error in the answer.
pub const REFUSAL_MESSAGE: &str =
    "Host not allowed (use localhost or 127.0.0.1, or add this host to gateway.allowedHosts)";

/// Whether a request with this `Host` is served. One without is: only HTTP/1.0 has none, and no browser speaks it.
#[must_use]
pub fn is_allowed(host: Option<&str>, doors: &DoorSettings) -> bool {
    let Some(host) = host.filter(|_| doors.check_host) else {
        return true;
    };
    let (name, _) = split(host);
    is_loopback_host(name) || is_listed(host, &doors.allowed_hosts)
}

/// Whether the list has this host: an entry without a port means every port.
#[must_use]
pub fn is_listed(host: &str, allowed: &[String]) -> bool {
    let (name, port) = split(host);
    allowed.iter().any(|entry| {
        let (listed, listed_port) = split(entry);
        is_same_name(name, listed) && (listed_port.is_none() || listed_port == port)
    })
}

/// A host as it stands in a header: the name (an IPv6 address without brackets), and the port if one is written.
#[must_use]
pub fn split(host: &str) -> (&str, Option<&str>) {
    let host = host.trim();
    if let Some((address, after)) = host.strip_prefix('[').and_then(|bracketed| bracketed.split_once(']')) {
        return (address, after.strip_prefix(':'));
    }
    match host.split_once(':') {
        // More than one colon and no brackets: an address as settings may hold it.
        Some((_, rest)) if rest.contains(':') => (host, None),
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    }
}

fn is_same_name(one: &str, other: &str) -> bool {
    match (one.parse::<Ipv6Addr>(), other.parse::<Ipv6Addr>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => !one.is_empty() && one.eq_ignore_ascii_case(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_and_listed_hosts() {
        let mut doors = DoorSettings {
            check_host: true,
            allowed_hosts: ["gw.example", "other.example:8443", "[2001:db8::1]"]
                .map(String::from)
                .into(),
            ..DoorSettings::default()
        };
        for (host, allowed) in [
            ("localhost", true),
            ("LOCALHOST:18789", true),
            ("127.0.0.1:18789", true),
            ("127.9.9.9", true),
            ("[::1]:18789", true),
            ("GW.example", true),
            ("gw.example:1234", true),
            ("other.example:8443", true),
            ("other.example", false),
            ("other.example:8444", false),
            ("[2001:DB8:0::1]:1", true),
            ("evil.example", false),
            ("gw.example.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.", false),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("", false),
            ("[::1", false),
        ] {
            assert_eq!(is_allowed(Some(host), &doors), allowed, "{host}");
        }
        assert!(is_allowed(None, &doors));
        doors.check_host = false;
        assert!(is_allowed(Some("evil.example"), &doors));
    }
}
