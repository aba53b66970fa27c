//! Crashes: clients run agents, the gateway is killed with SIGKILL at a random moment and started again on the same state,
//! and then every promise about what it has acknowledged is checked. All choices come from one seed; the moment of the kill
//! against the gateway's own work does not, so that a failure is found again by repeating rounds, not by the seed alone.

mod audit;
mod client;
mod dice;
mod house;
mod ledger;
pub mod relay;

use crate::child::Program;
use dice::Dice;
use house::House;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How the gateway is started.
    pub program: Program,
    /// How often two gateways are killed: one with the built-in agent, one with a program.
    pub rounds: u32,
    /// The seed of every choice.
    pub seed: u64,
}

/// What happened, for people to judge whether enough did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Kills.
    pub kills: u64,
    /// Runs that were acknowledged before a kill.
    pub acknowledged: u64,
    /// Replays that were compared with what was acknowledged.
    pub replays: u64,
    /// Runs that a kill interrupted, as far as their clients know.
    pub interrupted: u64,
    /// Those of them that had been done already: only their answer was lost.
    pub answer_lost: u64,
    /// Turns in a transcript of runs that were never acknowledged; their requests were answered later by another run.
    pub extra_turns: u64,
    /// Lines that were torn, by the kill or by us.
    pub torn_lines: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.kills += other.kills;
        self.acknowledged += other.acknowledged;
        self.replays += other.replays;
        self.interrupted += other.interrupted;
        self.answer_lost += other.answer_lost;
        self.extra_turns += other.extra_turns;
        self.torn_lines += other.torn_lines;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} kills, {} runs acknowledged, {} replays equal, {} runs interrupted ({} of them done but not answered), \
             {} extra turns of interrupted runs, {} torn lines",
            self.kills,
            self.acknowledged,
            self.replays,
            self.interrupted,
            self.answer_lost,
            self.extra_turns,
            self.torn_lines
        )
    }
}

/// Carries the plan out; `hear` is told about each round.
///
/// # Errors
/// The first promise that was broken, with the seed and the round.
pub fn run(plan: &Plan, hear: &mut dyn FnMut(&str)) -> Result<Tally, String> {
    let mut dice = Dice::new(plan.seed);
    let mut houses = [House::open(&plan.program, false)?, House::open(&plan.program, true)?];
    let mut all = Tally::default();
    for round in 1..=plan.rounds {
        for house in &mut houses {
            let tally = house
                .round(round, &mut dice)
                .map_err(|why| format!("seed {}, round {round}, {}: {why}", plan.seed, house.name()))?;
            hear(&format!("round {round}, {}: {tally}", house.name()));
            all += tally;
        }
    }
    for house in &mut houses {
        all.replays += house
            .replay_everything()
            .map_err(|why| format!("seed {}, at the end, {}: {why}", plan.seed, house.name()))?;
    }
    Ok(all)
}

/// A seed for who names none.
#[must_use]
pub fn seed_of_the_moment() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_nanos() as u64)
}
