//! The command line of both binaries: reads arguments, settings and environment, opens the listener, prints what a person
//! or a script needs, and hands over to a runtime. Spec: `spec/cli.md`. How a gateway is run is the runtime's.

mod announce;
mod arguments;
mod bind;
mod call;
mod commands;
mod config;
mod control;
mod logging;
mod probe;
mod relay;
mod reload;
mod remote;
mod running;
mod security;
mod start;
mod status;
mod token;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_core::policy::bind::EXIT_CONFIG;
use portcullis_core::random::Seed;

pub use running::Mark;
pub use start::PreparedGateway;

use crate::settings::{Environment, Problems};
use arguments::Parsed;
use commands::Command;

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
    /// Whether a person reads standard output: only then a token may be shown.
    pub is_terminal: bool,
}

/// The exit status of a command that did what it was asked to.
pub const SUCCESS: u8 = 0;
/// The exit status of one that could not.
pub const FAILURE: u8 = 1;

/// Why a command could not do what it was asked to, and the exit status that says so.
#[derive(Debug)]
struct Refusal {
    text: String,
    status: u8,
}

impl Refusal {
    /// The settings are wrong: starting again would not help.
    fn of_settings(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            status: EXIT_CONFIG,
        }
    }
}

impl Refusal {
    /// The same, of a gateway that was about to start.
    fn not_started(Problems(problems): Problems) -> Self {
        let lines: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
        Self::of_settings(format!(
            "The settings have mistakes; the gateway was not started:{}",
            lines.concat()
        ))
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self { text, status: FAILURE }
    }
}

impl From<&str> for Refusal {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Problems> for Refusal {
    fn from(problems: Problems) -> Self {
        Self::of_settings(problems.to_string())
    }
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
            is_terminal: io::stdout().is_terminal(),
        })
    });
    let status = match process {
        Ok(process) => run(runtime, process),
        Err(mistake) => {
            // When standard error is gone, nobody can be told.
            let _ = writeln!(stderr, "Error: {mistake}");
            FAILURE
        }
    };
    ExitCode::from(status)
}

/// Carries one command line out; its exit status.
pub fn run(runtime: &dyn Runtime, mut process: Process) -> u8 {
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
        .map_err(|error| stdout_failed(&error).into()),
        Parsed::Help(text) => {
            writeln!(process.stdout, "{}", text.trim_end()).map_err(|error| stdout_failed(&error).into())
        }
        Parsed::Mistake(mistake) => Err(mistake.into()),
        Parsed::Run(command) => match *command {
            Command::Call(command) => return call::run(&command, process),
            Command::Gateway(command) if command.connects() => {
                remote::run(&command, &mut process).map_err(Refusal::from)
            }
            Command::Gateway(command) => start::run(runtime, &command, &mut process),
            Command::Control(command) => control::run(runtime, &command, &mut process),
            Command::Relay(command) => relay::run(runtime, &command, &mut process),
            Command::Config(command) => config::run(&command, &mut process),
            Command::Token(command) => token::run(&command, &mut process),
            Command::Security(command) => return ended(security::run(&command, &mut process), &mut process),
            Command::Audit(command) => return ended(security::run(&command.into(), &mut process), &mut process),
            Command::Status(command) => return ended(status::run(&command, &mut process), &mut process),
            Command::SystemdUnit(_) => printed(&mut process, UNIT),
        },
    };
    match done {
        Ok(()) => SUCCESS,
        Err(refusal) => {
            let _ = writeln!(process.stderr, "{}", refusal.text);
            refusal.status
        }
    }
}

/// The unit file that is shipped.
const UNIT: &str = include_str!("../../systemd/portcullis.service");

/// The exit status of a command that has several for success.
fn ended(done: Result<u8, Refusal>, process: &mut Process) -> u8 {
    done.unwrap_or_else(|refusal| {
        let _ = writeln!(process.stderr, "{}", refusal.text);
        refusal.status
    })
}

/// Writes to standard output.
fn printed(process: &mut Process, text: &str) -> Result<(), Refusal> {
    let written = process
        .stdout
        .write_all(text.as_bytes())
        .and_then(|()| process.stdout.flush());
    written.map_err(|error| stdout_failed(&error).into())
}

fn stdout_failed(error: &io::Error) -> String {
    format!("standard output cannot be written: {error}")
}

fn entropy() -> Result<Seed, String> {
    crate::entropy::seed().map_err(|error| format!("Error: the operating system gives no random numbers: {error}"))
}
