//! The security audit on the prepared settings of `conformance/audit`, each bad in its own way, and on none at all; the audit
//! journal after somebody has been at it. Proves sections 1 and 2 of `spec/audit.md` from outside.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::process::{Ended, Recorder, Scratch, portcullis};

/// A token that is strong by every rule.
const STRONG: &str = "6d1f0a9b3c5e7d2f8a4b6c0e1d3f5a7b9c2e4d6f8a0b1c3d5e7f9a2b4c6d8e0f";

/// Runs the audit on one of the prepared files, copied to where its mode can be set.
fn audit(name: &str, mode: u32, token: Option<&str>, options: &[&str]) -> Ended {
    let scratch = Scratch::new();
    let prepared = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../conformance/audit")
        .join(name);
    let file = scratch.file(name, &fs::read_to_string(prepared).unwrap());
    fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    let state = state(&scratch);
    let line = [&["audit", "--json", "--config", &file, "--state-dir", &state], options].concat();
    let environment: Vec<(&str, &str)> = token
        .map(|token| ("OPENCLAW_GATEWAY_TOKEN", token))
        .into_iter()
        .collect();
    portcullis(&line, &environment, &Recorder::default())
}

fn state(scratch: &Scratch) -> String {
    let state = scratch.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
    state.to_str().unwrap().to_owned()
}

/// The ids of one severity, in the order of the report.
fn ids(ended: &Ended, severity: &str) -> Vec<String> {
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let of_it = findings.iter().filter(|finding| finding["severity"] == severity);
    of_it
        .map(|finding| finding["checkId"].as_str().unwrap().to_owned())
        .collect()
}

/// Whether every one of `expected` is among the findings of this severity.
fn assert_named(ended: &Ended, severity: &str, expected: &[&str]) {
    let found = ids(ended, severity);
    for id in expected {
        assert!(found.iter().any(|one| one == id), "{severity} {id} is not in {found:?}");
    }
}

#[test]
fn an_open_door_is_named() {
    let ended = audit("open-door.json5", 0o600, None, &[]);
    assert_eq!(ended.status, 1);
    assert_eq!(ids(&ended, "critical"), ["gateway.loopback_auth_missing"]);
    assert_named(
        &ended,
        "warn",
        &[
            "gateway.require_token_off",
            "gateway.http.no_auth",
            "gateway.control_ui.allowed_origins_wildcard",
            "gateway.trusted_proxies_missing",
        ],
    );
}

#[test]
fn a_listener_on_every_address_is_named() {
    let ended = audit("every-address.json5", 0o600, Some(STRONG), &[]);
    assert_eq!(ended.status, 1);
    assert_named(
        &ended,
        "critical",
        &[
            "gateway.bind_wildcard",
            "gateway.tailscale_funnel",
            "gateway.control_ui.host_header_origin_fallback",
            "gateway.real_ip_fallback_enabled",
        ],
    );
    assert_named(
        &ended,
        "warn",
        &[
            "gateway.tls_missing",
            "gateway.auth_no_rate_limit",
            "config.insecure_or_dangerous_flags",
            "gateway.files.url_allowlist_missing",
            "gateway.images.url_allowlist_missing",
        ],
    );
}

#[test]
fn secrets_in_a_file_that_everybody_reads_are_named_and_not_shown() {
    let ended = audit("weak-secrets.json5", 0o644, None, &[]);
    assert_eq!(ended.status, 1);
    assert_eq!(ids(&ended, "critical"), ["fs.config.perms_world_readable"]);
    assert_named(
        &ended,
        "warn",
        &[
            "gateway.token_weak",
            "gateway.token_too_short",
            "config.secrets.gateway_token_in_config",
            "logging.connections_off",
        ],
    );
    assert!(!ended.stdout.contains("goats-1234"), "the report shows the token");
    // Without that mode there are warnings only: the exit status says so when it is asked for.
    assert_eq!(audit("weak-secrets.json5", 0o600, None, &[]).status, 0);
    assert_eq!(
        audit("weak-secrets.json5", 0o600, None, &["--fail-on", "warn"]).status,
        1
    );
}

#[test]
fn a_proxy_that_may_name_anybody_is_named() {
    let ended = audit("proxy-anybody.json5", 0o600, None, &[]);
    assert_eq!(ended.status, 1);
    assert_eq!(ids(&ended, "critical"), ["gateway.trusted_proxy_auth"]);
    assert_named(
        &ended,
        "warn",
        &[
            "gateway.trusted_proxy_no_allowlist",
            "gateway.trusted_proxy_allow_loopback",
        ],
    );
}

#[test]
fn dangerous_tools_and_broad_lists_are_named() {
    let ended = audit("tools-and-urls.json5", 0o600, Some(STRONG), &["--fail-on", "warn"]);
    assert_eq!(ended.status, 1);
    assert_eq!(ids(&ended, "critical"), [""; 0]);
    assert_named(
        &ended,
        "warn",
        &[
            "gateway.tools_invoke_http.dangerous_allow",
            "gateway.url_allowlist_broad",
        ],
    );
    for key in [
        "gateway.files.urlAllowlist",
        "gateway.images.urlAllowlist",
        "gateway.web.urlAllowlist",
    ] {
        assert!(ended.stdout.contains(key), "{key} is not named");
    }
    assert!(!ended.stdout.contains("cdn.example.com"), "one good host is no fault");
}

#[test]
fn default_settings_are_clean_and_wrong_ones_are_no_audit() {
    let scratch = Scratch::new();
    let state = state(&scratch);
    let audit = |config: &str| {
        let line = [
            "audit",
            "--json",
            "--state-dir",
            &state,
            "--config",
            config,
            "--fail-on",
            "warn",
        ];
        portcullis(&line, &[("OPENCLAW_GATEWAY_TOKEN", STRONG)], &Recorder::default())
    };
    let good = scratch.file("good.json5", "{}");
    fs::set_permissions(&good, Permissions::from_mode(0o600)).unwrap();
    let clean = audit(&good);
    assert_eq!((clean.status, ids(&clean, "warn").len()), (0, 0), "{}", clean.stdout);
    let mistaken = audit(&scratch.file("bad.json5", "{gatway: 1}"));
    assert_eq!(mistaken.status, 2);
    assert!(
        mistaken.stderr.starts_with("The settings have mistakes:\n"),
        "{}",
        mistaken.stderr
    );
}

/// The journal of a gateway that started and ended, line by line.
fn journal(state: &str) -> Vec<String> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis-blocking"))
        .args(["gateway", "--port=0", "--state-dir", state])
        .env_clear()
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let text = fs::read_to_string(Path::new(state).join("logs/audit.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_journal_that_was_tampered_with_shows_where() {
    let scratch = Scratch::new();
    let state = state(&scratch);
    let lines = journal(&state);
    assert!(lines.len() > 2, "{lines:?}");
    let verify = |lines: &[String]| {
        let file = scratch.file("audit.jsonl", &format!("{}\n", lines.join("\n")));
        portcullis(
            &["audit", "verify", "--journal", &file, "--state-dir", &state],
            &[],
            &Recorder::default(),
        )
    };
    assert_eq!(verify(&lines).status, 0);

    let mut changed = lines.clone();
    changed[1] = changed[1].replacen("\"outcome\":\"o", "\"outcome\":\"O", 1);
    assert_ne!(changed, lines);
    let removed = [&lines[..1], &lines[2..]].concat();
    let mut moved = lines.clone();
    moved.swap(1, 2);
    for (what, lines, line) in [("changed", changed, 2), ("removed", removed, 2), ("moved", moved, 2)] {
        let ended = verify(&lines);
        assert_eq!(ended.status, 1, "{what}: {}", ended.stdout);
        assert!(
            ended.stderr.contains(&format!("audit.jsonl: line {line}:")),
            "{what}: {}",
            ended.stderr
        );
    }
    let missing = [
        "audit",
        "verify",
        "--journal",
        "/nonexistent/audit.jsonl",
        "--state-dir",
        &state,
    ];
    assert_eq!(portcullis(&missing, &[], &Recorder::default()).status, 2);
}
