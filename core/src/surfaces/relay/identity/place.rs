//! Where the documents of an identity provider may be fetched from. The address table that holds for what strangers name
//! holds for the issuer, too: a provider that names a key set inside this network reads nothing there. Only networks that the
//! operator names for this are open beside it, for the issuer's own name and for addresses as such, and never the places where
//! machines of clouds are told their secrets. It connects to nothing.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::policy::address::is_loopback_host;
use crate::policy::hosts::HostPattern;
use crate::policy::network::Network;
use crate::policy::ssrf::{self, Denial};
use crate::settings::{FetchSettings, SourceSettings};
use crate::url::{Host, Scheme, Url};

/// What to do before the server is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// These addresses and no others.
    Known(Vec<SocketAddr>),
    /// Look this name up, then [`Inside::judge_answers`].
    Name(String),
}

/// What is open although it is not public.
#[derive(Clone, Debug, Default)]
pub(super) struct Inside {
    /// The relay listens on loopback only: then so may the provider.
    pub(super) loopback: bool,
    /// Networks that the operator named.
    pub(super) networks: Vec<Network>,
}

impl Inside {
    /// Judges a URL. `issuer`: the provider as the settings name it, whose own port is as good as 443.
    ///
    /// # Errors
    /// Why it is not asked, and what would allow it.
    pub(super) fn judge(&self, url: &Url, issuer: &Url) -> Result<Place, String> {
        if let Some(addresses) = self.on_this_machine(url) {
            return Ok(Place::Known(addresses));
        }
        if url.scheme != Scheme::Https {
            let how = if is_loopback_host(&url.host.to_string()) {
                HOW_LOOPBACK
            } else {
                HOW_HTTPS
            };
            return Err(alloc::format!("{} is not https; {how}", url.origin()));
        }
        let source = SourceSettings {
            url_allowlist: None,
            ports: alloc::vec![(HostPattern::Exactly(issuer.host.clone()), issuer.port)],
            max_path_segments: None,
            ..FetchSettings::default().files
        };
        match ssrf::judge_url(url, &source) {
            Ok(()) => {}
            Err(Denial::Address | Denial::Name(_)) if self.is_named(url, issuer) => {}
            Err(denial @ (Denial::Address | Denial::Name(_))) => {
                return Err(alloc::format!("{}: {denial}; {HOW}", url.origin()));
            }
            Err(denial) => return Err(alloc::format!("{}: {denial}", url.origin())),
        }
        Ok(match (ssrf::literal(url), &url.host) {
            (None, Host::Name(name)) => Place::Name(name.clone()),
            (literal, _) => Place::Known(literal.into_iter().collect()),
        })
    }

    /// Judges what the name of a URL was resolved to: every address is public or, when the name is the issuer's own, in a
    /// named network. Any other name may lead inside only as it may for strangers, which is never.
    ///
    /// # Errors
    /// Why it is not asked, and what would allow it.
    pub(super) fn judge_answers(&self, url: &Url, issuer: &Url, answers: &[IpAddr]) -> Result<Vec<SocketAddr>, String> {
        let port = url.port;
        if url.host != issuer.host {
            return ssrf::judge_answers(answers, port).map_err(|denial| alloc::format!("{denial}; {HOW_ADDRESS}"));
        }
        let (inside, outside): (Vec<IpAddr>, Vec<IpAddr>) = answers.iter().partition(|answer| self.contains(**answer));
        let mut addresses: Vec<SocketAddr> = inside
            .iter()
            .take(MAX_INSIDE)
            .map(|address| SocketAddr::new(address.to_canonical(), port))
            .collect();
        if addresses.is_empty() || !outside.is_empty() {
            let outside = ssrf::judge_answers(&outside, port);
            addresses.extend(outside.map_err(|denial| alloc::format!("{denial}; {HOW}"))?);
        }
        Ok(addresses)
    }

    /// The addresses of a host of this machine, if that may be the provider.
    fn on_this_machine(&self, url: &Url) -> Option<Vec<SocketAddr>> {
        if !is_loopback_host(&url.host.to_string()) {
            return None;
        }
        let all = match &url.host {
            Host::Address(address) => alloc::vec![*address],
            Host::Name(_) => alloc::vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        };
        let open = all
            .into_iter()
            .filter(|address| self.loopback || self.contains(*address));
        let open: Vec<_> = open.map(|address| SocketAddr::new(address, url.port)).collect();
        (!open.is_empty()).then_some(open)
    }

    /// Whether a host that is not public is the operator's own choice: an address of a named network, or the issuer's name,
    /// whose addresses are judged later.
    fn is_named(&self, url: &Url, issuer: &Url) -> bool {
        // A port that is not the issuer's own has been looked at by nobody yet.
        let port = url.port == 443 || (url.host == issuer.host && url.port == issuer.port);
        port && match &url.host {
            Host::Address(address) => self.contains(*address),
            Host::Name(_) => !self.networks.is_empty() && url.host == issuer.host,
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        !is_never(address) && self.networks.iter().any(|network| network.contains(address))
    }
}

/// What no network opens, however wide it is: where machines of clouds are told their credentials, and what is no server's
/// address at all. An IPv6 address that stands for an IPv4 one is not opened either: nobody writes a provider's so.
fn is_never(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let platform = [[168, 63, 129, 16], [100, 100, 100, 200], [192, 0, 0, 192]].map(Ipv4Addr::from);
            address.is_link_local()
                || address.octets().first() == Some(&0)
                || address.is_multicast()
                || address.is_broadcast()
                || platform.contains(&address)
        }
        IpAddr::V6(address) => {
            // Private addresses are what a provider inside has; and this machine's own.
            let is_private = address.is_unique_local() || address.is_loopback() || is_global(address);
            !is_private || METADATA_V6.contains(&address) || carries_v4(address)
        }
    }
}

/// Handed out of 2000::/3, but not for tunnels (Teredo, 6to4).
const fn is_global(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    a >> 13 == 1 && a != 0x2002 && !(a == 0x2001 && b == 0)
}

/// ISATAP, whose last four bytes are an IPv4 address.
const fn carries_v4(address: Ipv6Addr) -> bool {
    let [_, _, _, _, e, f, _, _] = address.segments();
    e & 0xfcff == 0 && f == 0x5efe
}

/// The metadata services of Amazon, of Google and of Oracle by IPv6.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
];

/// The most addresses of one name inside.
const MAX_INSIDE: usize = 8;
const HOW: &str = "if the identity provider is there, name its network in RELAY_IDENTITY_NETWORKS";
const HOW_ADDRESS: &str = "only the issuer's own name may lead to a network that RELAY_IDENTITY_NETWORKS names";
const HOW_LOOPBACK: &str = "a provider on this machine may do without when the relay listens on loopback alone, or when \
                            RELAY_IDENTITY_NETWORKS names its address";
const HOW_HTTPS: &str = "only a provider on this machine may do without";

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(loopback: bool, networks: &[&str]) -> Inside {
        Inside {
            loopback,
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
        }
    }

    fn place(url: &str, inside: &Inside) -> Result<Place, String> {
        let issuer = Url::parse("https://id.example:8443").unwrap();
        inside.judge(&Url::parse(url).unwrap(), &issuer)
    }

    #[test]
    fn where_documents_come_from() {
        let nothing = inside(false, &[]);
        for url in ["https://id.example:8443/x", "https://other.example/x"] {
            assert!(matches!(place(url, &nothing), Ok(Place::Name(_))), "{url}");
        }
        assert!(matches!(place("https://8.8.8.8/x", &nothing), Ok(Place::Known(to)) if to.len() == 1));
        for url in [
            "http://id.example:8443/x",
            "https://other.example:8443/x",
            "https://10.0.0.1/x",
            "https://169.254.169.254/x",
            "https://localhost/x",
            "https://127.0.0.1/x",
        ] {
            assert!(place(url, &nothing).is_err(), "{url}");
        }
        let loopback = inside(true, &[]);
        for url in ["http://127.0.0.1:9/x", "https://localhost:9/x", "http://[::1]:9/x"] {
            assert!(matches!(place(url, &loopback), Ok(Place::Known(_))), "{url}");
        }
        assert!(place("http://10.0.0.1/x", &loopback).is_err());
        assert!(place("http://id.example/x", &loopback).is_err());
    }

    #[test]
    fn a_provider_inside_is_asked_where_the_operator_named_its_network() {
        let named = inside(false, &["10.1.0.0/16", "127.0.0.1"]);
        for (url, is_open) in [
            ("https://10.1.2.3/x", true),
            ("https://10.2.2.3/x", false),
            ("https://10.1.2.3:9/x", false),
            ("http://10.1.2.3/x", false),
            ("http://127.0.0.1:9/x", true),
            ("http://localhost:9/x", true),
            ("http://[::1]:9/x", false),
            ("https://169.254.169.254/x", false),
            ("https://metadata.internal/x", false),
        ] {
            assert_eq!(place(url, &named).is_ok(), is_open, "{url}");
        }
        let issuer = Url::parse("https://keycloak.internal:8443").unwrap();
        assert_eq!(
            named.judge(&issuer, &issuer),
            Ok(Place::Name("keycloak.internal".into()))
        );
        let told = inside(false, &[]).judge(&issuer, &issuer).unwrap_err();
        assert!(told.contains("RELAY_IDENTITY_NETWORKS"), "{told}");
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for (answers, is_open) in [
            (&["10.1.2.3"][..], true),
            (&["10.1.2.3", "8.8.8.8"], true),
            (&["10.1.2.3", "10.2.0.1"], false),
            (&["10.2.0.1"], false),
            (&[], false),
        ] {
            let answers: Vec<_> = answers.iter().map(|answer| address(answer)).collect();
            let judged = named.judge_answers(&issuer, &issuer, &answers);
            assert_eq!(judged.is_ok(), is_open, "{answers:?}");
            assert!(judged.is_err() || judged.is_ok_and(|to| to.len() == answers.len()));
        }
    }

    #[test]
    fn another_name_that_leads_inside_stays_closed() {
        let named = inside(false, &["10.1.0.0/16"]);
        let issuer = Url::parse("https://keycloak.internal:8443").unwrap();
        let keys = Url::parse("https://keys.example/jwks").unwrap();
        assert!(matches!(named.judge(&keys, &issuer), Ok(Place::Name(_))));
        let judged = |answer: &str| named.judge_answers(&keys, &issuer, &[answer.parse().unwrap()]);
        assert!(judged("8.8.8.8").is_ok());
        assert!(judged("10.1.2.3").is_err());
        assert!(named.judge_answers(&keys, &issuer, &[]).is_err());
    }

    #[test]
    fn no_network_opens_metadata_services_and_what_is_no_servers_address() {
        let all = inside(false, &["0.0.0.0/0", "::/0"]);
        let issuer = Url::parse("https://keycloak.internal").unwrap();
        for (text, is_open) in [
            ("10.1.2.3", true),
            ("fd12:3456::1", true),
            ("fd00:ec2::253", true),
            ("8.8.8.8", true),
            ("169.254.169.254", false),
            ("169.254.170.2", false),
            ("169.254.1.1", false),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("64:ff9b:1::a9fe:a9fe", false),
            ("2002:a9fe:a9fe::1", false),
            ("::a9fe:a9fe", false),
            ("fd00::5efe:a9fe:a9fe", false),
            ("fd00:ec2::254", false),
            ("fd20:ce::254", false),
            ("fd00:c1::a9fe:a9fe", false),
            ("100.100.100.200", false),
            ("168.63.129.16", false),
            ("192.0.0.192", false),
            ("fe80::1", false),
            ("fe80::a9fe:a9fe", false),
            ("0.0.0.0", false),
            ("::", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("ff02::1", false),
        ] {
            let address: IpAddr = text.parse().unwrap();
            let judged = all.judge_answers(&issuer, &issuer, &[address]);
            assert_eq!(judged.is_ok(), is_open, "{text}");
            let literal = Url::parse(&alloc::format!("https://{}/x", Host::Address(address))).unwrap();
            assert_eq!(all.judge(&literal, &issuer).is_ok(), is_open, "{text}");
        }
    }
}
