//! `security monitor`: two lines every few hours, and issues on standard error.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::policy::bind::Class;
use portcullis_core::security::Firewall;
use portcullis_core::time::UnixMillis;
use serde_json::json;

use super::super::commands::SecurityCommand;
use super::super::{Process, Refusal, printed};
use super::facts::Ground;
use super::{CLEAN, FOUND};
use crate::clock::Clock;
use crate::inspect::journal;
use crate::settings;

/// Between two reports.
const INTERVAL: Duration = Duration::from_secs(6 * 3_600);
/// Failed authentications that are an issue.
const MANY_FAILURES: u64 = 10;
/// Blocked fetches beyond this are an issue.
const MANY_BLOCKED: u64 = 10;
/// The domains that the second line names.
const TOP: usize = 5;

pub(super) fn run(command: &SecurityCommand, process: &mut Process) -> Result<u8, Refusal> {
    let interval = command
        .interval
        .as_deref()
        .map(duration)
        .transpose()?
        .unwrap_or(INTERVAL);
    loop {
        let status = once(command, process)?;
        if command.once {
            return Ok(status);
        }
        std::thread::sleep(interval);
    }
}

fn once(command: &SecurityCommand, process: &mut Process) -> Result<u8, Refusal> {
    let ground = Ground::read(command, process)?;
    let now = Clock::start().now().wall;
    let note = ground.loaded.state_dir.join("monitor.last");
    let since = last(&note).unwrap_or_else(|| UnixMillis(now.0.saturating_sub(INTERVAL.as_millis() as u64)));
    let seen = Seen::gather(&ground, since)?;
    let issues = seen.issues();
    let text = if command.json {
        format!("{}\n", seen.json(&issues))
    } else {
        seen.lines()
    };
    printed(process, &text)?;
    for issue in &issues {
        // When standard error is gone, the exit status still tells.
        let _ = writeln!(process.stderr, "ISSUE: {issue}");
    }
    if let Err(error) = settings::write_private(&note, &now.0.to_string()) {
        log::warn!("{} cannot be written: {error}", note.display());
    }
    Ok(if issues.is_empty() { CLEAN } else { FOUND })
}

struct Seen {
    address: Option<std::net::SocketAddr>,
    expected: std::net::SocketAddr,
    failures: u64,
    firewall: Firewall,
    has_token: bool,
    is_strong: bool,
    blocked: u64,
    top: Vec<(String, u64)>,
}

impl Seen {
    fn gather(ground: &Ground, since: UnixMillis) -> Result<Self, Refusal> {
        let bind = ground.bind()?;
        let token = ground.token();
        let since = since.to_utc().to_string();
        let path = ground
            .loaded
            .core
            .audit
            .as_ref()
            .map(|audit| PathBuf::from(&audit.path));
        let path = path.unwrap_or_else(|| ground.loaded.state_dir.join("logs/audit.jsonl"));
        let counts = journal::count_since(&path, &since).map_err(|fault| fault.to_string())?;
        let count = |event: &str| counts.get(event).copied().unwrap_or(0);
        let mut top: Vec<_> = journal::blocked_since(&path, &since)
            .map_err(|fault| fault.to_string())?
            .into_iter()
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect();
        top.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
        top.truncate(TOP);
        Ok(Self {
            address: bind.live,
            expected: bind.configured,
            failures: count("auth_failed"),
            firewall: ground.firewall(bind),
            has_token: token.source.is_some(),
            is_strong: token.is_strong,
            blocked: count("ssrf_blocked") + count("url_denied") + count("fetch_rejected"),
            top,
        })
    }

    fn issues(&self) -> Vec<String> {
        let class = Class::of(self.address.unwrap_or(self.expected).ip());
        let mut issues = Vec::new();
        if class == Class::Wildcard {
            issues.push("the gateway listens on every address".into());
        }
        if let Some(live) = self.address
            && live.ip().to_canonical() != self.expected.ip().to_canonical()
        {
            issues.push(format!(
                "the gateway listens on {live}, the settings say {}",
                self.expected
            ));
        }
        if self.failures >= MANY_FAILURES {
            issues.push(format!("{} failed authentications", self.failures));
        }
        if self.blocked > MANY_BLOCKED {
            issues.push(format!("{} blocked fetches", self.blocked));
        }
        if !self.has_token {
            issues.push("there is no token".into());
        } else if !self.is_strong {
            issues.push("the token is weak".into());
        }
        if class != Class::Loopback && self.firewall != Firewall::Active {
            issues.push("no active firewall in front of an address that others reach".into());
        }
        issues
    }

    fn address(&self) -> String {
        self.address
            .map_or_else(|| "unknown".into(), |address| address.to_string())
    }

    const fn token(&self) -> &'static str {
        if self.has_token { "set" } else { "missing" }
    }

    fn lines(&self) -> String {
        let firewall = if self.firewall == Firewall::Active {
            "active"
        } else {
            "inactive"
        };
        let top: Vec<&str> = self.top.iter().map(|(host, _)| host.as_str()).collect();
        format!(
            "GATEWAY_SECURITY: Bound to [{}]. Auth failures: [{}]. Firewall: [{firewall}]. Token: [{}].\n\
             SSRF_MONITOR: [{}] blocked fetches. Top blocked domains: [{}].\n",
            self.address(),
            self.failures,
            self.token(),
            self.blocked,
            top.join(", ")
        )
    }

    fn json(&self, issues: &[String]) -> serde_json::Value {
        let firewall = match self.firewall {
            Firewall::Active => "active",
            Firewall::Inactive => "inactive",
            Firewall::Unknown => "unknown",
        };
        json!({
            "address": self.address(), "authFailures": self.failures, "firewall": firewall, "token": self.token(),
            "blockedFetches": self.blocked,
            "topBlocked": self.top.iter().map(|(host, count)| json!({"host": host, "count": count})).collect::<Vec<_>>(),
            "issues": issues,
        })
    }
}

fn last(note: &Path) -> Option<UnixMillis> {
    fs::read_to_string(note).ok()?.trim().parse().ok().map(UnixMillis)
}

/// `90s`, `30m`, `6h`, `1d`.
fn duration(written: &str) -> Result<Duration, String> {
    let wrong = || "--interval: must be a number with s, m, h or d, for example 6h".to_owned();
    let written = written.trim();
    let (number, unit) = written
        .split_at_checked(written.len().saturating_sub(1))
        .ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().ok().filter(|number| *number > 0).ok_or_else(wrong)?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            address: Some("127.0.0.1:18789".parse().unwrap()),
            expected: "127.0.0.1:18789".parse().unwrap(),
            failures: 0,
            firewall: Firewall::Unknown,
            has_token: true,
            is_strong: true,
            blocked: 0,
            top: Vec::new(),
        }
    }

    #[test]
    fn the_lines_of_the_sheet() {
        assert_eq!(
            seen().lines(),
            "GATEWAY_SECURITY: Bound to [127.0.0.1:18789]. Auth failures: [0]. Firewall: [inactive]. Token: [set].\n\
             SSRF_MONITOR: [0] blocked fetches. Top blocked domains: [].\n"
        );
        assert!(seen().issues().is_empty());
    }

    #[test]
    fn issues() {
        let bad = Seen {
            address: Some("0.0.0.0:18789".parse().unwrap()),
            failures: 10,
            blocked: 11,
            has_token: false,
            firewall: Firewall::Inactive,
            ..seen()
        };
        assert_eq!(bad.issues().len(), 6);
        let absent = Seen {
            address: None,
            ..seen()
        };
        assert!(absent.lines().contains("Bound to [unknown]"));
    }

    #[test]
    fn intervals() {
        assert_eq!(duration("6h"), Ok(INTERVAL));
        for wrong in ["", "6", "0s", "h", "-1s", "6x", "\u{e9}"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
