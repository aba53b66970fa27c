//! Section 7: what is there after the process was killed.

use super::*;
use crate::surfaces::relay::ids::SessionId;
use crate::surfaces::relay::sessions::SessionKey;
use crate::surfaces::relay::world::START;

#[test]
fn an_acknowledged_session_goes_on_after_a_crash() {
    let (mut world, ann, agent) = established();
    send(&mut world, &ann, 1);
    world.agent_says(agent, &answer("session.progress", 1));
    world.seconds(1);
    let before = world.ask(&ann, EVENTS, "").body;
    world.crash();
    let agent = world.agent(&ann, "dev_1");
    assert_eq!(kinds(&world.frames(agent)), ["gateway.connected", "transport.init"]);
    assert_eq!(world.ask(&ann, HANDSHAKE, "").json()["status"], "agent_acknowledged");
    assert_eq!(world.ask(&ann, EVENTS, "").body, before);
    let again = send(&mut world, &ann, 1);
    assert_eq!((again.status, &again.json()["message_id"]), (202, &"m-1".into()));
    assert_eq!(world.frames(agent), [""; 0], "answered, not relayed again");
    world
        .ask_with(&ann, MESSAGES, "X-Idempotency-Key: z\r\n", &message(1))
        .is(409, "replay_detected");
    assert_eq!(send(&mut world, &ann, 2).status, 202);
    let conn = world.ask(&ann, EVENTS, "").conn;
    world.agent_says(agent, &answer("session.result", 1));
    assert_eq!(world.heard(conn), "", "the agent's numbers go on, too");
    world.agent_says(agent, &answer("session.result", 2));
    assert_eq!(data(&world.heard(conn)).len(), 1);
}

#[test]
fn what_waits_is_delivered_once_after_a_crash_and_a_reconnect() {
    let (mut world, ann, agent) = established();
    send(&mut world, &ann, 1);
    assert_eq!(world.frames(agent).len(), 1);
    world.agent_says(agent, &answer_to("session.progress", 1, "m-1"));
    world.agent_leaves(agent);
    for seq in [2, 3] {
        assert_eq!(send(&mut world, &ann, seq).status, 202);
    }
    world.crash();
    let asked = send(&mut world, &ann, 3);
    assert_eq!(
        (asked.status, &asked.json()["status"]),
        (202, &"queued_for_agent".into())
    );
    send(&mut world, &ann, 4);
    let agent = world.agent(&ann, "dev_1");
    let sent = kinds(&world.frames(agent));
    assert_eq!(
        sent[2..],
        ["session.message 2", "session.message 3", "session.message 4"]
    );
    world.crash();
    let agent = world.agent(&ann, "dev_1");
    assert_eq!(world.frames(agent).len(), 2);
}

#[test]
fn a_message_for_an_agent_that_is_away_is_acknowledged_when_it_is_on_disk() {
    let (mut world, ann, agent) = established();
    world.agent_leaves(agent);
    world.disk_works = false;
    let asked = send(&mut world, &ann, 1);
    assert_eq!(asked.status, 1);
    world.crash();
    world.disk_works = true;
    world.settle();
    assert_eq!(world.answered_later(asked.conn), None);
    let agent = world.agent(&ann, "dev_1");
    assert_eq!(
        kinds(&world.frames(agent)),
        ["gateway.connected", "transport.init"],
        "nobody was promised anything"
    );
    assert_eq!(send(&mut world, &ann, 1).status, 202);
}

#[test]
fn a_beginning_is_acknowledged_when_it_is_on_disk_and_asked_again_of_the_next_agent() {
    let (mut world, ann, _) = with_device();
    let agent = world.agent(&ann, "dev_1");
    world.frames(agent);
    assert_eq!(init(&mut world, &ann).status, 202);
    assert_eq!(world.frames(agent).len(), 1);
    world.crash();
    let agent = world.agent(&ann, "dev_1");
    assert_eq!(kinds(&world.frames(agent))[2..], ["session.handshake.request"]);
    world.agent_says(agent, &ack_frame("s-01", AGENT_KEY));
    world.crash();
    assert_eq!(world.ask(&ann, HANDSHAKE, "").json()["status"], "agent_acknowledged");
}

#[test]
fn a_cursor_of_an_earlier_life_hides_nothing_that_came_later() {
    let (mut world, ann, agent) = established();
    world.seconds(1);
    // Lost with the process: it was not written yet.
    world.disk_works = false;
    world.agent_says(agent, &answer("session.progress", 1));
    let cursor = format!("Last-Event-ID: {}\r\n", START * 1_024 + 1);
    assert_eq!(world.ask_with(&ann, EVENTS, &cursor, "").body, ":connected\n\n");
    world.disk_works = true;
    world.crash();
    let agent = world.agent(&ann, "dev_1");
    world.agent_says(agent, &answer("session.progress", 1));
    let seen = world.ask_with(&ann, EVENTS, &cursor, "").body;
    assert_eq!(data(&seen).len(), 1, "{seen}");
    assert!(seen.contains(&format!("id: {}\n", (START + 1_000) * 1_024)));
}

#[test]
fn many_events_are_written_in_few_records_and_go_with_the_backlog() {
    let (mut world, ann, agent) = established();
    world.relay.limits.events_per_session = 50;
    for round in 0..10 {
        for seq in 1..=20 {
            world.agent_says(agent, &answer("session.progress", round * 20 + seq));
        }
        world.seconds(1);
    }
    assert!(
        (3..=4).contains(&world.records("relay.events")),
        "{}",
        world.records("relay.events")
    );
    world.crash();
    assert_eq!(
        data(&world.ask(&ann, EVENTS, "").body).len(),
        60,
        "whole records come back"
    );
}

#[test]
fn records_of_no_session_and_of_another_form_are_told_and_left_alone() {
    let (mut world, ann, _) = established();
    let own = SessionKey::new(&SessionId::parse("s-01").unwrap(), &ann.uid).record();
    for (table, id) in [
        ("relay.undelivered", "s-99/0000000000000001".into()),
        ("relay.undelivered", format!("{own}/0000000000000001")),
        ("relay.answers", format!("{own}/zz")),
        ("relay.events", own),
        ("relay.sessions", "s-02".into()),
    ] {
        let key = crate::store::Key { table, id };
        world.disk.insert(key, bytes::Bytes::from_static(b"\x09"));
    }
    world.crash();
    assert_eq!(world.reports.len(), 1);
    assert_eq!(world.ask(&ann, HANDSHAKE, "").status, 200);
}

#[test]
fn what_waits_of_a_user_whose_grant_ran_out_is_not_sent() {
    let (mut world, ann, bob) = with_device();
    let until = START / 1_000 + 60;
    let body = format!(r#"{{"deviceId":"dev_1","email":"bob@example.org","grantExpiresAt":{until}}}"#);
    let invited = world.ask(&ann, "POST /gateway/v1/shares/invites", &body).json();
    let token = invited["inviteUrl"].as_str().unwrap().rsplit('/').next().unwrap();
    let body = format!(r#"{{"token":"{token}"}}"#);
    let accepted = world.ask(&bob, "POST /gateway/v1/shares/invites/accept", &body);
    assert_eq!(accepted.status, 200);
    let agent = establish(&mut world, &bob);
    world.agent_leaves(agent);
    assert_eq!(send(&mut world, &bob, 1).status, 202);
    assert_eq!(world.records("relay.undelivered"), 1);
    world.seconds(61);
    send(&mut world, &bob, 2).is(403, "forbidden");
    let agent = world.agent(&ann, "dev_1");
    assert_eq!(kinds(&world.frames(agent)), ["gateway.connected", "transport.init"]);
    assert_eq!(world.records("relay.undelivered"), 0);
}
