//! The command line: what each command takes, and which module does it.

mod crash;
mod echo;
mod list;
mod load;
mod run;

use std::process::ExitCode;

use argh::FromArgs;
use portcullis_conformance::serve;

/// Conformance suite of the Portcullis gateway.
#[derive(FromArgs)]
struct Arguments {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Run(run::Run),
    List(list::List),
    Echo(echo::Echo),
    Load(load::Load),
    Crash(crash::Crash),
}

/// Carries the command line out.
pub(crate) fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == serve::CHILD) {
        return serve::child(words);
    }
    let arguments: Arguments = argh::from_env();
    let done = match arguments.command {
        Command::Run(run) => run.run(),
        Command::List(list) => list.run(),
        Command::Echo(echo) => echo.run(),
        Command::Load(load) => load.run(),
        Command::Crash(crash) => crash.run(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("Error: {why}");
            ExitCode::FAILURE
        }
    }
}
