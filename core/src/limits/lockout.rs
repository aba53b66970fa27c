//! Guessing credentials: after too many wrong ones within a window, a guesser is locked out for a while. A lock is neither
//! extended by further failures nor lifted by a right credential. Programs on this machine are slowed down instead: the
//! reply to each further failure is to be held longer. This module counts and tells; it holds nothing itself.
//! Spec: `spec/hardening.md`, `spec/operator.md` section 8.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::time::Duration;

use crate::policy::address::AddressGroup;
use crate::time::Instant;

/// A class of credentials: failures with one kind do not lock the holders of another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// The gateway's token or password.
    SharedSecret,
    /// The signed token of the control plane.
    ControlJwt,
}

impl Scope {
    /// Its name in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SharedSecret => "shared-secret",
            Self::ControlJwt => "control-jwt",
        }
    }
}

/// Who is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Guesser {
    /// With which kind of credential.
    pub scope: Scope,
    /// Source where.
    pub source: Source,
}

/// Where guesses come from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Source {
    /// A network address.
    Address(AddressGroup),
    /// A web page on this machine, by a digest of its origin: any page can reach a loopback port.
    LocalPage([u8; 16]),
    /// The programs on this machine, all of them: one cannot be told from another.
    LocalProgram,
    /// Those behind trusted proxies that do not tell who they are.
    Unknown,
}

/// How guessing is limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockoutLimits {
    /// Wrong credentials within `window` that lock.
    pub max_attempts: u32,
    /// See `max_attempts`.
    pub window: Duration,
    /// How long a lock lasts.
    pub lockout: Duration,
    /// The most guessers that are remembered.
    pub max_tracked: u32,
    /// Programs on this machine are slowed down and never locked out.
    pub exempt_local: bool,
}

/// What a wrong credential led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    /// This one locked the guesser out for so long.
    pub locked: Option<Duration>,
    /// The reply is to be held for so long; zero for who can be locked out.
    pub delay: Duration,
}

const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Failures of an exempt guesser that are remembered: so many that the longest delay is reached.
const EXEMPT_HISTORY: usize = 8;

/// Pages on this machine that are counted apart. A program can put any origin into a request: what comes beyond these is
/// counted together, so that nobody guesses on under ever new names or fills the memory with them.
const MAX_PAGES: usize = 64;
/// All pages beyond [`MAX_PAGES`].
const OTHER_PAGES: Source = Source::LocalPage([0; 16]);

/// Remembers failures and locks.
#[derive(Debug)]
pub struct Lockout {
    limits: LockoutLimits,
    failures: BTreeMap<Guesser, Failures>,
    /// Those with failures but no lock, by their last failure: the first to be forgotten when there are too many.
    unlocked: BTreeSet<(Instant, Guesser)>,
    locked: BTreeSet<(Instant, Guesser)>,
}

#[derive(Debug, Default)]
struct Failures {
    times: VecDeque<Instant>,
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
        if self.is_exempt(who) {
            return None;
        }
        let who = self.counted_as(who);
        match self.failures.get(&who) {
            Some(failures) => failures.locked_until.map(|until| until.since(now)),
            None if self.locked.len() >= self.places() => self.locked.first().map(|(until, _)| until.since(now)),
            None => None,
        }
    }

    /// Counts a wrong credential.
    pub fn failed(&mut self, now: Instant, who: Guesser) -> Failure {
        self.expire(now);
        let is_exempt = self.is_exempt(who);
        let who = self.counted_as(who);
        if !self.make_room(who) {
            return Failure {
                locked: None,
                delay: if is_exempt { LONGEST_DELAY } else { Duration::ZERO },
            };
        }
        let limits = self.limits;
        let failures = self.failures.entry(who).or_default();
        match failures.locked_until {
            Some(_) if !is_exempt => {
                return Failure {
                    locked: None,
                    delay: Duration::ZERO,
                };
            }
            // It was locked before other settings exempted it.
            Some(until) => {
                failures.locked_until = None;
                self.locked.remove(&(until, who));
            }
            None => {}
        }
        if let Some(last) = failures.times.back() {
            self.unlocked.remove(&(*last, who));
        }
        failures.times.retain(|time| now.since(*time) < limits.window);
        failures.times.push_back(now);
        if is_exempt {
            if failures.times.len() > EXEMPT_HISTORY {
                failures.times.pop_front();
            }
            let delay = delay_of(failures.times.len());
            self.unlocked.insert((now, who));
            return Failure { locked: None, delay };
        }
        let mut locked = None;
        if failures.times.len() < limits.max_attempts as usize {
            self.unlocked.insert((now, who));
        } else {
            let until = now.plus(limits.lockout);
            failures.locked_until = Some(until);
            failures.times.clear();
            self.locked.insert((until, who));
            locked = Some(limits.lockout);
        }
        Failure {
            locked,
            delay: Duration::ZERO,
        }
    }

    /// A right credential from somebody who is not locked: the failures are forgotten.
    pub fn succeeded(&mut self, who: Guesser) {
        let who = self.counted_as(who);
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

    fn is_exempt(&self, who: Guesser) -> bool {
        self.limits.exempt_local && who.source == Source::LocalProgram
    }

    fn counted_as(&self, who: Guesser) -> Guesser {
        let page = |number| Guesser {
            source: Source::LocalPage([number; 16]),
            ..who
        };
        let is_one_too_many = matches!(who.source, Source::LocalPage(_))
            && !self.failures.contains_key(&who)
            && self.failures.range(page(0)..=page(0xff)).count() >= MAX_PAGES;
        if is_one_too_many {
            Guesser {
                source: OTHER_PAGES,
                ..who
            }
        } else {
            who
        }
    }

    fn places(&self) -> usize {
        self.limits.max_tracked.max(1) as usize
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

    /// Whether there is a place for `who`: its own, a free one, or that of the oldest who is not locked.
    fn make_room(&mut self, who: Guesser) -> bool {
        if self.failures.len() < self.places() || self.failures.contains_key(&who) {
            return true;
        }
        let oldest = self.unlocked.pop_first();
        oldest.is_some_and(|(_, oldest)| self.failures.remove(&oldest).is_some())
    }
}

/// 250 ms for the first failure, twice as long for each further one, at most 5 s.
fn delay_of(failures: usize) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_DELAY
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(LONGEST_DELAY)
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
        exempt_local: true,
    };

    fn address(last: u8) -> Guesser {
        Guesser {
            scope: Scope::SharedSecret,
            source: Source::Address(AddressGroup::V4(Ipv4Addr::new(192, 0, 2, last))),
        }
    }

    const LOCAL: Guesser = Guesser {
        scope: Scope::SharedSecret,
        source: Source::LocalProgram,
    };

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    /// The lock that a failure led to; nobody here has to wait.
    fn fail(lockout: &mut Lockout, seconds: u64, who: Guesser) -> Option<Duration> {
        let failure = lockout.failed(at(seconds), who);
        assert_eq!(failure.delay, Duration::ZERO);
        failure.locked
    }

    #[test]
    fn locks_at_the_limit_and_opens_when_the_time_is_up() {
        let mut lockout = Lockout::new(LIMITS);
        assert_eq!(fail(&mut lockout, 0, address(1)), None);
        assert_eq!(fail(&mut lockout, 1, address(1)), None);
        assert_eq!(lockout.locked_for(at(1), address(1)), None);
        assert_eq!(fail(&mut lockout, 2, address(1)), Some(Duration::from_secs(300)));
        assert_eq!(lockout.locked_for(at(100), address(1)), Some(Duration::from_secs(202)));
        assert_eq!(fail(&mut lockout, 200, address(1)), None, "a lock is not extended");
        lockout.succeeded(address(1));
        assert_eq!(
            lockout.locked_for(at(301), address(1)),
            Some(Duration::from_secs(1)),
            "a success does not lift it"
        );
        assert_eq!(lockout.locked_for(at(302), address(1)), None);
        assert_eq!(fail(&mut lockout, 302, address(1)), None, "the history is cleared");
    }

    #[test]
    fn old_failures_leave_the_window_and_a_success_forgets_them() {
        let mut lockout = Lockout::new(LIMITS);
        for second in [0, 30, 61, 95, 130] {
            assert_eq!(fail(&mut lockout, second, address(1)), None);
        }
        lockout.succeeded(address(1));
        for second in [131, 132] {
            assert_eq!(fail(&mut lockout, second, address(1)), None);
        }
        assert_eq!(fail(&mut lockout, 133, address(1)), Some(Duration::from_secs(300)));
    }

    #[test]
    fn one_kind_of_credential_does_not_lock_another() {
        let mut lockout = Lockout::new(LIMITS);
        let control = Guesser {
            scope: Scope::ControlJwt,
            ..address(1)
        };
        for second in 0..3 {
            fail(&mut lockout, second, control);
        }
        assert!(lockout.locked_for(at(3), control).is_some());
        assert_eq!(lockout.locked_for(at(3), address(1)), None);
    }

    #[test]
    fn programs_on_this_machine_wait_longer_each_time_and_are_never_locked_out() {
        let mut lockout = Lockout::new(LIMITS);
        for millis in [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000, 5_000, 5_000] {
            let failure = lockout.failed(at(1), LOCAL);
            assert_eq!((failure.locked, failure.delay), (None, Duration::from_millis(millis)));
            assert_eq!(lockout.locked_for(at(1), LOCAL), None);
        }
        assert!(
            lockout
                .failures
                .values()
                .all(|failures| failures.times.len() <= EXEMPT_HISTORY)
        );
        lockout.succeeded(LOCAL);
        assert_eq!(lockout.failed(at(2), LOCAL).delay, Duration::from_millis(250));
        assert_eq!(
            lockout.failed(at(62), LOCAL).delay,
            Duration::from_millis(250),
            "the window has passed"
        );
        lockout.reconfigure(LockoutLimits {
            exempt_local: false,
            ..LIMITS
        });
        for second in [63, 64] {
            lockout.failed(at(second), LOCAL);
        }
        assert_eq!(lockout.locked_for(at(64), LOCAL), Some(Duration::from_secs(300)));
    }

    #[test]
    fn ever_new_pages_are_counted_together_and_lock_nobody_else_out() {
        let mut lockout = Lockout::new(LockoutLimits {
            max_tracked: 100,
            ..LIMITS
        });
        let page = |number: u32| {
            let mut digest = [1; 16];
            digest[..4].copy_from_slice(&number.to_be_bytes());
            Guesser {
                source: Source::LocalPage(digest),
                ..LOCAL
            }
        };
        let mut heard = 0;
        for number in 0..1_000 {
            for _ in 0..5 {
                if lockout.locked_for(at(1), page(number)).is_none() {
                    fail(&mut lockout, 1, page(number));
                    heard += 1;
                }
            }
        }
        assert_eq!(heard, (MAX_PAGES + 1) * 3);
        assert_eq!(lockout.locked(), MAX_PAGES + 1);
        assert_eq!(lockout.locked_for(at(1), address(1)), None, "there is room for others");
        assert_eq!(lockout.locked_for(at(301), page(5_000)), None);
    }

    #[test]
    fn a_lock_ends_when_other_settings_exempt_the_guesser() {
        let mut lockout = Lockout::new(LockoutLimits {
            exempt_local: false,
            ..LIMITS
        });
        for _ in 0..3 {
            fail(&mut lockout, 1, LOCAL);
        }
        lockout.reconfigure(LIMITS);
        assert_eq!(lockout.failed(at(2), LOCAL).delay, FIRST_DELAY);
        assert_eq!(
            (lockout.locked(), lockout.unlocked.len(), lockout.failures.len()),
            (0, 1, 1)
        );
        lockout.expire(at(62));
        assert_eq!((lockout.unlocked.len(), lockout.failures.len()), (0, 0));
    }

    #[test]
    fn memory_is_bounded_and_a_full_one_refuses_strangers() {
        let mut lockout = Lockout::new(LIMITS);
        for last in 0..100 {
            fail(&mut lockout, 1, address(last));
            assert!(lockout.failures.len() <= 4 && lockout.unlocked.len() <= 4);
        }
        for last in 100..104 {
            for _ in 0..3 {
                fail(&mut lockout, 2, address(last));
            }
        }
        assert_eq!(lockout.locked(), 4);
        assert_eq!(
            lockout.locked_for(at(102), address(200)),
            Some(Duration::from_secs(200))
        );
        assert_eq!(fail(&mut lockout, 102, address(200)), None);
        assert_eq!(lockout.failures.len(), 4, "there is no place for another");
        assert_eq!(
            lockout.locked_for(at(102), LOCAL),
            None,
            "this machine's programs are served"
        );
        assert_eq!(lockout.failed(at(102), LOCAL).delay, LONGEST_DELAY);
    }
}
