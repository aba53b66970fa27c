//! `call`.

use serde_json::{Value, json};

use crate::fake_gateway::FakeGateway;
use crate::process::{Ended, command};

fn call<T: Send + 'static>(gateway: &FakeGateway<T>, line: &[&str]) -> Ended {
    command(&[["call"].as_slice(), line, &["--url", &gateway.url()]].concat())
}

#[test]
fn prints_the_payload() {
    let gateway = FakeGateway::start(|peer| {
        let connect = peer.welcome();
        let request = peer.request();
        peer.ping();
        peer.send(json!({"type": "event", "event": "tick", "payload": {}, "seq": 1}));
        peer.binary(json!({"type": "res", "id": request["id"], "ok": true, "payload": {"agents": []}}));
        (connect, request)
    });
    let ended = call(&gateway, &["agent.list"]);
    assert_eq!(
        (ended.succeeded, ended.stdout.as_str(), ended.stderr.as_str()),
        (true, "{\n  \"agents\": []\n}\n", "")
    );
    let (connect, request) = gateway.saw();
    assert_eq!(connect["params"]["scopes"], json!(["operator.read"]));
    assert_eq!(
        (&request["method"], request.get("params")),
        (&json!("agent.list"), None)
    );
    assert_eq!(connect["params"].get("auth"), None);
}

fn run_with(params: Option<&str>, json: bool, streams: bool) -> (Ended, Value, Value) {
    let gateway = FakeGateway::start(move |peer| {
        let connect = peer.welcome();
        let run = peer.request();
        if streams {
            for (stream, chunk) in [("stdout", "one "), ("stderr", "warn"), ("stdout", "two")] {
                peer.send(json!({"type": "event", "event": "agent.stream", "seq": 1,
                                 "payload": {"runId": run["id"], "stream": stream, "chunk": chunk}}));
            }
        }
        peer.answer(
            &run,
            json!({"runId": run["id"], "result": {"code": 3, "stdout": "one two", "stderr": "warn"}}),
        );
        (connect, run)
    });
    let line: Vec<&str> = ["agent.run"]
        .into_iter()
        .chain(params)
        .chain(json.then_some("--json"))
        .collect();
    let ended = call(&gateway, &line);
    let (connect, run) = gateway.saw();
    (ended, connect, run)
}

#[test]
fn a_runs_output_is_streamed_and_not_repeated() {
    let (ended, connect, run) = run_with(Some("{\"message\":\"hi\"}"), false, true);
    assert!(
        ended.succeeded,
        "the request succeeded, whatever the program's exit code"
    );
    let id = run["id"].as_str().unwrap();
    assert_eq!(
        ended.stdout,
        format!("one two\n{{\n  \"result\": {{\n    \"code\": 3\n  }},\n  \"runId\": \"{id}\"\n}}\n")
    );
    assert_eq!(ended.stderr, "warn\n");
    assert_eq!(connect["params"]["scopes"], json!(["operator.write"]));
    assert_eq!(run["params"]["message"], "hi");
    assert_eq!(run["params"]["idempotencyKey"].as_str().unwrap().len(), 64);
}

#[test]
fn a_replayed_run_shows_its_output_too() {
    let (ended, _, run) = run_with(Some("{\"message\":\"hi\",\"idempotencyKey\":\"mine\"}"), false, false);
    assert!(ended.stdout.starts_with("one two\n{\n"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("\"stdout\""));
    assert_eq!(ended.stderr, "warn\n");
    assert_eq!(run["params"]["idempotencyKey"], "mine");
}

#[test]
fn with_json_every_frame_is_a_line() {
    let (ended, _, run) = run_with(None, true, true);
    let frames: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(frames.len(), 4);
    assert_eq!(frames[0]["event"], "agent.stream");
    assert_eq!(
        (&frames[3]["id"], &frames[3]["payload"]["result"]["stdout"]),
        (&run["id"], &json!("one two"))
    );
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_refusal_goes_to_standard_error_with_code_and_delay() {
    let gateway = FakeGateway::start(|peer| {
        peer.welcome();
        let request = peer.request();
        peer.refuse(
            &request,
            json!({"code": "RATE_LIMITED", "message": "rate limit exceeded", "retryable": true, "retryAfterMs": 1234}),
        );
        request
    });
    let ended = call(&gateway, &["weather.today", "[1,2]"]);
    assert_eq!((ended.succeeded, ended.stdout.as_str()), (false, ""));
    assert_eq!(
        ended.stderr,
        "Error: RATE_LIMITED: rate limit exceeded (retryAfterMs 1234)\n"
    );
    assert_eq!(gateway.saw()["params"], json!([1, 2]));
}

#[test]
fn a_gateway_that_goes_away_is_no_success() {
    let gateway = FakeGateway::start(|peer| {
        peer.welcome();
        peer.request();
        peer.close(1001, "server shutdown");
    });
    let ended = call(&gateway, &["health"]);
    assert_eq!(
        ended.stderr,
        "Error: the gateway closed the connection: server shutdown (code 1001)\n"
    );
    assert!(!ended.succeeded);
    gateway.saw();
}

#[test]
fn an_answer_that_does_not_come_times_out() {
    let gateway = FakeGateway::start(|peer| {
        peer.welcome();
        peer.request();
    });
    let ended = call(&gateway, &["health", "--timeout=200"]);
    assert_eq!(
        (ended.succeeded, ended.stderr.as_str()),
        (false, "Error: timed out waiting for the answer\n")
    );
    gateway.saw();
}

#[test]
fn params_must_be_json() {
    let ended = command(&["call", "health", "{oops"]);
    assert!(
        !ended.succeeded && ended.stderr.starts_with("Error: PARAMS are not JSON: "),
        "{}",
        ended.stderr
    );
}
