//! What a gateway or a relay has acknowledged survives SIGKILL at any moment, on both runtimes.

use std::path::PathBuf;

use portcullis_conformance::crash::{self, Plan, relay};
use portcullis_conformance::serve::{self, Runtime};

fn plan(runtime: Runtime, rounds: u32) -> Plan {
    let plan = Plan {
        program: serve::own(PathBuf::from(env!("CARGO_BIN_EXE_portcullis-conformance")), runtime),
        rounds,
        seed: crash::seed_of_the_moment(),
    };
    println!("seed {}", plan.seed);
    plan
}

fn survives(runtime: Runtime) {
    let plan = plan(runtime, 4);
    let tally = crash::run(&plan, &mut |line| println!("{line}")).unwrap_or_else(|why| panic!("{why}"));
    assert!(
        tally.kills == 8 && tally.acknowledged > 0,
        "too little happened: {tally}"
    );
}

/// Proves RL-320 and RL-322, and what RL-143, RL-145, RL-202, RL-221, RL-282 and RL-287 say about the disk.
fn a_relay_survives(runtime: Runtime) {
    let tally = relay::run(&plan(runtime, 5), &mut |line| println!("{line}")).unwrap_or_else(|why| panic!("{why}"));
    assert!(
        tally.kills == 5 && tally.records > 0 && tally.forwarded + tally.queued > 0,
        "too little happened: {tally}"
    );
}

#[test]
fn a_relay_on_the_smol_runtime_survives() {
    a_relay_survives(Runtime::Smol);
}

#[test]
fn a_relay_on_the_blocking_runtime_survives() {
    a_relay_survives(Runtime::Blocking);
}

#[test]
fn the_smol_runtime_survives() {
    survives(Runtime::Smol);
}

#[test]
fn the_blocking_runtime_survives() {
    survives(Runtime::Blocking);
}
