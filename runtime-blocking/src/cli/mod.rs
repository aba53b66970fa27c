//! The command line of both binaries: reads arguments, settings and environment, opens the listener, prints what a person
//! or a script needs, and hands over to a runtime. Spec: `spec/cli.md`. How a gateway is run is the runtime's.

mod arguments;
mod bind;
mod call;
mod logging;
mod remote;
mod start;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_core::random::Seed;

pub use start::PreparedGateway;

use crate::settings::Environment;
use arguments::{Command, Parsed};

/// What runs a gateway once everything is chosen.
pub trait Runtime {
    /// Its name, for `--version`: `smol` or `blocking`.
    fn name(&self) -> &'static str;

    /// Opens what the gateway needs, calls [`PreparedGateway::ready`] when it can take connections, and serves until
    /// the gateway is drained.
    ///
    /// # Errors
    /// Why it could not start, or what ended it.
    fn serve(&self, prepared: PreparedGateway) -> io::Result<()>;
}

/// What the command line touches of the process, so that tests can hand in their own.
pub struct Process {
    /// The arguments; the first is the program's name.
    pub args: Vec<String>,
    /// The environment variables.
    pub environment: Environment,
    /// Where relative paths begin.
    pub working_dir: PathBuf,
    /// Standard output.
    pub stdout: Box<dyn Write + Send>,
    /// Standard error.
    pub stderr: Box<dyn Write + Send>,
}

/// The whole program. A `main` calls this and returns its result.
pub fn main(runtime: &dyn Runtime) -> ExitCode {
    let mut stderr = io::stderr();
    let args = std::env::args_os().map(|word| word.into_string().map_err(|_| "the arguments are not UTF-8".to_owned()));
    let process = args.collect::<Result<_, _>>().and_then(|args| {
        let working_dir = std::env::current_dir().map_err(|error| format!("there is no working directory: {error}"))?;
        let environment = Environment::of_this_process();
        Ok(Process {
            args,
            environment,
            working_dir,
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
        })
    });
    let succeeded = match process {
        Ok(process) => run(runtime, process),
        Err(mistake) => {
            // When standard error is gone, nobody can be told.
            let _ = writeln!(stderr, "Error: {mistake}");
            false
        }
    };
    if succeeded {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Carries one command line out; whether it succeeded.
pub fn run(runtime: &dyn Runtime, mut process: Process) -> bool {
    let program = process.args.first().map_or("portcullis", String::as_str);
    let program = program.rsplit('/').next().unwrap_or(program).to_owned();
    let words = process.args.get(1..).unwrap_or_default();
    let done = match arguments::parse(&program, words) {
        Parsed::Version => writeln!(
            process.stdout,
            "{program} {} ({})",
            env!("CARGO_PKG_VERSION"),
            runtime.name()
        )
        .map_err(|error| stdout_failed(&error)),
        Parsed::Help(text) => writeln!(process.stdout, "{}", text.trim_end()).map_err(|error| stdout_failed(&error)),
        Parsed::Mistake(mistake) => Err(mistake),
        Parsed::Run(command) => match *command {
            Command::Call(command) => return call::run(&command, process),
            Command::Gateway(command) if command.connects() => remote::run(&command, &mut process),
            Command::Gateway(command) => return start::run(runtime, command, process),
        },
    };
    match done {
        Ok(()) => true,
        Err(mistake) => {
            let _ = writeln!(process.stderr, "{mistake}");
            false
        }
    }
}

fn stdout_failed(error: &io::Error) -> String {
    format!("Error: standard output cannot be written: {error}")
}

fn entropy() -> Result<Seed, String> {
    crate::entropy::seed().map_err(|error| format!("Error: the operating system gives no random numbers: {error}"))
}
