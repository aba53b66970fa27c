//! How often one address may call. A bucket for each address that fills evenly; a caller that finds it empty is told
//! exactly when there is something in it again. The table is bounded: strangers share one bucket when it is full.

use alloc::collections::BTreeMap;
use core::net::IpAddr;
use core::time::Duration;

use crate::policy::address::AddressGroup;
use crate::time::Instant;

/// Addresses that are told apart.
pub const MAX_ADDRESSES: usize = 16_384;

/// Whose bucket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Who {
    Address(AddressGroup),
    /// Callers without an address, through a Unix socket.
    Local,
    /// Addresses for which there was no room.
    Others,
}

/// The buckets.
#[derive(Debug, Default)]
pub struct Buckets {
    /// When a bucket is full again; one that is full is not kept.
    full_at: BTreeMap<Who, Instant>,
}

impl Buckets {
    /// Takes one call out of a bucket that holds `limit` and fills in `window`.
    ///
    /// # Errors
    /// The whole seconds after which there is one again.
    pub fn take(&mut self, now: Instant, address: Option<IpAddr>, limit: u32, window: Duration) -> Result<(), u64> {
        let who = address.map_or(Who::Local, |address| Who::Address(AddressGroup::of_address(address)));
        let who = self.place_for(now, who);
        let each = window / limit.max(1);
        let full_at = self.full_at.get(&who).copied().unwrap_or(now).max(now).plus(each);
        let wait = full_at.since(now.plus(window));
        if wait.is_zero() {
            self.full_at.insert(who, full_at);
            return Ok(());
        }
        Err(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }

    /// Whether [`Self::take`] would take a call now.
    ///
    /// # Errors
    /// The whole seconds after which it would.
    pub fn look(&self, now: Instant, address: Option<IpAddr>, limit: u32, window: Duration) -> Result<(), u64> {
        let who = address.map_or(Who::Local, |address| Who::Address(AddressGroup::of_address(address)));
        let is_full = self.full_at.len() >= MAX_ADDRESSES;
        let others = || self.full_at.get(&Who::Others).filter(|_| is_full);
        let full_at = self.full_at.get(&who).or_else(others);
        let next = full_at.copied().unwrap_or(now).max(now).plus(window / limit.max(1));
        let wait = next.since(now.plus(window));
        if wait.is_zero() {
            return Ok(());
        }
        Err(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }

    fn place_for(&mut self, now: Instant, who: Who) -> Who {
        if self.full_at.contains_key(&who) || self.full_at.len() < MAX_ADDRESSES {
            return who;
        }
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() < MAX_ADDRESSES {
            who
        } else {
            Who::Others
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};

    const WINDOW: Duration = Duration::from_secs(60);

    fn v4(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::from(number)))
    }

    #[test]
    fn thirty_at_once_then_one_every_two_seconds() {
        let (mut buckets, start) = (Buckets::default(), Instant::from_millis(5_000));
        for _ in 0..30 {
            assert_eq!(buckets.take(start, v4(1), 30, WINDOW), Ok(()));
        }
        assert_eq!(buckets.take(start, v4(1), 30, WINDOW), Err(2));
        assert_eq!(buckets.look(start, v4(1), 30, WINDOW), Err(2));
        assert_eq!(buckets.look(start, v4(2), 30, WINDOW), Ok(()));
        assert_eq!(
            buckets.take(start, v4(1), 30, WINDOW),
            Err(2),
            "being refused costs nothing"
        );
        assert_eq!(buckets.take(start, v4(2), 30, WINDOW), Ok(()));
        let later = start.plus(Duration::from_millis(1_100));
        assert_eq!(buckets.take(later, v4(1), 30, WINDOW), Err(1));
        let later = start.plus(Duration::from_secs(2));
        assert_eq!(buckets.take(later, v4(1), 30, WINDOW), Ok(()));
        assert_eq!(buckets.take(later, v4(1), 30, WINDOW), Err(2));
    }

    #[test]
    fn a_network_is_one_caller_and_so_are_all_without_an_address() {
        let (mut buckets, now) = (Buckets::default(), Instant::ZERO);
        let v6 = |last| Some(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, last)));
        assert_eq!(buckets.take(now, v6(1), 1, WINDOW), Ok(()));
        assert_eq!(buckets.take(now, v6(2), 1, WINDOW), Err(60));
        assert_eq!(buckets.take(now, None, 1, WINDOW), Ok(()));
        assert_eq!(buckets.take(now, None, 1, WINDOW), Err(60));
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut buckets, now) = (Buckets::default(), Instant::ZERO);
        for number in 0..MAX_ADDRESSES as u32 {
            assert_eq!(buckets.take(now, v4(number), 1, WINDOW), Ok(()));
        }
        assert_eq!(
            buckets.take(now, v4(u32::MAX), 1, WINDOW),
            Ok(()),
            "the first of the others"
        );
        assert_eq!(buckets.take(now, v4(u32::MAX - 1), 1, WINDOW), Err(60), "they share");
        assert_eq!(buckets.look(now, v4(u32::MAX - 1), 1, WINDOW), Err(60));
        let later = now.plus(WINDOW);
        assert_eq!(buckets.take(later, v4(u32::MAX), 1, WINDOW), Ok(()));
        assert_eq!(buckets.full_at.len(), 1, "full buckets are not kept");
    }
}
