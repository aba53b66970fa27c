//! RL-287, RL-288: messages that were on their way when a connection ended.

use super::*;

#[test]
fn a_message_that_its_agent_never_took_does_not_wedge_the_session() {
    let (mut world, ann, agent) = established();
    world.agents_pong = false;
    assert_eq!(send(&mut world, &ann, 1).status, 202);
    assert_eq!(send(&mut world, &ann, 2).status, 202);
    assert_eq!(kinds(&world.frames(agent)), ["session.message 1", "session.message 2"]);
    world.agent_says(agent, &answer_to("session.progress", 1, "m-1"));
    // The socket took the second one, the agent did not: the connection broke with it.
    world.agent_leaves(agent);
    assert_eq!(send(&mut world, &ann, 3).status, 202);
    assert_eq!(world.records("relay.undelivered"), 2);
    world.crash();
    let agent = world.agent(&ann, "dev_1");
    assert_eq!(
        kinds(&world.frames(agent))[2..],
        ["session.message 2", "session.message 3"],
        "what it answered does not come again, and nothing is missing"
    );
    assert_eq!(world.records("relay.undelivered"), 0, "the socket took them");
}

#[test]
fn an_agent_that_answers_pings_has_what_came_before_them() {
    let (mut world, ann, agent) = established();
    send(&mut world, &ann, 1);
    world.seconds(1);
    world.agent_leaves(agent);
    let agent = world.agent(&ann, "dev_1");
    assert_eq!(kinds(&world.frames(agent)), ["gateway.connected", "transport.init"]);
    for content in [&b""[..], &[0xff; 8], &[0; 9], &[0; 8]] {
        world.act(|_, sessions, cx| sessions.agent_pong(cx, agent, content));
    }
    assert_eq!(send(&mut world, &ann, 2).json()["status"], "forwarded_to_agent");
}

#[test]
fn a_connection_that_is_replaced_hands_what_it_had_to_the_next_one() {
    let (mut world, ann, agent) = established();
    world.sockets_take = false;
    let asked = send(&mut world, &ann, 1);
    assert_eq!(asked.status, 1, "its socket has not taken it");
    world.sockets_take = true;
    let next = world.agent(&ann, "dev_1");
    assert_eq!(kinds(&world.frames(next))[2..], ["session.message 1"]);
    assert_eq!(world.answered_later(asked.conn).unwrap().0, 202);
    world.agent_leaves(agent);
    assert_eq!(send(&mut world, &ann, 2).status, 202);
}

#[test]
fn what_waits_of_somebody_whose_grant_ended_is_not_sent() {
    let (mut world, ann, bob) = with_device();
    let grant = share(&mut world, &ann, &bob);
    let agent = establish(&mut world, &bob);
    world.agent_leaves(agent);
    assert_eq!(send(&mut world, &bob, 1).status, 202);
    assert_eq!(world.records("relay.undelivered"), 1);
    let line = format!("POST /gateway/v1/shares/grants/{grant}/revoke");
    assert_eq!(world.ask(&ann, &line, "{}").status, 200);
    assert_eq!(world.records("relay.undelivered"), 0);
    let agent = world.agent(&ann, "dev_1");
    assert_eq!(kinds(&world.frames(agent)), ["gateway.connected", "transport.init"]);
}
