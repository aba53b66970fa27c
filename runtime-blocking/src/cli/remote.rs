//! `gateway --url`: connects to a remote gateway and prints its health as OpenGoat's command line does. And what every
//! command that connects shares: URL, token, time-out and trust from options and environment.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use portcullis_core::secret::Secret;
use serde_json::{Value, json};

use super::commands::GatewayCommand;
use super::{Process, stdout_failed};
use crate::client::{Client, ClientError, ConnectOptions, GatewayUrl, Scope, printable, trust};
use crate::settings::{self, Environment, Flags, Purpose, Sources, TOKEN_VARIABLES};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How to reach a gateway, as written.
pub(super) struct Target<'a> {
    pub(super) url: &'a str,
    pub(super) token: Option<&'a str>,
    pub(super) timeout: Option<&'a str>,
    pub(super) ca: Option<&'a str>,
}

/// A [`Target`] that was understood.
pub(super) struct Reached {
    pub(super) url: GatewayUrl,
    pub(super) options: ConnectOptions,
    /// The time-out, when one was given.
    pub(super) timeout: Option<Duration>,
}

impl Target<'_> {
    pub(super) fn read(&self, scope: Scope, process: &Process) -> Result<Reached, String> {
        let url = GatewayUrl::parse(self.url).map_err(|what| format!("--url: {what}"))?;
        let timeout = self.timeout.map(millis).transpose()?;
        let tls = match (url.secure, self.ca) {
            (true, ca) => Some(trust(ca.map(|ca| process.working_dir.join(Path::new(ca))).as_deref())?),
            (false, Some(_)) => return Err("--ca goes with a wss:// URL only".into()),
            (false, None) => None,
        };
        let written = self.token.or_else(|| from_environment(&process.environment));
        let written = written.map(|token| Secret::new(token.trim().to_owned()));
        // The token of this machine's own gateway goes to nobody else.
        let token = written.or_else(|| {
            let sources = Sources {
                file: None,
                environment: &process.environment,
                set: &[],
                flags: &Flags::default(),
                working_dir: &process.working_dir,
                purpose: Purpose::Gateway,
            };
            url.is_loopback().then(|| settings::kept_token(&sources)).flatten()
        });
        let options = ConnectOptions {
            token,
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            scope,
            tls,
        };
        Ok(Reached { url, options, timeout })
    }
}

impl Reached {
    /// Whether the token would cross a network in the clear.
    pub(super) fn exposes_token(&self) -> bool {
        self.options.token.is_some() && !self.url.secure && !self.url.is_loopback()
    }
}

/// What is said when [`Reached::exposes_token`].
pub(super) const EXPOSED: &str =
    "Warning: ws:// sends the token unencrypted; use wss:// unless the network itself is encrypted.";

fn from_environment(environment: &Environment) -> Option<&str> {
    environment.first(&TOKEN_VARIABLES).map(|(_, token)| token)
}

fn millis(written: &str) -> Result<Duration, String> {
    let millis = written.trim().parse::<u64>().ok().filter(|millis| *millis > 0);
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| "--timeout: must be a whole number of milliseconds, at least 1".into())
}

/// The answer's time-out when the method does not stream.
pub(super) fn answer_timeout(given: Option<Duration>) -> Duration {
    given.unwrap_or(DEFAULT_TIMEOUT)
}

/// Connects, asks for health, prints it.
pub(super) fn run(command: &GatewayCommand, process: &mut Process) -> Result<(), String> {
    only_connecting(command)?;
    let written = command
        .url
        .as_deref()
        .or(command.remote_url.as_deref())
        .unwrap_or_default()
        .trim();
    let target = Target {
        url: written,
        token: command.token.as_deref(),
        timeout: command.timeout.as_deref(),
        ca: command.ca.as_deref(),
    };
    super::logging::start(super::logging::level(command.verbose, None));
    let reached = target.read(Scope::Read, process)?;
    if reached.exposes_token() {
        let _ = writeln!(process.stderr, "{EXPOSED}");
    }
    let health = health(&reached)
        .map_err(|error| format!("Failed to connect remote gateway: {}", printable(&error.message())))?;
    let text = if command.json {
        format!("{}\n", json!({"url": written, "health": health}))
    } else {
        let [status, protocol, clients, uptime] =
            ["status", "protocol", "connectedClients", "uptimeMs"].map(|name| field(&health, name));
        format!(
            "Connected to remote gateway: {written}\n\
             Remote health: status={status} protocol={protocol} clients={clients} uptimeMs={uptime}\n"
        )
    };
    process
        .stdout
        .write_all(text.as_bytes())
        .and_then(|()| process.stdout.flush())
        .map_err(|error| stdout_failed(&error))
}

fn health(reached: &Reached) -> Result<Value, ClientError> {
    let mut client = Client::connect(&reached.url, &reached.options)?;
    let health = client.request("health", None, Some(answer_timeout(reached.timeout)), &mut |_| {})?;
    client.close();
    Ok(health)
}

fn field(health: &Value, name: &str) -> String {
    match health.get(name) {
        Some(Value::String(text)) => printable(text),
        Some(Value::Number(number)) => number.to_string(),
        _ => "unknown".into(),
    }
}

/// Options that start a gateway have no place beside `--url`.
fn only_connecting(command: &GatewayCommand) -> Result<(), String> {
    if command.url.is_some() && command.remote_url.is_some() {
        return Err("--url and --remote-url are the same; give one of them.".into());
    }
    let starting = [
        ("--bind", command.bind.is_some()),
        ("--port", command.port.is_some()),
        ("--no-auth", command.no_auth),
        ("--allow-remote", command.allow_remote),
        ("--allow-origin", !command.allow_origin.is_empty()),
        ("--config", command.config.is_some()),
        ("--state-dir", command.state_dir.is_some()),
        ("--set", !command.set.is_empty()),
        ("--token-file", command.token_file.is_some()),
        ("--print-token", command.print_token),
        ("--env-file", command.env_file.is_some()),
        ("--tls-cert", command.tls_cert.is_some()),
        ("--tls-key", command.tls_key.is_some()),
    ];
    let given: Vec<&str> = starting
        .iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| *name)
        .collect();
    if given.is_empty() {
        return Ok(());
    }
    Err(format!(
        "--url connects to a gateway that runs already; it does not go with {}.",
        given.join(", ")
    ))
}
