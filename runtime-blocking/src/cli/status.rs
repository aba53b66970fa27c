//! `status`: how the gateway on this machine is. Exit status 0: it serves; 1: it cannot be reached; 2: it drains, or is not well.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::policy::bind::Class;
use portcullis_core::policy::token::Strength;
use portcullis_core::time::UnixMillis;
use serde::Serialize;

use super::commands::StatusCommand;
use super::probe::Target;
use super::reload::{Origin, Place};
use super::running::{self, Live};
use super::security::reachable;
use super::{Process, Refusal, entropy, printed};
use crate::clock::Clock;
use crate::inspect::journal;
use crate::settings::{self, Loaded};

const SERVING: u8 = 0;
const UNREACHABLE: u8 = 1;
const NOT_WELL: u8 = 2;
const DAY_MS: u64 = 86_400_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    state: &'static str,
    bind_mode: &'static str,
    listening: Option<String>,
    port: u16,
    pid: Option<i32>,
    auth: Auth,
    connections: Option<u64>,
    active_turns: Option<u64>,
    oldest_turn_seconds: Option<f64>,
    auth_failures_24h: Option<u64>,
    blocked_fetches_24h: Option<u64>,
    safe_to_restart: bool,
    state_dir: String,
    config: Option<String>,
    /// The relay over the same state folder, if one runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    relay: Option<Relay>,
    error: Option<String>,
}

#[derive(Serialize)]
struct Relay {
    listening: String,
    pid: i32,
}

impl Relay {
    /// The relay whose folder is in this state folder.
    fn over(state_dir: &Path) -> Option<Self> {
        let live = running::live(&state_dir.join("relay"))?;
        Some(Self {
            listening: live.address.to_string(),
            pid: live.pid,
        })
    }
}

#[derive(Serialize)]
struct Auth {
    mode: &'static str,
    source: Option<&'static str>,
    strength: &'static str,
}

/// Carries the command out; its exit status.
pub(super) fn run(command: &StatusCommand, process: &mut Process) -> Result<u8, Refusal> {
    super::logging::start(super::logging::level(false, None));
    let timeout = match command.timeout.as_deref().map(str::parse::<u64>) {
        None => Duration::from_secs(10),
        Some(Ok(millis)) if millis > 0 => Duration::from_millis(millis),
        Some(_) => return Err("--timeout: must be a whole number of milliseconds, at least 1.".into()),
    };
    let place = Place {
        config: command.config.as_ref(),
        state_dir: command.state_dir.as_ref(),
        env_file: command.env_file.as_ref(),
    };
    let origin = Origin::at(&place, process);
    let sources = origin.sources();
    let loaded = settings::load(&sources, settings::fresh_token(entropy()?))?;
    let status = look(&loaded, timeout, command.no_probe);
    let text = if command.json {
        let json = serde_json::to_string(&status).map_err(|error| error.to_string())?;
        format!("{json}\n")
    } else {
        lines(&status)
    };
    printed(process, &text)?;
    Ok(match status.state {
        "running" => SERVING,
        "stopped" | "unreachable" => UNREACHABLE,
        _ => NOT_WELL,
    })
}

fn look(loaded: &Loaded, timeout: Duration, no_probe: bool) -> Status {
    let live = running::live(&loaded.state_dir);
    let strength = loaded.token.as_ref().map(|token| Strength::of(token.reveal()));
    let source = loaded
        .token_source
        .filter(|source| *source != settings::TokenSource::Fresh);
    let (failures, blocked) = day(loaded);
    let mut status = Status {
        state: if live.is_some() { "running" } else { "stopped" },
        bind_mode: live
            .as_ref()
            .map_or("unknown", |live| Class::of(live.address.ip()).name()),
        listening: live.as_ref().map(|live| live.address.to_string()),
        port: live.as_ref().map_or(loaded.port, |live| live.address.port()),
        pid: live.as_ref().map(|live| live.pid),
        auth: Auth {
            mode: loaded.auth_mode.name(),
            source: source.map(settings::TokenSource::name),
            strength: match strength.filter(|_| source.is_some()) {
                Some(Strength::Strong) => "strong",
                Some(_) => "weak",
                None => "missing",
            },
        },
        connections: None,
        active_turns: None,
        oldest_turn_seconds: None,
        auth_failures_24h: failures,
        blocked_fetches_24h: blocked,
        safe_to_restart: live.is_none(),
        state_dir: loaded.state_dir.to_string_lossy().into_owned(),
        config: loaded.file.as_ref().map(|file| file.to_string_lossy().into_owned()),
        relay: Relay::over(&loaded.state_dir),
        error: None,
    };
    if let Some(live) = live.filter(|_| !no_probe) {
        ask(&mut status, loaded, &live, timeout);
    }
    status
}

fn ask(status: &mut Status, loaded: &Loaded, live: &Live, timeout: Duration) {
    let target = Target {
        address: reachable(live.address),
        certificate: loaded.tls.as_ref().map(|files| files.cert.clone()),
        token: loaded.token.as_ref(),
        timeout,
    };
    match target.get("/readyz") {
        Ok(answer) if answer.status == 200 => {}
        Ok(answer) if answer.body.contains("draining") => status.state = "draining",
        Ok(answer) => {
            status.state = "degraded";
            status.error = Some(format!("GET /readyz was answered {}", answer.status));
        }
        // It takes no new connections then: nobody is left to be asked.
        Err(_) if live.drains => {
            status.state = "draining";
            return;
        }
        Err(why) => {
            status.state = "unreachable";
            status.error = Some(why);
            return;
        }
    }
    match target.get("/metrics") {
        Ok(answer) if answer.status == 200 => {
            let one = |name: &str| sum(&answer.body, name);
            status.connections = one("portcullis_connections").map(|count| count as u64);
            status.active_turns = one("portcullis_work").map(|count| count as u64);
            status.oldest_turn_seconds = one("portcullis_work_oldest_seconds").filter(|age| *age > 0.0);
            status.safe_to_restart = status.active_turns == Some(0);
        }
        Ok(answer) => status.error = Some(format!("GET /metrics was answered {}", answer.status)),
        Err(why) => status.error = Some(why),
    }
}

/// The sum of a family's series in the Prometheus text format.
fn sum(page: &str, name: &str) -> Option<f64> {
    let values: Vec<f64> = page
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with([' ', '{']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// Failed authentications and blocked fetches of the last 24 hours, by the journal.
fn day(loaded: &Loaded) -> (Option<u64>, Option<u64>) {
    let Some(audit) = &loaded.core.audit else {
        return (None, None);
    };
    let since = UnixMillis(Clock::start().now().wall.0.saturating_sub(DAY_MS))
        .to_utc()
        .to_string();
    let Ok(counts) = journal::count_since(&PathBuf::from(&audit.path), &since) else {
        return (None, None);
    };
    let count = |event: &str| counts.get(event).copied().unwrap_or(0);
    let blocked = count("ssrf_blocked") + count("url_denied") + count("fetch_rejected");
    (Some(count("auth_failed")), Some(blocked))
}

fn lines(status: &Status) -> String {
    let count = |count: Option<u64>| count.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
    let listening = status.listening.as_deref().unwrap_or("nowhere");
    let mut text = format!(
        "Gateway: bind={}, port={}\nListening: {listening}\nAuth: mode={} source={} strength={}\nConnections: {}\n",
        status.bind_mode,
        status.port,
        status.auth.mode,
        status.auth.source.unwrap_or("none"),
        status.auth.strength,
        count(status.connections)
    );
    let _ = write!(text, "Active turns: {}", count(status.active_turns));
    if let Some(age) = status.oldest_turn_seconds {
        let _ = write!(text, " (oldest {age:.0} s)");
    }
    let _ = writeln!(
        text,
        "\nState: {}\nAuth failures (24h): {}\nBlocked fetches (24h): {}\nSafe to restart: {}",
        status.state,
        count(status.auth_failures_24h),
        count(status.blocked_fetches_24h),
        if status.safe_to_restart { "yes" } else { "no" }
    );
    if let Some(Relay { listening, pid }) = &status.relay {
        let _ = writeln!(text, "Relay: {listening} (process {pid})");
    }
    if let Some(error) = &status.error {
        let _ = writeln!(text, "Trouble: {error}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_page() {
        let page = "# HELP portcullis_connections x\nportcullis_connections{surface=\"http\"} 1\nportcullis_connections{surface=\"operator\"} 2\n\
                    portcullis_connections_other 9\nportcullis_work 0\n";
        assert_eq!(sum(page, "portcullis_connections"), Some(3.0));
        assert_eq!(sum(page, "portcullis_work"), Some(0.0));
        assert_eq!(sum(page, "portcullis_absent"), None);
    }
}
