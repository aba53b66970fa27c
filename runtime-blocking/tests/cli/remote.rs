//! `gateway --url`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fake_gateway::{FakeGateway, Peer};
use crate::process::{Recorder, Scratch, command, portcullis};

fn healthy(peer: &mut Peer) -> (String, Value, Value) {
    let connect = peer.welcome();
    let health = peer.request();
    peer.answer(&health, json!({"status": "ok", "protocol": 1, "homeDir": "/x"}));
    (peer.path.clone(), connect, health)
}

#[test]
fn prints_the_health_as_opengoat_does() {
    let gateway = FakeGateway::start(healthy);
    let url = gateway.url();
    let ended = portcullis(
        &["gateway", "--url", &url],
        &[("OPENCLAW_GATEWAY_TOKEN", "goat-token")],
        &Recorder::default(),
    );
    let printed = format!(
        "Connected to remote gateway: {url}\nRemote health: status=ok protocol=1 clients=unknown uptimeMs=unknown\n"
    );
    assert_eq!(
        (ended.succeeded, ended.stdout, ended.stderr.as_str()),
        (true, printed, "")
    );

    let (path, connect, health) = gateway.saw();
    assert_eq!(path, "/gateway");
    assert_eq!(
        (&connect["method"], &health["method"]),
        (&json!("connect"), &json!("health"))
    );
    let params = &connect["params"];
    assert_eq!(params["nonce"], "the-nonce");
    assert_eq!(params["scopes"], json!(["operator.read"]));
    assert_eq!(params["auth"], json!({"token": "goat-token"}));
    assert_eq!(params["client"]["id"], "portcullis-cli");
    assert_eq!(params["client"]["mode"], "cli");
}

#[test]
fn the_option_stands_above_the_environment_and_json_is_one_line() {
    let gateway = FakeGateway::start(|peer| {
        let connect = peer.welcome();
        let health = peer.request();
        peer.answer(
            &health,
            json!({"status": "ok", "protocol": 1, "connectedClients": 3, "uptimeMs": 7}),
        );
        connect
    });
    let url = format!("{}/other", gateway.url());
    let environment = [("OPENGOAT_GATEWAY_TOKEN", "from-environment")];
    let ended = portcullis(
        &["gateway", "--remote-url", &url, "--token=from-option", "--json"],
        &environment,
        &Recorder::default(),
    );
    assert_eq!(ended.stdout.lines().count(), 1);
    let printed: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&printed["url"], &printed["health"]["connectedClients"]),
        (&json!(url), &json!(3))
    );
    assert_eq!(gateway.saw()["params"]["auth"]["token"], "from-option");
}

/// What standard error says when the gateway behaves so.
fn failure(gateway: FakeGateway<()>, more: &[&str]) -> String {
    let url = gateway.url();
    let ended = command(&[["gateway", "--url", &url].as_slice(), more].concat());
    assert!(!ended.succeeded);
    assert_eq!(ended.stdout, "");
    gateway.saw();
    let message = ended
        .stderr
        .strip_prefix("Failed to connect remote gateway: ")
        .map(str::to_owned);
    message
        .unwrap_or_else(|| panic!("{}", ended.stderr))
        .trim_end()
        .to_owned()
}

#[test]
fn a_wrong_token_is_told_in_the_gateways_words() {
    let gateway = FakeGateway::start(|peer| {
        peer.challenge();
        let connect = peer.request();
        peer.refuse(
            &connect,
            json!({"code": "UNAUTHORIZED", "message": "invalid auth token"}),
        );
        peer.close(1008, "invalid auth token");
    });
    assert_eq!(failure(gateway, &["--token", "wrong-token"]), "invalid auth token");
}

#[test]
fn a_close_frame_is_told_with_its_reason() {
    let gateway = FakeGateway::start(|peer| peer.close(1008, "handshake\u{1b}[2J timeout"));
    let message = "the gateway closed the connection: handshake\\u{1b}[2J timeout (code 1008)";
    assert_eq!(failure(gateway, &[]), message);
}

#[test]
fn other_servers_are_recognised() {
    let not = "the other end does not speak the gateway protocol: ";
    let gateway = FakeGateway::start(|peer| peer.text("hello"));
    assert_eq!(
        failure(gateway, &[]),
        format!("{not}it sent a message that is no JSON object")
    );
    let gateway = FakeGateway::start(|peer| peer.send(json!({"type": "event", "event": "welcome"})));
    assert_eq!(
        failure(gateway, &[]),
        format!("{not}its first frame is not connect.challenge")
    );
    let gateway = FakeGateway::start(|peer| {
        peer.challenge();
        let connect = peer.request();
        peer.answer(&connect, json!({"type": "hello-ok", "protocol": 2}));
    });
    assert_eq!(failure(gateway, &[]), format!("{not}its hello is not of protocol 1"));
    let gateway = FakeGateway::raw(|mut stream| stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n").unwrap());
    assert!(failure(gateway, &[]).starts_with(not));
    let gateway = FakeGateway::raw(drop);
    let message = failure(gateway, &[]);
    assert_eq!(message, "the connection ended before the answer came");
}

/// Serves one HTTP answer instead of a WebSocket.
fn http(answer: &'static str) -> FakeGateway<()> {
    FakeGateway::raw(move |mut stream| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            head.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
    })
}

#[test]
fn http_answers_are_explained() {
    let message = failure(
        http("HTTP/1.1 404 Not Found\r\nContent-Length: 21\r\n\r\n{\"error\":\"Not Found\"}"),
        &[],
    );
    assert!(
        message.contains("HTTP 404 Not Found") && message.contains("check the path"),
        "{message}"
    );
    let message = failure(
        http("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"),
        &[],
    );
    assert!(
        message.contains("HTTP 503") && message.contains("(retry after 5 s)"),
        "{message}"
    );
}

#[test]
fn silence_ends_with_the_time_out() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let gateway = FakeGateway::raw(move |stream| {
        let _ = wait.recv();
        drop(stream);
    });
    let ended = command(&["gateway", "--timeout", "50", "--url", &gateway.url()]);
    drop(release);
    gateway.saw();
    assert_eq!(
        ended.stderr,
        "Failed to connect remote gateway: timed out waiting for the WebSocket upgrade\n"
    );
}

#[test]
fn a_byte_now_and_then_does_not_put_the_time_out_off() {
    let gateway = FakeGateway::raw(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nX: ");
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    assert_eq!(
        failure(gateway, &["--timeout", "60"]),
        "timed out waiting for the WebSocket upgrade"
    );
}

#[test]
fn nobody_there() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ended = command(&["gateway", "--url", &format!("ws://127.0.0.1:{port}")]);
    assert!(!ended.succeeded);
    let expected = format!("Failed to connect remote gateway: cannot reach 127.0.0.1:{port}: ");
    assert!(ended.stderr.starts_with(&expected), "{}", ended.stderr);
}

#[test]
fn tls_is_trusted_only_with_its_anchor() {
    let scratch = Scratch::new();
    let (gateway, pem) = FakeGateway::tls(healthy);
    let ca = scratch.file("ca.pem", &pem);
    let url = format!("wss://localhost:{}", gateway.port());
    let ended = command(&["gateway", "--url", &url, "--ca", &ca]);
    assert!(ended.succeeded, "{}", ended.stderr);
    assert!(ended.stdout.contains("status=ok protocol=1"), "{}", ended.stdout);
    gateway.saw();

    let other = FakeGateway::raw(|mut stream| while stream.read(&mut [0; 1_024]).is_ok_and(|read| read > 0) {});
    let ended = command(&[
        "gateway",
        "--url",
        &format!("wss://localhost:{}", other.port()),
        "--timeout",
        "100",
        "--ca",
        "/dev/null",
    ]);
    assert!(ended.stderr.contains("it has no PEM certificate"), "{}", ended.stderr);
    // The file is read before anything is dialled: let the waiting server go.
    drop(std::net::TcpStream::connect(("127.0.0.1", other.port())).unwrap());
    other.saw();
}

#[test]
fn a_certificate_of_nobody_we_trust_is_refused() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let gateway = FakeGateway::raw(move |mut stream| {
        let mut session = rustls::ServerConnection::new(std::sync::Arc::new(config)).unwrap();
        // The client must break off: the handshake cannot be completed.
        assert!(session.complete_io(&mut stream).is_err());
    });
    let ended = command(&["gateway", "--url", &format!("wss://localhost:{}", gateway.port())]);
    gateway.saw();
    assert!(!ended.succeeded);
    assert!(
        ended.stderr.contains("TLS: invalid peer certificate"),
        "{}",
        ended.stderr
    );
}

#[test]
fn mistakes_are_refused_before_anything_is_dialled() {
    for (line, what) in [
        (["--url", "http://a"].as_slice(), "write ws:// instead of http://"),
        (&["--url", "ws://user:hunter22@a"], "give the token with --token"),
        (&["--url", "ws://a", "--remote-url", "ws://b"], "the same; give one"),
        (
            &["--url", "ws://a", "--port", "1", "--no-auth"],
            "it does not go with --port, --no-auth.",
        ),
        (
            &["--url", "ws://a", "--timeout", "soon"],
            "--timeout: must be a whole number of milliseconds",
        ),
        (
            &["--url", "ws://a", "--timeout", "0"],
            "--timeout: must be a whole number of milliseconds",
        ),
        (&["--url", "ws://a", "--ca", "/x"], "--ca goes with a wss:// URL only"),
        (
            &["--url", "wss://a", "--ca", "/no/such/file"],
            "/no/such/file cannot be used as trust anchor",
        ),
    ] {
        let ended = command(&[["gateway"].as_slice(), line].concat());
        assert!(
            !ended.succeeded && ended.stderr.contains(what),
            "{line:?}: {}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("hunter22"));
    }
}
