//! The lock on the door: is this token one of ours, and has whoever presents it guessed too often?
//! Spec: `spec/operator.md` sections 3 and 8.

use core::time::Duration;

use crate::limits::lockout::{Guesser, Lockout, LockoutLimits};
use crate::machine::Peer;
use crate::policy::address::{AddressGroup, is_loopback};
use crate::random::Random;
use crate::secret::{TokenVerifier, digest};
use crate::settings::AuthSettings;
use crate::time::Instant;

/// Checks tokens and remembers who guessed.
#[derive(Debug)]
pub struct Authenticator {
    /// `None`: authentication is switched off.
    verifier: Option<TokenVerifier>,
    lockout: Lockout,
}

/// What a presented token is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is one of ours.
    Right,
    /// It is not; this one locked the guesser out if a time is given.
    Wrong(Option<Duration>),
    /// It was not even looked at: the guesser is locked out for so long.
    LockedOut(Duration),
}

impl Authenticator {
    /// A lock for these settings.
    #[must_use]
    pub fn new(settings: &AuthSettings, random: &mut Random) -> Self {
        let verifier = settings
            .tokens
            .as_ref()
            .map(|tokens| TokenVerifier::new(random.bytes(), tokens));
        Self {
            verifier,
            lockout: Lockout::new(limits(settings)),
        }
    }

    /// Takes new tokens and limits; who is locked out stays so.
    pub fn reconfigure(&mut self, settings: &AuthSettings, random: &mut Random) {
        self.verifier = settings
            .tokens
            .as_ref()
            .map(|tokens| TokenVerifier::new(random.bytes(), tokens));
        self.lockout.reconfigure(limits(settings));
    }

    /// Whether a token is needed.
    #[must_use]
    pub const fn is_required(&self) -> bool {
        self.verifier.is_some()
    }

    /// How long this guesser is still locked out.
    pub fn locked_for(&mut self, now: Instant, who: Option<Guesser>) -> Option<Duration> {
        who.and_then(|who| self.lockout.locked_for(now, who))
    }

    /// Checks a token; a locked guesser's is not looked at.
    pub fn verify(&mut self, now: Instant, who: Option<Guesser>, token: &str) -> Verdict {
        if let Some(left) = self.locked_for(now, who) {
            return Verdict::LockedOut(left);
        }
        if self.verifier.as_ref().is_none_or(|verifier| verifier.verify(token)) {
            if let Some(who) = who {
                self.lockout.succeeded(who);
            }
            return Verdict::Right;
        }
        Verdict::Wrong(who.and_then(|who| self.lockout.failed(now, who)))
    }
}

const fn limits(settings: &AuthSettings) -> LockoutLimits {
    LockoutLimits {
        max_attempts: settings.max_attempts,
        window: settings.window,
        lockout: settings.lockout,
        max_tracked: settings.max_tracked,
    }
}

/// Who is counted when a token is wrong: an address; on this machine, only a web page (by its origin), since any page can
/// reach a loopback port while a local program without a token could not be told from its neighbours.
#[must_use]
pub fn guesser(peer: Peer, origin: Option<&str>) -> Option<Guesser> {
    if !is_loopback(peer) {
        return AddressGroup::of(peer).map(Guesser::Address);
    }
    origin.map(|origin| {
        let mut short = [0; 16];
        short
            .iter_mut()
            .zip(digest(&[origin.as_bytes()]))
            .for_each(|(to, from)| *to = from);
        Guesser::LocalPage(short)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seed;
    use crate::secret::Secret;

    #[test]
    fn a_locked_guesser_is_not_listened_to() {
        let mut random = Random::new(Seed([1; 32]));
        let settings = AuthSettings {
            tokens: Some(alloc::vec![Secret::new("right-token".into())]),
            max_attempts: 2,
            ..AuthSettings::default()
        };
        let mut auth = Authenticator::new(&settings, &mut random);
        let now = Instant::ZERO;
        let stranger = guesser(Peer::Tcp("192.0.2.1:1".parse().unwrap()), None);
        assert_eq!(auth.verify(now, stranger, "wrong"), Verdict::Wrong(None));
        assert_eq!(
            auth.verify(now, stranger, "wrong"),
            Verdict::Wrong(Some(settings.lockout))
        );
        assert_eq!(
            auth.verify(now, stranger, "right-token"),
            Verdict::LockedOut(settings.lockout)
        );
        let stricter = AuthSettings {
            max_attempts: 1,
            ..settings.clone()
        };
        auth.reconfigure(&stricter, &mut random);
        let other = guesser(Peer::Tcp("192.0.2.9:1".parse().unwrap()), None);
        assert!(matches!(auth.verify(now, other, "wrong"), Verdict::Wrong(Some(_))));
        auth.reconfigure(&settings, &mut random);
        let local = Peer::Tcp("127.0.0.1:1".parse().unwrap());
        for _ in 0..10 {
            assert_eq!(auth.verify(now, guesser(local, None), "wrong"), Verdict::Wrong(None));
        }
        assert_eq!(auth.verify(now, guesser(local, None), "right-token"), Verdict::Right);
        let page = guesser(local, Some("http://localhost:3000"));
        auth.verify(now, page, "wrong");
        auth.verify(now, page, "wrong");
        assert!(matches!(auth.verify(now, page, "right-token"), Verdict::LockedOut(_)));
        assert_eq!(
            auth.verify(now, guesser(local, Some("http://localhost:4000")), "right-token"),
            Verdict::Right
        );
    }
}
