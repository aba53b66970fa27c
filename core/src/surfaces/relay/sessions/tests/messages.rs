//! Section 5: a client's messages.

use super::*;

#[test]
fn a_message_is_checked_in_order() {
    let (mut world, ann, bob) = with_device();
    share(&mut world, &ann, &bob);
    let key = "X-Idempotency-Key: k\r\n";
    let good = message(1);
    let ask =
        |world: &mut World, who: &Caller, line: &str, fields: &str, body: &str| world.ask_with(who, line, fields, body);
    ask(&mut world, &ann, &MESSAGES.replace("s-01", "x"), "", "").is(400, "invalid session_id");
    ask(&mut world, &ann, MESSAGES, "", "{").is(400, "missing X-Idempotency-Key header");
    ask(&mut world, &ann, MESSAGES, "X-Idempotency-Key:  \r\n", "{}").is(400, "missing X-Idempotency-Key header");
    let long = format!("X-Idempotency-Key: {}\r\n", "k".repeat(257));
    ask(&mut world, &ann, MESSAGES, &long, "{}").is(400, "invalid X-Idempotency-Key header");
    ask(&mut world, &ann, MESSAGES, key, "[1]").is(400, "invalid request body");
    ask(&mut world, &ann, MESSAGES, key, &good).is(404, "session not found");
    init(&mut world, &ann);
    ask(&mut world, &caller("eve"), MESSAGES, key, &good).is(404, "session not found");
    ask(&mut world, &bob, MESSAGES, key, &good).is(403, "forbidden");
    let asked = ask(&mut world, &ann, MESSAGES, key, &good);
    let expected = r#"{"conversation_id":"conv_s-01","error":"handshake_not_ready","handshake_id":"h-01","session_id":"s-01","status":"pending_agent_connection"}"#;
    assert_eq!((asked.status, &asked.body[..]), (409, expected));
    let agent = world.agent(&ann, "dev_1");
    world.agent_says(agent, &ack_frame("s-01", AGENT_KEY));
    let asked = ask(&mut world, &ann, MESSAGES, key, r#"{"conversationId":"conv_2"}"#);
    let expected =
        r#"{"conversation_id":"conv_s-01","error":"conversation_mismatch","handshake_id":"h-01","session_id":"s-01"}"#;
    assert_eq!((asked.status, &asked.body[..]), (409, expected));
    let asked = ask(&mut world, &ann, MESSAGES, key, r#"{"encrypted":true}"#);
    let expected = r#"{"conversation_id":"conv_s-01","error":"encryption_required","session_id":"s-01","violation":"missing_ciphertext"}"#;
    assert_eq!((asked.status, &asked.body[..]), (400, expected));
    let long = good.replace("m-1", &"m".repeat(257));
    ask(&mut world, &ann, MESSAGES, key, &long).is(400, "invalid message_id");
    assert_eq!(ask(&mut world, &ann, MESSAGES, key, &good).status, 202);
}

#[test]
fn keys_and_numbers_of_messages() {
    let (mut world, ann, agent) = established();
    let asked = send(&mut world, &ann, 3);
    let expected = r#"{"conversationId":"conv_s-01","conversation_id":"conv_s-01","handshakeId":"h-01","handshake_id":"h-01","messageId":"m-3","message_id":"m-3","sessionId":"s-01","session_id":"s-01","status":"forwarded_to_agent"}"#;
    assert_eq!((asked.status, &asked.body[..]), (202, expected));
    let again = send(&mut world, &ann, 3);
    assert_eq!((again.status, again.body), (202, asked.body), "the stored answer");
    let asked = world.ask_with(&ann, MESSAGES, "X-Idempotency-Key: k-3\r\n", &message(4));
    assert_eq!(
        (asked.status, &asked.body[..]),
        (409, r#"{"error":"duplicate_request","session_id":"s-01"}"#)
    );
    let asked = world.ask_with(&ann, MESSAGES, "X-Idempotency-Key: other\r\n", &message(3));
    let expected = r#"{"conversation_id":"conv_s-01","error":"replay_detected","session_id":"s-01","violation":"replay_detected"}"#;
    assert_eq!((asked.status, &asked.body[..]), (409, expected));
    world
        .ask_with(&ann, MESSAGES, "X-Idempotency-Key: older\r\n", &message(2))
        .is(409, "replay_detected");
    assert_eq!(send(&mut world, &ann, 9).status, 202, "gaps are allowed");
    assert_eq!(kinds(&world.frames(agent)), ["session.message 3", "session.message 9"]);
    for _ in 0..6 {
        world.seconds(50);
        world.agent_says(agent, r#"{"type":"heartbeat"}"#);
    }
    send(&mut world, &ann, 3).is(409, "replay_detected");
}

#[test]
fn without_a_key_the_message_id_is_the_key() {
    let (mut world, ann, agent) = established();
    assert_eq!(world.ask(&ann, MESSAGES, &message(1)).status, 202);
    assert_eq!(world.ask(&ann, MESSAGES, &message(1)).status, 202);
    assert_eq!(world.frames(agent).len(), 1);
    world
        .ask(&ann, MESSAGES, &message(1).replace("vDLU", "AAAA"))
        .is(409, "duplicate_request");
    let nameless = format!("{{{}}}", sealed(Direction::ClientToAgent, 2));
    world
        .ask(&ann, MESSAGES, &nameless)
        .is(400, "missing X-Idempotency-Key header");
    let asked = world
        .ask_with(&ann, MESSAGES, "X-Idempotency-Key: k\r\n", &nameless)
        .json();
    let id = asked["message_id"].as_str().unwrap();
    assert!(id.len() == 36 && id.starts_with("msg_"));
}

#[test]
fn what_the_agent_gets_is_sealed_or_our_own_word() {
    let (mut world, ann, agent) = established();
    let body = message(1).replace(
        '}',
        r#","type":"x","role":"owner","grant_id":"g","requester_uid":"root","requester":{"uid":"root"},"device_id":"d","prompt":"clear","alg":"aes-256-gcm","aad":"c2Vzcw=="}"#,
    );
    let body = body.replace("\"seq\":1", "\"seq\":1.0");
    assert_eq!(world.ask(&ann, MESSAGES, &body).status, 202);
    let expected = r#"{"type":"session.message","session_id":"s-01","handshake_id":"h-01","conversation_id":"conv_s-01","message_id":"m-1","received_at":"2026-11-20T15:06:20Z","requester_uid":"ann","requester_email":"ann@Example.org","requester_display_name":"ANN","requester":{"uid":"ann","email":"ann@Example.org","display_name":"ANN"},"requester_role":"owner","encrypted":true,"alg":"aes-256-gcm","seq":1.0,"nonce":"YzJhAAAAAAAAAAAB","ciphertext":"vDLUwr395BMr","tag":"re3L12fgFjNKBFurSL7tdw==","aad":"c2Vzcw=="}"#;
    assert_eq!(world.frames(agent), [expected]);
}

#[test]
fn a_collaborator_is_named_with_the_grant() {
    let (mut world, ann, mut bob) = with_device();
    let grant = share(&mut world, &ann, &bob);
    let agent = establish(&mut world, &bob);
    bob.name = None;
    // An e-mail that his identity provider does not vouch for is not told.
    (bob.email_written, bob.email_verified) = (Some("boss@example.org".into()), false);
    assert_eq!(send(&mut world, &bob, 1).status, 202);
    send(&mut world, &ann, 2).is(403, "forbidden");
    let frame = world.frames(agent).concat();
    let json: serde_json::Value = serde_json::from_str(&frame).unwrap();
    for (name, value) in [
        ("requester_role", "collaborator".into()),
        ("grant_status", "active".into()),
        ("grant_id", grant[..].into()),
        ("requester_email", serde_json::Value::Null),
        ("requester_display_name", serde_json::Value::Null),
    ] {
        assert_eq!(json[name], value, "{name}");
    }
    let path = format!("POST /gateway/v1/shares/grants/{grant}/leave");
    world.ask(&bob, &path, "");
    send(&mut world, &bob, 2).is(403, "forbidden");
}

#[test]
fn clear_messages_pass_only_where_the_settings_allow_them() {
    let (mut world, ann, agent) = established();
    world.relay.require_encrypted_frames = false;
    let body = "{\"message_id\":\"m-1\",\"prompt\":\"hi\",\"n\":[1,\n2],\"role\":\"owner\",\"grant_x\":1,\"t_seq\":1,\"seq\":7}";
    assert_eq!(world.ask(&ann, MESSAGES, body).status, 202);
    let frame = world.frames(agent).concat();
    assert!(
        frame.ends_with(r#""requester_role":"owner","prompt":"hi","n":[1,2],"seq":7}"#),
        "{frame}"
    );
    assert_eq!(send(&mut world, &ann, 1).status, 202, "a clear one used no number");
    world
        .ask_with(&ann, MESSAGES, "X-Idempotency-Key: z\r\n", &message(1))
        .is(409, "replay_detected");
}

#[test]
fn messages_wait_for_an_agent_that_is_away_up_to_a_limit() {
    let (mut world, ann, agent) = established();
    world.relay.limits.undelivered_per_session = 2;
    world.agent_leaves(agent);
    for seq in [1, 2] {
        let asked = send(&mut world, &ann, seq);
        assert_eq!(
            (asked.status, &asked.json()["status"]),
            (202, &"queued_for_agent".into())
        );
        assert_eq!(send(&mut world, &ann, seq).body, asked.body);
    }
    let asked = send(&mut world, &ann, 3);
    let expected = r#"{"conversation_id":"conv_s-01","error":"agent_unavailable","session_id":"s-01"}"#;
    assert_eq!((asked.status, &asked.body[..]), (503, expected));
    assert_eq!(world.records("relay.undelivered"), 2);
    let agent = world.agent(&ann, "dev_1");
    assert_eq!(
        kinds(&world.frames(agent)),
        [
            "gateway.connected",
            "transport.init",
            "session.message 1",
            "session.message 2"
        ]
    );
    assert_eq!(world.records("relay.undelivered"), 0);
    assert_eq!(
        send(&mut world, &ann, 3).json()["status"],
        "forwarded_to_agent",
        "neither number nor key was used"
    );
}

#[test]
fn the_bytes_that_wait_are_bounded_for_each_user() {
    let (mut world, ann, agent) = established();
    world.agent_leaves(agent);
    let waits_elsewhere = 16_777_216 - 700;
    let common = &mut world.sessions.common;
    common.hold(&ann.uid, |holding| holding.queued_bytes += waits_elsewhere);
    assert_eq!(send(&mut world, &ann, 1).status, 202);
    send(&mut world, &ann, 2).is(503, "agent_unavailable");
    let agent = world.agent(&ann, "dev_1");
    assert_eq!(kinds(&world.frames(agent)).len(), 3);
    world.seconds(1);
    world.agent_leaves(agent);
    assert_eq!(
        send(&mut world, &ann, 2).status,
        202,
        "what was handed over does not count"
    );
}

#[test]
fn an_agent_that_takes_nothing_is_sent_nothing_more_until_it_does() {
    let (mut world, ann, agent) = established();
    world.sockets_take = false;
    let long = "AAAA".repeat(100_000);
    let (mut queued, mut waiting) = (Vec::new(), Vec::new());
    for seq in 1..=9 {
        let body = message(seq).replace("vDLUwr395BMr", &long);
        let asked = world.ask(&ann, MESSAGES, &body);
        match asked.status {
            202 => queued.push((seq, asked.json()["status"].clone())),
            // Nobody is told that it is on its way before the socket took it.
            status => {
                assert_eq!(status, 1);
                waiting.push(asked.conn);
            }
        }
    }
    assert!(!queued.is_empty() && queued[0].0 > 1 && queued.iter().all(|(_, status)| status == "queued_for_agent"));
    assert_eq!(world.frames(agent), [""; 0]);
    // A socket that takes nothing for two seconds: the message is on disk, and so its sender is told.
    world.seconds(3);
    for conn in waiting {
        let (status, body) = world.answered_later(conn).unwrap();
        assert!(status == 202 && body.contains("queued_for_agent"), "{body}");
    }
    assert_eq!(world.records("relay.undelivered"), 9);
    world.sockets_take = true;
    let mut got = kinds(&world.frames(agent));
    for _ in 0..3 {
        world.seconds(1);
    }
    got.extend(kinds(&world.frames(agent)));
    let expected: Vec<_> = (1..=9).map(|seq| format!("session.message {seq}")).collect();
    assert_eq!(got, expected);
    assert_eq!(world.records("relay.undelivered"), 0);
    assert_eq!(send(&mut world, &ann, 10).json()["status"], "forwarded_to_agent");
}
