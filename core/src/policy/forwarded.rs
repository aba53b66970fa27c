//! Who a request really comes from when proxies are between: forwarding header fields are believed only of proxies that
//! the settings name, and read from the right, where the nearest proxy wrote. It never trusts a field because it is there.
//! Spec: `spec/hardening.md`.

use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

use super::network::Network;
use crate::machine::Peer;
use crate::settings::DoorSettings;

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Client {
    /// A program on this machine that no proxy speaks for: over a loopback address, or over a Unix socket (no address).
    Local(Option<IpAddr>),
    /// Another machine: the peer itself, or the client that trusted proxies name.
    Remote(IpAddr),
    /// Somebody behind a trusted proxy that does not tell who.
    Unknown,
}

impl Client {
    /// Who a peer is when nothing is known but its socket: before the first request.
    #[must_use]
    pub fn of_peer(peer: Peer) -> Self {
        match peer {
            Peer::Local => Self::Local(None),
            Peer::Tcp(address) => match address.ip().to_canonical() {
                ip if ip.is_loopback() => Self::Local(Some(ip)),
                ip => Self::Remote(ip),
            },
        }
    }

    /// Whether it is a program on this machine.
    #[must_use]
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// Its address, where one is known.
    #[must_use]
    pub const fn address(self) -> Option<IpAddr> {
        match self {
            Self::Local(address) => address,
            Self::Remote(address) => Some(address),
            Self::Unknown => None,
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(Some(address)) | Self::Remote(address) => address.fmt(f),
            Self::Local(None) => f.write_str("this machine"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// A proxy on this machine speaks for somebody and is not trusted: whoever it is must not count as local. Answer: 403.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttributionRequired;

impl AttributionRequired {
    /// The `type` of the error in the answer.
    pub const TYPE: &'static str = "proxy_attribution_required";
    /// The `message` of the error in the answer.
    pub const MESSAGE: &'static str = "Proxy client attribution is required. A proxy on this machine sent forwarding header fields, but it is not a \
        trusted one: add its address to gateway.trustedProxies (for example 127.0.0.1), or let it send no such fields.";
}

impl fmt::Display for AttributionRequired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::MESSAGE)
    }
}

impl core::error::Error for AttributionRequired {}

/// What the fields of a request tell about where it comes from; each list in the order of the header.
#[derive(Default)]
struct Told<'a> {
    any: bool,
    forwarded_for: Vec<&'a str>,
    forwarded: Vec<&'a str>,
    real_ip: Vec<&'a str>,
}

impl<'a> Told<'a> {
    fn read(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        const PREFIX: &str = "x-forwarded-";
        let mut told = Self::default();
        for (name, value) in fields {
            if name.eq_ignore_ascii_case("forwarded") {
                told.forwarded.push(value);
            } else if name.eq_ignore_ascii_case("x-real-ip") {
                told.real_ip.push(value);
            } else if name.eq_ignore_ascii_case("x-forwarded-for") {
                told.forwarded_for.push(value);
            } else if !name
                .get(..PREFIX.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
            {
                continue;
            }
            told.any = true;
        }
        told
    }
}

/// The client of a request: its peer, or whom trusted proxies name. `fields`: the names and values of the request's header.
///
/// # Errors
/// [`AttributionRequired`] for an untrusted peer on this machine that sends forwarding fields.
pub fn client<'a>(
    peer: Peer,
    fields: impl Iterator<Item = (&'a str, &'a str)>,
    doors: &DoorSettings,
) -> Result<Client, AttributionRequired> {
    let direct = Client::of_peer(peer);
    let told = Told::read(fields);
    if !told.any {
        return Ok(match direct {
            // A trusted proxy elsewhere is not the client, and it does not say who is.
            Client::Remote(address) if is_trusted(address, doors) => Client::Unknown,
            direct => direct,
        });
    }
    if !direct.address().is_some_and(|address| is_trusted(address, doors)) {
        return if direct.is_local() {
            Err(AttributionRequired)
        } else {
            Ok(direct)
        };
    }
    let origin = |elements: &mut dyn Iterator<Item = &'a str>| {
        let mut addresses = elements.filter_map(address_of);
        addresses.find(|address| !address.is_loopback() && !is_trusted(*address, doors))
    };
    let by_list = origin(&mut told.forwarded_for.iter().rev().flat_map(|value| value.rsplit(',')));
    let standard: Vec<&str> = told.forwarded.iter().flat_map(|value| for_values(value)).collect();
    let by_standard = origin(&mut standard.into_iter().rev());
    Ok(match (by_list, by_standard) {
        // Proxies overwrite one of the two and hand the other on as the client wrote it: nobody knows which.
        (Some(one), Some(other)) if one != other => Client::Unknown,
        (Some(address), _) | (None, Some(address)) => Client::Remote(address),
        (None, None) if doors.real_ip_fallback => match told.real_ip.as_slice() {
            [only] => origin(&mut core::iter::once(*only)).map_or(Client::Unknown, Client::Remote),
            _ => Client::Unknown,
        },
        (None, None) => Client::Unknown,
    })
}

/// Whether a client may be served at all: always where no networks are listed; else it must be in one of them. A Unix
/// socket's peer is let in by the permissions of the file.
#[must_use]
pub fn is_admitted(client: Client, allowed_networks: Option<&[Network]>) -> bool {
    let Some(networks) = allowed_networks else { return true };
    match client {
        Client::Local(None) => true,
        Client::Unknown => false,
        Client::Local(Some(address)) | Client::Remote(address) => {
            networks.iter().any(|network| network.contains(address))
        }
    }
}

/// Whether forwarding fields of this peer are believed.
#[must_use]
pub fn is_trusted(address: IpAddr, doors: &DoorSettings) -> bool {
    doors.trusted_proxies.iter().any(|network| network.contains(address))
}

/// The address of one element: with or without quotes, brackets, a zone and a port. `None` for what is no address.
fn address_of(element: &str) -> Option<IpAddr> {
    let text = element.trim();
    let text = text
        .strip_prefix('"')
        .and_then(|inner| inner.strip_suffix('"'))
        .unwrap_or(text);
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(text);
    let bare = bare.split_once('%').map_or(bare, |(address, _zone)| address);
    bare.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// The values of `for=` in a `Forwarded` field (RFC 7239), in their order.
fn for_values(value: &str) -> impl Iterator<Item = &str> {
    split_outside_quotes(value, ',').filter_map(|element| {
        let mut pairs = split_outside_quotes(element, ';');
        pairs.find_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            name.eq_ignore_ascii_case("for").then_some(value)
        })
    })
}

/// The parts of a text between separators that are not inside double quotes.
fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c: char| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn doors(trusted: &[&str], real_ip_fallback: bool) -> DoorSettings {
        DoorSettings {
            trusted_proxies: trusted.iter().map(|network| network.parse().unwrap()).collect(),
            real_ip_fallback,
            ..DoorSettings::default()
        }
    }

    /// Who it is, as text; `refused` when attribution is required.
    fn who(peer: &str, fields: &[(&str, &str)], doors: &DoorSettings) -> alloc::string::String {
        let peer = if peer == "unix" {
            Peer::Local
        } else {
            Peer::Tcp(peer.parse().unwrap())
        };
        match client(peer, fields.iter().copied(), doors) {
            Ok(client) if client.is_local() => alloc::format!("local {client}"),
            Ok(client) => client.to_string(),
            Err(AttributionRequired) => "refused".to_string(),
        }
    }

    #[test]
    fn fields_of_strangers_tell_nothing() {
        let doors = doors(&["10.0.0.0/8"], true);
        for fields in [
            &[("X-Forwarded-For", "127.0.0.1")][..],
            &[("X-Real-IP", "127.0.0.1")],
            &[("Forwarded", "for=127.0.0.1")],
        ] {
            assert_eq!(who("203.0.113.9:1", fields, &doors), "203.0.113.9");
            assert_eq!(who("127.0.0.1:1", fields, &doors), "refused");
            assert_eq!(who("[::1]:1", fields, &doors), "refused");
            assert_eq!(who("unix", fields, &doors), "refused");
        }
        assert_eq!(who("127.0.0.1:1", &[("x-forwarded-proto", "https")], &doors), "refused");
        assert_eq!(who("127.0.0.1:1", &[("X-Other", "1")], &doors), "local 127.0.0.1");
        assert_eq!(who("unix", &[], &doors), "local this machine");
        assert!(
            AttributionRequired
                .to_string()
                .starts_with("Proxy client attribution is required.")
        );
    }

    #[test]
    fn trusted_proxies_are_read_from_the_right() {
        let doors = doors(&["127.0.0.1", "10.0.0.0/8"], false);
        for (value, client) in [
            ("203.0.113.9", "203.0.113.9"),
            ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
            ("203.0.113.9, 10.1.1.1, 127.0.0.1", "203.0.113.9"),
            ("203.0.113.9, ::1, ::ffff:10.1.1.1", "203.0.113.9"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("203.0.113.9, unknown, , _hidden", "203.0.113.9"),
            ("127.0.0.1", "unknown"),
            ("10.1.1.1, 127.0.0.1", "unknown"),
            ("not an address", "unknown"),
            ("", "unknown"),
        ] {
            for peer in ["127.0.0.1:1", "10.2.2.2:1"] {
                assert_eq!(who(peer, &[("X-Forwarded-For", value)], &doors), client, "{value}");
            }
        }
        let two = [
            ("X-Forwarded-For", "203.0.113.9"),
            ("x-forwarded-for", "203.0.113.10, 10.1.1.1"),
        ];
        assert_eq!(who("10.2.2.2:1", &two, &doors), "203.0.113.10");
    }

    #[test]
    fn the_standard_field() {
        let doors = doors(&["10.0.0.0/8"], false);
        for (value, client) in [
            ("for=203.0.113.9;proto=https;by=10.0.0.1", "203.0.113.9"),
            ("For=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("for=6.6.6.6, for=203.0.113.9, for=10.1.1.1", "203.0.113.9"),
            ("proto=http;for=203.0.113.9", "203.0.113.9"),
            ("for=203.0.113.9;host=\"a,for=6.6.6.6;\"", "203.0.113.9"),
            ("for=unknown", "unknown"),
            ("for=_secret", "unknown"),
            ("by=203.0.113.9", "unknown"),
        ] {
            assert_eq!(who("10.2.2.2:1", &[("Forwarded", value)], &doors), client, "{value}");
        }
        let both = |other| [("Forwarded", "for=203.0.113.9"), ("X-Forwarded-For", other)];
        assert_eq!(who("10.2.2.2:1", &both("203.0.113.9"), &doors), "203.0.113.9");
        assert_eq!(who("10.2.2.2:1", &both("203.0.113.8"), &doors), "unknown");
    }

    #[test]
    fn the_real_ip_counts_only_where_it_is_allowed_and_nothing_else_tells() {
        let strict = doors(&["10.0.0.0/8"], false);
        let lenient = doors(&["10.0.0.0/8"], true);
        let real = [("X-Real-IP", "203.0.113.9")];
        assert_eq!(who("10.2.2.2:1", &real, &strict), "unknown");
        assert_eq!(who("10.2.2.2:1", &real, &lenient), "203.0.113.9");
        let listed = [("X-Real-IP", "6.6.6.6"), ("X-Forwarded-For", "203.0.113.9")];
        assert_eq!(who("10.2.2.2:1", &listed, &lenient), "203.0.113.9");
        let twice = [("X-Real-IP", "6.6.6.6"), ("X-Real-IP", "203.0.113.9")];
        assert_eq!(who("10.2.2.2:1", &twice, &lenient), "unknown");
        assert_eq!(who("10.2.2.2:1", &[("X-Real-IP", "127.0.0.1")], &lenient), "unknown");
        assert_eq!(who("10.2.2.2:1", &[], &lenient), "unknown");
    }

    #[test]
    fn networks_that_are_served() {
        let networks = ["100.64.0.0/10".parse().unwrap()];
        let of = |peer: &str| Client::of_peer(Peer::Tcp(peer.parse().unwrap()));
        assert!(is_admitted(of("203.0.113.9:1"), None));
        assert!(is_admitted(of("100.64.0.7:1"), Some(&networks)));
        assert!(is_admitted(Client::Local(None), Some(&networks)));
        for client in [of("203.0.113.9:1"), of("127.0.0.1:1"), Client::Unknown] {
            assert!(!is_admitted(client, Some(&networks)), "{client}");
        }
        assert!(!is_admitted(of("100.64.0.7:1"), Some(&[])));
    }
}
