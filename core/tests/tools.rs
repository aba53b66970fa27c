//! Tool calls and inputs of runs through the whole gateway: what is answered without any further input.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod world;

use std::time::Duration;

use portcullis_core::effect::Effect;
use portcullis_core::settings::CommandTool;
use world::{Ending, TOKEN, World, settings};

fn ready() -> World {
    let mut settings = settings();
    settings.tools.commands = vec![CommandTool {
        name: "slow".into(),
        description: String::new(),
        program: "slow".into(),
        args: Vec::new(),
        timeout: Duration::from_secs(5),
        max_output_bytes: 100,
        takes_action: false,
    }];
    let mut world = World::new(settings);
    world.settle();
    world
}

fn post(body: &str) -> String {
    let length = body.len();
    format!(
        "POST /tools/invoke HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

const BLOCKED: &str = "Blocked hostname or private/internal/special-use IP address";

#[test]
fn pipelined_calls_are_answered_in_their_order_without_further_input() {
    let mut world = ready();
    let conn = world.connect("127.0.0.1:9");
    let fetch = post(r#"{"tool":"web_fetch","args":{"url":"http://127.0.0.1/"}}"#);
    let calls = [post(r#"{"tool":"slow"}"#), fetch.clone(), fetch].concat();
    world.bytes(conn, calls.as_bytes());
    let program = world
        .running
        .iter()
        .find(|(_, running)| matches!(running.what, Effect::Spawn(_)));
    let program = *program.unwrap().0;
    world.tell(program, b"{\"a\":1}");
    assert!(
        world.sockets[&conn].written.is_empty(),
        "nothing before the first is done"
    );
    world.complete(program, Ending::Well);
    let text = String::from_utf8(world.sockets[&conn].written.clone()).unwrap();
    let done = text.find(r#"{"ok":true,"result":{"a":1}}"#).unwrap();
    let blocked: Vec<usize> = text.match_indices(BLOCKED).map(|(at, _)| at).collect();
    assert_eq!(blocked.len(), 2, "{text}");
    assert!(done < blocked[0] && text.matches("HTTP/1.1 ").count() == 3);
    assert!(world.running.is_empty(), "nothing is dialled");
    world.end();
}

/// A program on this machine that guesses is told late (HD-26), and told all the same when its request had a body.
#[test]
fn a_refusal_that_is_held_back_outlives_the_body_and_the_next_request_waits_for_it() {
    for pieces in [1, 2] {
        let mut world = ready();
        let conn = world.connect("127.0.0.1:9");
        let wrong = post(r#"{"tool":"health"}"#).replace(TOKEN, "a-wrong-token");
        let good = post(r#"{"tool":"agent.list"}"#);
        // The body in the same piece as the head, or later.
        let (first, second) = wrong.split_at(wrong.len() - 10 * (pieces - 1));
        world.bytes(conn, first.as_bytes());
        world.bytes(conn, second.as_bytes());
        world.bytes(conn, good.as_bytes());
        let written = |world: &World| String::from_utf8(world.sockets[&conn].written.clone()).unwrap();
        assert_eq!(written(&world), "", "nothing before its time");
        world.advance(Duration::from_millis(250));
        let text = written(&world);
        assert!(text.starts_with("HTTP/1.1 401 Unauthorized"), "{text}");
        assert!(
            text.contains("HTTP/1.1 200 OK") && text.matches("HTTP/1.1 ").count() == 2,
            "{text}"
        );
        world.end();
    }
}

#[test]
fn a_run_is_refused_for_a_url_that_is_closed_and_told_what_is_in_the_request() {
    let mut world = ready();
    let conn = world.client();
    let id = world.run(
        conn,
        "k",
        r#","inputs":[{"type":"input_file","source":{"type":"url","url":"http://127.0.0.1/x"}}]"#,
    );
    assert_eq!(
        world.answers(conn, &id),
        [format!(
            r#"{{"type":"res","id":"{id}","ok":false,"error":{{"code":"INVALID_REQUEST","message":"{BLOCKED}"}}}}"#
        )]
    );
    let id = world.run(
        conn,
        "k",
        r#","inputs":[{"type":"input_file","source":{"type":"base64","media_type":"text/plain","data":"aW5zaWRl"}}]"#,
    );
    world.settle();
    let answer = &world.answers(conn, &id)[0];
    assert!(answer.contains("untrusted external content follows") && answer.contains(r"\ninside\n"));
    world.end();
}
