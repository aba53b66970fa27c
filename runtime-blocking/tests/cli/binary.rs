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
