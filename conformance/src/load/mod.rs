//! The load client: puts a gateway in a child process under load over loopback and tells what that cost the gateway. Its
//! WebSocket framing is its own and minimal, so that the client is not the bottleneck. Every scenario ends after a number
//! of requests or a time, whichever comes first.

mod closed_loop;
mod flood;
pub mod floor;
mod idle;
pub(crate) mod link;
mod measure;
mod reconnect;
mod relay;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::child::{Child, Program};
use measure::Usage;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How the gateway is started.
    pub gateway: Program,
    /// How the raw TCP echo is started.
    pub floor: Program,
    /// The scenarios, by name; all when empty.
    pub scenarios: Vec<String>,
    /// Connections of `health` and `http`.
    pub connections: usize,
    /// Requests in flight on each connection of `health`.
    pub in_flight: usize,
    /// Requests of `health`, `http` and the floor; a tenth of them are the rounds of `connect`, a fifth the messages of `relay`.
    pub requests: u64,
    /// Connections of `idle` and agents of `relay-idle`.
    pub idle: usize,
    /// The longest that one scenario may take.
    pub at_most: Duration,
}

/// The scenarios in the order in which they are run.
pub const SCENARIOS: [&str; 7] = ["health", "http", "connect", "idle", "flood", "relay", "relay-idle"];

/// What one scenario showed.
#[derive(Clone, Debug, Default)]
pub struct Measurement {
    /// What was done.
    pub name: String,
    /// How many times.
    pub count: u64,
    /// How long it took.
    pub wall: Duration,
    /// Processor time of the server.
    pub cpu: Duration,
    /// Half of the answers came within this.
    pub p50: Duration,
    /// 99 of 100 did.
    pub p99: Duration,
    /// Processor time of the floor for one, where this scenario has a floor.
    pub floor: Option<Duration>,
    /// Resident bytes of the server at the end.
    pub resident: u64,
    /// Further figures, by name.
    pub more: Vec<(&'static str, String)>,
}

impl Measurement {
    /// Server processor seconds per million.
    #[must_use]
    pub fn cpu_per_million(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.cpu.as_secs_f64() * 1e6 / self.count as f64
        }
    }

    /// How many times the floor's processor time it took.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let floor = self.floor?.as_secs_f64() * 1e6;
        (floor > 0.0).then(|| self.cpu_per_million() / floor)
    }
}

/// Runs the plan; `hear` is told each measurement as it is made.
///
/// # Errors
/// Why a server did not start or a scenario could not go on.
pub fn run(plan: &Plan, hear: &mut dyn FnMut(&Measurement)) -> Result<Vec<Measurement>, String> {
    measure::raise_file_limit();
    if let Some(unknown) = plan.scenarios.iter().find(|name| !SCENARIOS.contains(&name.as_str())) {
        return Err(format!("{unknown:?} is no scenario: {}", SCENARIOS.join(", ")));
    }
    let mut all = Vec::new();
    for name in SCENARIOS {
        if plan.scenarios.is_empty() || plan.scenarios.iter().any(|wanted| wanted == name) {
            for measurement in scenario(name, plan)? {
                hear(&measurement);
                all.push(measurement);
            }
        }
    }
    Ok(all)
}

fn scenario(name: &str, plan: &Plan) -> Result<Vec<Measurement>, String> {
    match name {
        "health" => {
            let mut all = beside(|| health(plan, 1), || raw_echo(plan, 1))?;
            if plan.in_flight > 1 {
                all.extend(beside(
                    || health(plan, plan.in_flight),
                    || raw_echo(plan, plan.in_flight),
                )?);
            }
            Ok(all)
        }
        "http" => beside(|| http(plan), || raw_echo(plan, 1)),
        "relay" => relay::messages(plan),
        "relay-idle" => relay::idle(plan),
        "connect" => beside(|| connect(plan), || raw_connect(plan)),
        "idle" => with_gateway(plan, &[], |child| idle::hold(child, plan.idle, plan.at_most)).map(|one| vec![one]),
        _ => {
            let mut child = start(plan, &["gateway.rateLimitPerMinute=100000000"])?;
            flood::flood(&child, plan.at_most)
                .map(|one| vec![one])
                .map_err(|failure| child.explain(&failure))
        }
    }
}

/// A scenario and its floor, each measured twice in turns: the better of both counts, since a busy machine only ever adds.
fn beside(
    scenario: impl Fn() -> Result<Measurement, String>,
    floor: impl Fn() -> Result<Measurement, String>,
) -> Result<Vec<Measurement>, String> {
    let (first, below) = (scenario()?, floor()?);
    let mut best = better(first, scenario()?);
    let below = better(below, floor()?);
    best.floor = Some(Duration::from_secs_f64(below.cpu_per_million() / 1e6));
    Ok(vec![best, below])
}

fn better(one: Measurement, other: Measurement) -> Measurement {
    if other.cpu_per_million() < one.cpu_per_million() {
        other
    } else {
        one
    }
}

fn http(plan: &Plan) -> Result<Measurement, String> {
    with_gateway(plan, &[], |child| {
        closed_loop::http(child.address(), plan.connections, plan.requests, plan.at_most)
    })
}

fn connect(plan: &Plan) -> Result<Measurement, String> {
    with_gateway(plan, &[], |child| {
        reconnect::rounds(child.address(), plan.requests / 10, plan.at_most)
    })
}

/// The same lives of connections with a server that only echoes: what the system alone costs for them.
fn raw_connect(plan: &Plan) -> Result<Measurement, String> {
    let mut child = Child::start(&plan.floor, Vec::new(), false)?;
    metered(&mut child, |child| {
        reconnect::raw_rounds(child.address(), plan.requests / 10, plan.at_most)
    })
}

fn health(plan: &Plan, in_flight: usize) -> Result<Measurement, String> {
    with_gateway(plan, &[], |child| {
        closed_loop::health(
            child.address(),
            plan.connections,
            in_flight,
            plan.requests,
            plan.at_most,
        )
    })
}

/// The same messages through a server that does nothing but echo bytes: what the sockets alone cost.
fn raw_echo(plan: &Plan, in_flight: usize) -> Result<Measurement, String> {
    let mut child = Child::start(&plan.floor, Vec::new(), false)?;
    metered(&mut child, |child| {
        closed_loop::raw(
            child.address(),
            plan.connections,
            in_flight,
            plan.requests,
            plan.at_most,
        )
    })
}

/// Settings under which only the machine is the limit.
const NO_LIMITS: [&str; 5] = [
    "gateway.rateLimitPerMinute=100000000",
    "gateway.maxInFlight=100000",
    "gateway.maxConnections=100000",
    "gateway.maxConnectionsPerAddress=100000",
    "gateway.tickIntervalMs=3600000",
];

fn start(plan: &Plan, set: &[&str]) -> Result<Child, String> {
    let args = set
        .iter()
        .flat_map(|set| ["--set".to_owned(), (*set).to_owned()])
        .collect();
    Child::start(&plan.gateway, args, true)
}

fn with_gateway(
    plan: &Plan,
    set: &[&str],
    work: impl FnOnce(&Child) -> Result<Measurement, String>,
) -> Result<Measurement, String> {
    let set: Vec<&str> = NO_LIMITS.iter().chain(set).copied().collect();
    metered(&mut start(plan, &set)?, work)
}

/// Does the work and fills in what it cost the child, unless the work has measured that itself.
fn metered(child: &mut Child, work: impl FnOnce(&Child) -> Result<Measurement, String>) -> Result<Measurement, String> {
    let before = Usage::of(child.id())?;
    let mut measurement = work(child).map_err(|failure| child.explain(&failure))?;
    let after = Usage::of(child.id())?;
    if measurement.cpu.is_zero() {
        measurement.cpu = after.cpu.saturating_sub(before.cpu);
    }
    measurement.resident = after.resident;
    Ok(measurement)
}

/// The measurements as a table for a terminal.
#[must_use]
pub fn table(measurements: &[Measurement]) -> String {
    let mut text = format!(
        "{:<38} {:>9} {:>10} {:>12} {:>9} {:>9} {:>9} {:>10}\n",
        "scenario", "count", "per s", "CPU s / 1e6", "x floor", "p50 us", "p99 us", "RSS KiB"
    );
    for one in measurements {
        let rate = one.count as f64 / one.wall.as_secs_f64().max(1e-9);
        text += &format!(
            "{:<38} {:>9} {:>10.0} {:>12.2} {:>9} {:>9} {:>9} {:>10}\n",
            one.name,
            one.count,
            rate,
            one.cpu_per_million(),
            one.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            one.p50.as_micros(),
            one.p99.as_micros(),
            one.resident / 1024
        );
        one.more
            .iter()
            .for_each(|(name, value)| text += &format!("    {name}: {value}\n"));
    }
    text
}

/// The measurements for programs.
#[must_use]
pub fn json(measurements: &[Measurement]) -> Value {
    let item = |one: &Measurement| {
        let more: serde_json::Map<_, _> = one
            .more
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        json!({
            "scenario": one.name, "count": one.count, "wallSeconds": one.wall.as_secs_f64(),
            "cpuSeconds": one.cpu.as_secs_f64(), "cpuSecondsPerMillion": one.cpu_per_million(), "timesFloor": one.ratio(),
            "p50Micros": one.p50.as_micros() as u64, "p99Micros": one.p99.as_micros() as u64,
            "residentBytes": one.resident, "more": more
        })
    };
    measurements.iter().map(item).collect()
}

/// The usual address of a listener on this machine.
fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
