//! The real binary as a control plane: the token from its file, a command, an orderly end. Proves `spec/cli.md` section 8.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tungstenite::Message;

use crate::process::Scratch;

/// Killed when the test fails before its end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Only matters when the test failed; else the process has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn once_through() {
    let scratch = Scratch::new();
    let state = scratch.path().join("state");
    let child = Command::new(env!("CARGO_BIN_EXE_portcullis-blocking"))
        .args(["control", "--port=0", "--json", "--state-dir", state.to_str().unwrap()])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    let token = std::fs::read_to_string(told["tokenFile"].as_str().unwrap()).unwrap();

    let stream = std::net::TcpStream::connect(told["url"].as_str().unwrap().trim_start_matches("ws://")).unwrap();
    let (mut client, _) = tungstenite::client(told["url"].as_str().unwrap(), stream).unwrap();
    let mut say = |text: &str| {
        client.send(Message::text(text)).unwrap();
        client.read().unwrap().into_text().unwrap().to_string()
    };
    assert_eq!(
        say("null"),
        r#"{"ok":false,"cmd":"(auth)","error":"Unauthorised: Token validation failed: jwt must be provided"}"#
    );
    let status = say(&serde_json::json!({ "token": token.trim(), "cmd": "status" }).to_string());
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["result"]["tokenId"], told["tokenId"]);
    assert_eq!(status["result"]["configured"], false);

    kill_process(Pid::from_child(&running.0), Signal::TERM).unwrap();
    let Ok(Message::Close(Some(close))) = client.read() else {
        panic!("no close frame");
    };
    assert_eq!(
        (u16::from(close.code), close.reason.as_str()),
        (1001, "server shutdown")
    );
    let _ = client.read();
    drop(client);
    assert!(running.0.wait().unwrap().success());
}
