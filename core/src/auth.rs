//! The lock on the door: is this token one of ours, and has whoever presents it guessed too often?
//! Spec: `spec/hardening.md`, `spec/operator.md` sections 3 and 8.

use alloc::string::String;
use core::time::Duration;

use crate::limits::lockout::{Failure, Guesser, Lockout, LockoutLimits, Scope, Source};
use crate::machine::Peer;
use crate::policy::address::AddressGroup;
use crate::policy::forwarded::Client;
use crate::random::Random;
use crate::secret::{TokenVerifier, digest};
use crate::settings::{AuthSettings, Credential};
use crate::time::Instant;

/// Checks tokens and remembers who guessed.
#[derive(Debug)]
pub struct Authenticator {
    /// `None`: authentication is switched off.
    verifier: Option<TokenVerifier>,
    /// Whether there is any token that could be right.
    is_configured: bool,
    lockout: Lockout,
}

/// What a presented token is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is one of ours.
    Right,
    /// There is none. This is not counted.
    Missing,
    /// The gateway has none that it could be. This is not counted.
    NotConfigured,
    /// It is not one of ours.
    Wrong {
        /// This one locked the guesser out for so long.
        locked: Option<Duration>,
        /// Hold the reply for so long: programs on this machine are slowed down instead of being locked out.
        delay: Duration,
    },
    /// It was not even looked at: the guesser is locked out for so long.
    LockedOut(Duration),
}

impl Verdict {
    /// The reason in logs and in the details of an answer; `None` for a right one.
    #[must_use]
    pub const fn reason(self, credential: Credential) -> Option<&'static str> {
        Some(match (self, credential) {
            (Self::Right, _) => return None,
            (Self::Missing, Credential::Token) => "token_missing",
            (Self::Missing, Credential::Password) => "password_missing",
            (Self::NotConfigured, Credential::Token) => "token_missing_config",
            (Self::NotConfigured, Credential::Password) => "password_missing_config",
            (Self::Wrong { .. }, Credential::Token) => "token_mismatch",
            (Self::Wrong { .. }, Credential::Password) => "password_mismatch",
            (Self::LockedOut(_), _) => "rate_limited",
        })
    }

    /// The code in the details of an answer in the OpenClaw dialect.
    #[must_use]
    pub const fn code(self, credential: Credential) -> Option<&'static str> {
        Some(match (self, credential) {
            (Self::Right, _) => return None,
            (Self::Missing, Credential::Token) => "AUTH_TOKEN_MISSING",
            (Self::Missing, Credential::Password) => "AUTH_PASSWORD_MISSING",
            (Self::NotConfigured, Credential::Token) => "AUTH_TOKEN_NOT_CONFIGURED",
            (Self::NotConfigured, Credential::Password) => "AUTH_PASSWORD_NOT_CONFIGURED",
            (Self::Wrong { .. }, Credential::Token) => "AUTH_TOKEN_MISMATCH",
            (Self::Wrong { .. }, Credential::Password) => "AUTH_PASSWORD_MISMATCH",
            (Self::LockedOut(_), _) => "AUTH_RATE_LIMITED",
        })
    }

    /// The message in the OpenClaw dialect.
    #[must_use]
    pub const fn message(self, credential: Credential) -> Option<&'static str> {
        Some(match (self, credential) {
            (Self::Right, _) => return None,
            (Self::Missing, Credential::Token) => "unauthorized: gateway token missing (provide gateway auth token)",
            (Self::Missing, Credential::Password) => {
                "unauthorized: gateway password missing (provide gateway auth password)"
            }
            (Self::NotConfigured, Credential::Token) => {
                "unauthorized: gateway token not configured on gateway (set gateway.auth.token)"
            }
            (Self::NotConfigured, Credential::Password) => {
                "unauthorized: gateway password not configured on gateway (set gateway.auth.password)"
            }
            (Self::Wrong { .. }, Credential::Token) => {
                "unauthorized: gateway token mismatch (provide gateway auth token)"
            }
            (Self::Wrong { .. }, Credential::Password) => {
                "unauthorized: gateway password mismatch (provide gateway auth password)"
            }
            (Self::LockedOut(_), _) => "unauthorized: too many failed authentication attempts (retry later)",
        })
    }
}

impl Authenticator {
    /// A lock for these settings.
    #[must_use]
    pub fn new(settings: &AuthSettings, random: &mut Random) -> Self {
        let mut this = Self {
            verifier: None,
            is_configured: false,
            lockout: Lockout::new(limits(settings)),
        };
        this.reconfigure(settings, random);
        this
    }

    /// Takes new tokens and limits; who is locked out stays so.
    pub fn reconfigure(&mut self, settings: &AuthSettings, random: &mut Random) {
        self.verifier = settings
            .tokens
            .as_ref()
            .map(|tokens| TokenVerifier::new(random.bytes(), tokens));
        self.is_configured = settings.tokens.as_ref().is_some_and(|tokens| !tokens.is_empty());
        self.lockout.reconfigure(limits(settings));
    }

    /// Whether a token is needed.
    #[must_use]
    pub const fn is_required(&self) -> bool {
        self.verifier.is_some()
    }

    /// How long this guesser is still locked out.
    pub fn locked_for(&mut self, now: Instant, who: Guesser) -> Option<Duration> {
        self.lockout.locked_for(now, who)
    }

    /// How many guessers are locked out.
    #[must_use]
    pub fn locked(&self) -> usize {
        self.lockout.locked()
    }

    /// Checks what was presented, if anything was; a locked guesser's is not looked at.
    pub fn judge(&mut self, now: Instant, who: Guesser, presented: Option<&str>) -> Verdict {
        if let Some(left) = self.locked_for(now, who) {
            return Verdict::LockedOut(left);
        }
        let Some(verifier) = &self.verifier else {
            return Verdict::Right;
        };
        match presented {
            None | Some("") => Verdict::Missing,
            Some(_) if !self.is_configured => Verdict::NotConfigured,
            Some(token) if verifier.verify(token) => {
                self.lockout.succeeded(who);
                Verdict::Right
            }
            Some(_) => self.failed(now, who),
        }
    }

    /// Checks a token; a locked guesser's is not looked at.
    pub fn verify(&mut self, now: Instant, who: Guesser, token: &str) -> Verdict {
        self.judge(now, who, Some(token))
    }

    /// Counts a wrong credential that somebody else checked, for example a signed token of the control plane. Whether the
    /// guesser is locked out is to be asked before the check.
    pub fn failed(&mut self, now: Instant, who: Guesser) -> Verdict {
        let Failure { locked, delay } = self.lockout.failed(now, who);
        Verdict::Wrong { locked, delay }
    }

    /// Forgets the failures of who presented a right credential that somebody else checked.
    pub fn succeeded(&mut self, who: Guesser) {
        self.lockout.succeeded(who);
    }
}

const fn limits(settings: &AuthSettings) -> LockoutLimits {
    LockoutLimits {
        max_attempts: settings.max_attempts,
        window: settings.window,
        lockout: settings.lockout,
        max_tracked: settings.max_tracked,
        exempt_local: settings.exempt_loopback,
    }
}

impl Guesser {
    /// Who is counted when a credential is wrong: an address; on this machine a web page (by its origin), since any page can
    /// reach a loopback port, or all programs together.
    #[must_use]
    pub fn of(scope: Scope, client: Client, origin: Option<&str>) -> Self {
        let source = match client {
            Client::Local(_) => origin.map_or(Source::LocalProgram, |origin| {
                let mut short = [0; 16];
                short
                    .iter_mut()
                    .zip(digest(&[origin.as_bytes()]))
                    .for_each(|(to, from)| *to = from);
                Source::LocalPage(short)
            }),
            Client::Remote(address) => Source::Address(AddressGroup::of_address(address)),
            Client::Unknown => Source::Unknown,
        };
        Self { scope, source }
    }

    /// How logs name who is counted; `origin`: the one that it was made of.
    #[must_use]
    pub fn name(&self, origin: Option<&str>) -> String {
        match self.source {
            Source::Address(group) => alloc::format!("{group}"),
            Source::LocalPage(_) => {
                let origin: String = origin.unwrap_or_default().chars().take(200).collect();
                alloc::format!("browser-origin:{origin}")
            }
            Source::LocalProgram => String::from("this machine"),
            Source::Unknown => String::from("unknown"),
        }
    }
}

/// Who is counted for a wrong shared secret when no proxy is between.
#[must_use]
pub fn guesser(peer: Peer, origin: Option<&str>) -> Guesser {
    Guesser::of(Scope::SharedSecret, Client::of_peer(peer), origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seed;
    use crate::secret::Secret;

    fn settings() -> AuthSettings {
        AuthSettings {
            tokens: Some(alloc::vec![Secret::new("right-token".into())]),
            max_attempts: 2,
            ..AuthSettings::default()
        }
    }

    fn peer(address: &str) -> Peer {
        Peer::Tcp(address.parse().unwrap())
    }

    const WRONG: Verdict = Verdict::Wrong {
        locked: None,
        delay: Duration::ZERO,
    };

    #[test]
    fn a_locked_guesser_is_not_listened_to() {
        let mut random = Random::new(Seed([1; 32]));
        let settings = settings();
        let mut auth = Authenticator::new(&settings, &mut random);
        let now = Instant::ZERO;
        let stranger = guesser(peer("192.0.2.1:1"), None);
        assert_eq!(auth.verify(now, stranger, "wrong"), WRONG);
        let locks = Verdict::Wrong {
            locked: Some(settings.lockout),
            delay: Duration::ZERO,
        };
        assert_eq!(auth.verify(now, stranger, "wrong"), locks);
        assert_eq!(
            auth.verify(now, stranger, "right-token"),
            Verdict::LockedOut(settings.lockout)
        );
        assert_eq!(auth.judge(now, stranger, None), Verdict::LockedOut(settings.lockout));
        assert_eq!(auth.locked(), 1);
        let stricter = AuthSettings {
            max_attempts: 1,
            ..settings.clone()
        };
        auth.reconfigure(&stricter, &mut random);
        let other = guesser(peer("192.0.2.9:1"), None);
        assert!(matches!(
            auth.verify(now, other, "wrong"),
            Verdict::Wrong { locked: Some(_), .. }
        ));
    }

    #[test]
    fn this_machine_is_slowed_down_and_its_pages_are_locked_out() {
        let mut auth = Authenticator::new(&settings(), &mut Random::new(Seed([1; 32])));
        let now = Instant::ZERO;
        let local = peer("127.0.0.1:1");
        for millis in [250, 500, 1_000, 2_000, 4_000, 5_000] {
            let waits = Verdict::Wrong {
                locked: None,
                delay: Duration::from_millis(millis),
            };
            assert_eq!(auth.verify(now, guesser(local, None), "wrong"), waits);
        }
        assert_eq!(auth.verify(now, guesser(local, None), "right-token"), Verdict::Right);
        let origin = Some("http://localhost:3000");
        let page = guesser(local, origin);
        assert_eq!(page.name(origin), "browser-origin:http://localhost:3000");
        assert_eq!(auth.verify(now, page, "wrong"), WRONG);
        auth.verify(now, page, "wrong");
        assert!(matches!(auth.verify(now, page, "right-token"), Verdict::LockedOut(_)));
        assert_eq!(
            auth.verify(now, guesser(local, Some("http://localhost:4000")), "right-token"),
            Verdict::Right
        );
    }

    #[test]
    fn what_is_missing_is_not_counted() {
        let mut random = Random::new(Seed([1; 32]));
        let mut auth = Authenticator::new(&settings(), &mut random);
        let now = Instant::ZERO;
        let stranger = guesser(peer("192.0.2.1:1"), None);
        for _ in 0..20 {
            assert_eq!(auth.judge(now, stranger, None), Verdict::Missing);
            assert_eq!(auth.judge(now, stranger, Some("")), Verdict::Missing);
        }
        assert_eq!(auth.judge(now, stranger, Some("right-token")), Verdict::Right);
        auth.reconfigure(&AuthSettings::default(), &mut random);
        for _ in 0..20 {
            assert_eq!(auth.judge(now, stranger, Some("any")), Verdict::NotConfigured);
        }
    }

    #[test]
    fn guessers_are_counted_by_network_and_behind_proxies_by_client() {
        let scope = Scope::SharedSecret;
        let of = |address: &str| {
            Guesser::of(
                scope,
                Client::Remote(address.parse().unwrap()),
                Some("https://a.example"),
            )
        };
        assert_eq!(of("2001:db8::1"), of("2001:db8::2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), guesser(peer("192.0.2.1:9"), None));
        assert_eq!(of("2001:db8::1").name(None), "2001:db8::/64");
        assert_eq!(Guesser::of(scope, Client::Unknown, None).name(None), "unknown");
    }

    #[test]
    fn reasons_and_messages() {
        let told = |verdict: Verdict, credential| {
            (
                verdict.reason(credential).unwrap_or_default(),
                verdict.code(credential).unwrap_or_default(),
            )
        };
        let (token, password) = (Credential::Token, Credential::Password);
        assert_eq!(told(Verdict::Right, token), ("", ""));
        assert_eq!(told(Verdict::Missing, token), ("token_missing", "AUTH_TOKEN_MISSING"));
        assert_eq!(told(WRONG, token), ("token_mismatch", "AUTH_TOKEN_MISMATCH"));
        assert_eq!(told(WRONG, password), ("password_mismatch", "AUTH_PASSWORD_MISMATCH"));
        assert_eq!(
            told(Verdict::NotConfigured, token),
            ("token_missing_config", "AUTH_TOKEN_NOT_CONFIGURED")
        );
        assert_eq!(
            told(Verdict::LockedOut(Duration::ZERO), password),
            ("rate_limited", "AUTH_RATE_LIMITED")
        );
        assert_eq!(
            Verdict::Missing.message(token),
            Some("unauthorized: gateway token missing (provide gateway auth token)")
        );
    }
}
