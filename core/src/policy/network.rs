//! Networks: an address, or a block of addresses in CIDR notation, for allow lists and trusted proxies. Parsed once, at
//! the border; afterwards membership is a comparison of numbers. Spec: `spec/hardening.md`.

use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::str::FromStr;

/// A block of addresses. An IPv4 block contains the IPv4-mapped forms of its addresses too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

/// A text is not a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotANetwork(String);

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is neither an IP address nor a CIDR block (like 192.0.2.7 or 100.64.0.0/10); names and * are not allowed",
            self.0
        )
    }
}

impl core::error::Error for NotANetwork {}

impl Network {
    /// The block of the first `prefix` bits of `base`; `None` when the address has not so many.
    #[must_use]
    pub fn new(base: IpAddr, prefix: u8) -> Option<Self> {
        let (base, prefix) = match (base, base.to_canonical()) {
            // A block inside the mapped range is an IPv4 block.
            (IpAddr::V6(_), v4 @ IpAddr::V4(_)) => (v4, prefix.checked_sub(96)?),
            (_, same) => (same, prefix),
        };
        (prefix <= bits(base)).then(|| Self {
            base: masked(base, prefix),
            prefix,
        })
    }

    /// The block that holds just this address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let base = address.to_canonical();
        Self {
            base,
            prefix: bits(base),
        }
    }

    /// Whether the address is in the block.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.base.is_ipv4() && masked(address, self.prefix) == self.base
    }
}

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    /// Reads `192.0.2.7`, `2001:db8::/32`, `[::1]`, `fe80::1%eth0` (the zone is dropped). Bits beyond the prefix are refused: who wrote them
    /// meant something else.
    fn from_str(written: &str) -> Result<Self, NotANetwork> {
        let not = || NotANetwork(written.chars().take(100).collect());
        let text = written.trim();
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address = address
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(address);
        let address = address.split_once('%').map_or(address, |(address, _zone)| address);
        let address: IpAddr = address.parse().map_err(|_| not())?;
        let Some(prefix) = prefix else {
            return Ok(Self::host(address));
        };
        let plain = !prefix.is_empty() && prefix.len() <= 3 && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u8 = prefix.parse().ok().filter(|_| plain).ok_or_else(not)?;
        let network = Self::new(address, prefix).ok_or_else(not)?;
        if network.base != address.to_canonical() {
            return Err(not());
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == bits(self.base) {
            self.base.fmt(f)
        } else {
            write!(f, "{}/{}", self.base, self.prefix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn membership_is_by_value() {
        for (network, address, contains) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("127.0.0.1", "::FFFF:7f00:1", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("127.0.0.0/8", "127.9.9.9", true),
            ("127.0.0.0/8", "128.0.0.0", false),
            ("100.64.0.0/10", "100.127.255.255", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "10.0.0.1", false),
            ("::1", "0:0:0:0:0:0:0:1", true),
            ("2001:DB8::/32", "2001:db8:ffff::1", true),
            ("fe80::1%eth0", "fe80::1", true),
            ("[::1]", "::1", true),
            ("::ffff:10.0.0.0/104", "10.200.0.1", true),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(
                parsed.contains(address.parse().unwrap()),
                contains,
                "{network} {address}"
            );
            assert_eq!(parsed.to_string().parse::<Network>(), Ok(parsed));
        }
    }

    #[test]
    fn what_is_not_a_network() {
        for text in [
            "",
            "localhost",
            "*",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/08a",
            "10.0.0",
            "::ffff:10.0.0.0/95",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
