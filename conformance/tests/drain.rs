//! A gateway with fifty turns under way is asked to stop: all of them end and are answered, new ones are refused as
//! retryable, and it exits with 0 within the grace, on both runtimes.
#![allow(clippy::indexing_slicing, reason = "what a JSON value lacks reads as null")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use portcullis_conformance::child::Child;
use portcullis_conformance::client::talk::Talk;
use portcullis_conformance::serve::{self, Runtime};
use portcullis_conformance::vector::TOKEN;
use serde_json::{Value, json};

const CLIENTS: usize = 10;
const TURNS_EACH: usize = 5;
const GRACE: Duration = Duration::from_secs(30);

fn connected(child: &Child, number: usize) -> Result<Talk, String> {
    let mut talk = Talk::open(child.address(), None)?;
    let switched = talk.upgrade("/gateway", &[])?;
    if switched.status != 101 {
        return Err(format!("the upgrade was answered {switched}"));
    }
    talk.receive()?;
    let client = json!({"id": format!("client-{number}"), "version": "1", "platform": "test", "mode": "test"});
    let params = json!({"minProtocol": 1, "maxProtocol": 1, "client": client, "auth": {"token": TOKEN}});
    talk.send(&json!({"type": "req", "id": "connect", "method": "connect", "params": params}))?;
    match talk.receive()? {
        Some(hello) if hello["ok"] == true => Ok(talk),
        other => Err(format!("the handshake was answered {other:?}")),
    }
}

fn run(talk: &mut Talk, id: &str) -> Result<(), String> {
    let params = json!({"idempotencyKey": id, "message": id, "disableSession": true});
    talk.send(&json!({"type": "req", "id": id, "method": "agent.run", "params": params}))
}

/// The next answer; events are passed over, and streamed chunks counted.
fn answer(talk: &mut Talk, streamed: &mut usize) -> Result<Value, String> {
    loop {
        let Some(frame) = talk.receive()? else {
            return Err("the gateway closed before it answered".into());
        };
        if frame["type"] == "res" {
            return Ok(frame);
        }
        *streamed += usize::from(frame["event"] == "agent.stream");
    }
}

fn story(child: &mut Child) -> Result<(), String> {
    let mut clients = (0..CLIENTS)
        .map(|number| connected(child, number))
        .collect::<Result<Vec<_>, _>>()?;
    for talk in &mut clients {
        for turn in 0..TURNS_EACH {
            run(talk, &format!("turn-{turn}"))?;
        }
    }
    // Every turn says a word at its start.
    for talk in &mut clients {
        let mut started = 0;
        while started < TURNS_EACH {
            let frame = talk.receive()?.ok_or("the gateway closed")?;
            started += usize::from(frame["event"] == "agent.stream");
        }
    }
    let asked = Instant::now();
    child.terminate()?;
    let mut told = 0;
    for talk in &mut clients {
        // The signal has been heard when the client was told of the shutdown.
        loop {
            let frame = talk.receive()?.ok_or("the gateway closed")?;
            if frame["event"] == "shutdown" {
                break;
            }
        }
        run(talk, "late")?;
    }
    for talk in &mut clients {
        let mut answered = Vec::new();
        while answered.len() < TURNS_EACH + 1 {
            answered.push(answer(talk, &mut told)?);
        }
        for frame in answered {
            let good = if frame["id"] == "late" {
                frame["error"]["code"] == "UNAVAILABLE" && frame["error"]["retryable"] == true
            } else {
                frame["ok"] == true && frame["payload"]["result"]["code"] == 0
            };
            if !good {
                return Err(format!("a turn was answered {frame}"));
            }
        }
        while talk.receive()?.is_some() {}
    }
    loop {
        match child.exit_code() {
            Some(0) => return Ok(()),
            Some(code) => return Err(format!("the exit code is {code}")),
            None if asked.elapsed() > GRACE => return Err("it still runs".into()),
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

#[test]
fn fifty_turns_are_answered_before_the_end() {
    for runtime in [Runtime::Smol, Runtime::Blocking] {
        let program = serve::own(PathBuf::from(env!("CARGO_BIN_EXE_portcullis-conformance")), runtime);
        let agent = json!([{"id": "goat", "command": ["/bin/sh", "-c", "echo started; sleep 2; cat"]}]);
        let args = [
            format!("agents.list={agent}"),
            "agents.maxConcurrentRuns=64".into(),
            "gateway.drainGraceMs=30000".into(),
        ];
        let args = args.into_iter().flat_map(|set| ["--set".to_owned(), set]).collect();
        let mut child = Child::start(&program, args, true).unwrap_or_else(|why| panic!("{why}"));
        if let Err(why) = story(&mut child) {
            panic!("{}: {}", runtime.name(), child.explain(&why));
        }
    }
}
