//! The commands and their options as typed values (argh). What is written on the line is read in `arguments`.

use argh::FromArgs;

use super::control::ControlCommand;
use super::relay::RelayCommand;

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
    Gateway(Box<GatewayCommand>),
    Control(Box<ControlCommand>),
    Relay(Box<RelayCommand>),
    Call(CallCommand),
    Config(ConfigCommand),
    Token(TokenCommand),
    Status(StatusCommand),
    Audit(AuditCommand),
    Security(SecurityCommand),
    SystemdUnit(SystemdUnitCommand),
}

/// Start a gateway, or with --url look at a remote one.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "gateway",
    help_triggers("-h", "--help"),
    example = "{command_name}\n{command_name} --port 0 --json\n{command_name} --config gateway.json5 --verbose\n\
               {command_name} --set gateway.rateLimitPerMinute=600 --set session.mode=idle\n\
               {command_name} --bind 100.64.0.7 --allow-remote --tls-cert cert.pem --tls-key key.pem\n\
               {command_name} --url ws://127.0.0.1:18789 --token TOKEN",
    note = "Without settings there is one built-in agent, goat: it answers by repeating the message. Name your own agents,\n\
            programs that read the message on standard input, under agents.list in the settings file.\n\n\
            The token is --token-file, else --token, else OPENGOAT_GATEWAY_TOKEN, else OPENCLAW_GATEWAY_TOKEN, else\n\
            gateway.auth.token in the file, else the file gateway-token in the state folder, which is made with a fresh one.\n\
            A token on the command line can be seen by other users of the machine.\n\n\
            Settings are read from --config, else $OPENCLAW_CONFIG_PATH, else openclaw.json in the state folder or in ~/.openclaw.\n\
            State is kept in --state-dir, else $PORTCULLIS_STATE_DIR, else $OPENCLAW_STATE_DIR, else\n\
            $XDG_STATE_HOME/portcullis, else ~/.local/state/portcullis.\n\n\
            SIGTERM, SIGUSR1 and SIGUSR2 let running work end, then close every connection; SIGINT gives it 5 seconds;\n\
            a second signal ends it, a third ends the process. SIGHUP reads the settings again.",
    error_code(
        1,
        "The gateway could not be started or reached, or work was cut short; the reason is on standard error."
    ),
    error_code(78, "The settings are wrong; starting again would not help.")
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
    /// file with the token, readable by its owner alone
    #[argh(option, arg_name = "file")]
    pub(super) token_file: Option<String>,
    /// show the token at the start; on a terminal only
    #[argh(switch)]
    pub(super) print_token: bool,
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
    /// file with environment variables, readable by its owner alone
    #[argh(option, arg_name = "file")]
    pub(super) env_file: Option<String>,
    /// certificate of the listener (PEM): TLS
    #[argh(option, arg_name = "file")]
    pub(super) tls_cert: Option<String>,
    /// private key of the certificate (PEM)
    #[argh(option, arg_name = "file")]
    pub(super) tls_key: Option<String>,
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
            The token is --token, else OPENGOAT_GATEWAY_TOKEN, else OPENCLAW_GATEWAY_TOKEN, else for a gateway on this machine\n\
            the file gateway-token in the state folder.",
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

/// Look at the settings file, change it, check it.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "config",
    help_triggers("-h", "--help"),
    example = "{command_name} check\n{command_name} get gateway.port\n{command_name} set gateway.port 18790\n\
               {command_name} set agents.list[0].displayName Writer\n{command_name} unset gateway.port",
    note = "Paths have dots and brackets; a backslash takes the next character as it is.\n\
            A value is JSON5, else taken as text. Secrets are never shown, and never written into the file.",
    error_code(
        1,
        "There is no such path, or the settings would have a mistake; the reason is on standard error."
    )
)]
pub(super) struct ConfigCommand {
    /// get, set, unset or check
    #[argh(positional)]
    pub(super) action: String,
    /// the setting, and for set the value
    #[argh(positional)]
    pub(super) words: Vec<String>,
    /// settings file (JSON5)
    #[argh(option, arg_name = "file")]
    pub(super) config: Option<String>,
    /// folder for state
    #[argh(option, arg_name = "dir")]
    pub(super) state_dir: Option<String>,
    /// file with environment variables, readable by its owner alone
    #[argh(option, arg_name = "file")]
    pub(super) env_file: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub(super) json: bool,
    /// show the token itself; on a terminal only
    #[argh(switch)]
    pub(super) show_secret: bool,
}

/// Say where the token is, show it on a terminal, or make a new one.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "token",
    help_triggers("-h", "--help"),
    example = "{command_name}\n{command_name} --show-secret\n{command_name} rotate",
    note = "rotate writes a fresh token into the token file and has a gateway that runs read it. Clients that are connected stay.",
    error_code(
        1,
        "There is no token, or it cannot be changed here; the reason is on standard error."
    )
)]
pub(super) struct TokenCommand {
    /// nothing, or rotate
    #[argh(positional)]
    pub(super) action: Option<String>,
    /// settings file (JSON5)
    #[argh(option, arg_name = "file")]
    pub(super) config: Option<String>,
    /// folder for state
    #[argh(option, arg_name = "dir")]
    pub(super) state_dir: Option<String>,
    /// file with environment variables, readable by its owner alone
    #[argh(option, arg_name = "file")]
    pub(super) env_file: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub(super) json: bool,
    /// show the token itself; on a terminal only
    #[argh(switch)]
    pub(super) show_secret: bool,
}

/// Say how the gateway on this machine is.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "status",
    help_triggers("-h", "--help"),
    example = "{command_name}\n{command_name} --json",
    note = "It finds the gateway by its state folder. Safe to restart means that no turn is under way.",
    error_code(1, "No gateway runs, or it does not answer."),
    error_code(2, "It drains, or is not well.")
)]
pub(super) struct StatusCommand {
    /// settings file (JSON5)
    #[argh(option, arg_name = "file")]
    pub(super) config: Option<String>,
    /// folder for state
    #[argh(option, arg_name = "dir")]
    pub(super) state_dir: Option<String>,
    /// file with environment variables, readable by its owner alone
    #[argh(option, arg_name = "file")]
    pub(super) env_file: Option<String>,
    /// milliseconds to wait for an answer (10000)
    #[argh(option, arg_name = "ms")]
    pub(super) timeout: Option<String>,
    /// do not ask the gateway
    #[argh(switch)]
    pub(super) no_probe: bool,
    /// print JSON
    #[argh(switch)]
    pub(super) json: bool,
}

/// Audit settings, files and firewall, or verify the audit journal. The same as security audit and security verify.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "audit",
    help_triggers("-h", "--help"),
    example = "{command_name}\n{command_name} --deep --json\n{command_name} verify",
    error_code(1, "Something critical was found, or the journal was tampered with."),
    error_code(2, "The audit itself failed.")
)]
pub(super) struct AuditCommand {
    /// nothing, or verify
    #[argh(positional)]
    pub(super) action: Option<String>,
    /// settings file (JSON5)
    #[argh(option, arg_name = "file")]
    pub(super) config: Option<String>,
    /// folder for state
    #[argh(option, arg_name = "dir")]
    pub(super) state_dir: Option<String>,
    /// file with environment variables, readable by its owner alone
    #[argh(option, arg_name = "file")]
    pub(super) env_file: Option<String>,
    /// ask the running gateway too
    #[argh(switch)]
    pub(super) deep: bool,
    /// critical (the default), or warn: what makes the exit status 1
    #[argh(option, arg_name = "severity")]
    pub(super) fail_on: Option<String>,
    /// with verify: the journal, when it is not the one of the settings
    #[argh(option, arg_name = "file")]
    pub(super) journal: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub(super) json: bool,
}

impl From<AuditCommand> for SecurityCommand {
    fn from(command: AuditCommand) -> Self {
        Self {
            action: command.action,
            config: command.config,
            state_dir: command.state_dir,
            env_file: command.env_file,
            deep: command.deep,
            fail_on: command.fail_on,
            journal: command.journal,
            interval: None,
            once: false,
            json: command.json,
        }
    }
}

/// Look at the security of the gateway on this machine: audit, monitor, verify.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "security",
    help_triggers("-h", "--help"),
    example = "{command_name} audit\n{command_name} monitor --once\n{command_name} monitor --interval 1h\n{command_name} verify",
    note = "audit looks at settings, files and firewall; monitor prints two lines every six hours; verify checks the chain of the\n\
            audit journal. None of them changes anything.",
    error_code(
        1,
        "Something critical was found, there is an issue, or the journal was tampered with."
    ),
    error_code(2, "The command itself failed.")
)]
pub(super) struct SecurityCommand {
    /// audit, monitor or verify
    #[argh(positional)]
    pub(super) action: Option<String>,
    /// settings file (JSON5)
    #[argh(option, arg_name = "file")]
    pub(super) config: Option<String>,
    /// folder for state
    #[argh(option, arg_name = "dir")]
    pub(super) state_dir: Option<String>,
    /// file with environment variables, readable by its owner alone
    #[argh(option, arg_name = "file")]
    pub(super) env_file: Option<String>,
    /// with audit: ask the running gateway too
    #[argh(switch)]
    pub(super) deep: bool,
    /// with audit: critical (the default), or warn: what makes the exit status 1
    #[argh(option, arg_name = "severity")]
    pub(super) fail_on: Option<String>,
    /// with verify: the journal, when it is not the one of the settings
    #[argh(option, arg_name = "file")]
    pub(super) journal: Option<String>,
    /// with monitor: between two reports, for example 30m (6h)
    #[argh(option, arg_name = "time")]
    pub(super) interval: Option<String>,
    /// with monitor: one report
    #[argh(switch)]
    pub(super) once: bool,
    /// print JSON
    #[argh(switch)]
    pub(super) json: bool,
}

/// Print a unit file for systemd.
#[derive(FromArgs)]
#[argh(
    subcommand,
    name = "systemd-unit",
    help_triggers("-h", "--help"),
    example = "{command_name} > /etc/systemd/system/portcullis.service"
)]
pub(super) struct SystemdUnitCommand {}
