//! What the control surface keeps for one connection, and when it wants to be looked at: how many messages showed no
//! good token, how fast messages may come, when the client last gave a sign of life.
//! Spec: `spec/control.md` sections 2 and 6.

use core::time::Duration;

use crate::limits::lockout::Guesser;
use crate::policy::forwarded::Client;
use crate::settings::GatewaySettings;
use crate::time::Instant;

/// Between two pings.
pub(super) const PING_EVERY: Duration = Duration::from_secs(25);
/// From a ping to the end of a connection on which nothing came since.
pub(super) const PONG_PATIENCE: Duration = Duration::from_secs(60);

/// A client's connection, from the upgrade to its end.
#[derive(Debug)]
pub struct Session {
    pub(super) client: Client,
    /// Who is counted when a token is wrong.
    pub(super) guesser: Guesser,
    pub(super) stage: Stage,
    /// Messages in a row without a good token.
    pub(super) unauthorised: u32,
    /// The same in all, for the report.
    pub(super) unauthorised_in_all: u64,
    /// A command has no answer yet.
    pub(super) busy: bool,
    /// When as many messages as a burst may hold can be taken again; each message moves it.
    full_at: Instant,
    not_before: Instant,
    /// Until its first good token: when the next message must have come. After it: when the next ping is due.
    next: Instant,
    /// When the oldest ping that nothing came after was sent.
    unanswered_since: Option<Instant>,
}

/// How far a client has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Its address may not connect: nothing it says is read.
    Rejected,
    /// It has shown no good token.
    Unproven,
    /// It has.
    Proven,
}

/// What follows when a session's time has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Go on.
    Keep,
    /// The client is not there any more: drop the connection.
    Drop,
}

/// What the clock asks of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Alarm {
    Nothing,
    /// It said nothing for too long.
    Silent,
    Ping,
    /// Nothing came after a ping.
    Gone,
}

impl Session {
    pub(super) fn new(now: Instant, client: Client, guesser: Guesser, stage: Stage, patience: Duration) -> Self {
        Self {
            client,
            guesser,
            stage,
            unauthorised: 0,
            unauthorised_in_all: 0,
            busy: false,
            full_at: now,
            not_before: Instant::ZERO,
            next: now.plus(patience),
            unanswered_since: None,
        }
    }

    /// Whether the client has shown a good token.
    #[must_use]
    pub const fn is_authenticated(&self) -> bool {
        matches!(self.stage, Stage::Proven)
    }

    /// When the next message may be taken; the end of time while a command has no answer yet.
    #[must_use]
    pub const fn not_before(&self) -> Instant {
        if self.busy { Instant::END } else { self.not_before }
    }

    /// The command that had no answer yet has one.
    pub const fn released(&mut self) {
        self.busy = false;
    }

    /// Something came: a pong, a ping, a message.
    pub const fn heard(&mut self) {
        self.unanswered_since = None;
    }

    /// When [`Control::due`](super::Control::due) wants to be called.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        match self.stage {
            Stage::Rejected => Instant::END,
            Stage::Unproven => self.next,
            Stage::Proven => self.given_up_at().map_or(self.next, |at| at.min(self.next)),
        }
    }

    /// A message is being taken: further ones wait once a minute's worth of them came in a burst.
    pub(super) fn take_message(&mut self, now: Instant, settings: &GatewaySettings) {
        self.heard();
        let burst = settings.rate_limit_per_minute.max(1);
        let each = Duration::from_secs(60) / burst;
        self.full_at = self.full_at.max(now).plus(each);
        self.not_before = self.full_at.minus(each.saturating_mul(burst - 1));
        if self.stage == Stage::Unproven {
            self.next = now.plus(settings.handshake_timeout);
        }
    }

    /// The token was good; whether it is the first one.
    pub(super) fn proven(&mut self, now: Instant) -> bool {
        self.unauthorised = 0;
        let first = self.stage != Stage::Proven;
        if first {
            self.stage = Stage::Proven;
            self.next = now.plus(PING_EVERY);
        }
        first
    }

    /// There was no good token; whether so many in a row are still answered.
    pub(super) const fn unproven(&mut self, most: u32) -> bool {
        self.unauthorised_in_all = self.unauthorised_in_all.saturating_add(1);
        self.unauthorised = self.unauthorised.saturating_add(1);
        self.unauthorised <= most
    }

    /// What is to be done now.
    pub(super) fn alarm(&mut self, now: Instant) -> Alarm {
        match self.stage {
            Stage::Rejected => Alarm::Nothing,
            Stage::Unproven if self.next <= now => {
                self.next = Instant::END;
                Alarm::Silent
            }
            Stage::Proven if self.given_up_at().is_some_and(|at| at <= now) => Alarm::Gone,
            Stage::Proven if self.next <= now => {
                self.next = now.plus(PING_EVERY);
                self.unanswered_since.get_or_insert(now);
                Alarm::Ping
            }
            Stage::Unproven | Stage::Proven => Alarm::Nothing,
        }
    }

    fn given_up_at(&self) -> Option<Instant> {
        self.unanswered_since.map(|since| since.plus(PONG_PATIENCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::lockout::Scope;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    fn session() -> Session {
        {
            let client = Client::Local(None);
            let guesser = Guesser::of(Scope::ControlJwt, client, None);
            Session::new(at(0), client, guesser, Stage::Unproven, Duration::from_secs(10))
        }
    }

    #[test]
    fn a_client_that_says_nothing_is_closed_after_ten_seconds_and_a_message_gives_ten_more() {
        let mut session = session();
        assert_eq!(session.deadline(), at(10));
        session.take_message(at(9), &GatewaySettings::default());
        assert_eq!((session.alarm(at(10)), session.deadline()), (Alarm::Nothing, at(19)));
        assert_eq!(session.alarm(at(19)), Alarm::Silent);
        assert_eq!(session.alarm(at(20)), Alarm::Nothing, "it is told once");
    }

    #[test]
    fn pings_every_25_seconds_and_the_end_60_seconds_after_the_first_without_an_answer() {
        let mut session = session();
        assert!(session.proven(at(5)) && !session.proven(at(6)));
        assert_eq!(session.deadline(), at(30));
        assert_eq!(session.alarm(at(30)), Alarm::Ping);
        session.heard();
        assert_eq!(session.alarm(at(55)), Alarm::Ping);
        assert_eq!(session.alarm(at(80)), Alarm::Ping);
        assert_eq!((session.alarm(at(105)), session.deadline()), (Alarm::Ping, at(115)));
        assert_eq!(session.alarm(at(114)), Alarm::Nothing);
        assert_eq!(session.alarm(at(115)), Alarm::Gone);
    }

    #[test]
    fn a_minutes_worth_of_messages_comes_at_once_and_the_next_ones_evenly() {
        let settings = GatewaySettings {
            rate_limit_per_minute: 3,
            ..GatewaySettings::default()
        };
        let mut session = session();
        for _ in 0..2 {
            session.take_message(at(100), &settings);
            assert!(session.not_before() <= at(100));
        }
        for waits in [120, 140] {
            session.take_message(at(100), &settings);
            assert_eq!(session.not_before(), at(waits));
        }
        session.take_message(at(1_000), &settings);
        assert!(session.not_before() <= at(1_000));
        session.busy = true;
        assert_eq!(session.not_before(), Instant::END);
        session.released();
        assert!(session.not_before() <= at(1_000));
    }
}
