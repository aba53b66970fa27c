//! The command line as typed values (argh), with what argh lacks: `--option=value`, `--version` anywhere, help anywhere,
//! and refusals that do not show a secret. It carries nothing out.

use argh::FromArgs;

use crate::settings::nearest;

/// A fail-closed control-plane gateway for agents.
#[derive(FromArgs)]
#[argh(
    help_triggers("-h", "--help"),
    example = "{command_name} gateway\n{command_name} gateway --port 0 --json\n{command_name} call health --token TOKEN\n\
               {command_name} call agent.run '{{\"message\":\"hello\"}}' --token TOKEN",
    note = "Options may be written --option VALUE or --option=VALUE.\n-V, --version prints the version."
)]
pub(super) struct Arguments {
    #[argh(subcommand)]
    pub(super) command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
pub(super) enum Command {
    Gateway(GatewayCommand),
    Call(CallCommand),
}

/// Start a gateway, or with --url look at a remote one.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "gateway",
    help_triggers("-h", "--help"),
    example = "{command_name}\n{command_name} --port 0 --json\n{command_name} --config gateway.json5 --verbose\n\
               {command_name} --set gateway.rateLimitPerMinute=600 --set session.mode=idle\n\
               {command_name} --bind 192.0.2.7 --allow-remote\n\
               {command_name} --url ws://127.0.0.1:18789 --token TOKEN",
    note = "Without settings there is one built-in agent, goat: it answers by repeating the message. Name your own agents,\n\
            programs that read the message on standard input, under agents.list in the settings file.\n\n\
            The token is --token, else OPENGOAT_GATEWAY_TOKEN, else OPENCLAW_GATEWAY_TOKEN, else gateway.auth.token in the\n\
            file, else a fresh one that is printed. A token on the command line can be seen by other users of the machine.\n\n\
            State is kept in --state-dir, else $PORTCULLIS_STATE_DIR, else $XDG_STATE_HOME/portcullis, else\n\
            ~/.local/state/portcullis. SIGINT and SIGTERM let running work end, then close every connection.",
    error_code(1, "The gateway could not be started or reached; the reason is on standard error.")
)]
pub(super) struct GatewayCommand {
    /// address to listen on (127.0.0.1)
    #[argh(option, arg_name = "host")]
    pub(super) bind: Option<String>,
    /// port to listen on (18789); 0 picks a free one
    #[argh(option, arg_name = "n")]
    pub(super) port: Option<String>,
    /// the token that clients need, or with --url the one to send
    #[argh(option, arg_name = "token")]
    pub(super) token: Option<String>,
    /// let everybody in who reaches the port; loopback only
    #[argh(switch)]
    pub(super) no_auth: bool,
    /// allow an address that other machines reach
    #[argh(switch)]
    pub(super) allow_remote: bool,
    /// a browser origin that may connect, for example https://app.example.com; may be repeated
    #[argh(option, arg_name = "origin")]
    pub(super) allow_origin: Vec<String>,
    /// settings file (JSON5)
    #[argh(option, arg_name = "file")]
    pub(super) config: Option<String>,
    /// folder for state
    #[argh(option, arg_name = "dir")]
    pub(super) state_dir: Option<String>,
    /// one setting, for example gateway.maxInFlight=8; may be repeated
    #[argh(option, arg_name = "path=json")]
    pub(super) set: Vec<String>,
    /// log what happens, not only what is wrong
    #[argh(switch)]
    pub(super) verbose: bool,
    /// print one line of JSON
    #[argh(switch)]
    pub(super) json: bool,
    /// connect to the gateway at this URL and print its health
    #[argh(option, arg_name = "url")]
    pub(super) url: Option<String>,
    /// the same as --url
    #[argh(option, arg_name = "url")]
    pub(super) remote_url: Option<String>,
    /// with --url: milliseconds to wait (10000)
    #[argh(option, arg_name = "ms")]
    pub(super) timeout: Option<String>,
    /// with --url wss://: PEM file of a further trust anchor
    #[argh(option, arg_name = "file")]
    pub(super) ca: Option<String>,
}

impl GatewayCommand {
    /// Whether it is about a gateway that runs already.
    pub(super) fn connects(&self) -> bool {
        self.url.is_some() || self.remote_url.is_some()
    }
}

/// Send one request to a gateway and print the answer.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "call",
    help_triggers("-h", "--help"),
    example = "{command_name} health --token TOKEN\n\
               {command_name} agent.run '{{\"message\":\"hello\"}}' --token TOKEN\n\
               {command_name} session.history '{{\"limit\":10}}' --url wss://gateway.example.com --json",
    note = "The output of agent.run is shown as it comes, standard output and standard error each where it belongs.\n\
            agent.run gets a random idempotencyKey when PARAMS have none.\n\
            The token is --token, else OPENGOAT_GATEWAY_TOKEN, else OPENCLAW_GATEWAY_TOKEN.",
    error_code(1, "No answer came, or the gateway refused; the reason is on standard error.")
)]
pub(super) struct CallCommand {
    /// the method, for example health, agent.list, agent.run, session.list, session.history
    #[argh(positional)]
    pub(super) method: String,
    /// its params as JSON
    #[argh(positional)]
    pub(super) params: Option<String>,
    /// the gateway (ws://127.0.0.1:18789/gateway)
    #[argh(option, arg_name = "url")]
    pub(super) url: Option<String>,
    /// the token to send
    #[argh(option, arg_name = "token")]
    pub(super) token: Option<String>,
    /// milliseconds to wait: for the connection (10000), and for the answer (10000, of agent.run without end)
    #[argh(option, arg_name = "ms")]
    pub(super) timeout: Option<String>,
    /// PEM file of a further trust anchor for wss://
    #[argh(option, arg_name = "file")]
    pub(super) ca: Option<String>,
    /// print every frame as one line of JSON
    #[argh(switch)]
    pub(super) json: bool,
}

/// Options that take a value, and whether they may be repeated.
const WITH_VALUE: [(&str, bool); 11] = [
    ("--bind", false),
    ("--port", false),
    ("--token", false),
    ("--allow-origin", true),
    ("--config", false),
    ("--state-dir", false),
    ("--set", true),
    ("--url", false),
    ("--remote-url", false),
    ("--timeout", false),
    ("--ca", false),
];

/// Options without a value that are not read before the others.
const SWITCHES: [&str; 4] = ["--no-auth", "--allow-remote", "--verbose", "--json"];

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
    let command = words.iter().find(|word| matches!(word.as_str(), "gateway" | "call"));
    command.cloned().into_iter().chain([String::from("--help")]).collect()
}

/// A word that nobody expected may be a secret in the wrong place: it is not repeated, unless it is an option's name.
fn without_strays(mistake: &str) -> String {
    let stray = mistake
        .split_once("Unrecognized argument: ")
        .map(|(_, rest)| rest.lines().next().unwrap_or_default());
    match stray {
        Some(word) if option_names().any(|name| name == word) => format!("{word} is not an option here."),
        Some(_) => "There is a word that is neither a command (gateway, call), an option nor the value of one.".into(),
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
    use super::*;

    fn of(line: &[&str]) -> Parsed {
        let words: Vec<String> = line.iter().map(|&word| word.to_owned()).collect();
        parse("portcullis", &words)
    }

    fn gateway(line: &[&str]) -> GatewayCommand {
        match of(line) {
            Parsed::Run(command) => match *command {
                Command::Gateway(command) => command,
                Command::Call(_) => panic!("not gateway"),
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
        for (name, _) in WITH_VALUE {
            assert!(gateway.contains(name), "{name} is not in the help");
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
