//! `config` and `token`: what is shown, what is written, what is refused. And what a start shows of a token.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::process::{Ended, Recorder, Scratch, on_terminal, portcullis};

/// A home without anything in it.
struct Home(Scratch);

impl Home {
    fn new() -> Self {
        Self(Scratch::new())
    }

    fn state(&self) -> PathBuf {
        self.0.path().join(".local/state/portcullis")
    }

    fn file(&self) -> PathBuf {
        self.state().join("openclaw.json")
    }

    fn environment<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let home = [("HOME", self.0.path().to_str().unwrap()), ("PATH", "/bin:/usr/bin")];
        home.into_iter().chain(more.iter().copied()).collect()
    }

    fn run(&self, line: &[&str]) -> Ended {
        portcullis(line, &self.environment(&[]), &Recorder::default())
    }

    fn run_with(&self, line: &[&str], variables: &[(&str, &str)]) -> Ended {
        portcullis(line, &self.environment(variables), &Recorder::default())
    }

    fn start(&self) -> (Ended, String) {
        let ended = self.run(&["gateway", "--port", "0"]);
        let token = std::fs::read_to_string(self.state().join("gateway-token")).unwrap_or_default();
        (ended, token.trim().to_owned())
    }
}

fn is(ended: &Ended, status: u8, stdout: &str) {
    assert_eq!(
        (ended.status, ended.stdout.as_str()),
        (status, stdout),
        "{}",
        ended.stderr
    );
}

#[test]
fn values_are_set_shown_and_taken_out() {
    let home = Home::new();
    let done = |path: &str| format!("Updated {path}. Restart the gateway to apply.\n");
    is(
        &home.run(&["config", "set", "gateway.port", "18790"]),
        0,
        &done("gateway.port"),
    );
    let agents = "[{id: 'writer', command: ['sh']}]";
    is(
        &home.run(&["config", "set", "agents.list", agents]),
        0,
        &done("agents.list"),
    );
    is(
        &home.run(&["config", "set", "agents.list[0].displayName", "The Writer"]),
        0,
        &done("agents.list[0].displayName"),
    );
    is(&home.run(&["config", "get", "gateway.port"]), 0, "18790\n");
    is(
        &home.run(&["config", "get", "agents.list[0].displayName"]),
        0,
        "The Writer\n",
    );
    is(
        &home.run(&["config", "get", "agents.list[0].displayName", "--json"]),
        0,
        "\"The Writer\"\n",
    );
    is(&home.run(&["config", "get", "gateway"]), 0, "{\n  \"port\": 18790\n}\n");
    is(
        &home.run(&["config", "unset", "gateway.port"]),
        0,
        "Removed gateway.port. Restart the gateway to apply.\n",
    );
    let missing = home.run(&["config", "get", "gateway.port"]);
    is(&missing, 1, "");
    assert_eq!(missing.stderr, "Config path not found: gateway.port\n");
    is(
        &home.run(&["config", "get", "gateway.port", "--json"]),
        1,
        "{\"error\":\"Config path not found: gateway.port\"}\n",
    );
    let written: Value = serde_json::from_str(&std::fs::read_to_string(home.file()).unwrap()).unwrap();
    assert_eq!(
        written,
        json!({"gateway": {}, "agents": {"list": [{"id": "writer", "command": ["sh"], "displayName": "The Writer"}]}})
    );
    let mode = std::fs::metadata(home.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_change_that_would_be_a_mistake_is_not_written() {
    let home = Home::new();
    // Also where there is no file yet.
    is(&home.run(&["config", "set", "gateway.prot", "1"]), 1, "");
    assert!(!home.file().exists());
    home.run(&["config", "set", "gateway.port", "18790"]);
    let before = std::fs::read_to_string(home.file()).unwrap();
    for (line, told) in [
        (
            ["gateway.prot", "1"],
            "gateway.prot: unknown key (did you mean gateway.port?)",
        ),
        (
            ["gateway.port", "many"],
            "gateway.port: must be a whole number from 0 to 65535, is text",
        ),
        (
            ["gateway.path", "${NO_SUCH_VARIABLE}"],
            "Missing env var \"NO_SUCH_VARIABLE\" referenced at config path: gateway.path",
        ),
        (
            ["gateway.auth.token", "hunter22hunter22"],
            "gateway.auth.token: a secret is not written",
        ),
        (
            ["gateway", "{auth: {password: 'hunter22hunter22'}}"],
            "gateway.auth.password: a secret is not written",
        ),
        (["", "1"], "Path is empty."),
        (["a[1", "1"], "Invalid path (missing \"]\"): a[1"),
        (["gateway.path", "'x"], "The value is not JSON5"),
    ] {
        let ended = home.run(&["config", "set", line[0], line[1]]);
        is(&ended, 1, "");
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
        assert!(!ended.stderr.contains("hunter22"), "{}", ended.stderr);
    }
    assert_eq!(std::fs::read_to_string(home.file()).unwrap(), before);
}

#[test]
fn a_file_with_mistakes_can_be_mended_one_by_one() {
    let home = Home::new();
    std::fs::create_dir_all(home.state()).unwrap();
    std::fs::write(home.file(), "{gateway: {prot: 1, hots: 2}}").unwrap();
    let checked = home.run(&["config", "check"]);
    is(&checked, 1, "");
    for told in [
        "gateway.prot: unknown key (did you mean gateway.port?)",
        "gateway.hots: unknown key (did you mean gateway.host?)",
        "is the file that was read, because nobody named another with --config",
    ] {
        assert!(checked.stderr.contains(told), "{}", checked.stderr);
    }
    assert_eq!(home.run(&["config", "unset", "gateway.prot"]).status, 0);
    assert_eq!(home.run(&["config", "set", "gateway.maxInFlight", "5"]).status, 0);
    assert_eq!(home.run(&["config", "unset", "gateway.hots"]).status, 0);
    let checked = home.run(&["config", "check"]);
    is(&checked, 0, &format!("{} is fine.\n", home.file().display()));
    // A gateway with a mistake in its settings says that starting again would not help.
    std::fs::write(home.file(), "{gateway: {prot: 1}}").unwrap();
    assert_eq!(home.run(&["gateway", "--port", "0"]).status, 78);
}

#[test]
fn the_token_is_told_about_and_not_shown() {
    let home = Home::new();
    is(&home.run(&["config", "get", "gateway.auth.token"]), 1, "");
    assert_eq!(home.run(&["token"]).status, 1);

    let (started, token) = home.start();
    assert_eq!(token.len(), 64, "{}", started.stderr);
    let file = home.state().join("gateway-token");
    assert!(
        started
            .stdout
            .ends_with(&format!("\nGateway token file: {}\n", file.display()))
    );
    assert!(!started.stdout.contains(&token) && !started.stderr.contains(&token));
    let (again, same) = home.start();
    assert_eq!((again.status, &same), (0, &token));

    let redacted = "__REDACTED__ (64 chars, source=file, strength=strong)\n";
    is(&home.run(&["config", "get", "gateway.auth.token"]), 0, redacted);
    is(
        &home.run(&["token"]),
        0,
        &format!("{redacted}Gateway token source: {}\n", file.display()),
    );
    let from_env = [("OPENCLAW_GATEWAY_TOKEN", "eight-characters")];
    is(
        &home.run_with(&["config", "get", "gateway.auth.token"], &from_env),
        0,
        "__REDACTED__ (16 chars, source=env, strength=weak)\n",
    );
    for line in [
        ["config", "get", "gateway.auth.token", "--show-secret"].as_slice(),
        &["token", "--show-secret"],
    ] {
        let hidden = home.run(line);
        is(&hidden, 1, "");
        assert!(hidden.stderr.contains("on a terminal only"), "{}", hidden.stderr);
        let shown = on_terminal(line, &home.environment(&[]), &Recorder::default());
        is(&shown, 0, &format!("{token}\n"));
    }
}

#[test]
fn a_person_at_a_terminal_sees_a_token_that_was_made_just_now_and_any_other_on_demand() {
    let home = Home::new();
    let start = |more: &[&str]| {
        let line = [&["gateway", "--port", "0"], more].concat();
        on_terminal(&line, &home.environment(&[]), &Recorder::default())
    };
    let first = start(&[]);
    let token = std::fs::read_to_string(home.state().join("gateway-token")).unwrap();
    assert!(
        first.stdout.contains(&format!("Gateway token: {token}")),
        "{}",
        first.stdout
    );
    assert!(!start(&[]).stdout.contains(token.trim()));
    assert!(start(&["--print-token"]).stdout.contains(token.trim()));
    let refused = home.run(&["gateway", "--port", "0", "--print-token"]);
    assert!(refused.stderr.contains("--print-token works on a terminal only"));
}

#[test]
fn rotating_makes_another_token_where_it_is_kept() {
    let home = Home::new();
    let (_, first) = home.start();
    let rotated = home.run(&["token", "rotate"]);
    let file = home.state().join("gateway-token");
    is(
        &rotated,
        0,
        &format!(
            "Gateway token file: {}\nNo gateway runs with this state folder; the next one reads it.\n",
            file.display()
        ),
    );
    let (_, second) = home.start();
    assert_ne!(first, second);
    assert!(!rotated.stdout.contains(&second));
    let elsewhere = home.run_with(
        &["token", "rotate"],
        &[("OPENGOAT_GATEWAY_TOKEN", "from-the-environment")],
    );
    is(&elsewhere, 1, "");
    assert!(
        elsewhere.stderr.contains("OPENGOAT_GATEWAY_TOKEN: change it there"),
        "{}",
        elsewhere.stderr
    );
}

#[test]
fn files_with_secrets_that_others_can_read_are_refused() {
    let home = Home::new();
    let (_, _) = home.start();
    let file = home.state().join("gateway-token");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = home.run(&["gateway", "--port", "0"]);
    assert_eq!(refused.status, 78);
    assert!(refused.stderr.contains("chmod 600"), "{}", refused.stderr);
    let env = home.0.file("variables", "OPENCLAW_GATEWAY_TOKEN=from-the-file-1");
    let refused = home.run(&["gateway", "--port", "0", "--env-file", &env]);
    assert!(
        refused.stderr.contains("variables: other users can read"),
        "{}",
        refused.stderr
    );
    for path in [file.to_str().unwrap(), &env] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let started = home.run(&["gateway", "--port", "0", "--env-file", &env, "--json"]);
    let printed: Value = serde_json::from_str(&started.stdout).unwrap();
    assert_eq!(printed["tokenSource"], "env");
    let started = home.run(&["gateway", "--port", "0", "--token-file", file.to_str().unwrap()]);
    assert!(
        started.stdout.ends_with("Gateway token source: --token-file\n"),
        "{}",
        started.stdout
    );
}
