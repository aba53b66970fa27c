//! Every vector passes against the core in memory (in every splitting) and against both runtimes over real sockets.

use std::path::PathBuf;

use portcullis_conformance::report::{Counts, table};
use portcullis_conformance::run::run;
use portcullis_conformance::serve::{self, Runtime};
use portcullis_conformance::target::Target;
use portcullis_conformance::vector;

fn passes(target: &Target) {
    let vectors = vector::all().unwrap_or_else(|why| panic!("{why}"));
    let outcomes = run(&vectors, std::slice::from_ref(target), &|_, _| {});
    let counts = Counts::of(&outcomes);
    assert!(counts.failed == 0 && counts.passed > 100, "{}", table(&outcomes));
}

fn runtime(runtime: Runtime) -> Target {
    let program = serve::own(PathBuf::from(env!("CARGO_BIN_EXE_portcullis-conformance")), runtime);
    Target::Runtime {
        name: runtime.name().into(),
        program,
    }
}

#[test]
fn the_core_passes_in_every_splitting() {
    passes(&Target::Core);
}

#[test]
fn the_smol_runtime_passes() {
    passes(&runtime(Runtime::Smol));
}

#[test]
fn the_blocking_runtime_passes() {
    passes(&runtime(Runtime::Blocking));
}
