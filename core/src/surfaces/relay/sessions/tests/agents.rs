//! Section 3: an agent's connection, and what it may send.

use core::time::Duration;

use super::*;
use crate::surfaces::relay::transport;
use crate::time::UnixMillis;

const CONNECT: &str = "GET /gateway/v1/agent/connect";
const UPGRADE: &str = "Connection: upgrade\r\nUpgrade: websocket\r\n";

#[test]
fn an_upgrade_is_checked_in_order() {
    let (mut world, ann, bob) = with_device();
    share(&mut world, &ann, &bob);
    world.relay.limits.agents_per_owner = 1;
    for (who, query, fields, status, error) in [
        (&ann, "", "", 400, "device_id query param is required"),
        (&ann, "?device_id=x", "", 400, "device_id query param is required"),
        (
            &ann,
            "?device_id=dev_1&device%5Fid=dev_1",
            "",
            400,
            "device_id query param is required",
        ),
        (&ann, "?device_id=dev_9", "", 400, "device_not_found"),
        (&caller("eve"), "?device_id=dev_1", "", 400, "device_not_found"),
        (&bob, "?device_id=dev_1", "X-Device-Id: x\r\n", 403, "forbidden"),
        (
            &ann,
            "?device_id=dev_1",
            "X-Device-Id: x\r\n",
            400,
            "invalid X-Device-Id header",
        ),
        (
            &ann,
            "?device_id=dev_1",
            "X-Device-Id: dev_2\r\n",
            400,
            "X-Device-Id header does not match device_id query param",
        ),
    ] {
        world
            .ask_with(who, &format!("{CONNECT}{query}"), fields, "")
            .is(status, error);
    }
    register(&mut world, &ann, "dev_2", 1);
    world.agent(&ann, "dev_2");
    world
        .ask_with(&ann, &format!("{CONNECT}?device_id=dev_1"), "", "")
        .is(429, "too many agent connections");
    let line = format!("{CONNECT}?x=1&device_id=dev%5F2");
    let asked = world.ask_with(&ann, &line, "X-Device-Id: dev_2\r\n", "");
    assert_eq!(
        (asked.status, &asked.body[..]),
        (426, r#"{"code":426,"error":"Upgrade Required"}"#)
    );
    assert_eq!(
        world.ask_with(&ann, &line, UPGRADE, "").status,
        101,
        "its own connection does not count"
    );
    let late = world.agent(&ann, "dev_1");
    assert_eq!(world.frames(late), ["close 1008 too_many_connections"]);
    let stranger = world.agent(&bob, "dev_1");
    assert_eq!(world.frames(stranger), ["close 1008 invalid device_id"]);
}

#[test]
fn a_connection_begins_with_two_frames_and_replaces_the_one_before() {
    let (mut world, ann, _) = with_device();
    let first = world.agent(&ann, "dev_1");
    let frames = world.frames(first);
    assert_eq!(
        frames[0],
        r#"{"at":"2026-11-20T15:06:20Z","device_id":"dev_1","type":"gateway.connected"}"#
    );
    let token = token(&frames[1]);
    let expected = format!(
        r#"{{"at":"2026-11-20T15:06:20Z","connection_id":"agt:1","device_id":"dev_1","expires_in":3600,"transport_token":"{token}","type":"transport.init"}}"#
    );
    assert_eq!(frames[1], expected);
    let secret = transport::secret(&world.relay);
    let until = UnixMillis(world.now.wall.0 + 3_600_000);
    assert_eq!(token, transport::issue(&secret, "dev_1", "agt:1", until));
    assert_eq!(
        secret.reveal(),
        "91a7df53a841efbbcc75aaa08be59c3a45feec623e98a21303cc807ebf7b1e40"
    );
    let second = world.agent(&ann, "dev_1");
    assert_eq!(world.frames(first), ["close 1000 replaced_by_new_connection"]);
    assert!(world.frames(second)[1].contains("\"agt:2\""));
    world.agent_leaves(first);
    assert!(
        world
            .ask(&ann, "GET /gateway/v1/devices", "")
            .body
            .contains("\"online\"")
    );
    assert_eq!(world.agent_says(first, r#"{"type":"ping"}"#), [""; 0]);
}

fn token(frame: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(frame).unwrap();
    json["transport_token"].as_str().unwrap().to_string()
}

#[test]
fn an_agent_that_says_nothing_for_a_minute_is_gone() {
    let (mut world, ann, _) = with_device();
    let agent = world.agent(&ann, "dev_1");
    world.frames(agent);
    world.seconds(59);
    let beat = r#"{"at":"2026-11-20T15:07:19Z","device_id":"dev_1","type":"heartbeat"}"#;
    assert_eq!(world.agent_says(agent, r#"{"type":"ping"}"#), [beat]);
    let listener = world.ask(&ann, "GET /gateway/v1/devices/events", "").conn;
    world.seconds(59);
    assert_eq!(world.frames(agent), [""; 0]);
    world.seconds(1);
    assert_eq!(world.frames(agent), ["close 1008 no frame for 60 seconds"]);
    assert!(world.heard(listener).contains(r#""status":"offline""#));
    world.listener_leaves(listener);
    assert!(
        world
            .sessions
            .next_deadline()
            .is_some_and(|next| next.since(world.now.monotonic) > Duration::from_secs(60))
    );
}

#[test]
fn frames_that_are_none_and_frames_that_mean_nothing() {
    let (mut world, _, agent) = established();
    for (frame, told) in [
        ("[]", &["agent.error invalid_json"][..]),
        ("{", &["agent.error invalid_json"]),
        ("", &["agent.error invalid_json"]),
        (r#"{"type":"a","type":"b"}"#, &["agent.error invalid_json"]),
        (r#"{"type":"heartbeat"}"#, &[]),
        (r#"{"event":"ping"}"#, &["heartbeat"]),
        (r#"{"type":"agent.hello","capabilities":{"x":1}}"#, &[]),
        (r#"{"type":"agent.error","error":"unsupported_type"}"#, &[]),
        (r#"{"type":"agent.error","session_id":"s-99"}"#, &[]),
        (r#"{"type":"whatever"}"#, &[]),
        (r#"{"type":"whatever","session_id":" "}"#, &[]),
        (
            r#"{"type":"session.result","session_id":"s-99"}"#,
            &["agent.error unauthorized_session_frame"],
        ),
        (
            r#"{"type":"session.result","session_id":"s-01","handshake_id":"h-02"}"#,
            &["agent.error unauthorized_session_frame"],
        ),
        (
            r#"{"type":"whatever","session_id":"s-01"}"#,
            &["agent.error unsupported_type"],
        ),
    ] {
        assert_eq!(kinds(&world.agent_says(agent, frame)), told, "{frame}");
    }
    let told = world.agent_says(
        agent,
        r#"{"type":"session.result","session_id":"s-99","handshakeId":"h-9"}"#,
    );
    assert_eq!(
        told,
        [r#"{"error":"unauthorized_session_frame","handshake_id":"h-9","session_id":"s-99","type":"agent.error"}"#]
    );
}

#[test]
fn a_session_is_its_devices_own() {
    let (mut world, ann, _) = established();
    register(&mut world, &ann, "dev_2", 1);
    let other = world.agent(&ann, "dev_2");
    world.frames(other);
    let told = world.agent_says(other, &answer("session.result", 1));
    assert_eq!(kinds(&told), ["agent.error unauthorized_session_frame"]);
}

#[test]
fn answers_are_sealed_and_numbered() {
    let (mut world, ann, agent) = established();
    let conn = world.ask(&ann, EVENTS, "").conn;
    for (frame, told, relayed) in [
        (answer("session.progress", 1), &[][..], 1),
        (answer("session.result", 1), &[], 0),
        (answer("session.message", 4), &[], 1),
        (answer("session.result", 3), &[], 0),
        (answer("session.error", 5), &[], 1),
        (
            answer("session.result", 6).replace("true", "false"),
            &["agent.error encryption_required"],
            0,
        ),
        (
            answer("session.result", 6).replace("YTJj", "YzJh"),
            &["agent.error encryption_required"],
            0,
        ),
        (
            answer("session.result", 6).replace("tdw==", "tdwAA"),
            &["agent.error encryption_required"],
            0,
        ),
        (
            r#"{"type":"session.error","session_id":"s-01","error":"other"}"#.into(),
            &["agent.error encryption_required"],
            0,
        ),
        (
            r#"{"type":"session.error","session_id":"s-01","encrypted":true,"error":"handshake_not_established"}"#
                .into(),
            &["agent.error encryption_required"],
            0,
        ),
        (
            r#"{"type":"session.error","session_id":"s-01","error":"handshake_not_established"}"#.into(),
            &[],
            1,
        ),
        (answer("session.result", 6), &[], 1),
    ] {
        assert_eq!(kinds(&world.agent_says(agent, &frame)), told, "{frame}");
        assert_eq!(data(&world.heard(conn)).len(), relayed, "{frame}");
    }
}

#[test]
fn what_the_client_gets_is_what_the_agent_wrote_but_for_ids_and_transport() {
    let (mut world, ann, agent) = established();
    let conn = world.ask(&ann, EVENTS, "").conn;
    let frame = answer("session.result", 1).replace(
        '}',
        ",\"conversation_id\":\"lie\",\"conversationId\":\"lie\",\"connection_id\":\"x\",\"event\":\"y\",\"big\":12345678901234567890.10,\"o\":{\n\"a\":1}}",
    );
    world.agent_says(agent, &frame);
    let heard = world.heard(conn);
    assert!(heard.ends_with(
        "data: {\"big\":12345678901234567890.10,\"ciphertext\":\"vDLUwr395BMr\",\"conversationId\":\"conv_s-01\",\"conversation_id\":\"conv_s-01\",\"encrypted\":true,\"nonce\":\"YTJjAAAAAAAAAAAB\",\"o\":{\"a\":1},\"seq\":1,\"session_id\":\"s-01\",\"tag\":\"re3L12fgFjNKBFurSL7tdw==\",\"type\":\"session.result\"}\n\n"
    ), "{heard}");
    let clear = r#"{"type":"session.cancelled","session_id":"s-01","message_id":"m-1","secret":"x"}"#;
    world.agent_says(agent, clear);
    assert!(world.heard(conn).ends_with(
        "data: {\"conversation_id\":\"conv_s-01\",\"handshake_id\":\"h-01\",\"message_id\":\"m-1\",\"session_id\":\"s-01\",\"type\":\"session.cancelled\"}\n\n"
    ));
    world.relay.require_encrypted_frames = false;
    world.agent_says(agent, r#"{"type":"session.error","session_id":"s-01","error":"clear"}"#);
    assert_eq!(data(&world.heard(conn))[0]["error"], "clear");
}

#[test]
fn an_agent_that_knows_transport_tokens_must_show_them() {
    let (mut world, ann, _) = with_device();
    let agent = world.agent(&ann, "dev_1");
    let token = token(&world.frames(agent)[1]);
    init(&mut world, &ann);
    world.frames(agent);
    let with = |frame: String, number: u64| {
        frame.replacen(
            '{',
            &format!("{{\"transport_token\":\"{token}\",\"t_seq\":{number},"),
            1,
        )
    };
    world.agent_says(agent, &with(ack_frame("s-01", AGENT_KEY), 1));
    let conn = world.ask(&ann, EVENTS, "").conn;
    world.agent_says(agent, &with(answer("session.progress", 1), 2));
    let heard = world.heard(conn);
    assert!(heard.contains("session.progress") && !heard.contains("t_seq") && !heard.contains(&token));
    let told = world.agent_says(agent, &answer("session.result", 2));
    assert_eq!(
        told,
        [r#"{"error":"transport_violation","violation":"missing_transport_token","type":"agent.error"}"#]
    );
    assert_eq!(
        world.agent_says(agent, &answer("session.result", 2)),
        [""; 0],
        "told once"
    );
    world.agent_says(agent, &with(answer("session.result", 2), 2));
    assert_eq!(world.heard(conn), "");
    assert_eq!(
        world.agent_says(agent, r#"{"type":"ping"}"#).len(),
        1,
        "connection frames need no token"
    );
    world.agent_says(agent, &with(answer("session.result", 2), 3));
    assert_eq!(data(&world.heard(conn)).len(), 1);
}

#[test]
fn a_hello_or_strict_settings_make_tokens_necessary_from_the_start() {
    let (mut world, ann, _) = with_device();
    init(&mut world, &ann);
    let agent = world.agent(&ann, "dev_1");
    world.agent_says(
        agent,
        r#"{"type":"agent.hello","capabilities":{"transport_token":true}}"#,
    );
    let told = world.agent_says(agent, &ack_frame("s-01", AGENT_KEY));
    assert_eq!(kinds(&told), ["agent.error transport_violation"]);
    world.relay.strict_transport = true;
    let agent = world.agent(&ann, "dev_1");
    world.frames(agent);
    let told = world.agent_says(agent, &ack_frame("s-01", AGENT_KEY));
    assert_eq!(kinds(&told), ["agent.error transport_violation"]);
    assert_eq!(world.ask(&ann, HANDSHAKE, "").json()["status"], "pending_agent_ack");
}

#[test]
fn a_fresh_token_comes_at_half_life() {
    let (mut world, ann, _) = with_device();
    let agent = world.agent(&ann, "dev_1");
    world.frames(agent);
    let mut fresh = Vec::new();
    for minute in 1..=61 {
        for _ in 0..2 {
            world.seconds(30);
            let frames = world.agent_says(agent, r#"{"type":"heartbeat"}"#);
            fresh.extend(frames.iter().map(|frame| (minute, token(frame))));
        }
    }
    assert_eq!(fresh.iter().map(|(minute, _)| *minute).collect::<Vec<_>>(), [30, 60]);
    assert_ne!(fresh[0].1, fresh[1].1);
}

#[test]
fn a_connection_ends_with_its_access_token_where_no_login_can_end_it_or_the_settings_are_strict() {
    for (strict, login, ends) in [
        (false, Some("login"), false),
        (true, Some("login"), true),
        (false, None, true),
    ] {
        let (mut world, mut ann, _) = with_device();
        world.relay.strict_transport = strict;
        ann.login = login.map(String::from);
        ann.expires_at = world.now.wall.0 / 1_000 + 50;
        let agent = world.agent(&ann, "dev_1");
        world.frames(agent);
        world.seconds(49);
        world.agent_says(agent, r#"{"type":"heartbeat"}"#);
        world.seconds(1);
        let expected = if ends {
            &["close 1008 access token expired"][..]
        } else {
            &[]
        };
        assert_eq!(world.frames(agent), expected);
    }
}

#[test]
fn an_agent_without_keys_says_so_to_the_client_and_nothing_else() {
    let (mut world, ann, agent) = established();
    let listener = world.ask(&ann, EVENTS, "").conn;
    let frame = r#"{"type":"session.error","session_id":"s-01","message_id":"m-1","error":"handshake_not_established","details":"x"}"#;
    assert_eq!(world.agent_says(agent, frame), [""; 0]);
    let event = data(&world.heard(listener)).remove(0);
    assert_eq!(
        event,
        serde_json::json!({"type": "session.error", "error": "handshake_not_established", "session_id": "s-01",
            "handshake_id": "h-01", "conversation_id": "conv_s-01", "message_id": "m-1"})
    );
}

#[test]
fn what_agents_do_and_what_is_refused_them_is_recorded() {
    use crate::audit::AuditEvent as E;
    let (mut world, ann, agent) = established();
    let other = ack_frame("s-01", OTHER_KEY);
    world.agent_says(agent, &other);
    world.agent_says(
        agent,
        &ack_frame("s-01", AGENT_KEY).replace("h-01\",\"status", "h-01\",\"x"),
    );
    let body = format!(
        r#"{{"device_id":"dev_1","handshake_id":"h-01",{}}}"#,
        proof_of("s-01", AGENT_KEY)
    );
    let wrong = body.replace("transcript_hash\":\"", "transcript_hash\":\"AA");
    assert_eq!(world.ask(&ann, ACK, &wrong).status, 400);
    let next = world.agent(&ann, "dev_1");
    world.agent_leaves(next);
    register(&mut world, &ann, "dev_1", 2);
    register(&mut world, &ann, "dev_1", 2);
    assert_eq!(world.ask(&ann, "DELETE /gateway/v1/devices/dev_1", "").status, 204);
    let events: Vec<_> = world.audit.iter().map(|record| record.event).collect();
    assert_eq!(
        events,
        [
            E::DeviceRegistered,
            E::AgentConnected,
            E::HandshakeRefused,
            E::HandshakeRefused,
            E::AgentDisconnected,
            E::AgentConnected,
            E::AgentDisconnected,
            E::IdentityKeyReplaced,
            E::DeviceRemoved,
        ]
    );
}

#[test]
fn an_agent_that_repeats_what_is_refused_fills_neither_journal_nor_disk() {
    use crate::audit::AuditEvent as E;
    let (mut world, ann, _) = with_device();
    let agent = world.agent(&ann, "dev_1");
    init(&mut world, &ann);
    let events = world.ask(&ann, EVENTS, "").conn;
    world.heard(events);
    let error =
        r#"{"type":"session.handshake.ack","session_id":"s-01","handshake_id":"h-01","status":"error","error":"no"}"#;
    for _ in 0..500 {
        world.agent_says(agent, error);
    }
    assert_eq!(world.heard(events).matches("session.handshake.ack").count(), 1);
    let refused = |world: &World| {
        let records = world.audit.iter().filter(|record| record.event == E::HandshakeRefused);
        records.map(|record| record.count.unwrap_or(0)).collect::<Vec<_>>()
    };
    assert_eq!(refused(&world), [0; 10]);
    world.seconds(20);
    world.agent_says(agent, &ack_frame("s-01", AGENT_KEY));
    world.agent_says(agent, &ack_frame("s-01", OTHER_KEY));
    assert_eq!(refused(&world).last(), Some(&490), "none is forgotten");
}
