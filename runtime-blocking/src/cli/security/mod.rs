//! `security audit`, `security monitor`, `audit` and `audit verify`: look at a gateway from outside. They change nothing but
//! the note of when the monitor looked last. What is found good or bad is decided in the core. Spec: `spec/audit.md`.

mod audit;
mod facts;
mod monitor;
mod verify;

pub(super) use facts::reachable;

use super::commands::SecurityCommand;
use super::{Process, Refusal};

/// Nothing critical was found; one was; the command itself failed.
const CLEAN: u8 = 0;
const FOUND: u8 = 1;
const FAILED: u8 = 2;

/// Carries the command out; its exit status.
pub(super) fn run(command: &SecurityCommand, process: &mut Process) -> Result<u8, Refusal> {
    super::logging::start(super::logging::level(false, None));
    let done = match command.action.as_deref() {
        None | Some("audit") => audit::run(command, process),
        Some("monitor") => monitor::run(command, process),
        Some("verify") => verify::run(command, process),
        Some(_) => Err("security: the actions are audit, monitor and verify.".into()),
    };
    done.map_err(|refusal| Refusal {
        status: FAILED,
        ..refusal
    })
}
