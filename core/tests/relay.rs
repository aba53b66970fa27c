//! The relay through the whole gateway, in virtual time: from the login to the answer of an agent, and what the front door
//! itself decides. Proves `spec/relay.md`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod world;

use std::time::Duration;

use portcullis_core::id::ConnId;
use portcullis_core::machine::{DrainHow, Input};
use portcullis_core::secret::Secret;
use portcullis_core::settings::{AllowedOrigins, RelayAuth, RelayLimits, RelaySettings, Settings};
use serde_json::Value;
use world::client::text;
use world::{World, settings};

const CALLBACK: &str = "http://localhost:61696/callback";
const IDENTITY: &str = "rcFAEfgtHFbZVqpPnXPYhYNhpgYEhSXg0Ixjjcdd2Mc=";
const CLIENT_KEY: &str = "B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw=";
const NONCE: &str = "oKGio6SlpqeoqaqrrK2urw==";
const ACK: &str = r#"{"type":"session.handshake.ack","session_id":"sess_vector01","handshake_id":"hs_vector01","status":"ok",
    "agent_ephemeral_public_key":"iDGGuAC0HVzwQpaV2ps8xPMo680YSm5IL6V4wQPwbHc=",
    "agent_identity_signature":"UoX4aW3AyxN61mjYYlwqrsduzgVRy0lpJiqfYq+Zu7ge+7FWufUo5WNYBJ/RPxTl0Xzdk2Hwr4UAana3/GX2DA==",
    "transcript_hash":"KdumseyqKrfYBcaoubuyCck7JJBHCSZoqYJ33Q7CEcg="}"#;
const MESSAGE: &str = r#"{"type":"session.message","message_id":"msg_vector01","encrypted":true,"alg":"aes-256-gcm",
    "direction":"client_to_agent","seq":1,"nonce":"YzJhAAAAAAAAAAAB",
    "ciphertext":"vDLUwr395BMr/ZA7cMzUnEWg47z1ZPobQobYNobzNzreGs2RQpbbW7GQdzNlgSd2cfnsyesgEkbqdDN7PASUa2mizfHKNS/H38No",
    "tag":"re3L12fgFjNKBFurSL7tdw==","aad":"c2Vzc192ZWN0b3IwMXxtc2dfdmVjdG9yMDF8MXxjbGllbnRfdG9fYWdlbnQ="}"#;
const ANSWER: &str = r#"{"type":"session.progress","session_id":"sess_vector01","message_id":"msg_vector01","encrypted":true,
    "alg":"aes-256-gcm","direction":"agent_to_client","seq":1,"nonce":"YTJjAAAAAAAAAAAB",
    "ciphertext":"6auocTzyuzj2fPOL9OkAOGrwhqHUyAZAYVblzZX28dD78uIUwoQ0QA+Hg/077XyM3KvYcCr/xjdevwzC4+H4u7KQiq6Y02y6lQYV0fU=",
    "tag":"DpwzPOXETduRHx8Eh7JlZQ==","aad":"c2Vzc192ZWN0b3IwMXxtc2dfdmVjdG9yMDF8MXxhZ2VudF90b19jbGllbnQ="}"#;

fn relay_settings() -> Settings {
    let mut settings = settings();
    settings.gateway.max_buffered_bytes = 65_536;
    settings.gateway.max_connections = 64;
    settings.auth.tokens = None;
    settings.relay = Some(RelaySettings {
        public_base_url: "http://localhost:8080".into(),
        allow_origins: AllowedOrigins::These(vec!["https://app.example".into()]),
        redirect_allowlist: vec![CALLBACK.into()],
        oauth_redirect_uris: vec![CALLBACK.into()],
        client_ids: vec!["commands-agent".into()],
        client_name: "Commands.com Gateway".into(),
        frontend_url: None,
        signing_key: Secret::new("reference-signing-key-0123456789abcdef".into()),
        audience: "commands-gateway".into(),
        access_token_ttl: Duration::from_secs(3_600),
        auth_code_ttl: Duration::from_secs(300),
        refresh_token_ttl: Duration::from_secs(86_400),
        agent_token_ttl: Duration::from_secs(86_400),
        refresh_absolute_ttl: Duration::from_secs(864_000),
        state_backend: "memory".into(),
        auth: RelayAuth::Demo,
        standalone: true,
        loopback_only: true,
        identity_networks: Vec::new(),
        rate_window: Duration::from_secs(60),
        oauth_limit: 30,
        idempotency_ttl: Duration::from_secs(300),
        require_encrypted_frames: true,
        transport_token_secret: None,
        transport_token_ttl: Duration::from_secs(3_600),
        strict_transport: false,
        limits: RelayLimits {
            stream_buffer_bytes: 2_048,
            body_bytes: 4_096,
            ..RelayLimits::default()
        },
    });
    settings
}

fn ready() -> World {
    let mut world = World::new(relay_settings());
    world.settle();
    world
}

/// A request as a client writes it.
fn request(line: &str, token: &str, more: &str, body: &str) -> String {
    let mut head = format!("{line} HTTP/1.1\r\nHost: relay\r\n");
    if !token.is_empty() {
        head += &format!("Authorization: Bearer {token}\r\n");
    }
    if !body.is_empty() {
        let kind = if body.starts_with('{') {
            "application/json"
        } else {
            "application/x-www-form-urlencoded"
        };
        head += &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
    }
    format!("{head}{more}\r\n{body}")
}

fn written(world: &World, conn: ConnId) -> String {
    String::from_utf8(world.sockets[&conn].written.clone()).unwrap()
}

/// Asks on a connection of its own; what was answered once the disk has done its part.
fn ask_with(world: &mut World, line: &str, token: &str, more: &str, body: &str) -> (u16, String) {
    let conn = world.connect("127.0.0.1:9");
    world.bytes(conn, request(line, token, more, body).as_bytes());
    world.settle();
    // A message is acknowledged when its agent's socket took it.
    for agent in world.sockets.keys().copied().collect::<Vec<_>>() {
        if agent != conn {
            world.sent(agent, usize::MAX);
        }
    }
    let answer = written(world, conn);
    world.gone(conn);
    let status = answer.get(9..12).and_then(|code| code.parse().ok());
    (status.unwrap_or_else(|| panic!("{line}: {answer:?}")), answer)
}

fn ask(world: &mut World, line: &str, token: &str, body: &str) -> (u16, Value) {
    let (status, answer) = ask_with(world, line, token, "", body);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

fn login(world: &mut World, email: &str) -> Value {
    let query = format!(
        "response_mode=json&redirect_uri={CALLBACK}&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM\
         &code_challenge_method=S256&demo_email={email}"
    );
    let (status, code) = ask(world, &format!("GET /oauth/authorize?{query}"), "", "");
    assert_eq!(status, 200, "{code}");
    let code = code["code"].as_str().unwrap().to_owned();
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let body = format!("grant_type=authorization_code&code={code}&redirect_uri={CALLBACK}&code_verifier={verifier}");
    let (status, tokens) = ask(world, "POST /oauth/token", "", &body);
    assert_eq!(status, 200, "{tokens}");
    tokens
}

fn token(world: &mut World) -> String {
    login(world, "alice@example.com")["access_token"]
        .as_str()
        .unwrap()
        .into()
}

fn with_device(world: &mut World) -> String {
    let token = token(world);
    let body = format!(r#"{{"public_key":"{IDENTITY}","display_name":"Office"}}"#);
    let (status, _) = ask(world, "PUT /gateway/v1/devices/dev%3A1/identity-key", &token, &body);
    assert_eq!(status, 204);
    token
}

fn agent(world: &mut World, token: &str) -> ConnId {
    let conn = world.connect("127.0.0.1:9");
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let line = "GET /gateway/v1/agent/connect?device_id=dev:1";
    world.bytes(conn, request(line, token, upgrade, "").as_bytes());
    assert!(world.frames(conn).len() >= 2, "{:?}", written(world, conn));
    conn
}

fn listen(world: &mut World, path: &str, token: &str) -> ConnId {
    let conn = world.connect("127.0.0.1:9");
    world.bytes(conn, request(&format!("GET {path}"), token, "", "").as_bytes());
    let answer = written(world, conn);
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains("\r\nTransfer-Encoding: chunked\r\n") && answer.contains(":connected\n\n"),
        "{answer}"
    );
    conn
}

#[test]
fn from_the_login_to_the_answer_of_an_agent() {
    let mut world = ready();
    let token = with_device(&mut world);
    let devices = listen(&mut world, "/gateway/v1/devices/events", &token);
    let agent = agent(&mut world, &token);
    assert!(written(&world, devices).contains(r#""status":"online""#));
    let body = format!(
        r#"{{"device_id":"dev:1","handshake_id":"hs_vector01","client_ephemeral_public_key":"{CLIENT_KEY}","client_session_nonce":"{NONCE}"}}"#
    );
    let (status, told) = ask(
        &mut world,
        "POST /gateway/v1/sessions/sess_vector01/handshake/client-init",
        &token,
        &body,
    );
    assert_eq!(
        (status, &told["relay_status"]),
        (202, &"forwarded_to_agent".into()),
        "{told}"
    );
    world.bytes(agent, &text(ACK));
    world.settle();
    let line = "GET /gateway/v1/sessions/sess_vector01/handshake/hs_vector01";
    let (status, told) = ask(&mut world, line, &token, "");
    assert_eq!((status, &told["status"]), (200, &"agent_acknowledged".into()), "{told}");
    let events = listen(&mut world, "/gateway/v1/sessions/sess_vector01/events", &token);
    assert!(written(&world, events).contains("session.handshake.ack"));
    let line = "POST /gateway/v1/sessions/sess_vector01/messages";
    let (status, told) = ask(&mut world, line, &token, MESSAGE);
    assert_eq!((status, &told["message_id"]), (202, &"msg_vector01".into()), "{told}");
    let (again, same) = ask(&mut world, line, &token, MESSAGE);
    assert_eq!((again, same), (202, told), "the stored answer");
    let frames = world.frames(agent);
    let messages: Vec<_> = frames
        .iter()
        .filter(|frame| frame.text().contains("vDLUwr395BMr"))
        .collect();
    assert_eq!(messages.len(), 1);
    assert!(messages[0].text().contains(r#""requester_email":"alice@example.com""#));
    world.bytes(agent, &text(ANSWER));
    world.settle();
    assert!(written(&world, events).contains("6auocTzyuzj2fPOL9OkAOGrw"));
    let (_, figures) = ask(&mut world, "GET /gateway/v1/health", &token, "");
    assert_eq!((&figures["agents"], &figures["sessions"]), (&1.into(), &1.into()));
    world.gone(agent);
    assert!(written(&world, devices).contains(r#""status":"offline""#));
    world.gone(events);
    world.gone(devices);
    world.drain();
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash() {
    let mut world = ready();
    let token = with_device(&mut world);
    let store = std::mem::take(&mut world.store);
    drop(world);
    let mut world = World::new(relay_settings());
    world.store = store;
    let (status, told) = ask_before_disk(&mut world, &token);
    assert_eq!((status, told.contains("Retry-After: 1")), (503, true), "{told}");
    world.settle();
    let (status, list) = ask(&mut world, "GET /gateway/v1/devices", &token, "");
    assert_eq!((status, &list["devices"][0]["device_id"]), (200, &"dev:1".into()));
    agent(&mut world, &token);
}

/// Asks while the records are not read.
fn ask_before_disk(world: &mut World, token: &str) -> (u16, String) {
    let conn = world.connect("127.0.0.1:9");
    world.bytes(conn, request("GET /readyz", "", "", "").as_bytes());
    assert!(written(world, conn).contains(r#""status":"starting""#));
    world.gone(conn);
    let conn = world.connect("127.0.0.1:9");
    world.bytes(conn, request("GET /gateway/v1/devices", token, "", "").as_bytes());
    let answer = written(world, conn);
    world.gone(conn);
    (answer[9..12].parse().unwrap(), answer)
}

#[test]
fn a_stranger_has_so_many_forged_signatures_checked_and_no_more() {
    let mut world = ready();
    let told = world
        .reports
        .iter()
        .filter(|report| report.contains("has read its records"));
    assert_eq!(told.count(), 1, "whoever started it hears once that it serves");
    let good = token(&mut world);
    let ask_from = |world: &mut World, address: &str, token: &str| {
        let conn = world.connect(address);
        world.bytes(conn, request("GET /gateway/v1/devices", token, "", "").as_bytes());
        let answer = written(world, conn);
        world.gone(conn);
        answer
    };
    let (signed, _) = good.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", "A".repeat(86));
    assert!(ask_from(&mut world, "203.0.113.5:9", &good).starts_with("HTTP/1.1 200"));
    for _ in 0..600 {
        assert!(ask_from(&mut world, "203.0.113.5:9", &forged).starts_with("HTTP/1.1 401"));
    }
    let told = ask_from(&mut world, "203.0.113.5:9", &forged);
    assert!(
        told.starts_with("HTTP/1.1 429") && told.to_lowercase().contains("retry-after: 1\r\n"),
        "{told}"
    );
    // Tokens that are known are good there, other addresses and this machine are not concerned, and time heals.
    assert!(ask_from(&mut world, "203.0.113.5:9", &good).starts_with("HTTP/1.1 200"));
    for address in ["203.0.113.6:9", "127.0.0.1:9"] {
        assert!(
            ask_from(&mut world, address, &forged).starts_with("HTTP/1.1 401"),
            "{address}"
        );
    }
    world.advance(Duration::from_secs(1));
    assert!(ask_from(&mut world, "203.0.113.5:9", &forged).starts_with("HTTP/1.1 401"));
}

#[test]
fn the_front_answers_in_its_order() {
    let mut world = ready();
    let token = token(&mut world);
    let large = format!(r#"{{"public_key":"{}"}}"#, "A".repeat(5_000));
    let form = "x=".to_owned() + &"y".repeat(70_000);
    for (line, token, body, status, error) in [
        ("GET /nothing", "", "", 404, "Not Found"),
        ("GET /console", "", "", 404, "Not Found"),
        ("GET /healthz/", "", "", 404, "Not Found"),
        ("POST /healthz", "", "", 405, "Method Not Allowed"),
        ("BREW /healthz", "", "", 501, "Not Implemented"),
        ("TRACE /healthz", "", "", 405, "Method Not Allowed"),
        ("GET /gateway/v1/nothing", "", "", 401, "missing bearer token"),
        (
            "POST /gateway/v1/devices",
            "x",
            "",
            401,
            "invalid access token: invalid JWT token",
        ),
        ("GET /gateway/v1/nothing", &token, "", 404, "Not Found"),
        ("POST /gateway/v1/devices", &token, "", 405, "Method Not Allowed"),
        (
            "PUT /gateway/v1/devices/dev1/identity-key",
            "",
            &large,
            401,
            "missing bearer token",
        ),
        (
            "PUT /gateway/v1/devices/dev1/identity-key",
            &token,
            &large,
            413,
            "Request Entity Too Large",
        ),
        ("POST /oauth/token", "", &form, 413, "Request Entity Too Large"),
        (
            "GET /gateway/v1/agent/connect?device_id=dev1",
            &token,
            "",
            400,
            "device_not_found",
        ),
        (
            "PUT /gateway/v1/devices/dev1/identity-key",
            &token,
            "{}x",
            400,
            "invalid request body",
        ),
        (
            "PUT /gateway/v1/devices/dev1/identity-key",
            &token,
            "a=b",
            400,
            "invalid request body",
        ),
    ] {
        let (code, told) = ask(&mut world, line, token, body);
        assert_eq!((code, told["error"].as_str()), (status, Some(error)), "{line}");
    }
    let (_, answer) = ask_with(&mut world, "POST /healthz", "", "", "");
    assert!(answer.contains("\r\nAllow: GET, HEAD\r\n"), "{answer}");
    let (status, answer) = ask_with(
        &mut world,
        "GET /healthz",
        "",
        &format!("X: {}\r\n", "y".repeat(40_000)),
        "",
    );
    assert_eq!(status, 431);
    assert!(
        answer.ends_with(r#"{"code":431,"error":"Request Header Fields Too Large"}"#),
        "{answer}"
    );
    let (status, answer) = ask_with(&mut world, "HEAD /gateway/v1/devices/events", &token, "", "");
    assert!(
        status == 200 && answer.contains("text/event-stream") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
    let (_, health) = ask(&mut world, "GET /gateway/v1/health", "nonsense", "");
    assert_eq!(health.to_string(), r#"{"status":"ok"}"#);
    let (status, api) = ask(&mut world, "GET /openapi.json", "", "");
    assert_eq!((status, &api["openapi"]), (200, &"3.1.0".into()));
}

#[test]
fn pages_are_told_what_they_may_read() {
    let mut world = ready();
    for (line, more, has, has_not) in [
        (
            "GET /healthz",
            "Origin: https://APP.example\r\n",
            "\r\nAccess-Control-Allow-Origin: https://APP.example\r\nAccess-Control-Allow-Credentials: true\r\nVary: Origin\r\n",
            "*",
        ),
        (
            "GET /healthz",
            "Origin: https://evil.example\r\n",
            "200 OK",
            "Access-Control",
        ),
        (
            "OPTIONS /anything",
            "Origin: https://app.example\r\nAccess-Control-Request-Method: PUT\r\n",
            "Access-Control-Allow-Methods: GET, POST, PUT, DELETE, OPTIONS\r\n",
            "200 OK",
        ),
        (
            "OPTIONS /gateway/v1/devices",
            "Origin: https://evil.example\r\nAccess-Control-Request-Method: PUT\r\n",
            "204 No Content",
            "Allow-Origin",
        ),
        (
            "OPTIONS /healthz",
            "Origin: https://app.example\r\n",
            "405 Method",
            "204",
        ),
        (
            "GET /gateway/v1/devices",
            "Origin: https://app.example\r\n",
            "401 Unauthorized",
            "*",
        ),
    ] {
        let (_, answer) = ask_with(&mut world, line, "", more, "");
        assert!(
            answer.contains(has) && !answer.contains(has_not),
            "{line} {more}: {answer}"
        );
    }
}

#[test]
fn requests_may_come_in_any_pieces_and_wait_for_each_other() {
    let register = |token: &str| {
        let body = format!(r#"{{"public_key":"{IDENTITY}"}}"#);
        [
            request("PUT /gateway/v1/devices/dev_1/identity-key", token, "", &body),
            request("GET /gateway/v1/devices", token, "", ""),
            request("GET /healthz", "", "Connection: close\r\n", ""),
        ]
        .concat()
    };
    let answers = |cut: usize| {
        let mut world = ready();
        let token = token(&mut world);
        let conn = world.connect("127.0.0.1:9");
        for piece in register(&token).as_bytes().chunks(cut) {
            world.bytes(conn, piece);
        }
        assert!(
            !written(&world, conn).contains("200 OK"),
            "the first waits for the disk"
        );
        world.settle();
        written(&world, conn)
    };
    let whole = answers(usize::MAX);
    let statuses: Vec<_> = whole
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &whole[at + 9..at + 12])
        .collect();
    assert_eq!(statuses, ["204", "200", "200"], "{whole}");
    for cut in [1, 2, 7, 64, 333] {
        assert_eq!(answers(cut), whole, "pieces of {cut}");
    }
}

#[test]
fn a_listener_that_takes_nothing_loses_its_stream_in_order() {
    let mut world = ready();
    let token = with_device(&mut world);
    let slow = listen(&mut world, "/gateway/v1/devices/events", &token);
    let quick = listen(&mut world, "/gateway/v1/devices/events", &token);
    for _ in 0..40 {
        let agent = agent(&mut world, &token);
        world.gone(agent);
        world.take_all(quick);
    }
    assert!(written(&world, slow).ends_with("0\r\n\r\n"), "it is over");
    assert!(world.sockets[&slow].unsent < 8_192 && !written(&world, quick).ends_with("0\r\n\r\n"));
    world.take_all(slow);
    world.bytes(slow, request("GET /healthz", "", "", "").as_bytes());
    assert!(written(&world, slow).ends_with('}'), "the connection goes on");
    world.read_closed(quick);
    assert!(world.sockets[&quick].flushing, "who closes has left");
}

#[test]
fn what_a_login_opened_ends_with_it() {
    let mut world = ready();
    with_device(&mut world);
    let tokens = login(&mut world, "alice@example.com");
    let (access, refresh) = (
        tokens["access_token"].as_str().unwrap(),
        tokens["refresh_token"].as_str().unwrap(),
    );
    let stream = listen(&mut world, "/gateway/v1/devices/events", access);
    let agent = agent(&mut world, access);
    let (status, _) = ask(&mut world, "POST /oauth/token/revoke", "", &format!("token={refresh}"));
    assert_eq!(status, 200);
    assert!(written(&world, stream).ends_with(":authorization_revoked\n\n\r\n0\r\n\r\n"));
    assert_eq!(world.frames(agent).last().unwrap().opcode, 8);
    assert_eq!(ask(&mut world, "GET /gateway/v1/devices", access, "").0, 401);
}

#[test]
fn a_gateway_that_goes_away_ends_everything_in_order() {
    let mut world = ready();
    let token = with_device(&mut world);
    let stream = listen(&mut world, "/gateway/v1/devices/events", &token);
    let agent = agent(&mut world, &token);
    let waiting = world.connect("127.0.0.1:9");
    let body = format!(r#"{{"public_key":"{IDENTITY}"}}"#);
    let put = request("PUT /gateway/v1/devices/dev_2/identity-key", &token, "", &body);
    world.bytes(waiting, put.as_bytes());
    let idle = world.connect("127.0.0.1:9");
    world.bytes(idle, request("GET /healthz", "", "", "").as_bytes());
    world.step(Input::Drain { how: DrainHow::Stop });
    world.bytes(idle, request("GET /readyz", "", "", "").as_bytes());
    let told = written(&world, idle);
    assert!(
        told.contains("503 Service Unavailable") && told.contains(r#""status":"draining""#),
        "{told}"
    );
    assert!(written(&world, waiting).is_empty(), "it waits for the disk");
    world.settle();
    assert!(written(&world, waiting).contains("204 No Content"));
    assert!(written(&world, stream).ends_with("0\r\n\r\n"));
    let frames = world.frames(agent);
    assert_eq!(frames.last().unwrap().payload[..2], 1_001_u16.to_be_bytes());
    world.follow_closes();
    for _ in 0..20 {
        world.follow_closes();
        world.settle();
        world.wait(Duration::from_secs(1));
    }
    assert!(world.drained);
}
