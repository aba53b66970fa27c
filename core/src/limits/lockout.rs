//! Guessing tokens: after too many wrong ones within a window, an address is locked out for a while. A lock is neither
//! extended by further failures nor lifted by a right token. Spec: `spec/operator.md` section 8.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use crate::policy::address::AddressGroup;
use crate::time::Instant;

/// Who is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Guesser {
    /// A network address.
    Address(AddressGroup),
    /// A web page on this machine, by a digest of its origin: any page can reach a loopback port.
    LocalPage([u8; 16]),
}

/// How guessing is limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockoutLimits {
    /// Wrong tokens within `window` that lock.
    pub max_attempts: u32,
    /// See `max_attempts`.
    pub window: Duration,
    /// How long a lock lasts.
    pub lockout: Duration,
    /// The most guessers that are remembered.
    pub max_tracked: u32,
}

/// Remembers failures and locks.
#[derive(Debug)]
pub struct Lockout {
    limits: LockoutLimits,
    failures: BTreeMap<Guesser, Failures>,
    /// Those with failures but no lock, by their last failure: the first to be forgotten when there are too many.
    unlocked: BTreeSet<(Instant, Guesser)>,
    locked: BTreeSet<(Instant, Guesser)>,
}

#[derive(Debug)]
struct Failures {
    times: alloc::collections::VecDeque<Instant>,
    locked_until: Option<Instant>,
}

impl Lockout {
    /// Nobody has failed yet.
    #[must_use]
    pub const fn new(limits: LockoutLimits) -> Self {
        Self {
            limits,
            failures: BTreeMap::new(),
            unlocked: BTreeSet::new(),
            locked: BTreeSet::new(),
        }
    }

    /// Takes other limits: locks that hold end when they were to end.
    pub const fn reconfigure(&mut self, limits: LockoutLimits) {
        self.limits = limits;
    }

    /// How long `who` is still locked out. When every place is taken by a lock, those who are not remembered wait for the
    /// first lock to end: an attacker with very many addresses does not get in by exhausting the memory.
    pub fn locked_for(&mut self, now: Instant, who: Guesser) -> Option<Duration> {
        self.expire(now);
        match self.failures.get(&who) {
            Some(failures) => failures.locked_until.map(|until| until.since(now)),
            None if self.locked.len() >= self.limits.max_tracked as usize => {
                self.locked.first().map(|(until, _)| until.since(now))
            }
            None => None,
        }
    }

    /// Counts a wrong token; tells the lock's length when it locks.
    pub fn failed(&mut self, now: Instant, who: Guesser) -> Option<Duration> {
        self.expire(now);
        self.make_room(who);
        let limits = self.limits;
        let failures = self.failures.entry(who).or_insert_with(|| Failures {
            times: Default::default(),
            locked_until: None,
        });
        if failures.locked_until.is_some() {
            return None;
        }
        if let Some(last) = failures.times.back() {
            self.unlocked.remove(&(*last, who));
        }
        failures.times.retain(|time| now.since(*time) < limits.window);
        failures.times.push_back(now);
        if failures.times.len() < limits.max_attempts as usize {
            self.unlocked.insert((now, who));
            return None;
        }
        let until = now.plus(limits.lockout);
        failures.locked_until = Some(until);
        failures.times.clear();
        self.locked.insert((until, who));
        Some(limits.lockout)
    }

    /// A right token from somebody who is not locked: the failures are forgotten.
    pub fn succeeded(&mut self, who: Guesser) {
        if let Some(failures) = self.failures.get(&who)
            && failures.locked_until.is_none()
        {
            if let Some(last) = failures.times.back() {
                self.unlocked.remove(&(*last, who));
            }
            self.failures.remove(&who);
        }
    }

    /// How many are locked out.
    #[must_use]
    pub fn locked(&self) -> usize {
        self.locked.len()
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(until, who)) = self.locked.first()
            && until <= now
        {
            self.locked.pop_first();
            self.failures.remove(&who);
        }
        while let Some(&(last, who)) = self.unlocked.first()
            && now.since(last) >= self.limits.window
        {
            self.unlocked.pop_first();
            self.failures.remove(&who);
        }
    }

    fn make_room(&mut self, who: Guesser) {
        if self.failures.len() >= self.limits.max_tracked as usize
            && !self.failures.contains_key(&who)
            && let Some((_, oldest)) = self.unlocked.pop_first()
        {
            self.failures.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    const LIMITS: LockoutLimits = LockoutLimits {
        max_attempts: 3,
        window: Duration::from_secs(60),
        lockout: Duration::from_secs(300),
        max_tracked: 4,
    };

    fn address(last: u8) -> Guesser {
        Guesser::Address(AddressGroup::V4(Ipv4Addr::new(192, 0, 2, last)))
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    #[test]
    fn locks_at_the_limit_and_opens_when_the_time_is_up() {
        let mut lockout = Lockout::new(LIMITS);
        assert_eq!(lockout.failed(at(0), address(1)), None);
        assert_eq!(lockout.failed(at(1), address(1)), None);
        assert_eq!(lockout.locked_for(at(1), address(1)), None);
        assert_eq!(lockout.failed(at(2), address(1)), Some(Duration::from_secs(300)));
        assert_eq!(lockout.locked_for(at(100), address(1)), Some(Duration::from_secs(202)));
        assert_eq!(lockout.failed(at(200), address(1)), None, "a lock is not extended");
        lockout.succeeded(address(1));
        assert_eq!(
            lockout.locked_for(at(301), address(1)),
            Some(Duration::from_secs(1)),
            "a success does not lift it"
        );
        assert_eq!(lockout.locked_for(at(302), address(1)), None);
        assert_eq!(lockout.failed(at(302), address(1)), None, "the history is cleared");
    }

    #[test]
    fn old_failures_leave_the_window_and_a_success_forgets_them() {
        let mut lockout = Lockout::new(LIMITS);
        for second in [0, 30, 61, 95, 130] {
            assert_eq!(lockout.failed(at(second), address(1)), None);
        }
        lockout.succeeded(address(1));
        for second in [131, 132] {
            assert_eq!(lockout.failed(at(second), address(1)), None);
        }
        assert_eq!(lockout.failed(at(133), address(1)), Some(Duration::from_secs(300)));
    }

    #[test]
    fn memory_is_bounded_and_a_full_one_refuses_strangers() {
        let mut lockout = Lockout::new(LIMITS);
        for last in 0..100 {
            lockout.failed(at(1), address(last));
            assert!(lockout.failures.len() <= 4 && lockout.unlocked.len() <= 4);
        }
        for last in 100..104 {
            for _ in 0..3 {
                lockout.failed(at(2), address(last));
            }
        }
        assert_eq!(lockout.locked(), 4);
        assert_eq!(
            lockout.locked_for(at(102), address(200)),
            Some(Duration::from_secs(200))
        );
    }
}
