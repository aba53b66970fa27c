//! What a gateway has acknowledged survives SIGKILL at any moment, on both runtimes.

use std::path::PathBuf;

use portcullis_conformance::crash::{self, Plan};
use portcullis_conformance::serve::{self, Runtime};

fn survives(runtime: Runtime) {
    let plan = Plan {
        program: serve::own(PathBuf::from(env!("CARGO_BIN_EXE_portcullis-conformance")), runtime),
        rounds: 4,
        seed: crash::seed_of_the_moment(),
    };
    println!("seed {}", plan.seed);
    let tally = crash::run(&plan, &mut |line| println!("{line}")).unwrap_or_else(|why| panic!("{why}"));
    assert!(
        tally.kills == 8 && tally.acknowledged > 0,
        "too little happened: {tally}"
    );
}

#[test]
fn the_smol_runtime_survives() {
    survives(Runtime::Smol);
}

#[test]
fn the_blocking_runtime_survives() {
    survives(Runtime::Blocking);
}
