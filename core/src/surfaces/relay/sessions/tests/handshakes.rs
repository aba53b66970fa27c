//! Sections 4.1 to 4.4: how a handshake begins, goes on and ends.

use super::*;

#[test]
fn a_beginning_is_checked_in_order() {
    let (mut world, ann, _) = with_device();
    let good = init_body("s-01");
    let zero = STANDARD.encode([0_u8; 32]);
    let without = |name: &str| good.replace(name, "x");
    for (line, body, status, error) in [
        (INIT.replace("s-01", "x"), good.clone(), 400, "invalid session_id"),
        (INIT.into(), "[]".into(), 400, "invalid request body"),
        (INIT.into(), "null".into(), 400, "device_id is required"),
        (INIT.into(), good.replace("dev_1", "d"), 400, "invalid device_id"),
        (
            INIT.into(),
            without("client_session_nonce").replace("h-01", ""),
            400,
            "device_id, handshake_id, and client_session_nonce are required",
        ),
        (
            INIT.into(),
            good.replace("nonce\"}", &"n".repeat(257)) + "\"}",
            400,
            "invalid client_session_nonce",
        ),
        (INIT.into(), without("handshake_id"), 400, "handshake_id is required"),
        (
            INIT.into(),
            good.replace('}', r#","conversationId":"x"}"#).replace(CLIENT_KEY, ""),
            400,
            "invalid conversation_id",
        ),
        (
            INIT.into(),
            good.replace(CLIENT_KEY, "AAAA"),
            400,
            "invalid ephemeral public key",
        ),
        (
            INIT.into(),
            good.replace(CLIENT_KEY, &zero),
            400,
            "invalid ephemeral public key",
        ),
        (INIT.into(), good.replace("dev_1", "dev_9"), 404, "device not found"),
    ] {
        world.ask(&ann, &line, &body).is(status, error);
    }
    world.ask(&caller("eve"), INIT, &good).is(404, "device not found");
    assert_eq!(world.ask(&ann, INIT, &good).status, 202);
    for (from, to) in [("h-01", "h-02"), (CLIENT_KEY, OTHER_KEY), ("\"nonce\"", "\"other\"")] {
        let text = "handshake_id already exists with different payload";
        world.ask(&ann, INIT, &good.replace(from, to)).is(409, text);
    }
    let body = good.replace('}', r#","conversation_id":"conv_2"}"#);
    let text = "handshake_id already exists with different conversation_id";
    world.ask(&ann, INIT, &body).is(409, text);
    let body = good.replace('}', r#","conversation_id":"conv_s-01"}"#);
    assert_eq!(world.ask(&ann, INIT, &body).status, 202, "the default, spelt out");
}

#[test]
fn it_waits_for_the_agent_which_hears_of_it_third() {
    let (mut world, ann, _) = with_device();
    let asked = init(&mut world, &ann);
    let expected = format!(
        r#"{{"client_ephemeral_public_key":"{CLIENT_KEY}","client_session_nonce":"nonce","conversationId":"conv_s-01","conversation_id":"conv_s-01","deviceId":"dev_1","device_id":"dev_1","handshakeId":"h-01","handshake_id":"h-01","last_error":"agent_not_connected","relay_error":"agent_not_connected","relay_status":"pending_agent_connection","sessionId":"s-01","session_id":"s-01","status":"pending_agent_connection"}}"#
    );
    assert_eq!((asked.status, asked.body), (202, expected));
    let agent = world.agent(&ann, "dev_1");
    let frames = world.frames(agent);
    assert_eq!(
        kinds(&frames),
        ["gateway.connected", "transport.init", "session.handshake.request"]
    );
    let expected = format!(
        r#"{{"client_ephemeral_public_key":"{CLIENT_KEY}","client_session_nonce":"nonce","conversation_id":"conv_s-01","device_id":"dev_1","handshake_id":"h-01","session_id":"s-01","type":"session.handshake.request"}}"#
    );
    assert_eq!(frames[2], expected);
    let json = world.ask(&ann, HANDSHAKE, "").json();
    assert_eq!(
        (&json["status"], &json["last_error"]),
        (&"pending_agent_ack".into(), &"".into())
    );
    let json = init(&mut world, &ann).json();
    assert_eq!(
        (&json["relay_status"], json.get("relay_error")),
        (&"forwarded_to_agent".into(), None)
    );
}

#[test]
fn the_request_is_repeated_with_growing_waits_and_at_once_on_another_connection() {
    let (mut world, ann, _) = with_device();
    let agent = world.agent(&ann, "dev_1");
    world.frames(agent);
    init(&mut world, &ann);
    assert_eq!(world.frames(agent).len(), 1);
    let mut sent = Vec::new();
    for second in 1..200 {
        world.seconds(1);
        world.ask(&ann, HANDSHAKE, "");
        world
            .agent_says(agent, r#"{"type":"heartbeat"}"#)
            .iter()
            .for_each(|_| sent.push(second));
        init(&mut world, &ann);
        assert_eq!(
            world.frames(agent).len(),
            0,
            "a repetition by the client does not hurry it"
        );
    }
    assert_eq!(sent, [5, 15, 35, 75, 135, 195]);
    let second = world.agent(&ann, "dev_1");
    assert_eq!(
        kinds(&world.frames(second)).last().unwrap(),
        "session.handshake.request"
    );
    world.agent_says(second, &ack_frame("s-01", AGENT_KEY));
    world.seconds(30);
    world.ask(&ann, HANDSHAKE, "");
    assert_eq!(init(&mut world, &ann).json()["relay_status"], "already_acknowledged");
    assert!(
        world.frames(second).is_empty(),
        "what is acknowledged is not asked again"
    );
}

#[test]
fn the_state_is_told_to_who_began_it() {
    let (mut world, ann, bob) = with_device();
    share(&mut world, &ann, &bob);
    init(&mut world, &ann);
    let eve = caller("eve");
    for (who, line, status, error) in [
        (&ann, HANDSHAKE.replace("s-01", "x"), 400, "invalid session_id"),
        (&ann, HANDSHAKE.replace("h-01", "x"), 400, "invalid handshake_id"),
        (&ann, HANDSHAKE.replace("s-01", "s-99"), 404, "session not found"),
        (&eve, HANDSHAKE.into(), 404, "session not found"),
        (&bob, HANDSHAKE.into(), 403, "forbidden"),
        (&ann, HANDSHAKE.replace("h-01", "h-99"), 404, "handshake not found"),
    ] {
        world.ask(who, &line, "").is(status, error);
    }
    let asked = world.ask(&ann, HANDSHAKE, "");
    let expected = format!(
        r#"{{"agent_ephemeral_public_key":"","agent_identity_signature":"","client_ephemeral_public_key":"{CLIENT_KEY}","conversationId":"conv_s-01","conversation_id":"conv_s-01","created_at":"2026-11-20T15:06:20Z","deviceId":"dev_1","device_id":"dev_1","handshakeId":"h-01","handshake_id":"h-01","last_error":"agent_not_connected","sessionId":"s-01","session_id":"s-01","status":"pending_agent_connection","transcript_hash":"","updated_at":"2026-11-20T15:06:20Z"}}"#
    );
    assert_eq!((asked.status, asked.body), (200, expected));
    init(&mut world, &bob).is(409, "handshake_id already exists with different payload");
}

fn ack_body(proof: &str) -> String {
    format!(r#"{{"device_id":"dev_1","handshake_id":"h-01",{proof}}}"#)
}

#[test]
fn an_ack_over_http_is_checked_in_order() {
    let (mut world, ann, bob) = with_device();
    let proof = proof_of("s-01", AGENT_KEY);
    let good = ack_body(&proof);
    world.ask(&ann, ACK, &good).is(404, "handshake not found");
    let other = good.replace("dev_1", "dev_9");
    world.ask(&ann, ACK, &other).is(404, "device identity not found");
    init(&mut world, &ann);
    register(&mut world, &ann, "dev_2", 1);
    let zero = STANDARD.encode([0_u8; 32]);
    for (line, body, status, error) in [
        (ACK.replace("s-01", "x"), good.clone(), 400, "invalid session_id"),
        (ACK.into(), "7".into(), 400, "invalid request body"),
        (ACK.into(), good.replace("dev_1", ""), 400, "device_id is required"),
        (ACK.into(), good.replace("h-01", "?"), 400, "invalid handshake_id"),
        (
            ACK.into(),
            good.replace(AGENT_KEY, "AAAA"),
            400,
            "invalid ephemeral public key",
        ),
        (
            ACK.into(),
            good.replace(AGENT_KEY, &zero),
            400,
            "invalid ephemeral public key",
        ),
        (
            ACK.into(),
            good.replace("dev_1", "dev_9"),
            404,
            "device identity not found",
        ),
        (
            ACK.into(),
            good.replace("h-01", "h-02").replace("dev_1", "dev_2"),
            404,
            "handshake not found",
        ),
        (
            ACK.into(),
            good.replace("dev_1", "dev_2"),
            400,
            "device_id mismatch for handshake",
        ),
        (
            ACK.into(),
            good.replace(AGENT_KEY, OTHER_KEY),
            400,
            "transcript hash mismatch",
        ),
        (
            ACK.into(),
            good.replace("\"transcript_hash\":\"", "\"transcript_hash\":\"A"),
            400,
            "transcript hash mismatch",
        ),
        (
            ACK.into(),
            good.replace("signature\":\"", "signature\":\"AAAA"),
            401,
            "signature verification failed",
        ),
    ] {
        world.ask(&ann, &line, &body).is(status, error);
    }
    world.ask(&bob, ACK, &good).is(404, "device identity not found");
    assert_eq!(
        world.ask(&ann, HANDSHAKE, "").json()["status"],
        "pending_agent_connection",
        "unchanged"
    );
    let asked = world.ask(&ann, ACK, &good);
    let expected = r#"{"conversationId":"conv_s-01","conversation_id":"conv_s-01","handshakeId":"h-01","handshake_id":"h-01","sessionId":"s-01","session_id":"s-01","status":"agent_acknowledged"}"#;
    assert_eq!((asked.status, &asked.body[..]), (202, expected));
    let json = world.ask(&ann, HANDSHAKE, "").json();
    assert_eq!(
        (&json["agent_ephemeral_public_key"], &json["last_error"]),
        (&AGENT_KEY.into(), &"".into())
    );
}

#[test]
fn the_first_valid_ack_wins_and_its_repetition_changes_nothing() {
    let (mut world, ann, agent) = established();
    let listener = world.ask(&ann, EVENTS, "");
    assert_eq!(data(&listener.body).len(), 1);
    assert_eq!(world.agent_says(agent, &ack_frame("s-01", AGENT_KEY)), [""; 0]);
    assert_eq!(
        world.ask(&ann, ACK, &ack_body(&proof_of("s-01", AGENT_KEY))).status,
        202
    );
    let second = proof_of("s-01", OTHER_KEY);
    world
        .ask(&ann, ACK, &ack_body(&second))
        .is(409, "handshake already acknowledged");
    let told = world.agent_says(agent, &ack_frame("s-01", OTHER_KEY));
    assert_eq!(kinds(&told), ["agent.error handshake_already_acknowledged"]);
    let late = r#"{"type":"session.handshake.ack","session_id":"s-01","status":"error","error":"no"}"#;
    assert_eq!(world.agent_says(agent, late), [""; 0]);
    assert_eq!(
        world.agent_says(agent, &ack_frame("s-01", AGENT_KEY).replace(AGENT_KEY, OTHER_KEY)),
        [""; 0]
    );
    assert_eq!(world.heard(listener.conn), "");
    let json = world.ask(&ann, HANDSHAKE, "").json();
    assert_eq!(
        (&json["status"], &json["agent_ephemeral_public_key"]),
        (&"agent_acknowledged".into(), &AGENT_KEY.into())
    );
}

#[test]
fn an_ack_over_the_websocket_is_told_with_what_the_agent_added() {
    let (mut world, ann, _) = with_device();
    init(&mut world, &ann);
    let agent = world.agent(&ann, "dev_1");
    let frame = ack_frame("s-01", AGENT_KEY).replace(
        "\"status\"",
        "\"t_seq\":9,\"connection_id\":\"x\",\"fingerprint\":{\"a\":1.50},\"device_id\":\"lie\",\"status\"",
    );
    world.agent_says(agent, &frame);
    let asked = world.ask(&ann, EVENTS, "");
    let event = &data(&asked.body)[0];
    let keys: Vec<_> = event.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "agent_ephemeral_public_key",
            "agent_identity_signature",
            "conversation_id",
            "device_id",
            "fingerprint",
            "handshake_id",
            "session_id",
            "status",
            "transcript_hash",
            "type",
            "updated_at"
        ]
    );
    assert_eq!(
        (&event["device_id"], &event["status"]),
        (&"dev_1".into(), &"agent_acknowledged".into())
    );
    assert!(asked.body.contains(r#""fingerprint":{"a":1.50}"#));
}

#[test]
fn an_agents_error_is_a_state_that_a_good_ack_or_another_beginning_leaves() {
    let cases = [
        (r#""status":"error""#.into(), "agent handshake error"),
        (
            r#""status":"error","error":" ","details":"d","message":"m""#.into(),
            "d",
        ),
        (
            r#""status":"ok""#.into(),
            "missing handshake ack fields from agent websocket frame",
        ),
        (
            proof_of("s-01", AGENT_KEY).replace(AGENT_KEY, "%"),
            "invalid x25519 public key encoding: not padded standard base64",
        ),
        (
            proof_of("s-01", AGENT_KEY).replace(AGENT_KEY, "AAAA"),
            "invalid x25519 public key length: got 3 want 32",
        ),
        (
            proof_of("s-01", AGENT_KEY).replace(AGENT_KEY, &STANDARD.encode([0_u8; 32])),
            "invalid x25519 public key: a point of low order",
        ),
        (
            proof_of("s-01", AGENT_KEY).replace(AGENT_KEY, OTHER_KEY),
            "transcript hash mismatch",
        ),
        (
            proof_of("s-01", AGENT_KEY).replace("signature\":\"", "signature\":\"AAAA"),
            "signature verification failed: not 64 bytes in base64",
        ),
    ];
    for (members, error) in cases {
        let (mut world, ann, _) = with_device();
        init(&mut world, &ann);
        let agent = world.agent(&ann, "dev_1");
        world.frames(agent);
        let frame = format!(r#"{{"event":"session.handshake.ack","sessionId":"s-01",{members}}}"#);
        assert_eq!(world.agent_says(agent, &frame), [""; 0]);
        let json = world.ask(&ann, HANDSHAKE, "").json();
        assert_eq!(
            (&json["status"], &json["last_error"]),
            (&"agent_error".into(), &error.into())
        );
        let event = &data(&world.ask(&ann, EVENTS, "").body)[0];
        assert_eq!(
            (&event["status"], &event["error"]),
            (&"agent_error".into(), &error.into())
        );
        send(&mut world, &ann, 1).is(409, "handshake_not_ready");
        let json = init(&mut world, &ann).json();
        assert_eq!(
            (&json["status"], json.get("last_error")),
            (&"pending_agent_ack".into(), None)
        );
        world.agent_says(agent, &ack_frame("s-01", AGENT_KEY));
        assert_eq!(world.ask(&ann, HANDSHAKE, "").json()["status"], "agent_acknowledged");
    }
}

#[test]
fn an_ack_for_nothing_is_ignored() {
    let (mut world, ann, _) = with_device();
    init(&mut world, &ann);
    register(&mut world, &ann, "dev_2", 1);
    let other = world.agent(&ann, "dev_2");
    world.frames(other);
    assert_eq!(world.agent_says(other, &ack_frame("s-01", AGENT_KEY)), [""; 0]);
    let agent = world.agent(&ann, "dev_1");
    world.frames(agent);
    for frame in [
        ack_frame("s-99", AGENT_KEY),
        ack_frame("s-01", AGENT_KEY).replace("h-01", "h-02"),
    ] {
        assert_eq!(world.agent_says(agent, &frame), [""; 0]);
    }
    assert_eq!(world.ask(&ann, HANDSHAKE, "").json()["status"], "pending_agent_ack");
}

#[test]
fn a_user_has_a_number_of_sessions_at_most_and_idle_ones_are_forgotten() {
    let (mut world, ann, _) = with_device();
    world.relay.limits.sessions_per_user = 1;
    init(&mut world, &ann);
    let second = INIT.replace("s-01", "s-02");
    world
        .ask(&ann, &second, &init_body("s-02"))
        .is(429, "too many sessions");
    assert_eq!(world.sessions.counts(&world.devices, &ann.uid).sessions, 1);
    world.seconds(24 * 3_600 - 1);
    assert_eq!(world.ask(&ann, HANDSHAKE, "").status, 200);
    world.seconds(300);
    world.ask(&ann, HANDSHAKE, "").is(404, "session not found");
    assert_eq!((world.records("relay.sessions"), world.records("relay.events")), (0, 0));
    assert_eq!(world.ask(&ann, &second, &init_body("s-02")).status, 202);
}

#[test]
fn a_session_of_an_agent_that_is_there_is_not_forgotten() {
    let (mut world, ann, agent) = established();
    send(&mut world, &ann, 1);
    for _ in 0..25 * 60 + 10 {
        world.seconds(59);
        world.agent_says(agent, r#"{"type":"heartbeat"}"#);
    }
    assert_eq!(world.ask(&ann, HANDSHAKE, "").status, 200);
    world.agent_leaves(agent);
    world.seconds(300);
    world.ask(&ann, HANDSHAKE, "").is(404, "session not found");
    assert_eq!(
        world.disk.len(),
        1,
        "the device is all that is left: {:?}",
        world.disk.keys()
    );
}

#[test]
fn a_client_that_knows_it_gets_a_transcript_that_names_device_and_key() {
    use crate::surfaces::relay::transcript::BoundTranscript;
    let (mut world, ann, _) = with_device();
    let agent = world.agent(&ann, "dev_1");
    let asks = init_body("s-01").replacen('{', r#"{"transcript_version":2,"#, 1);
    assert_eq!(world.ask(&ann, INIT, &asks).status, 202);
    init(&mut world, &ann).is(409, "handshake_id already exists with different payload");
    let request = world.frames(agent).pop().unwrap();
    assert!(request.contains(r#""transcript_version":2,"type":"session.handshake.request""#));
    let identity = SigningKey::from_bytes(&[1; 32]);
    let proof = |device: &str, seed: u8| {
        let bound = BoundTranscript {
            exchanged: Transcript {
                session_id: "s-01",
                handshake_id: "h-01",
                client_key: CLIENT_KEY,
                client_nonce: "nonce",
                agent_key: AGENT_KEY,
            },
            device_id: device,
        };
        let hash = bound.hash(SigningKey::from_bytes(&[seed; 32]).verifying_key().as_bytes());
        format!(
            r#"{{"device_id":"dev_1","handshake_id":"h-01","transcript_version":2,"agent_ephemeral_public_key":"{AGENT_KEY}","agent_identity_signature":"{}","transcript_hash":"{}"}}"#,
            STANDARD.encode(identity.sign(&hash).to_bytes()),
            STANDARD.encode(hash)
        )
    };
    for wrong in [proof("dev_2", 1), proof("dev_1", 2)] {
        world.ask(&ann, ACK, &wrong).is(400, "transcript hash mismatch");
    }
    let good = proof("dev_1", 1);
    let unsaid = good.replace(r#""transcript_version":2,"#, "");
    world.ask(&ann, ACK, &unsaid).is(400, "transcript hash mismatch");
    assert_eq!(world.ask(&ann, ACK, &good).status, 202);
    assert_eq!(world.ask(&ann, HANDSHAKE, "").json()["transcript_version"], 2);
    assert_eq!(data(&world.ask(&ann, EVENTS, "").body)[0]["transcript_version"], 2);
    // Nobody who did not ask for it is given it.
    assert_eq!(
        world
            .ask(&ann, &INIT.replace("s-01", "s-02"), &init_body("s-02"))
            .status,
        202
    );
    let other = good.replace("h-01", "h-02");
    let line = ACK.replace("s-01", "s-02");
    world.ask(&ann, &line, &other).is(400, "transcript hash mismatch");
}

#[test]
fn an_agent_that_does_not_know_the_newer_transcript_answers_with_the_usual_one() {
    let (mut world, ann, _) = with_device();
    let agent = world.agent(&ann, "dev_1");
    let asks = init_body("s-01").replacen('{', r#"{"transcript_version":2,"#, 1);
    assert_eq!(world.ask(&ann, INIT, &asks).status, 202);
    world.agent_says(agent, &ack_frame("s-01", AGENT_KEY));
    let told = world.ask(&ann, HANDSHAKE, "").json();
    assert_eq!(told["status"], "agent_acknowledged");
    assert_eq!(told.get("transcript_version"), None, "the client is to decide");
}

#[test]
fn a_stranger_cannot_tell_whether_a_session_id_is_taken() {
    let (mut world, ann, _) = established();
    let eve = caller("eve");
    register(&mut world, &eve, "dev_e", 2);
    // Whatever Eve asks about the id of Ann's session and about one that nobody has is answered alike.
    let asked = |world: &mut World, session: &str| {
        let line = |line: &str| line.replace("s-01", session);
        let own = init_body("s-01").replace("dev_1", "dev_e");
        let ack = ack_body(&proof_of("s-01", AGENT_KEY));
        let asks = [
            (line(HANDSHAKE), String::new()),
            (line(EVENTS), String::new()),
            (line(MESSAGES), message(1)),
            (line(ACK), ack.clone()),
            (line(ACK), ack.replace("dev_1", "dev_e")),
            (line(ACK), ack.replace("h-01", "h-02")),
            (line(INIT), init_body("s-01")),
            (line(INIT), own.clone()),
            (line(INIT), own),
            (line(HANDSHAKE), String::new()),
        ];
        asks.map(|(line, body)| {
            let asked = world.ask(&eve, &line, &body);
            (asked.status, asked.body.replace(session, "ID"))
        })
    };
    let (taken, free) = (asked(&mut world, "s-01"), asked(&mut world, "s-77"));
    assert_eq!(taken, free);
    // And Ann's session goes on as if Eve's were not there; so does Eve's.
    assert_eq!(send(&mut world, &ann, 1).status, 202);
    let told = world.ask(&eve, MESSAGES, &message(1));
    assert!(
        told.status == 409 && told.body.contains("handshake_not_ready"),
        "{}",
        told.body
    );
    let agent = world.agent(&eve, "dev_e");
    assert_eq!(
        kinds(&world.frames(agent)).len(),
        4,
        "her two sessions are offered to her own agent"
    );
    let told = world.agent_says(agent, &ack_frame("s-01", AGENT_KEY));
    assert!(told.is_empty(), "not her device's key");
    assert_eq!(world.ask(&ann, HANDSHAKE, "").json()["status"], "agent_acknowledged");
    assert_eq!(world.ask(&eve, HANDSHAKE, "").json()["status"], "agent_error");
    // Both are there after a crash, each its user's.
    world.crash();
    assert_eq!(world.ask(&ann, HANDSHAKE, "").json()["device_id"], "dev_1");
    assert_eq!(world.ask(&eve, HANDSHAKE, "").json()["device_id"], "dev_e");
    world.ask(&eve, "DELETE /gateway/v1/devices/dev_e", "");
    world.ask(&eve, HANDSHAKE, "").is(404, "session not found");
    assert_eq!(world.ask(&ann, HANDSHAKE, "").status, 200);
    world.crash();
    assert_eq!(world.ask(&ann, HANDSHAKE, "").status, 200);
}
