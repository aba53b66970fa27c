//! Section 6: events to the client.

use super::*;
use crate::surfaces::relay::world::START;

#[test]
fn a_stream_begins_with_what_was_missed() {
    let (mut world, ann, agent) = established();
    let (bob, eve) = (caller("bob"), caller("eve"));
    share(&mut world, &ann, &bob);
    world
        .ask(&ann, &EVENTS.replace("s-01", "x"), "")
        .is(400, "invalid session_id");
    world
        .ask(&ann, &EVENTS.replace("s-01", "s-99"), "")
        .is(404, "session not found");
    world.ask(&eve, EVENTS, "").is(404, "session not found");
    world.ask(&bob, EVENTS, "").is(403, "forbidden");
    world.agent_says(agent, &answer("session.progress", 1));
    world.agent_says(agent, &answer("session.result", 2));
    let asked = world.ask(&ann, EVENTS, "");
    let first = START * 1_024;
    let expected = format!(
        "id: {}\nevent: session.event\ndata: {{\"ciphertext\":\"vDLUwr395BMr\",\"conversation_id\":\"conv_s-01\",\"encrypted\":true,\"nonce\":\"YTJjAAAAAAAAAAAC\",\"seq\":2,\"session_id\":\"s-01\",\"tag\":\"re3L12fgFjNKBFurSL7tdw==\",\"type\":\"session.result\"}}\n\n",
        first + 2
    );
    assert!(asked.body.starts_with(&format!(
        ":connected\n\nid: {first}\nevent: session.event\ndata: {{\"agent_eph"
    )));
    assert!(asked.body.ends_with(&expected), "{}", asked.body);
    let cursor = format!("Last-Event-ID: {}\r\n", first + 1);
    let later = world.ask_with(&ann, EVENTS, &cursor, "");
    assert_eq!(later.body, format!(":connected\n\n{expected}"));
    for garbage in ["x", "12", "-1", "99999999999999999"] {
        let cursor = format!("Last-Event-ID: {garbage}\r\n");
        assert_eq!(world.ask_with(&ann, EVENTS, &cursor, "").body, asked.body, "{garbage}");
    }
    world.agent_says(agent, &answer("session.error", 3));
    for conn in [asked.conn, later.conn] {
        assert_eq!(data(&world.heard(conn))[0]["seq"], 3);
    }
    world.listener_leaves(asked.conn);
    world.agent_says(agent, &answer("session.error", 4));
    assert_eq!(
        (world.heard(asked.conn), data(&world.heard(later.conn)).len()),
        (String::new(), 1)
    );
    let counts = world.sessions.counts(&world.devices, &ann.uid);
    assert_eq!((counts.sessions, counts.agents, counts.event_backlogs), (1, 1, 1));
}

#[test]
fn heartbeats_come_with_a_second_look_at_the_rights() {
    let (mut world, ann, bob) = with_device();
    let body = format!(
        r#"{{"deviceId":"dev_1","email":"bob@example.org","grantExpiresAt":{}}}"#,
        START / 1_000 + 40
    );
    let json = world.ask(&ann, "POST /gateway/v1/shares/invites", &body).json();
    let token = json["inviteUrl"].as_str().unwrap().rsplit('/').next().unwrap();
    world.ask(
        &bob,
        "POST /gateway/v1/shares/invites/accept",
        &format!(r#"{{"token":"{token}"}}"#),
    );
    establish(&mut world, &bob);
    let conn = world.ask(&bob, EVENTS, "").conn;
    world.seconds(14);
    assert_eq!(world.heard(conn), "");
    world.seconds(16);
    assert_eq!(world.heard(conn), ":heartbeat\n\n:heartbeat\n\n");
    world.seconds(15);
    assert_eq!(world.heard(conn), ":authorization_revoked\n\nEND");
}

#[test]
fn a_stream_ends_at_once_when_the_grant_is_taken_back() {
    let (mut world, ann, bob) = with_device();
    let grant = share(&mut world, &ann, &bob);
    let agent = establish(&mut world, &bob);
    let conn = world.ask(&bob, EVENTS, "").conn;
    world.ask(&ann, &format!("POST /gateway/v1/shares/grants/{grant}/revoke"), "");
    assert_eq!(world.heard(conn), "END");
    world.agent_says(agent, &answer("session.result", 1));
    assert_eq!(world.heard(conn), "");
    world.ask(&bob, EVENTS, "").is(403, "forbidden");
}

#[test]
fn a_stream_ends_with_its_token() {
    let (mut world, mut ann, _) = established();
    ann.expires_at = START / 1_000 + 20;
    let conn = world.ask(&ann, EVENTS, "").conn;
    world.seconds(20);
    assert_eq!(world.heard(conn), ":heartbeat\n\n:authorization_expired\n\nEND");
}

#[test]
fn a_user_has_a_number_of_streams_at_most() {
    let (mut world, ann, _) = established();
    world.relay.limits.streams_per_user = 1;
    let conn = world.ask(&ann, EVENTS, "").conn;
    world.ask(&ann, EVENTS, "").is(429, "too many event streams");
    world.listener_leaves(conn);
    assert_eq!(world.ask(&ann, EVENTS, "").status, 200);
}

#[test]
fn a_slow_listener_ends_and_misses_nothing_with_its_cursor() {
    let (mut world, ann, agent) = established();
    world.relay.limits.stream_buffer_bytes = 100;
    let conn = world.ask(&ann, EVENTS, "").conn;
    world.agent_says(agent, &answer("session.progress", 1));
    assert_eq!(world.heard(conn), "END");
    world.agent_says(agent, &answer("session.progress", 2));
    assert_eq!(world.heard(conn), "");
    let cursor = format!("Last-Event-ID: {}\r\n", START * 1_024);
    let asked = world.ask_with(&ann, EVENTS, &cursor, "");
    let mut seen = data(&asked.body);
    world.act(|_, sessions, cx| sessions.listen_on(cx.streams, 100, asked.conn));
    seen.extend(data(&world.heard(asked.conn)));
    assert_eq!(
        seen.iter()
            .map(|event| event["seq"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [1, 2]
    );
}

#[test]
fn the_backlog_is_bounded_in_number_and_bytes() {
    let (mut world, ann, agent) = established();
    world.relay.limits.events_per_session = 3;
    for seq in 1..=5 {
        world.agent_says(agent, &answer("session.progress", seq));
    }
    assert_eq!(data(&world.ask(&ann, EVENTS, "").body).len(), 3);
    world.relay.limits.event_bytes_per_session = 600;
    world.agent_says(agent, &answer("session.progress", 6));
    let seen = data(&world.ask(&ann, EVENTS, "").body);
    assert_eq!((seen.len(), &seen[1]["seq"]), (2, &6.into()));
}

#[test]
fn a_listener_that_was_away_for_long_reads_in_pieces_and_misses_nothing() {
    let (mut world, ann, agent) = established();
    world.relay.limits.stream_buffer_bytes = 1_024;
    let seqs = |heard: &str| -> Vec<u64> { data(heard).iter().filter_map(|event| event["seq"].as_u64()).collect() };
    for seq in 1..=20 {
        world.agent_says(agent, &answer("session.progress", seq));
    }
    let asked = world.ask(&ann, EVENTS, "");
    assert!(asked.body.len() < 1_300, "{}", asked.body.len());
    // It took nothing yet: what is new waits behind what is older.
    world.agent_says(agent, &answer("session.progress", 21));
    assert_eq!(world.heard(asked.conn), "");
    let mut got = seqs(&asked.body);
    world.act(|_, sessions, cx| sessions.listen_on(cx.streams, 1_024, asked.conn));
    got.extend(seqs(&world.heard(asked.conn)));
    assert_eq!(got, (1..=21).collect::<Vec<_>>());
    world.agent_says(agent, &answer("session.progress", 22));
    assert_eq!(seqs(&world.heard(asked.conn)), [22], "and then as it comes");
}

#[test]
fn the_events_and_waiting_messages_of_everybody_together_are_bounded() {
    let (mut world, ann, agent) = established();
    world.relay.limits.event_bytes = 2_000;
    for seq in 1..=40 {
        world.agent_says(agent, &answer("session.progress", seq));
    }
    assert!(world.ask(&ann, EVENTS, "").body.len() < 2_100);
    assert!(world.sessions.common.all.event_bytes <= 2_000);
    world.agent_leaves(agent);
    world.relay.limits.queued_bytes = 900;
    assert_eq!(send(&mut world, &ann, 1).status, 202);
    send(&mut world, &ann, 2).is(503, "agent_unavailable");
    assert_eq!(world.ask(&ann, "DELETE /gateway/v1/devices/dev_1", "").status, 204);
    let all = world.sessions.common.all;
    assert_eq!(
        (all.sessions, all.event_bytes, all.queued_bytes, all.answers),
        (0, 0, 0, 0)
    );
    assert_eq!(world.sessions.common.with_events, 0);
}

#[test]
fn answers_are_forgotten_with_their_time() {
    let (mut world, ann, agent) = established();
    for seq in 1..=20 {
        assert_eq!(send(&mut world, &ann, seq).status, 202);
    }
    assert_eq!(world.sessions.common.all.answers, 20);
    for _ in 0..20 {
        world.seconds(35);
        world.agent_says(agent, r#"{"type":"heartbeat"}"#);
    }
    assert_eq!(world.sessions.common.all.answers, 0);
}
