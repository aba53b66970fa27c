//! Messages through the relay: a client's prompt by `POST` to the agent's socket and the agent's answer on the client's
//! event stream. One message is both: 200 bytes there and 200 bytes back, sealed in form only, since the relay cannot open
//! what is sealed. Beside it the echo of as many round trips, and agents that are connected and idle.

mod idle;
mod pair;
mod setup;
mod turns;

use std::time::Duration;

use super::{Measurement, Plan, beside, closed_loop, metered};
use crate::child::Child;

/// Agents, each with one session and one message under way.
const AGENTS: usize = 16;
/// Requests of the plan for each message: a message is more than one of them.
const FEWER: u64 = 5;
/// The same for one agent alone.
const FEWER_ALONE: u64 = 50;

/// Limits under which only the machine is the limit, and a key. Durability is as it always is.
const ENVIRONMENT: [(&str, &str); 7] = [
    ("JWT_SIGNING_KEY", "load-signing-key-0123456789abcdef"),
    ("DOTENV_PATH", "-"),
    ("AUTH_MODE", "demo"),
    ("RELAY_OAUTH_LIMIT_PER_WINDOW", "1000000"),
    ("RELAY_MAX_CONNECTIONS", "100000"),
    ("RELAY_MAX_CONNECTIONS_PER_ADDRESS", "100000"),
    ("ACCESS_TOKEN_TTL_SECONDS", "36000"),
];

/// Messages with 16 agents beside the echo, then with one.
pub(super) fn messages(plan: &Plan) -> Result<Vec<Measurement>, String> {
    let total = plan.requests.div_ceil(FEWER);
    let mut all = beside(
        || with_relay(plan, |child| turns::run(child, AGENTS, total, plan.at_most)),
        || echoes(plan, total),
    )?;
    let alone = plan.requests.div_ceil(FEWER_ALONE);
    all.push(with_relay(plan, |child| turns::run(child, 1, alone, plan.at_most))?);
    Ok(all)
}

/// Agents that are connected and say nothing.
pub(super) fn idle(plan: &Plan) -> Result<Vec<Measurement>, String> {
    with_relay(plan, |child| idle::hold(child, plan.idle, plan.at_most)).map(|one| vec![one])
}

fn with_relay(plan: &Plan, work: impl FnOnce(&Child) -> Result<Measurement, String>) -> Result<Measurement, String> {
    let environment = ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut child = Child::relay(&plan.gateway, environment.into())?;
    setup::ready(child.address()).map_err(|why| child.explain(&why))?;
    metered(&mut child, work)
}

/// A message is two round trips for the server: one with the client, one with the agent.
fn echoes(plan: &Plan, total: u64) -> Result<Measurement, String> {
    let mut child = Child::start(&plan.floor, Vec::new(), false)?;
    let mut measured = metered(&mut child, |child| {
        let message = vec![b'm'; pair::USUAL_SIZE];
        closed_loop::echoes(child.address(), (AGENTS, 1), message, total * 2, plan.at_most)
    })?;
    measured.name = format!("raw TCP echo, {AGENTS} x 2 in turn");
    measured.count /= 2;
    measured.p50 = Duration::ZERO;
    measured.p99 = Duration::ZERO;
    Ok(measured)
}
