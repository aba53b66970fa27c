//! Doors, probes, figures and requests with a body, on the whole gateway in a world of its own: `spec/hardening.md`,
//! sections 20 to 24.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod world;

use std::time::Duration;

use portcullis_core::effect::Effect;
use portcullis_core::id::ConnId;
use portcullis_core::machine::{DrainHow, Input};
use portcullis_core::settings::CommandTool;
use world::client::UPGRADE;
use world::{Ending, TOKEN, World, settings};

const LOCAL: &str = "127.0.0.1:9";

fn ready() -> World {
    let mut settings = settings();
    settings.tools.commands.push(CommandTool {
        name: "slow".into(),
        description: String::new(),
        takes_action: false,
        program: "slow".into(),
        args: Vec::new(),
        timeout: Duration::from_secs(60),
        max_output_bytes: 1_024,
    });
    let mut world = World::new(settings);
    world.settle();
    world
}

fn call(tool: &str) -> String {
    let body = format!(r#"{{"tool":"{tool}"}}"#);
    format!(
        "POST /tools/invoke HTTP/1.1\r\nHost: gw\r\nAuthorization: bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: gw\r\n{fields}\r\n")
}

fn written(world: &World, conn: ConnId) -> String {
    String::from_utf8_lossy(&world.sockets[&conn].written).into_owned()
}

fn answer(world: &mut World, address: &str, request: &str) -> String {
    let conn = world.connect(address);
    world.bytes(conn, request.as_bytes());
    written(world, conn)
}

#[test]
fn a_tool_call_is_answered_when_the_tool_is_done_and_pipelined_requests_wait() {
    let mut world = ready();
    let conn = world.connect(LOCAL);
    world.bytes(conn, [call("slow"), get("/healthz", "")].concat().as_bytes());
    assert_eq!(written(&world, conn), "");
    world.advance(Duration::from_secs(40));
    assert_eq!(written(&world, conn), "", "a tool has longer than a body");
    let (effect, _) = world
        .running
        .iter()
        .find(|(_, running)| matches!(running.what, Effect::Spawn(_)))
        .unwrap();
    let effect = *effect;
    world.complete(effect, Ending::Well);
    let text = written(&world, conn);
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    assert!(text.contains(r#"{"ok":true,"result":"#), "{text}");
    assert!(text.ends_with(r#"{"ok":true,"status":"live"}"#), "{text}");
    world.end();
}

#[test]
fn a_tool_is_given_up_when_its_caller_is_gone() {
    let mut world = ready();
    let conn = world.connect(LOCAL);
    world.bytes(conn, call("slow").as_bytes());
    world.gone(conn);
    assert!(world.running.values().any(|running| running.cancelled));
    world.end();
}

#[test]
fn what_comes_before_the_body_is_judged_in_its_order() {
    let mut world = ready();
    let text = answer(&mut world, LOCAL, &get("/tools/invoke", ""));
    assert!(text.starts_with("HTTP/1.1 405 "), "{text}");
    assert!(text.contains("Allow: POST"), "{text}");
    let post = |fields: &str| format!("POST /tools/invoke HTTP/1.1\r\nHost: gw\r\n{fields}\r\n\r\n");
    let text = answer(&mut world, LOCAL, &post("Content-Length: 9999999"));
    assert!(
        text.starts_with("HTTP/1.1 401 "),
        "the credential comes before the size: {text}"
    );
    assert!(text.contains("WWW-Authenticate: Bearer"), "{text}");
    let large = format!("Authorization: Bearer {TOKEN}\r\nContent-Length: 9999999");
    let text = answer(&mut world, LOCAL, &post(&large));
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    assert!(
        text.contains(r#"{"error":{"message":"Payload too large","type":"invalid_request_error"}}"#),
        "{text}"
    );
    let slow = format!("Authorization: Bearer {TOKEN}\r\nContent-Length: 5");
    let conn = world.connect(LOCAL);
    world.bytes(conn, post(&slow).as_bytes());
    world.wait(Duration::from_secs(31));
    let text = written(&world, conn);
    assert!(
        text.starts_with("HTTP/1.1 408 ") && text.contains("Request body timeout"),
        "{text}"
    );
    world.step(Input::Drain { how: DrainHow::Stop });
}

#[test]
fn wrong_bearers_are_told_late_on_this_machine_and_locked_out_elsewhere() {
    let mut world = ready();
    let wrong = get("/metrics", "Authorization: Bearer wrong-token\r\n");
    let conn = world.connect(LOCAL);
    world.bytes(conn, wrong.as_bytes());
    world.advance(Duration::from_millis(249));
    assert_eq!(written(&world, conn), "");
    world.advance(Duration::from_millis(2));
    assert!(written(&world, conn).starts_with("HTTP/1.1 401 "));
    for _ in 0..3 {
        assert!(answer(&mut world, "203.0.113.9:1", &wrong).starts_with("HTTP/1.1 401 "));
    }
    let right = get("/metrics", &format!("Authorization: Bearer {TOKEN}\r\n"));
    let text = answer(&mut world, "203.0.113.9:1", &right);
    assert!(
        text.starts_with("HTTP/1.1 429 ") && text.contains("Retry-After: 300"),
        "{text}"
    );
    let text = answer(&mut world, LOCAL, &right);
    assert!(text.contains("text/plain; version=0.0.4"), "{text}");
    for line in [
        "portcullis_auth_lockouts_total 1",
        r#"portcullis_auth_failures_total{surface="http"} 5"#,
        "portcullis_draining 0",
        r#"portcullis_run_duration_seconds_bucket{le="+Inf"} 0"#,
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

#[test]
fn each_door_says_what_would_open_it() {
    let mut settings = settings();
    settings.doors.check_host = true;
    settings.doors.allowed_networks = Some(["127.0.0.0/8", "192.0.2.0/24"].map(|text| text.parse().unwrap()).into());
    settings.doors.trusted_proxies = vec!["10.0.0.1".parse().unwrap()];
    settings.doors.strict_transport_security = Some("max-age=31536000".into());
    let mut world = World::new(settings);
    world.settle();
    let local = |fields: &str| format!("GET /healthz HTTP/1.1\r\nHost: localhost:1\r\n{fields}\r\n");
    for (peer, request, status, says) in [
        ("203.0.113.9:1", local(""), 403, "gateway.allowedNetworks"),
        (
            "10.0.0.1:1",
            local("X-Forwarded-For: 203.0.113.9\r\n"),
            403,
            "gateway.allowedNetworks",
        ),
        ("10.0.0.1:1", local("X-Forwarded-For: 192.0.2.9\r\n"), 200, "live"),
        (
            LOCAL,
            local("X-Forwarded-For: 192.0.2.9\r\n"),
            403,
            "gateway.trustedProxies",
        ),
        (LOCAL, get("/healthz", ""), 403, "gateway.allowedHosts"),
        (LOCAL, local("Origin: https://evil.example\r\n"), 403, "allowedOrigins"),
        (LOCAL, local("Origin: http://localhost:3000\r\n"), 200, "live"),
        (
            LOCAL,
            local("").replace("/healthz", "/healthz?x=1&Token=s"),
            400,
            "credential_in_url",
        ),
        (LOCAL, local(""), 200, "Strict-Transport-Security: max-age=31536000"),
    ] {
        let text = answer(&mut world, peer, &request);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {text}");
        assert!(text.contains(says), "{request}: {text}");
        let conns: Vec<ConnId> = world.sockets.keys().copied().collect();
        conns.into_iter().for_each(|conn| world.gone(conn));
    }
}

#[test]
fn readiness_ends_when_a_restart_begins_and_everybody_is_told() {
    let mut world = World::new(settings());
    assert!(answer(&mut world, LOCAL, &get("/startup", "")).contains("starting"));
    world.settle();
    assert!(answer(&mut world, LOCAL, &get("/readyz", "")).contains(r#"{"ok":true,"status":"ready"}"#));
    let (client, probe, late) = (world.client(), world.connect(LOCAL), world.connect(LOCAL));
    world.run(client, "k", r#","agentId":"program""#);
    world.settle();
    world.take_all(client);
    world.run(client, "k2", r#","agentId":"program""#);
    world.step(Input::Drain { how: DrainHow::Restart });
    let shutdown = r#""payload":{"reason":"gateway restarting","restartExpectedMs":1500}"#;
    assert!(
        world
            .frames(client)
            .iter()
            .any(|frame| frame.opcode == 1 && frame.text().contains(shutdown))
    );
    world.bytes(probe, get("/ready", "").as_bytes());
    assert!(written(&world, probe).contains(r#"{"ok":false,"status":"draining"}"#));
    world.bytes(late, UPGRADE.as_bytes());
    assert!(written(&world, late).contains("gateway_unavailable"));
    for _ in 0..20 {
        world.follow_closes();
        world.wait(Duration::from_secs(10));
    }
    assert!(world.drained, "draining never ends");
    assert!(
        world.reports.iter().any(|report| report.contains("was cut short")),
        "{:?}",
        world.reports
    );
    let frames = world.frames(client);
    let close = frames.iter().find(|frame| frame.opcode == 8).unwrap();
    assert_eq!(close.payload, [&[0x03, 0xf4], &b"service restart"[..]].concat());
}

#[test]
fn a_refusal_that_is_held_back_comes_although_a_body_follows() {
    let mut world = ready();
    let conn = world.connect(LOCAL);
    let call = call("health").replace(TOKEN, "wrong-token");
    world.bytes(conn, call.as_bytes());
    assert_eq!(written(&world, conn), "");
    world.advance(Duration::from_millis(251));
    assert!(
        written(&world, conn).starts_with("HTTP/1.1 401 "),
        "{}",
        written(&world, conn)
    );
    world.end();
}

#[test]
fn a_call_whose_body_comes_during_a_drain_is_refused_and_not_begun() {
    let mut world = ready();
    let (conn, other) = (world.connect(LOCAL), world.connect(LOCAL));
    let call = call("slow");
    let (head, body) = call.split_at(call.len() - 5);
    world.bytes(other, self::call("slow").as_bytes());
    world.bytes(conn, head.as_bytes());
    world.step(Input::Drain { how: DrainHow::Stop });
    world.bytes(conn, body.as_bytes());
    let text = written(&world, conn);
    assert!(
        text.starts_with("HTTP/1.1 503 ") && text.contains("gateway_unavailable"),
        "{text}"
    );
    assert_eq!(spawned(&world), 1, "nothing further is begun");
}

fn spawned(world: &World) -> usize {
    let spawned = world.running.values();
    spawned
        .filter(|running| matches!(running.what, Effect::Spawn(_)))
        .count()
}

#[test]
fn a_call_that_nobody_waits_for_is_not_lost_by_a_drain() {
    for is_waited_for in [false, true] {
        let mut world = ready();
        let conn = world.connect(LOCAL);
        world.bytes(conn, call("slow").as_bytes());
        if !is_waited_for {
            world.gone(conn);
        }
        world.drain();
        assert_eq!(world.ended_clean, !is_waited_for);
        let lost = world
            .reports
            .iter()
            .filter(|report| report.contains("was cut short"))
            .count();
        assert_eq!(lost, usize::from(is_waited_for), "{:?}", world.reports);
    }
}

#[test]
fn pages_whose_origin_is_not_allowed_share_their_guesses() {
    let mut world = ready();
    let mut guesses = 0;
    for number in 0..20 {
        let origin = format!("Host: gw\r\nOrigin: https://a{number}.evil.example\r\n");
        let conn = world.connect(LOCAL);
        world.bytes(conn, UPGRADE.replace("Host: gw\r\n", &origin).as_bytes());
        world.bytes(conn, &world::client::hello("wrong-token"));
        guesses += usize::from(written(&world, conn).contains("invalid auth token"));
        world.gone(conn);
    }
    assert_eq!(guesses, 3, "as many as one of them has");
    let conn = world.connect(LOCAL);
    world.bytes(conn, UPGRADE.replace("gw", "gw\r\nOrigin: http://gw").as_bytes());
    assert!(
        written(&world, conn).starts_with("HTTP/1.1 101 "),
        "a page of our own is not locked out"
    );
}

#[test]
fn a_refusal_that_is_held_back_and_a_half_sent_call_are_answered_before_the_end() {
    let mut world = ready();
    let (guesser, sender, caller) = (world.connect(LOCAL), world.connect(LOCAL), world.connect(LOCAL));
    world.bytes(
        guesser,
        get("/metrics", "Authorization: Bearer wrong-token\r\n").as_bytes(),
    );
    let half = call("health");
    world.bytes(sender, &half.as_bytes()[..half.len() - 1]);
    world.step(Input::Drain { how: DrainHow::Stop });
    assert!(
        written(&world, guesser).starts_with("HTTP/1.1 401 "),
        "{}",
        written(&world, guesser)
    );
    assert!(
        written(&world, sender).starts_with("HTTP/1.1 503 "),
        "{}",
        written(&world, sender)
    );
    assert_eq!(written(&world, caller), "");
    for conn in [guesser, sender, caller] {
        world.gone(conn);
    }
    assert!(world.drained && world.ended_clean);
}

#[test]
fn the_doors_come_before_the_size_of_a_body() {
    let mut strict = settings();
    strict.doors.check_host = true;
    let mut world = World::new(strict);
    let request = "POST /healthz HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 99999999\r\n\r\n";
    let text = answer(&mut world, LOCAL, request);
    assert!(
        text.starts_with("HTTP/1.1 403 ") && text.contains("host_not_allowed"),
        "{text}"
    );
}

#[test]
fn the_dialect_loosens_nothing_for_our_own_protocol() {
    for (compat, versions, welcome) in [(true, (1, 1), false), (true, (4, 4), true), (false, (4, 4), false)] {
        let mut settings = settings();
        settings.doors.openclaw_compat = compat;
        let mut world = World::new(settings);
        world.settle();
        let conn = world.connect(LOCAL);
        world.bytes(conn, UPGRADE.as_bytes());
        let client = r#"{"id":"c","version":"1","platform":"p","mode":"m"}"#;
        let (min, max) = versions;
        world.bytes(
            conn,
            &world::client::text(&format!(
                r#"{{"type":"req","id":"h","method":"connect","traceparent":"00-1-1-0","params":{{"minProtocol":{min},"maxProtocol":{max},"client":{client},"auth":{{"token":"{TOKEN}"}}}}}}"#
            )),
        );
        let text = written(&world, conn);
        assert_eq!(text.contains("hello-ok"), welcome, "{compat} {versions:?} {text}");
        assert_ne!(text.contains("frame has unknown fields"), welcome, "{text}");
    }
}
