//! The bind guard: whether the gateway may listen on an address. Asked before the socket is opened and again with the
//! address that the socket really got. It knows no way to another address: what is refused is not replaced.
//! Spec: `spec/hardening.md`.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::token::Strength;

/// The exit status of a gateway that may not listen where it was told to: a configuration error.
pub const EXIT_CONFIG: u8 = 78;

/// Who can reach an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// This machine only.
    Loopback,
    /// The machines of a tailnet (100.64.0.0/10, fd7a:115c:a1e0::/48).
    Tailnet,
    /// The machines of the local network.
    Lan,
    /// Everybody.
    Public,
    /// Whoever can reach any address of this machine.
    Wildcard,
}

impl Class {
    /// The class of an address; mapped IPv4 addresses count as IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            address if address.is_unspecified() => Self::Wildcard,
            address if address.is_loopback() => Self::Loopback,
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    const fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [100, 64..=127, _, _] => Self::Tailnet,
            _ if address.is_private() || address.is_link_local() => Self::Lan,
            _ => Self::Public,
        }
    }

    const fn of_v6(address: Ipv6Addr) -> Self {
        match address.segments() {
            [0xfd7a, 0x115c, 0xa1e0, ..] => Self::Tailnet,
            [0xfc00..=0xfdff | 0xfe80..=0xfebf, ..] => Self::Lan,
            _ => Self::Public,
        }
    }

    /// Its name in logs and in `status`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Tailnet => "tailnet",
            Self::Lan => "lan",
            Self::Public => "public",
            Self::Wildcard => "wildcard",
        }
    }
}

/// How the door is locked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lock {
    /// It is not: everybody comes in (`gateway.requireToken: false`, `gateway.auth.mode: "none"`).
    Open,
    /// By a token or password; the weakest, where there are several.
    Secret(Strength),
    /// By a proxy that authenticates users.
    Proxy {
        /// Whether `gateway.trustedProxies` names one.
        has_trusted: bool,
    },
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Where to listen.
    pub address: IpAddr,
    /// `--allow-remote` or `gateway.allowRemote`.
    pub allow_remote: bool,
    /// `gateway.dangerouslyAllowWildcardBind`.
    pub allow_wildcard: bool,
    /// Whether `gateway.allowedNetworks` names any network.
    pub has_allowed_networks: bool,
    /// Whether `*` is one of the browser origins that are let in.
    pub any_origin: bool,
    /// How the door is locked.
    pub lock: Lock,
}

/// The gateway may listen there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowed {
    /// Who can reach it.
    pub class: Class,
    /// The lock is open; only ever on loopback.
    pub is_open: bool,
    /// The token can be guessed; only ever on loopback.
    pub is_weak: bool,
}

/// Why the gateway may not listen there; the text says what would allow it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The host is neither an address nor `localhost`.
    NotAnAddress(String),
    /// Other machines can reach it, and nobody said that they shall.
    Remote(IpAddr),
    /// Every address of the machine: the setting that allows it is not on.
    Wildcard(IpAddr),
    /// Every address of the machine, without a list of networks.
    WildcardWithoutNetworks(IpAddr),
    /// Other machines can reach it, and the door is open.
    Open(IpAddr),
    /// The token is no good, or not good enough for this address.
    Token(IpAddr, Strength),
    /// A proxy authenticates users, and none is trusted.
    NoTrustedProxy,
    /// Pages of every origin are let in, and not only on this machine.
    AnyOrigin(IpAddr),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LOOPBACK: &str = "or leave --bind out to listen on 127.0.0.1 only.";
        match self {
            Self::NotAnAddress(host) => write!(
                f,
                "gateway.host: {host:?} is no IP address. Names other than localhost are not looked up: write the address itself, {LOOPBACK}"
            ),
            Self::Remote(address) => write!(
                f,
                "Refusing non-loopback bind without --allow-remote. Other machines can reach {address}: add --allow-remote (or set \
                 gateway.allowRemote to true) if they shall, {LOOPBACK}"
            ),
            Self::Wildcard(address) => write!(
                f,
                "Refusing to bind to every address of this machine ({address}). Name one address with gateway.host or --bind; if it must be \
                 every one, set gateway.dangerouslyAllowWildcardBind to true and name the networks that are let in with gateway.allowedNetworks, {LOOPBACK}"
            ),
            Self::WildcardWithoutNetworks(address) => write!(
                f,
                "Refusing to bind to every address of this machine ({address}) without gateway.allowedNetworks. Name the networks that are let in \
                 (for example 100.64.0.0/10), {LOOPBACK}"
            ),
            Self::Open(address) => write!(
                f,
                "Refusing --no-auth with a non-loopback bind. Whoever reaches {address} could run your agents: remove --no-auth (or set \
                 gateway.requireToken to true and gateway.auth.mode to \"token\"), {LOOPBACK}"
            ),
            Self::Token(address, strength) => write!(f, "Refusing to listen on {address}: gateway.auth.token: {strength}."),
            Self::NoTrustedProxy => f.write_str(
                "Refusing gateway.auth.mode \"trusted-proxy\" without gateway.trustedProxies. Name the addresses of the proxies that authenticate users.",
            ),
            Self::AnyOrigin(address) => write!(
                f,
                "Refusing \"*\" in gateway.controlUi.allowedOrigins with a non-loopback bind ({address}). Name the origins that may connect, {LOOPBACK}"
            ),
        }
    }
}

impl core::error::Error for Refusal {}

/// Reads `gateway.host`: an address, with or without brackets, or `localhost`.
///
/// # Errors
/// [`Refusal::NotAnAddress`].
pub fn parse(host: &str) -> Result<IpAddr, Refusal> {
    let text = host.trim();
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .map_err(|_| Refusal::NotAnAddress(host.chars().take(100).collect()))
}

/// Judges an address.
///
/// # Errors
/// Everything that stands against it, at once.
pub fn judge(wanted: &Wanted) -> Result<Allowed, Vec<Refusal>> {
    let address = wanted.address;
    let class = Class::of(address);
    let is_local = class == Class::Loopback;
    let mut refusals = Vec::new();
    if !is_local && !wanted.allow_remote {
        refusals.push(Refusal::Remote(address));
    }
    if class == Class::Wildcard {
        if !wanted.allow_wildcard {
            refusals.push(Refusal::Wildcard(address));
        } else if !wanted.has_allowed_networks {
            refusals.push(Refusal::WildcardWithoutNetworks(address));
        }
    }
    match wanted.lock {
        Lock::Open if !is_local => refusals.push(Refusal::Open(address)),
        Lock::Secret(strength) if !strength.is_usable() || (!is_local && strength != Strength::Strong) => {
            refusals.push(Refusal::Token(address, strength));
        }
        Lock::Proxy { has_trusted: false } => refusals.push(Refusal::NoTrustedProxy),
        Lock::Open | Lock::Secret(_) | Lock::Proxy { .. } => {}
    }
    if wanted.any_origin && !is_local {
        refusals.push(Refusal::AnyOrigin(address));
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    Ok(Allowed {
        class,
        is_open: wanted.lock == Lock::Open,
        is_weak: wanted.lock == Lock::Secret(Strength::Weak),
    })
}

/// What a person should know about where the gateway listens, one sentence each.
impl Allowed {
    /// The warnings, most serious first.
    pub fn warnings(&self) -> impl Iterator<Item = &'static str> {
        let by_class = match self.class {
            Class::Loopback | Class::Tailnet => None,
            Class::Lan => Some("every machine of the local network can reach this gateway"),
            Class::Public => Some("everybody on the internet may reach this gateway: a tailnet address is safer"),
            Class::Wildcard => Some("this gateway listens on every address of this machine: one address is safer"),
        };
        let open = self
            .is_open
            .then_some("authentication is off: every program on this machine can use this gateway");
        let weak = self
            .is_weak
            .then_some("the token is weak: make a better one with `openssl rand -hex 32`; other machines could not be let in with it");
        [by_class, open, weak].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn wanted(address: &str) -> Wanted {
        Wanted {
            address: parse(address).unwrap(),
            allow_remote: false,
            allow_wildcard: false,
            has_allowed_networks: false,
            any_origin: false,
            lock: Lock::Secret(Strength::Strong),
        }
    }

    #[test]
    fn classes() {
        for (address, class) in [
            ("localhost", "loopback"),
            ("127.8.9.1", "loopback"),
            ("[::1]", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("0.0.0.0", "wildcard"),
            ("::", "wildcard"),
            ("::ffff:0.0.0.0", "wildcard"),
            ("100.64.0.1", "tailnet"),
            ("100.127.255.255", "tailnet"),
            ("fd7a:115c:a1e0::5", "tailnet"),
            ("10.1.1.1", "lan"),
            ("172.16.0.1", "lan"),
            ("::ffff:192.168.1.1", "lan"),
            ("fd00::1", "lan"),
            ("fe80::1", "lan"),
            ("100.128.0.1", "public"),
            ("172.32.0.1", "public"),
            ("203.0.113.5", "public"),
            ("2001:db8::1", "public"),
        ] {
            assert_eq!(Class::of(parse(address).unwrap()).name(), class, "{address}");
        }
        for text in ["", "gateway.example", "0x7f.1", "127.1", "*", "0", "localhost."] {
            let refusal = parse(text).unwrap_err();
            assert!(refusal.to_string().contains("write the address itself"), "{refusal}");
        }
    }

    #[test]
    fn loopback_needs_nothing_but_a_usable_token() {
        for lock in [Lock::Open, Lock::Secret(Strength::Weak), Lock::Secret(Strength::Strong)] {
            let any_origin = true;
            let allowed = judge(&Wanted {
                lock,
                any_origin,
                ..wanted("::1")
            })
            .unwrap();
            assert_eq!(allowed.class, Class::Loopback);
            assert_eq!(
                allowed.warnings().count(),
                usize::from(lock != Lock::Secret(Strength::Strong))
            );
        }
        for strength in [Strength::Missing, Strength::Placeholder, Strength::Malformed] {
            let lock = Lock::Secret(strength);
            assert!(
                judge(&Wanted {
                    lock,
                    ..wanted("127.0.0.1")
                })
                .is_err()
            );
        }
        let lock = Lock::Proxy { has_trusted: false };
        assert_eq!(
            judge(&Wanted {
                lock,
                ..wanted("127.0.0.1")
            }),
            Err(alloc::vec![Refusal::NoTrustedProxy])
        );
    }

    #[test]
    fn other_machines_need_leave_and_a_strong_token() {
        for address in ["10.0.0.5", "100.64.0.5", "203.0.113.5"] {
            let refusals = judge(&wanted(address)).unwrap_err();
            assert!(
                matches!(refusals.as_slice(), [one] if one.to_string().starts_with("Refusing non-loopback bind without --allow-remote. "))
            );
            let remote = Wanted {
                allow_remote: true,
                ..wanted(address)
            };
            assert!(judge(&remote).is_ok());
            for lock in [
                Lock::Open,
                Lock::Secret(Strength::Weak),
                Lock::Proxy { has_trusted: false },
            ] {
                assert_eq!(judge(&Wanted { lock, ..remote }).unwrap_err().len(), 1);
                let both = judge(&Wanted {
                    lock,
                    allow_remote: false,
                    ..remote
                })
                .unwrap_err();
                assert_eq!(both.len(), 2, "all that is wrong is told at once");
            }
            let lock = Lock::Proxy { has_trusted: true };
            assert!(judge(&Wanted { lock, ..remote }).is_ok());
            assert!(
                judge(&Wanted {
                    any_origin: true,
                    ..remote
                })
                .is_err()
            );
        }
    }

    #[test]
    fn every_address_needs_three_further_opt_ins() {
        for address in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
            let all = Wanted {
                allow_remote: true,
                allow_wildcard: true,
                has_allowed_networks: true,
                ..wanted(address)
            };
            assert_eq!(judge(&all).unwrap().class, Class::Wildcard);
            for less in [
                Wanted {
                    allow_remote: false,
                    ..all
                },
                Wanted {
                    allow_wildcard: false,
                    ..all
                },
                Wanted {
                    has_allowed_networks: false,
                    ..all
                },
                Wanted {
                    lock: Lock::Secret(Strength::Weak),
                    ..all
                },
                Wanted {
                    lock: Lock::Open,
                    ..all
                },
            ] {
                let refusals = judge(&less).unwrap_err();
                assert_eq!(refusals.len(), 1, "{refusals:?}");
            }
        }
    }
}
