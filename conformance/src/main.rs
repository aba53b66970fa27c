//! The command `portcullis-conformance`: plays the vectors, serves an echo for other suites, measures under load.
#![forbid(unsafe_code)]

mod command;

use std::process::ExitCode;

fn main() -> ExitCode {
    command::main()
}
