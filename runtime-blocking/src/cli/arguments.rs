//! The command line as typed values (argh), with what argh lacks: `--option=value`, `--version` anywhere, help anywhere,
//! and refusals that do not show a secret. It carries nothing out.

use argh::FromArgs;

use super::commands::{Arguments, Command};
use crate::settings::nearest;

/// Options that take a value, and whether they may be repeated.
const WITH_VALUE: [(&str, bool); 18] = [
    ("--bind", false),
    ("--port", false),
    ("--token", false),
    ("--token-file", false),
    ("--env-file", false),
    ("--tls-cert", false),
    ("--tls-key", false),
    ("--allow-origin", true),
    ("--config", false),
    ("--state-dir", false),
    ("--set", true),
    ("--url", false),
    ("--remote-url", false),
    ("--timeout", false),
    ("--ca", false),
    ("--fail-on", false),
    ("--journal", false),
    ("--interval", false),
];

/// Options without a value that are not read before the others.
const SWITCHES: [&str; 9] = [
    "--no-auth",
    "--allow-remote",
    "--verbose",
    "--json",
    "--print-token",
    "--show-secret",
    "--deep",
    "--once",
    "--no-probe",
];

/// The commands, for help.
const COMMANDS: [&str; 10] = [
    "gateway",
    "control",
    "relay",
    "call",
    "config",
    "token",
    "status",
    "audit",
    "security",
    "systemd-unit",
];

/// What the command line comes to.
pub(super) enum Parsed {
    Run(Box<Command>),
    Version,
    Help(String),
    Mistake(String),
}

/// Reads the arguments after the program's name.
pub(super) fn parse(program: &str, written: &[String]) -> Parsed {
    let hint = |mistake: &str| Parsed::Mistake(format!("{mistake}\nRun {program} --help for what there is."));
    let split = match written.split_first() {
        Some((first, about)) if first == "help" => Ok(Split::Arguments(help(about))),
        _ => split(written),
    };
    let arguments = match split {
        Ok(Split::Version) => return Parsed::Version,
        Ok(Split::Arguments(arguments)) => arguments,
        Err(mistake) => return hint(&mistake),
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match Arguments::from_args(&[program], &arguments) {
        Ok(arguments) => Parsed::Run(Box::new(arguments.command)),
        Err(exit) if exit.status.is_ok() => Parsed::Help(exit.output),
        Err(exit) => hint(&without_strays(exit.output.trim_end())),
    }
}

/// The words that ask for help on the command that `words` begin with, or on all.
fn help(words: &[String]) -> Vec<String> {
    let command = words.iter().find(|word| COMMANDS.contains(&word.as_str()));
    command.cloned().into_iter().chain([String::from("--help")]).collect()
}

/// A word that nobody expected may be a secret in the wrong place: it is not repeated, unless it is an option's name.
fn without_strays(mistake: &str) -> String {
    let stray = mistake
        .split_once("Unrecognized argument: ")
        .map(|(_, rest)| rest.lines().next().unwrap_or_default());
    match stray {
        Some(word) if option_names().any(|name| name == word) => format!("{word} is not an option here."),
        Some(_) => format!(
            "There is a word that is neither a command ({}), an option nor the value of one.",
            COMMANDS.join(", ")
        ),
        None => mistake.to_owned(),
    }
}

fn option_names() -> impl Iterator<Item = &'static str> + Clone {
    WITH_VALUE.into_iter().map(|(name, _)| name).chain(SWITCHES)
}

enum Split {
    Version,
    Arguments(Vec<String>),
}

/// `--option=value` becomes two words; `--help` keeps only the words that say help for what.
fn split(written: &[String]) -> Result<Split, String> {
    let mut arguments: Vec<String> = Vec::new();
    let mut once: Vec<&str> = Vec::new();
    let mut words = written.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-V" | "--version" => return Ok(Split::Version),
            "-h" | "--help" => {
                return Ok(Split::Arguments(help(&arguments)));
            }
            "--" => {
                arguments.push(word.clone());
                arguments.extend(words.by_ref().cloned());
            }
            option if option.starts_with("--") => {
                let (name, value) = option
                    .split_once('=')
                    .map_or((option, None), |(name, value)| (name, Some(value)));
                let Some((name, repeats)) = WITH_VALUE.into_iter().find(|(known, _)| *known == name) else {
                    if !SWITCHES.contains(&name) {
                        let meant = nearest(name, option_names());
                        let meant = meant.map_or_else(String::new, |meant| format!(" (did you mean {meant}?)"));
                        return Err(format!("unknown option {name}{meant}"));
                    }
                    if value.is_some() {
                        return Err(format!("{name} is not an option that takes a value."));
                    }
                    arguments.push(word.clone());
                    continue;
                };
                if !repeats && once.contains(&name) {
                    return Err(format!("{name} is given twice."));
                }
                once.push(name);
                let Some(value) = value.map(str::to_owned).or_else(|| words.next().cloned()) else {
                    return Err(format!("{name} needs a value."));
                };
                arguments.extend([name.to_owned(), value]);
            }
            _ => arguments.push(word.clone()),
        }
    }
    Ok(Split::Arguments(arguments))
}

#[cfg(test)]
mod tests {
    use super::super::commands::GatewayCommand;
    use super::*;

    fn of(line: &[&str]) -> Parsed {
        let words: Vec<String> = line.iter().map(|&word| word.to_owned()).collect();
        parse("portcullis", &words)
    }

    fn gateway(line: &[&str]) -> GatewayCommand {
        match of(line) {
            Parsed::Run(command) => match *command {
                Command::Gateway(command) => *command,
                _ => panic!("not gateway"),
            },
            Parsed::Mistake(mistake) => panic!("{mistake}"),
            _ => panic!("not gateway"),
        }
    }

    fn mistake(line: &[&str]) -> String {
        match of(line) {
            Parsed::Mistake(mistake) => mistake,
            _ => panic!("{line:?} passed"),
        }
    }

    #[test]
    fn both_ways_to_write_a_value() {
        for line in [
            ["gateway", "--port", "0", "--set", "a.b=1", "--set", "c=--x"].as_slice(),
            &["gateway", "--set=a.b=1", "--port=0", "--set=c=--x"],
        ] {
            let command = gateway(line);
            assert_eq!(command.port.as_deref(), Some("0"));
            assert_eq!(command.set, ["a.b=1", "c=--x"]);
        }
        // A value may look like an option, and be empty.
        assert_eq!(
            gateway(&["gateway", "--token", "--help"]).token.as_deref(),
            Some("--help")
        );
        assert_eq!(
            gateway(&["gateway", "--token=--json=1"]).token.as_deref(),
            Some("--json=1")
        );
        assert_eq!(gateway(&["gateway", "--bind="]).bind.as_deref(), Some(""));
        let every = gateway(&["gateway", "--no-auth", "--allow-remote", "--verbose", "--json"]);
        assert!(every.no_auth && every.allow_remote && every.verbose && every.json);
    }

    #[test]
    fn call_takes_a_method_and_params() {
        let Parsed::Run(command) = of(&["call", "--json", "agent.run", "{\"a\":\"--b=c\"}", "--timeout=5"]) else {
            panic!("a mistake")
        };
        let Command::Call(call) = *command else {
            panic!("not call")
        };
        assert_eq!(
            (call.method.as_str(), call.params.as_deref()),
            ("agent.run", Some("{\"a\":\"--b=c\"}"))
        );
        assert_eq!((call.timeout.as_deref(), call.json), (Some("5"), true));
    }

    proptest::proptest! {
        #[test]
        fn any_words_are_a_command_or_a_mistake(words in proptest::collection::vec("(--?[a-z-]{0,12}=?)?[a-z=.-]{0,6}", 0..8)) {
            let _ = parse("portcullis", &words);
        }
    }

    #[test]
    fn help_and_version_anywhere() {
        for line in [
            ["-V"].as_slice(),
            &["--version"],
            &["gateway", "--port", "1", "--version"],
        ] {
            assert!(matches!(of(line), Parsed::Version), "{line:?}");
        }
        let help = |line: &[&str]| match of(line) {
            Parsed::Help(text) => text,
            _ => panic!("{line:?}"),
        };
        for line in [["-h"], ["help"]] {
            assert!(help(&line).contains("Usage: portcullis <command>"));
        }
        for line in [
            ["gateway", "-h"].as_slice(),
            &["gateway", "--port", "1", "--help"],
            &["help", "gateway"],
            &["--help", "gateway"],
        ] {
            assert!(help(line).contains("Examples:"), "{line:?}");
        }
        let gateway = help(&["gateway", "--json", "-h"]);
        assert!(
            gateway.contains("portcullis gateway --port 0 --json") && gateway.contains("repeating the message"),
            "{gateway}"
        );
        assert!(
            help(&["call", "health", "-h"])
                .contains("portcullis call agent.run '{\"message\":\"hello\"}' --token TOKEN")
        );
        let all: String = COMMANDS.iter().map(|command| help(&[command, "-h"])).collect();
        for name in WITH_VALUE.iter().map(|(name, _)| name).chain(&SWITCHES) {
            assert!(all.contains(name), "{name} is in no help");
        }
    }

    #[test]
    fn mistakes_say_what_and_never_show_a_secret() {
        assert!(mistake(&["gateway", "--prot", "1"]).contains("--prot"));
        assert!(mistake(&["gateway", "--json=yes"]).contains("--json is not an option that takes a value"));
        assert!(mistake(&["gateway", "--port"]).contains("--port needs a value"));
        assert!(mistake(&[]).contains("gateway"));
        assert!(mistake(&["call"]).contains("method"));
        for line in [["gateway", "--tokn", "x"].as_slice(), &["gateway", "--tokn=x"]] {
            let said = mistake(line);
            assert!(said.contains("unknown option --tokn (did you mean --token?)"), "{said}");
            assert!(said.contains("portcullis --help"), "{said}");
        }
        assert!(mistake(&["call", "health", "--no-auth"]).contains("--no-auth is not an option here"));
        for line in [
            ["gateway", "--token", "hunter22", "--token=hunter22"].as_slice(),
            &["gateway", "--tokn=hunter22"],
            &["gateway", "hunter22"],
            &["gateway", "--token", "the", "hunter22"],
            &["hunter22"],
            &["call", "health", "{}", "hunter22"],
            &["gateway", "-hunter22"],
        ] {
            assert!(!mistake(line).contains("hunter22"), "{line:?}");
        }
    }
}
