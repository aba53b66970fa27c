//! `load`: measures a gateway under load, beside a raw TCP echo.

use std::path::PathBuf;
use std::time::Duration;

use argh::FromArgs;
use portcullis_conformance::load::{self, Plan};
use portcullis_conformance::serve::{self, Runtime};

/// put a gateway under load and tell what it costs; scenarios: health, http, connect, idle, flood, relay, relay-idle
#[derive(FromArgs)]
#[argh(subcommand, name = "load")]
pub(super) struct Load {
    /// scenarios (default: all)
    #[argh(positional)]
    scenarios: Vec<String>,
    /// smol or blocking (default: smol)
    #[argh(option, default = "Runtime::Smol")]
    runtime: Runtime,
    /// the gateway program (default: the one beside this program, else this program's own)
    #[argh(option)]
    binary: Option<PathBuf>,
    /// connections of health and http (default: 64)
    #[argh(option, default = "64")]
    connections: usize,
    /// requests in flight on each connection in the second round of health (default: 16)
    #[argh(option, default = "16")]
    in_flight: usize,
    /// requests of each scenario; connect does a tenth of them, relay a fifth (default: 500000)
    #[argh(option, default = "500_000")]
    requests: u64,
    /// idle connections, idle agents (default: 5000)
    #[argh(option, default = "5_000")]
    idle: usize,
    /// the longest that one scenario may take, in seconds (default: 120)
    #[argh(option, default = "120")]
    seconds: u64,
    /// print JSON instead of the table
    #[argh(switch)]
    json: bool,
}

impl Load {
    pub(super) fn run(self) -> Result<bool, String> {
        let plan = Plan {
            gateway: serve::program_or_beside(self.runtime, self.binary.as_deref())?,
            floor: serve::floor_program()?,
            scenarios: self.scenarios,
            connections: self.connections.clamp(1, 10_000),
            in_flight: self.in_flight.clamp(1, 1_000),
            requests: self.requests.clamp(10, 100_000_000),
            idle: self.idle.clamp(1, 50_000),
            at_most: Duration::from_secs(self.seconds.clamp(1, 3_600)),
        };
        let measurements = load::run(&plan, &mut |one| eprintln!("measured: {}", one.name))?;
        if self.json {
            println!("{}", load::json(&measurements));
        } else {
            println!("gateway: {} ({})", plan.gateway.file.display(), self.runtime.name());
            print!("{}", load::table(&measurements));
        }
        Ok(true)
    }
}
