//! The table of addresses that nothing is fetched from: this machine, its networks, tailnets, clouds' platform services,
//! and every block that is not a public server's. A pure function of the number, never of how it was written.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The block (as text, for logs of the operator; never for whoever named the URL) that closes the address; `None` for a
/// public one.
///
/// An IPv6 address that carries an IPv4 address for a translator or a tunnel end is closed when that one is.
#[must_use]
pub fn closed_by(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => closed_v4(address),
        IpAddr::V6(address) => closed_v6(address),
    }
}

fn closed_v4(address: Ipv4Addr) -> Option<&'static str> {
    let number = u32::from(address);
    let mut blocks = V4_BLOCKS.iter();
    let found = blocks.find(|(base, prefix, _)| (number ^ u32::from(*base)) >> (32 - prefix) == 0);
    found.map(|(_, _, name)| *name)
}

fn closed_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let last = Ipv4Addr::from((u32::from(g) << 16) | u32::from(h));
    // The well-known prefix of NAT64 (RFC 6052) is a way to that IPv4 address and nothing else.
    if [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return closed_v4(last);
    }
    // ISATAP (RFC 5214): the universal and group bits of the identifier may be set or not.
    if e & 0xfcff == 0
        && f == 0x5efe
        && let Some(name) = closed_v4(last)
    {
        return Some(name);
    }
    let number = u128::from(address);
    let mut blocks = V6_BLOCKS.iter();
    let found = blocks.find(|(base, prefix, _)| (number ^ u128::from(*base)) >> (128 - prefix) == 0);
    match found {
        Some((_, _, name)) => Some(name),
        // Global unicast is handed out of 2000::/3 only.
        None if a >> 13 != 1 => Some("outside 2000::/3"),
        None => None,
    }
}

/// Prefixes are from 4 to 32.
const V4_BLOCKS: &[(Ipv4Addr, u32, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "0.0.0.0/8"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "10.0.0.0/8"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "100.64.0.0/10"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "127.0.0.0/8"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "168.63.129.16"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "169.254.0.0/16"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "172.16.0.0/12"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "192.0.0.0/24"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "192.0.2.0/24"),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "192.31.196.0/24"),
    (Ipv4Addr::new(192, 52, 193, 0), 24, "192.52.193.0/24"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "192.88.99.0/24"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "192.168.0.0/16"),
    (Ipv4Addr::new(192, 175, 48, 0), 24, "192.175.48.0/24"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "198.18.0.0/15"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "198.51.100.0/24"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "203.0.113.0/24"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "224.0.0.0/4"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "240.0.0.0/4"),
];

const fn v6(a: u16, b: u16, c: u16, d: u16, e: u16, f: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, d, e, f, 0, 0)
}

/// The blocks by name, those outside 2000::/3 too, so that a log tells which it was. The first that fits names it: the
/// narrower ones stand before the wider. Prefixes are from 7 to 128.
const V6_BLOCKS: &[(Ipv6Addr, u32, &str)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, "::/128"),
    (Ipv6Addr::LOCALHOST, 128, "::1/128"),
    (v6(0, 0, 0, 0, 0, 0), 96, "::/96"),
    (v6(0, 0, 0, 0, 0xffff, 0), 96, "::ffff:0:0:0/96"),
    (v6(0x64, 0xff9b, 1, 0, 0, 0), 48, "64:ff9b:1::/48"),
    (v6(0x100, 0, 0, 0, 0, 0), 64, "100::/64"),
    (v6(0x100, 0, 0, 1, 0, 0), 64, "100:0:0:1::/64"),
    (v6(0x2001, 0, 0, 0, 0, 0), 32, "2001::/32"),
    (v6(0x2001, 2, 0, 0, 0, 0), 48, "2001:2::/48"),
    (v6(0x2001, 3, 0, 0, 0, 0), 32, "2001:3::/32"),
    (v6(0x2001, 4, 0x112, 0, 0, 0), 48, "2001:4:112::/48"),
    (v6(0x2001, 0x10, 0, 0, 0, 0), 28, "2001:10::/28"),
    (v6(0x2001, 0x20, 0, 0, 0, 0), 28, "2001:20::/28"),
    (v6(0x2001, 0x30, 0, 0, 0, 0), 28, "2001:30::/28"),
    (v6(0x2001, 0, 0, 0, 0, 0), 23, "2001::/23"),
    (v6(0x2001, 0xdb8, 0, 0, 0, 0), 32, "2001:db8::/32"),
    (v6(0x2002, 0, 0, 0, 0, 0), 16, "2002::/16"),
    (v6(0x2620, 0x4f, 0x8000, 0, 0, 0), 48, "2620:4f:8000::/48"),
    (v6(0x3fff, 0, 0, 0, 0, 0), 20, "3fff::/20"),
    (v6(0x5f00, 0, 0, 0, 0, 0), 16, "5f00::/16"),
    (v6(0xfc00, 0, 0, 0, 0, 0), 7, "fc00::/7"),
    (v6(0xfe80, 0, 0, 0, 0, 0), 10, "fe80::/10"),
    (v6(0xfec0, 0, 0, 0, 0, 0), 10, "fec0::/10"),
    (v6(0xff00, 0, 0, 0, 0, 0), 8, "ff00::/8"),
];
