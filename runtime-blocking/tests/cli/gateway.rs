//! `gateway`: what is printed, and what is refused.

use std::io::Write;
use std::net::TcpListener;
use std::thread;

use portcullis_core::settings::AgentKind;
use serde_json::Value;

use crate::process::{Ended, Recorder, Scratch, command, portcullis};

fn start(scratch: &Scratch, line: &[&str], runtime: &Recorder) -> Ended {
    let state = scratch.path().join("state");
    let all = [["gateway", "--state-dir", state.to_str().unwrap()].as_slice(), line].concat();
    portcullis(&all, &[("PATH", "/bin:/usr/bin")], runtime)
}

#[test]
fn url_and_token_are_one_line_each() {
    let (scratch, runtime) = (Scratch::new(), Recorder::default());
    let ended = start(&scratch, &["--port", "0", "--token", "my-own-token"], &runtime);
    assert!(ended.succeeded, "{}", ended.stderr);
    let prepared = runtime.served.lock().unwrap().take().unwrap();
    let port = prepared.listeners[0].local_addr().unwrap().port();
    assert_eq!(
        ended.stdout,
        format!("Gateway URL: ws://127.0.0.1:{port}/gateway\nGateway token source: --token\n")
    );
    assert_ne!(port, 0);
    assert_eq!(
        prepared.settings.auth.tokens.as_ref().unwrap()[0].reveal(),
        "my-own-token"
    );
    assert_eq!(prepared.settings.agents.agents[0].kind, AgentKind::Echo);
    assert_eq!(prepared.state_dir, scratch.path().join("state"));
    assert!(scratch.path().join("state/workspaces/goat").is_dir());
}

#[test]
fn json_is_one_object_on_one_line() {
    let (scratch, runtime) = (Scratch::new(), Recorder::default());
    let ended = start(&scratch, &["--port=0", "--json", "--set", "gateway.path=ws"], &runtime);
    assert_eq!(ended.stdout.lines().count(), 1);
    let printed: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(printed["url"].as_str().unwrap().starts_with("ws://127.0.0.1:"));
    assert!(printed["url"].as_str().unwrap().ends_with("/ws"));
    assert_eq!(
        (
            printed["auth"].as_bool(),
            printed["tokenSource"].as_str(),
            printed.get("token")
        ),
        (Some(true), Some("file"), None)
    );
    let kept = std::fs::read_to_string(printed["tokenFile"].as_str().unwrap()).unwrap();
    assert_eq!(kept.len(), 65);
    assert_eq!(printed["pid"], std::process::id());
    assert_eq!(printed["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn an_open_door_is_told_and_ipv6_has_brackets() {
    let (scratch, runtime) = (Scratch::new(), Recorder::default());
    let ended = start(&scratch, &["--port=0", "--no-auth", "--bind", "::1"], &runtime);
    if TcpListener::bind("[::1]:0").is_err() {
        assert!(
            ended.stderr.contains("Cannot listen on [::1]:0"),
            "a machine without IPv6: {}",
            ended.stderr
        );
        return;
    }
    let (first, second) = ended.stdout.split_once('\n').unwrap();
    assert!(first.starts_with("Gateway URL: ws://[::1]:"), "{first}");
    assert_eq!(second, "Gateway auth: disabled (loopback only)\n");
    assert_eq!(
        runtime.served.lock().unwrap().as_ref().unwrap().settings.auth.tokens,
        None
    );
}

#[test]
fn refusals_say_why_print_nothing_else_and_leave_nothing_behind() {
    for (line, what) in [
        (
            ["--bind", "0.0.0.0"].as_slice(),
            "Refusing non-loopback bind without --allow-remote.",
        ),
        (
            &["--set", "gateway.host=0.0.0.0"],
            "Refusing non-loopback bind without --allow-remote.",
        ),
        (
            &["--bind=0.0.0.0", "--allow-remote", "--no-auth"],
            "Refusing --no-auth with a non-loopback bind.",
        ),
        (
            &["--bind", "203.0.113.7", "--allow-remote", "--port", "0"],
            "Cannot listen on 203.0.113.7:0",
        ),
        (
            &["--port", "70000", "--set", "gatway.x=1"],
            "  --set gatway.x: unknown key (did you mean gateway?)\n  --port: must be a whole number from 0 to 65535\n",
        ),
        (&["--config", "/no/such/file"], "/no/such/file: cannot be read"),
        (&["--token", "short"], "--token: must be at least 8 characters"),
        (
            &["--set", "gateway.auth.mode=none", "--token", "the-token"],
            "  --token: the settings turn auth off",
        ),
        (&["--timeout", "5"], "--timeout and --ca go with --url only."),
    ] {
        let (scratch, runtime) = (Scratch::new(), Recorder::default());
        let ended = start(&scratch, line, &runtime);
        assert!(!ended.succeeded && ended.stdout.is_empty(), "{line:?}");
        assert!(ended.stderr.contains(what), "{line:?}: {}", ended.stderr);
        let is_settings = !line.contains(&"203.0.113.7") && !line.contains(&"--timeout");
        assert_eq!(ended.status, if is_settings { 78 } else { 1 }, "{line:?}");
        assert!(!scratch.path().join("state").exists(), "{line:?}");
    }
}

#[test]
fn a_state_folder_that_is_a_file_is_told_so() {
    let scratch = Scratch::new();
    let file = scratch.file("state", "a file");
    let ended = start(&scratch, &["--port=0"], &Recorder::default());
    assert!(!ended.succeeded && ended.stdout.is_empty());
    assert!(
        ended.stderr.contains(&file) && ended.stderr.contains("is a file and no folder"),
        "{}",
        ended.stderr
    );
}

#[test]
fn settings_may_come_from_a_pipe_and_a_pipe_without_a_writer_is_refused() {
    let (scratch, runtime) = (Scratch::new(), Recorder::default());
    let named = scratch.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &named, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let ended = start(&scratch, &["--config", named.to_str().unwrap()], &runtime);
    assert!(
        ended.stderr.contains("is a pipe that nobody writes to"),
        "{}",
        ended.stderr
    );

    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"{gateway: {port: 0, path: '/piped'}}").unwrap();
    drop(writer);
    let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let ended = start(&scratch, &["--config", &path], &runtime);
    assert!(ended.succeeded && ended.stdout.contains("/piped"), "{}", ended.stderr);
}

#[test]
fn a_port_that_another_gateway_has_is_told_so() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    let answering = thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{\"status\":\"ok\",\"protocol\":1}")
            .unwrap();
        // Open until the asker has gone: an early reset could eat the answer.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let scratch = Scratch::new();
    let ended = start(&scratch, &["--port", &port], &Recorder::default());
    answering.join().unwrap();
    assert!(
        ended
            .stderr
            .contains("the port is taken. Another gateway is running there"),
        "{}",
        ended.stderr
    );
}

#[test]
fn version_and_help() {
    let ended = command(&["--version"]);
    assert_eq!(
        ended.stdout,
        format!("portcullis {} (test)\n", env!("CARGO_PKG_VERSION"))
    );
    let ended = command(&["gateway", "--help"]);
    assert!(ended.succeeded && ended.stdout.contains("Examples:") && ended.stderr.is_empty());
    let ended = command(&["gateway", "--what"]);
    assert!(!ended.succeeded && ended.stdout.is_empty());
    assert!(
        ended.stderr.contains("--what") && ended.stderr.contains("portcullis --help"),
        "{}",
        ended.stderr
    );
}
