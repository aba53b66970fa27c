//! `control`: what its variables mean, what is refused, and what it prints. Proves `spec/cli.md` section 8.

use std::net::TcpListener;
use std::time::Duration;

use portcullis_core::report::{ControlFact, Issued, Report};
use portcullis_core::secret::Secret;
use portcullis_core::settings::{ControlSettings, ProviderKey};
use portcullis_core::time::UnixMillis;

use crate::process::{Ended, Recorder, Scratch, and_then, on_terminal, portcullis};

const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

fn start(scratch: &Scratch, line: &[&str], environment: &[(&str, &str)], runtime: &Recorder) -> Ended {
    let state = scratch.path().join("state");
    let all = [["control", "--state-dir", state.to_str().unwrap()].as_slice(), line].concat();
    portcullis(&all, environment, runtime)
}

fn settings(runtime: &Recorder) -> ControlSettings {
    let served = runtime.served.lock().unwrap();
    served.as_ref().unwrap().settings.control.clone().unwrap()
}

fn issued(token: Option<&str>, why: Issued) -> Report {
    Report::Control(ControlFact::TokenIssued {
        id: "0a".into(),
        expires_at: UnixMillis(1_795_273_580_000),
        why,
        replaces: None,
        token: token.map(|token| Secret::new(token.into())),
    })
}

fn stored() -> Report {
    Report::Control(ControlFact::TokenStored {
        path: "/the/file".into(),
        id: "0a".into(),
        expires_at: UnixMillis(1_795_273_580_000),
    })
}

#[test]
fn variables_of_the_original() {
    let (scratch, runtime) = (Scratch::new(), Recorder::default());
    let environment = [
        ("WS_CONTROL_PORT", "0"),
        ("SESSION_TTL_HOURS", "2"),
        ("JWT_SECRET", SECRET),
        ("TRUSTED_CLIENT_IPS", "127.0.0.1 , 10.0.0.0/8,"),
        ("ACTIVE_AI_PROVIDER", "kimi"),
        ("KIMI_API_KEY", "kimi-key"),
        ("KIMI_MODEL", "moonshot-v1-32k"),
        ("KIMI_BASE_URL", "http://127.0.0.1:9/v1"),
        ("GEMINI_MODEL", "gemini-3-pro"),
        ("NODE_ENV", "production"),
    ];
    let ended = start(&scratch, &[], &environment, &runtime);
    assert!(ended.succeeded, "{}", ended.stderr);
    let control = settings(&runtime);
    assert_eq!(control.session_ttl, Duration::from_secs(7_200));
    assert_eq!(control.jwt_secret, Some(Secret::new(SECRET.into())));
    let trusted: Vec<String> = control.trusted_clients.iter().map(ToString::to_string).collect();
    assert_eq!(trusted, ["127.0.0.1", "10.0.0.0/8"]);
    assert_eq!((control.node_env.as_str(), control.standalone), ("production", true));
    assert!(control.paths.is_empty() && !control.hand_out_token);
    let file = scratch.path().join("state/control/control-token");
    assert_eq!(control.token_file.as_deref(), file.to_str());
    let served = runtime.served.lock().unwrap().take().unwrap();
    let (providers, gateway) = (&served.settings.providers, &served.settings.gateway);
    assert_eq!(providers.active, ProviderKey::Kimi);
    assert_eq!(providers.kimi.model, "moonshot-v1-32k");
    assert_eq!(providers.kimi.api_key, Some(Secret::new("kimi-key".into())));
    assert_eq!(providers.gemini.model, "gemini-3-pro");
    assert_eq!(gateway.drain_grace, Duration::from_secs(5));
    assert_eq!(served.state_dir, scratch.path().join("state/control"));
    assert!(served.listeners[0].local_addr().unwrap().ip().is_loopback());
}

#[test]
fn wrong_values_are_named_and_nothing_is_started() {
    for (name, value) in [
        ("WS_CONTROL_PORT", "18789abc"),
        ("WS_CONTROL_PORT", "65536"),
        ("WS_CONTROL_PORT", "-1"),
        ("SESSION_TTL_HOURS", "2h"),
        ("SESSION_TTL_HOURS", "0"),
        ("SESSION_TTL_HOURS", "1.9"),
        ("SESSION_TTL_HOURS", "8761"),
        ("JWT_SECRET", "too-short"),
        ("JWT_SECRET", "your-jwt-secret-key-here"),
        ("TRUSTED_CLIENT_IPS", ""),
        ("TRUSTED_CLIENT_IPS", "localhost"),
        ("TRUSTED_CLIENT_IPS", "*"),
        ("ACTIVE_AI_PROVIDER", "openai"),
    ] {
        let (scratch, runtime) = (Scratch::new(), Recorder::default());
        let mut environment = vec![(name, value)];
        if name != "WS_CONTROL_PORT" {
            environment.push(("WS_CONTROL_PORT", "0"));
        }
        let ended = start(&scratch, &[], &environment, &runtime);
        assert_eq!(ended.status, 78, "{name}={value}: {}", ended.stderr);
        assert!(ended.stderr.contains(name), "{name}={value}: {}", ended.stderr);
        assert!(runtime.served.lock().unwrap().is_none());
        assert!(!scratch.path().join("state").exists());
        assert!(value.len() < 9 || !value.contains("secret") || !ended.stderr.contains(value));
    }
}

#[test]
fn a_taken_port_ends_it_and_other_machines_need_leave() {
    let (scratch, runtime) = (Scratch::new(), Recorder::default());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = start(&scratch, &[], &[("WS_CONTROL_PORT", &port)], &runtime);
    assert_eq!(ended.status, 1);
    assert!(ended.stderr.contains(&format!("127.0.0.1:{port}")), "{}", ended.stderr);
    let ended = start(&scratch, &["--bind", "192.0.2.7", "--port=0"], &[], &runtime);
    assert!(
        !ended.succeeded && ended.stderr.contains("--allow-remote"),
        "{}",
        ended.stderr
    );
}

#[test]
fn the_token_is_shown_to_a_person_and_otherwise_its_file_is_named() {
    let scratch = Scratch::new();
    let state = scratch.path().join("state");
    let line = ["control", "--port=0", "--state-dir", state.to_str().unwrap()];
    for (extra, is_terminal, shown) in [
        (None, false, false),
        (Some("--print-token"), false, true),
        (None, true, true),
    ] {
        let runtime = Recorder::default();
        let line: Vec<&str> = line.into_iter().chain(extra).collect();
        let ended = if is_terminal {
            on_terminal(&line, &[], &runtime)
        } else {
            portcullis(&line, &[], &runtime)
        };
        assert!(ended.succeeded, "{}", ended.stderr);
        assert_eq!(settings(&runtime).hand_out_token, shown);
    }
}

#[test]
fn what_is_printed_in_its_order() {
    let scratch = Scratch::new();
    let state = scratch.path().join("state");
    let line = ["control", "--port=0", "--state-dir", state.to_str().unwrap()];
    let said = |extra: &[&str], reports: &[Report]| {
        let (ended, out) = and_then(&[&line, extra].concat(), |prepared| {
            reports.iter().for_each(|report| prepared.reports.tell(report));
        });
        assert!(ended.succeeded, "{}", ended.stderr);
        out
    };
    let out = said(
        &[],
        &[
            issued(None, Issued::Started),
            stored(),
            issued(None, Issued::Rotated),
            stored(),
        ],
    );
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "   Token ID : 0a",
            "   Expires  : 2026-11-21T15:06:20.000Z",
            "   File     : /the/file"
        ]
    );
    assert!(
        lines[3].starts_with("🔌  Control plane WebSocket listening on ws://127.0.0.1:"),
        "{out}"
    );
    assert_eq!(
        lines[4],
        r#"    Connect with: { "token": "<session-token>", "cmd": "ping" }"#
    );
    assert_eq!(
        lines[5],
        "🔄  Session token rotated — existing connections will need to re-authenticate."
    );
    assert_eq!(lines[6..9], lines[..3]);
    assert_eq!(lines[9..], ["👋 OpenClaw Gateway stopped"]);

    let shown = said(&["--print-token"], &[issued(Some("a.b.c"), Issued::Started), stored()]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[2], "🔑  OPENCLAW GATEWAY — SESSION TOKEN");
    assert_eq!(lines[6], "   Token    : a.b.c");
    assert_eq!(lines.iter().filter(|line| line.starts_with("🔌")).count(), 1);

    let json = said(&["--json"], &[issued(None, Issued::Started), stored(), stored()]);
    assert_eq!(json.lines().count(), 1);
    let printed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&printed["tokenFile"], &printed["tokenId"]),
        (&"/the/file".into(), &"0a".into())
    );
    assert!(printed.get("token").is_none());
}

#[test]
fn the_token_of_an_earlier_process_is_removed() {
    let (scratch, runtime) = (Scratch::new(), Recorder::default());
    let file = scratch.file("token", "old");
    let ended = start(&scratch, &["--port=0", "--token-file", &file], &[], &runtime);
    assert!(ended.succeeded, "{}", ended.stderr);
    assert_eq!(settings(&runtime).token_file, Some(file.clone()));
    assert!(!std::path::Path::new(&file).exists());
}
