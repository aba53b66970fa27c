//! Addresses of peers: which are this machine, and which belong together when connections and failures are counted.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::machine::Peer;

/// Peers that are counted together: an IPv4 address, or the /64 network of an IPv6 address (one household or host has a
/// whole one). Mapped addresses count as IPv4.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AddressGroup {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address.
    V6([u8; 8]),
}

impl AddressGroup {
    /// The group of a peer; `None` for a peer without an address.
    #[must_use]
    pub fn of(peer: Peer) -> Option<Self> {
        match peer {
            Peer::Tcp(address) => Some(Self::of_address(address.ip())),
            Peer::Local => None,
        }
    }

    /// The group of an address.
    #[must_use]
    pub const fn of_address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl fmt::Display for AddressGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(network) => {
                let mut octets = [0; 16];
                octets.iter_mut().zip(network).for_each(|(to, from)| *to = *from);
                write!(f, "{}/64", Ipv6Addr::from(octets))
            }
        }
    }
}

/// Whether the peer is this machine: 127.0.0.0/8, `::1`, mapped 127.x, or a Unix socket.
#[must_use]
pub fn is_loopback(peer: Peer) -> bool {
    match peer {
        Peer::Tcp(address) => address.ip().to_canonical().is_loopback(),
        Peer::Local => true,
    }
}

/// Whether a host name or address literal (brackets allowed) means this machine.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn peer(address: &str) -> Peer {
        Peer::Tcp(address.parse().unwrap())
    }

    #[test]
    fn loopback_is_what_the_sheet_lists() {
        for address in ["127.0.0.1:1", "127.255.0.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(is_loopback(peer(address)), "{address}");
        }
        for address in [
            "10.0.0.1:1",
            "0.0.0.0:1",
            "[::2]:1",
            "[::ffff:10.0.0.1]:1",
            "[fe80::1]:1",
        ] {
            assert!(!is_loopback(peer(address)), "{address}");
        }
        for (host, loopback) in [
            ("LocalHost", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("127.evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_loopback_host(host), loopback, "{host}");
        }
    }

    #[test]
    fn groups() {
        assert_eq!(
            AddressGroup::of(peer("[::ffff:10.1.2.3]:1")),
            AddressGroup::of(peer("10.1.2.3:999"))
        );
        assert_eq!(
            AddressGroup::of(peer("[2001:db8::1]:1")),
            AddressGroup::of(peer("[2001:db8::2:3]:1"))
        );
        assert_ne!(
            AddressGroup::of(peer("[2001:db8::1]:1")),
            AddressGroup::of(peer("[2001:db8:0:1::1]:1"))
        );
        assert_eq!(
            AddressGroup::of(peer("[2001:db8::1]:1")).unwrap().to_string(),
            "2001:db8::/64"
        );
        assert_eq!(AddressGroup::of(Peer::Local), None);
    }
}
