//! Who may connect: addresses before anything else, then browser origins, then whether the address guessed too often.
//! What is decided here is decided before a message is read. Spec: `spec/control.md` section 2.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use crate::policy::address::AddressGroup;
use crate::policy::forwarded::Client;
use crate::policy::network::Network;
use crate::policy::origin;
use crate::time::Instant;

/// An upgrade that is refused before it takes place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// Its body, plain text.
    pub body: &'static str,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// The address may not connect.
    pub const ADDRESS: Self = Self::forbidden("IP not permitted");
    pub(super) const ORIGIN: Self = Self::forbidden("Origin not allowed");

    const fn forbidden(body: &'static str) -> Self {
        Self {
            status: 403,
            body,
            retry_after: None,
        }
    }

    pub(super) const fn locked(left: Duration) -> Self {
        Self {
            status: 429,
            body: "Too many failed authentication attempts. Please try again later.",
            retry_after: Some(left),
        }
    }
}

/// Whether the client is in one of the networks. A client on a Unix socket is this machine; one that nobody can name is
/// in none.
pub(super) fn is_trusted(client: Client, networks: &[Network]) -> bool {
    let contains = |address: IpAddr| networks.iter().any(|network| network.contains(address));
    match client {
        Client::Local(Some(address)) | Client::Remote(address) => contains(address),
        Client::Local(None) => contains(Ipv4Addr::LOCALHOST.into()) || contains(Ipv6Addr::LOCALHOST.into()),
        Client::Unknown => false,
    }
}

/// Whether a page may connect: only when its origin is listed. What else an origin can have in common with the gateway
/// is true of any page that this machine, or a name that leads to it, serves.
pub(super) fn is_listed(origin: Option<&str>, allowed: &[String]) -> bool {
    origin::is_allowed(origin, None, allowed)
}

/// Of one address, told in one minute.
const TOLD: u32 = 3;
const MINUTE: Duration = Duration::from_secs(60);
/// Addresses that are remembered.
const MOST: usize = 1_024;

/// Which of the rejections are told, so that an address that knocks without end fills no log.
#[derive(Debug, Default)]
pub(super) struct Rejections(BTreeMap<Option<AddressGroup>, Knocks>);

#[derive(Debug)]
struct Knocks {
    since: Instant,
    told: u32,
    untold: u32,
}

impl Rejections {
    /// Whether to tell this one, and then how many of the same address were not told before it.
    pub(super) fn tell(&mut self, now: Instant, client: Client) -> Option<u32> {
        // Those that nobody can name are told together.
        let group = client.address().map(AddressGroup::of_address);
        if self.0.len() >= MOST && !self.0.contains_key(&group) {
            self.0.retain(|_, knocks| now.since(knocks.since) < MINUTE);
            if self.0.len() >= MOST {
                return None;
            }
        }
        let knocks = self.0.entry(group).or_insert(Knocks {
            since: now,
            told: 0,
            untold: 0,
        });
        if now.since(knocks.since) >= MINUTE {
            knocks.since = now;
            knocks.told = 0;
        }
        if knocks.told >= TOLD {
            knocks.untold = knocks.untold.saturating_add(1);
            return None;
        }
        knocks.told += 1;
        Some(core::mem::take(&mut knocks.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn client(address: &str) -> Client {
        Client::of_peer(crate::machine::Peer::Tcp(address.parse().unwrap()))
    }

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_are_compared_by_value() {
        for (list, address, trusted) in [
            (&["127.0.0.1", "::1"][..], "127.0.0.1:5", true),
            (&["127.0.0.1", "::1"], "[::1]:5", true),
            (&["127.0.0.1", "::1"], "[::ffff:127.0.0.1]:5", true),
            (&["127.0.0.1", "::1"], "127.0.0.2:5", false),
            (&["::ffff:127.0.0.1"], "127.0.0.1:5", true),
            (&["::FFFF:7f00:1"], "127.0.0.1:5", true),
            (&["127.0.0.0/8"], "127.9.9.9:5", true),
            (&["10.0.0.1"], "127.0.0.1:5", false),
            (&["0:0:0:0:0:0:0:1"], "[::1]:5", true),
            (&["fe80::1%eth0"], "[fe80::1]:5", true),
            (&[], "127.0.0.1:5", false),
        ] {
            assert_eq!(
                is_trusted(client(address), &networks(list)),
                trusted,
                "{list:?} {address}"
            );
        }
        assert!(is_trusted(Client::Local(None), &networks(&["::1"])));
        assert!(!is_trusted(Client::Local(None), &networks(&["10.0.0.0/8"])));
        assert!(!is_trusted(Client::Unknown, &networks(&["0.0.0.0/0", "::/0"])));
    }

    #[test]
    fn pages_need_to_be_listed() {
        let allowed = [String::from("https://app.example")];
        for (origin, listed) in [
            (None, true),
            (Some("https://app.example"), true),
            (Some("HTTPS://APP.example:443"), true),
            (Some("http://localhost:3000"), false),
            (Some("http://127.0.0.1:18789"), false),
            (Some("null"), false),
            (Some("https://evil.example"), false),
        ] {
            assert_eq!(is_listed(origin, &allowed), listed, "{origin:?}");
        }
    }

    #[test]
    fn an_address_that_knocks_without_end_is_told_three_times_a_minute() {
        let mut rejections = Rejections::default();
        let mut told = Vec::new();
        for second in 0..130 {
            told.extend(rejections.tell(Instant::from_millis(second * 1_000), client("192.0.2.1:9")));
        }
        assert_eq!(told, [0, 0, 0, 57, 0, 0, 57, 0, 0]);
        let unknown = (0..10).filter_map(|_| rejections.tell(Instant::from_millis(0), Client::Unknown));
        assert_eq!(unknown.count(), 3);
        assert_eq!(rejections.tell(Instant::from_millis(0), client("192.0.2.2:9")), Some(0));
        for last in 0..3_000_u32 {
            let stranger = Client::Remote(Ipv4Addr::from(last).into());
            let _ = rejections.tell(Instant::from_millis(130_000), stranger);
        }
        assert!(rejections.0.len() <= MOST);
    }
}
