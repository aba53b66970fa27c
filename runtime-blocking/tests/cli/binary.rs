//! The real binary, once through: start, health, a run, its replay, an orderly end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::{Scratch, command};

/// A gateway that is killed when the test fails before its end.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    fn start(line: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis-blocking"))
            .arg("gateway")
            .args(line)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// SIGTERM; whether the process then succeeded, and what it said on standard error.
    fn terminate(mut self) -> (bool, String) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.child.wait().unwrap().success(), stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only matters when the test failed; else the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn once_through() {
    let scratch = Scratch::new();
    let state = scratch.path().join("state");
    let mut running = Running::start(&[
        "--port=0",
        "--state-dir",
        state.to_str().unwrap(),
        "--token",
        "the-token",
    ]);
    let url = running.line().strip_prefix("Gateway URL: ").map(str::to_owned).unwrap();
    assert_eq!(running.line(), "Gateway token source: --token");

    let health = command(&["gateway", "--url", &url, "--token", "the-token"]);
    assert!(
        health.succeeded && health.stdout.contains("Remote health: status=ok protocol=1 "),
        "{}",
        health.stderr
    );
    let refused = command(&["gateway", "--url", &url, "--token", "another-token"]);
    assert_eq!(refused.stderr, "Failed to connect remote gateway: invalid auth token\n");

    let run = [
        "call",
        "agent.run",
        r#"{"message":"hello goat","idempotencyKey":"k"}"#,
        "--url",
        &url,
        "--token",
        "the-token",
    ];
    for _ in ["run", "replayed"] {
        let ended = command(&run);
        assert!(
            ended.stdout.starts_with("hello goat\n{"),
            "{} {}",
            ended.stdout,
            ended.stderr
        );
        assert!(ended.succeeded && ended.stdout.contains("\"code\": 0"));
    }
    let history = command(&["call", "session.history", "--url", &url, "--token", "the-token"]);
    assert_eq!(
        history.stdout.matches("hello goat").count(),
        2,
        "the agent ran once: {}",
        history.stdout
    );

    let (succeeded, stderr) = running.terminate();
    assert!(succeeded, "{stderr}");
    assert!(!stderr.contains("the-token"), "{stderr}");
}

/// Whether a process is there and not only waiting to be collected.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| {
        let state = rest.trim_start();
        !state.is_empty() && !state.starts_with('Z')
    })
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn further_signals_take_the_running_programs_along() {
    let scratch = Scratch::new();
    let (state, pids) = (scratch.path().join("state"), scratch.path().join("pids"));
    let script = format!("sleep 600 & echo $$ $! > {0}.new; mv {0}.new {0}; wait", pids.display());
    let agents = format!("agents.list=[{{id:'sleeper',command:['/bin/sh','-c','{script}']}}]");
    let state = state.to_str().unwrap();
    let line = [
        "--port=0",
        "--state-dir",
        state,
        "--token",
        "the-token",
        "--set",
        &agents,
    ];
    let mut running = Running::start(&line);
    let url = running.line().strip_prefix("Gateway URL: ").map(str::to_owned).unwrap();
    let asking = std::thread::spawn(move || {
        let run = r#"{"message":"sleep","idempotencyKey":"k"}"#;
        command(&["call", "agent.run", run, "--url", &url, "--token", "the-token"]).succeeded
    });
    wait_until("the agent does not start", || pids.exists());
    let pids = std::fs::read_to_string(&pids).unwrap();
    assert_eq!(pids.split_whitespace().filter(|pid| runs(pid)).count(), 2, "{pids}");
    let mut status = None;
    wait_until("the gateway does not end", || {
        // Signals that come together count as one: asked again until it heeds the second.
        kill_process(Pid::from_child(&running.child), Signal::TERM).unwrap();
        status = running.child.try_wait().unwrap();
        status.is_some()
    });
    // By the second signal its work is cut short; by the third it ends at once.
    assert!(matches!(status.unwrap().code(), Some(1 | 143)), "{status:?}");
    wait_until("a program outlives the gateway", || !pids.split_whitespace().any(runs));
    let mut stderr = String::new();
    let mut errors = running.child.stderr.take().unwrap();
    errors.read_to_string(&mut stderr).unwrap();
    assert!(
        stderr.contains("1 running program") || stderr.contains("was cut short"),
        "{stderr}"
    );
    assert!(!asking.join().unwrap());
}

/// Writes a certificate for this machine and its key; the paths of both.
fn certificate(scratch: &Scratch, name: &str) -> [String; 2] {
    use std::os::unix::fs::PermissionsExt;
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed([String::from("127.0.0.1")]).unwrap();
    let cert = scratch.file(&format!("{name}.pem"), &cert.pem());
    let key = scratch.file(&format!("{name}.key"), &signing_key.serialize_pem());
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    [cert, key]
}

#[test]
fn what_changed_is_read_again_while_it_runs() {
    let scratch = Scratch::new();
    let [cert, key] = certificate(&scratch, "a");
    let [other_cert, other_key] = certificate(&scratch, "b");
    let config = scratch.file("settings.json5", "{}");
    let state = scratch.path().join("state");
    let state = state.to_str().unwrap();
    let places = ["--state-dir", state, "--config", &config];
    let tls = ["--port=0", "--tls-cert", &cert, "--tls-key", &key];
    let mut running = Running::start(&[places.as_slice(), &tls].concat());
    let url = running.line().strip_prefix("Gateway URL: ").map(str::to_owned).unwrap();
    assert!(url.starts_with("wss://127.0.0.1:"), "{url}");
    let file = running
        .line()
        .strip_prefix("Gateway token file: ")
        .map(str::to_owned)
        .unwrap();
    let token = || std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let ask = |ca: &str, token: &str| command(&["call", "health", "--url", &url, "--ca", ca, "--token", token]);
    let first = token();
    let health = ask(&cert, &first);
    assert!(health.succeeded, "{}", health.stderr);
    assert!(!ask(&other_cert, &first).succeeded);

    // A mistake changes nothing; the certificate on the disk is not looked at either.
    std::fs::write(&config, "{gateway: {prot: 1}}").unwrap();
    std::fs::copy(&other_cert, &cert).unwrap();
    std::fs::copy(&other_key, &key).unwrap();
    let rotated = command(&[["token", "rotate"].as_slice(), &["--state-dir", state]].concat());
    assert!(
        rotated.stdout.contains("The gateway that runs did not take it"),
        "{}",
        rotated.stderr
    );
    let second = token();
    assert_ne!(first, second);
    assert!(
        ask(&other_cert, &second).stderr.contains("certificate"),
        "the old one is still served"
    );

    std::fs::write(&config, "{gateway: {path: '/gateway', maxInFlight: 5}}").unwrap();
    kill_process(Pid::from_child(&running.child), Signal::HUP).unwrap();
    wait_until("the gateway reads its settings", || ask(&other_cert, &second).succeeded);
    assert!(ask(&other_cert, &first).stderr.contains("invalid auth token"));

    let (succeeded, stderr) = running.terminate();
    assert!(succeeded, "{stderr}");
    assert!(
        stderr.contains("the old settings stay: gateway.prot: unknown key (did you mean gateway.port?)"),
        "{stderr}"
    );
    assert!(!stderr.contains(&first) && !stderr.contains(&second), "{stderr}");
}

#[test]
fn nobody_at_its_outputs_is_no_reason_to_end() {
    let scratch = Scratch::new();
    let state = scratch.path().join("state");
    let mut running = Running::start(&["--port=0", "--verbose", "--state-dir", state.to_str().unwrap()]);
    let url = running.line().strip_prefix("Gateway URL: ").map(str::to_owned).unwrap();
    let file = running
        .line()
        .strip_prefix("Gateway token file: ")
        .map(str::to_owned)
        .unwrap();
    drop(running.child.stderr.take());
    let (nothing, _) = std::io::pipe().unwrap();
    drop(std::mem::replace(
        &mut running.stdout,
        BufReader::new(ChildStdout::from(std::os::fd::OwnedFd::from(nothing))),
    ));
    let health = command(&[
        "gateway",
        "--url",
        &url,
        "--token",
        std::fs::read_to_string(file).unwrap().trim(),
    ]);
    assert!(health.succeeded, "{}", health.stderr);
    kill_process(Pid::from_child(&running.child), Signal::HUP).unwrap();
    kill_process(Pid::from_child(&running.child), Signal::TERM).unwrap();
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}
