//! Crashes of a relay: users log in, share devices, open sessions and send messages, some to agents that are away; the relay
//! is killed at a random moment and started again on its state. What was acknowledged must be there: every login, device and
//! grant, every session, the stored answers, and each message at its agent, in order. Spec: `spec/relay.md` section 21.

mod agent;
mod house;
mod talk;
mod user;

use super::Plan;
use super::dice::Dice;
use house::House;

/// What happened, for people to judge whether enough did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Kills.
    pub kills: u64,
    /// Logins, renewals, devices, invitations, grants and handshakes that were acknowledged and looked for afterwards.
    pub records: u64,
    /// Messages that were acknowledged as forwarded.
    pub forwarded: u64,
    /// Messages that were acknowledged as waiting for their agents.
    pub queued: u64,
    /// Answers that were asked for again and were the same.
    pub replays: u64,
    /// Requests that a kill left without an answer.
    pub in_doubt: u64,
    /// Messages that an agent got twice: they were on their way when a kill came.
    pub sent_again: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.kills += other.kills;
        self.records += other.records;
        self.forwarded += other.forwarded;
        self.queued += other.queued;
        self.replays += other.replays;
        self.in_doubt += other.in_doubt;
        self.sent_again += other.sent_again;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} kills, {} records kept, {} messages forwarded, {} messages kept for agents, {} answers replayed, {} requests in doubt, \
             {} messages sent again",
            self.kills, self.records, self.forwarded, self.queued, self.replays, self.in_doubt, self.sent_again
        )
    }
}

/// Carries the plan out; `hear` is told about each round.
///
/// # Errors
/// The first promise that was broken, with the seed and the round.
pub fn run(plan: &Plan, hear: &mut dyn FnMut(&str)) -> Result<Tally, String> {
    let mut dice = Dice::new(plan.seed);
    let mut house = House::open(&plan.program)?;
    let mut all = Tally::default();
    for round in 1..=plan.rounds {
        let tally = house
            .round(&mut dice)
            .map_err(|why| house.explain(&format!("seed {}, round {round}: {why}", plan.seed)))?;
        hear(&format!("round {round}: {tally}"));
        all += tally;
    }
    Ok(all)
}
