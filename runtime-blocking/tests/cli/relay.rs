//! `portcullis relay` from outside: what it says at its start, what it refuses, and what it reads again. Proves
//! `spec/relay.md` section 1; `spec/vectors/relay/start.json` has the refusals one by one.

use std::fs;

use portcullis_core::settings::RelayAuth;
use serde_json::Value;

use crate::process::{Recorder, Scratch, portcullis};

const KEY: (&str, &str) = ("JWT_SIGNING_KEY", "reference-signing-key-0123456789abcdef");
const NO_FILE: (&str, &str) = ("DOTENV_PATH", "-");

#[test]
fn it_says_where_it_listens_and_for_whom() {
    let scratch = Scratch::new();
    let state = scratch.path().join("state");
    let state = state.to_str().unwrap();
    let start = |more: &[&str], environment: &[(&str, &str)]| {
        let args = [["relay", "--port=0", "--state-dir", state].as_slice(), more].concat();
        let environment = [[KEY, NO_FILE].as_slice(), environment].concat();
        portcullis(&args, &environment, &Recorder::default())
    };
    let told = start(&[], &[("PUBLIC_BASE_URL", "https://relay.example/")]);
    assert!(told.succeeded, "{}", told.stderr);
    let lines: Vec<_> = told.stdout.lines().collect();
    assert!(lines[0].starts_with("Relay URL: http://127.0.0.1:"), "{}", told.stdout);
    assert_eq!(lines[1], "Public base URL: https://relay.example");
    assert_eq!(
        lines[2],
        "Auth mode: demo (everybody is who they say they are: for trying out, on this machine)"
    );
    assert!(scratch.path().join("state/relay/logs").is_dir());

    let firebase = [("AUTH_MODE", "firebase"), ("FIREBASE_PROJECT_ID", "p-1")];
    let told = start(&["--json"], &firebase);
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    let url = told["url"].as_str().unwrap();
    let port = url.strip_prefix("http://127.0.0.1:").unwrap();
    assert_eq!(told["publicBaseUrl"], format!("http://localhost:{port}"));
    assert_eq!(
        (told["authMode"].as_str(), told["pid"].as_u64()),
        (Some("firebase"), Some(std::process::id().into()))
    );
    assert_eq!(told["stateDir"], format!("{state}/relay"));
}

#[test]
fn a_refused_start_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let state = scratch.path().join("state");
    for (bind, environment) in [
        ("0.0.0.0", [KEY, NO_FILE]),
        ("192.0.2.7", [KEY, NO_FILE]),
        ("::", [KEY, NO_FILE]),
        ("127.0.0.1", [("JWT_SIGNING_KEY", "short"), NO_FILE]),
    ] {
        let args = [
            "relay",
            "--port=0",
            "--bind",
            bind,
            "--state-dir",
            state.to_str().unwrap(),
        ];
        let ended = portcullis(&args, &environment, &Recorder::default());
        assert_eq!((ended.status, ended.stdout.as_str()), (1, ""), "{bind}");
        assert!(ended.stderr.starts_with("configuration error: "), "{}", ended.stderr);
        assert!(!state.exists(), "{bind}");
    }
    // A port that is taken is no mistake of the configuration.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let args = ["relay", "--port", &port, "--state-dir", state.to_str().unwrap()];
    let ended = portcullis(&args, &[KEY, NO_FILE], &Recorder::default());
    assert_eq!(ended.status, 1);
    assert!(!ended.stderr.contains("configuration error"), "{}", ended.stderr);
    assert!(!state.exists());
}

#[test]
fn the_file_of_variables_is_read_at_the_start_and_again() {
    let scratch = Scratch::new();
    let file = scratch.file(
        "relay.env",
        "# of the relay\nexport JWT_SIGNING_KEY=\"reference-signing-key-0123456789abcdef\"\nOAUTH_CLIENT_NAME = One # more\nJWT_AUDIENCE=theirs\n",
    );
    let state = scratch.path().join("state");
    let recorder = Recorder::default();
    let environment = [("DOTENV_PATH", file.as_str()), ("JWT_AUDIENCE", "")];
    let args = ["relay", "--port=0", "--state-dir", state.to_str().unwrap()];
    let ended = portcullis(&args, &environment, &recorder);
    assert!(ended.succeeded, "{}", ended.stderr);
    let mut prepared = recorder.served.lock().unwrap().take().unwrap();
    let relay = prepared.settings.relay.clone().unwrap();
    assert_eq!(relay.client_name, "One");
    assert_eq!(
        relay.audience, "commands-gateway",
        "an empty variable of the environment wins"
    );
    assert_eq!(relay.auth, RelayAuth::Demo);

    let reload = prepared.signals.reload.as_mut().unwrap();
    let mut write = |text: &str| {
        fs::write(&file, text).unwrap();
        reload
            .read()
            .map(|settings| settings.relay.clone().unwrap().client_name)
    };
    let key = "JWT_SIGNING_KEY=reference-signing-key-0123456789abcdef\n";
    assert_eq!(write(&format!("{key}OAUTH_CLIENT_NAME=Two\n")).as_deref(), Some("Two"));
    for mistake in [
        "no line of variables",
        "JWT_SIGNING_KEY=another-signing-key-0123456789abcdef",
        "AUTH_MODE=none",
        "RELAY_BIND=0.0.0.0\nDEMO_AUTH_DISABLED=true",
    ] {
        assert_eq!(
            write(&format!("{mistake}\n{key}OAUTH_CLIENT_NAME=Three\n")),
            None,
            "{mistake}"
        );
    }
    assert_eq!(write(key).as_deref(), Some("Commands.com Gateway"));
}
