//! `crash`: kills a gateway again and again while clients work, and looks whether it keeps what it has acknowledged.

use std::path::PathBuf;

use argh::FromArgs;
use portcullis_conformance::crash::{self, Plan, relay};
use portcullis_conformance::serve::{self, Runtime};

/// kill -9 a gateway while clients run agents, restart it, and check that nothing acknowledged was lost or done twice
#[derive(FromArgs)]
#[argh(subcommand, name = "crash")]
pub(super) struct Crash {
    /// smol or blocking (default: smol)
    #[argh(option, default = "Runtime::Smol")]
    runtime: Runtime,
    /// the gateway program (default: this program's own)
    #[argh(option)]
    binary: Option<PathBuf>,
    /// a relay instead, while users log in, share devices and send messages
    #[argh(switch)]
    relay: bool,
    /// rounds; each kills two gateways, one with the built-in agent and one with a program, or
    /// one relay (default: 10)
    #[argh(option, default = "10")]
    rounds: u32,
    /// the seed of every choice (default: the time)
    #[argh(option)]
    seed: Option<u64>,
}

impl Crash {
    /// Whether every promise was kept.
    pub(super) fn run(self) -> Result<bool, String> {
        let seed = self.seed.unwrap_or_else(crash::seed_of_the_moment);
        println!("runtime {}, seed {seed}", self.runtime.name());
        let plan = Plan {
            program: serve::program(self.runtime.name(), self.binary.as_deref())?,
            rounds: self.rounds.clamp(1, 100_000),
            seed,
        };
        let mut hear = |line: &str| println!("{line}");
        if self.relay {
            println!("{}", relay::run(&plan, &mut hear)?);
        } else {
            println!("{}", crash::run(&plan, &mut hear)?);
        }
        Ok(true)
    }
}
