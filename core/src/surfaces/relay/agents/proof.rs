//! What an agent shows with each frame: the transport token of its connection and a number that grows. Agents that
//! predate tokens are let through until they have shown that they know them, unless the settings are strict.

use alloc::string::String;
use core::time::Duration;

use subtle::ConstantTimeEq;

use crate::json::{self, Object};
use crate::secret::Secret;
use crate::surfaces::relay::{envelope, transport};
use crate::time::{Instant, Now, UnixMillis};

/// The tokens of one connection.
#[derive(Debug)]
pub(in crate::surfaces::relay) struct Proof {
    /// The connection's name.
    pub(in crate::surfaces::relay) name: String,
    current: Issued,
    previous: Option<Issued>,
    /// When a fresh one is sent.
    pub(in crate::surfaces::relay) renew_at: Instant,
    knows_tokens: bool,
    /// It was told once that frames are dropped.
    told: bool,
    last: u64,
}

struct Issued {
    token: Secret,
    until: UnixMillis,
}

impl core::fmt::Debug for Issued {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Issued(until {})", self.until.0)
    }
}

/// How a frame stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::surfaces::relay) enum Shown {
    /// It may be looked at.
    Good,
    /// It is dropped, and the agent is told why: the first time.
    Tell(Violation),
    /// It is dropped.
    Drop,
}

/// What is wrong with a frame's proof, by its name.
pub(in crate::surfaces::relay) type Violation = &'static str;

impl Proof {
    pub(super) fn new(now: Now, secret: &Secret, device: &str, name: String, ttl: Duration) -> Self {
        Self {
            current: issue(now, secret, device, &name, ttl),
            name,
            previous: None,
            renew_at: now.monotonic.plus(ttl / 2),
            knows_tokens: false,
            told: false,
            last: 0,
        }
    }

    /// The token in force.
    pub(super) fn token(&self) -> &str {
        self.current.token.reveal()
    }

    /// Takes a fresh token; the one before is good until its own end.
    pub(in crate::surfaces::relay) fn renew(&mut self, now: Now, secret: &Secret, device: &str, ttl: Duration) {
        let fresh = issue(now, secret, device, &self.name, ttl);
        self.previous = Some(core::mem::replace(&mut self.current, fresh));
        self.renew_at = now.monotonic.plus(ttl / 2);
    }

    /// The agent said that it knows tokens.
    pub(in crate::surfaces::relay) const fn announced(&mut self) {
        self.knows_tokens = true;
    }

    /// Looks at a frame's proof.
    pub(in crate::surfaces::relay) fn check(
        &mut self,
        now: Now,
        secret: &Secret,
        device: &str,
        strict: bool,
        frame: &Object<'_>,
    ) -> Shown {
        let violation = match self.violation(now.wall, secret, device, strict, frame) {
            Ok(()) => return Shown::Good,
            Err(violation) => violation,
        };
        if core::mem::replace(&mut self.told, true) {
            Shown::Drop
        } else {
            Shown::Tell(violation)
        }
    }

    fn violation(
        &mut self,
        now: UnixMillis,
        secret: &Secret,
        device: &str,
        strict: bool,
        frame: &Object<'_>,
    ) -> Result<(), Violation> {
        let token = frame.get("transport_token").and_then(json::string);
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return if self.knows_tokens || strict {
                Err("missing_transport_token")
            } else {
                Ok(())
            };
        };
        // What was issued here needs no second look at its signature.
        let is_issued = |issued: &Issued| {
            let same = issued.token.reveal().as_bytes().ct_eq(token.as_bytes());
            bool::from(same) && now < issued.until
        };
        if !is_issued(&self.current) && !self.previous.as_ref().is_some_and(is_issued) {
            transport::verify(secret, device, &self.name, now, &token).map_err(transport::TokenFault::text)?;
        }
        self.knows_tokens = true;
        let number = frame.get("t_seq").and_then(|number| envelope::integer(number.get()));
        let number = number.ok_or("invalid_t_seq")?;
        if number <= self.last {
            return Err("transport_replay_detected");
        }
        self.last = number;
        Ok(())
    }
}

/// Tokens end at whole seconds.
fn issue(now: Now, secret: &Secret, device: &str, name: &str, ttl: Duration) -> Issued {
    let until = UnixMillis((now.wall.0 / 1_000) * 1_000).plus(ttl);
    Issued {
        token: Secret::new(transport::issue(secret, device, name, until)),
        until,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(3_600);

    fn at(seconds: u64) -> Now {
        Now {
            monotonic: Instant::from_millis(seconds * 1_000),
            wall: UnixMillis(1_795_187_180_000 + seconds * 1_000),
        }
    }

    fn secret() -> Secret {
        Secret::new("s".into())
    }

    fn shown(proof: &mut Proof, seconds: u64, strict: bool, fields: &str) -> Shown {
        let text = alloc::format!("{{\"type\":\"session.result\"{fields}}}");
        proof.check(at(seconds), &secret(), "dev_1", strict, &Object::parse(&text).unwrap())
    }

    fn with(token: &str, number: &str) -> String {
        alloc::format!(",\"transport_token\":\"{token}\",\"t_seq\":{number}")
    }

    fn proof() -> (Proof, String) {
        let proof = Proof::new(at(0), &secret(), "dev_1", "agt:1".into(), TTL);
        let token = proof.token().into();
        (proof, token)
    }

    #[test]
    fn an_agent_that_never_showed_a_token_needs_none_unless_it_is_strict() {
        let (mut first, _) = proof();
        assert_eq!(shown(&mut first, 0, false, ""), Shown::Good);
        first.announced();
        assert_eq!(shown(&mut first, 0, false, ""), Shown::Tell("missing_transport_token"));
        assert_eq!(shown(&mut first, 0, false, ""), Shown::Drop);
        let (mut strict, _) = proof();
        assert_eq!(shown(&mut strict, 0, true, ""), Shown::Tell("missing_transport_token"));
    }

    #[test]
    fn one_good_token_and_they_are_asked_for_from_then_on() {
        let (mut proof, token) = proof();
        assert_eq!(shown(&mut proof, 0, false, &with(&token, "1")), Shown::Good);
        assert_eq!(shown(&mut proof, 0, false, &with(&token, "5")), Shown::Good);
        assert_eq!(
            shown(&mut proof, 0, false, &with(&token, "5")),
            Shown::Tell("transport_replay_detected")
        );
        assert_eq!(shown(&mut proof, 0, false, ""), Shown::Drop);
        assert_eq!(shown(&mut proof, 0, false, &with(&token, "6")), Shown::Good);
    }

    #[test]
    fn each_wrong_proof() {
        for (fields, violation) in [
            (with("x", "1"), "malformed_token"),
            (with("AAAA.AAAA", "1"), "invalid_signature"),
            (
                with(&transport::issue(&secret(), "dev_1", "agt:2", at(100).wall), "1"),
                "connection_id_mismatch",
            ),
            (
                with(&transport::issue(&secret(), "dev_2", "agt:1", at(100).wall), "1"),
                "device_id_mismatch",
            ),
        ] {
            let (mut proof, _) = proof();
            assert_eq!(shown(&mut proof, 0, false, &fields), Shown::Tell(violation));
        }
        for number in ["0", "\"1\"", "1.5", "null", "-1"] {
            let (mut proof, token) = proof();
            assert_eq!(
                shown(&mut proof, 0, false, &with(&token, number)),
                Shown::Tell("invalid_t_seq"),
                "{number}"
            );
        }
    }

    #[test]
    fn a_fresh_token_comes_at_half_life_and_the_old_one_lives_out_its_time() {
        let (mut proof, old) = proof();
        assert_eq!(proof.renew_at, at(1_800).monotonic);
        proof.renew(at(1_800), &secret(), "dev_1", TTL);
        let fresh: String = proof.token().into();
        assert_ne!(old, fresh);
        assert_eq!(shown(&mut proof, 3_599, false, &with(&old, "1")), Shown::Good);
        assert_eq!(shown(&mut proof, 3_599, false, &with(&fresh, "2")), Shown::Good);
        assert_eq!(
            shown(&mut proof, 3_600, false, &with(&old, "3")),
            Shown::Tell("token_expired")
        );
        assert_eq!(shown(&mut proof, 3_600, false, &with(&fresh, "3")), Shown::Good);
        assert_eq!(proof.renew_at, at(3_600).monotonic);
    }
}
