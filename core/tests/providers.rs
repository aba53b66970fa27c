//! Agents that are AI providers, through the whole gateway, with a server that is played by hand: PR-60 and further of
//! `spec/providers.md`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod world;

use std::time::Duration;

use portcullis_core::id::ConnId;
use portcullis_core::machine::Input;
use portcullis_core::settings::AgentKind;
use world::{Ending, World, settings};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
const DONE: &str = "data: [DONE]\n\n";
const MODEL: &str = r#","agentId":"model""#;

fn ready(settings: portcullis_core::settings::Settings) -> World {
    let mut world = World::new(settings);
    world.settle();
    world
}

fn piece(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
}

/// The connection to the provider that was dialled last, and what was sent on it.
fn server(world: &World) -> (ConnId, String) {
    let (conn, socket) = world
        .sockets
        .iter()
        .rfind(|(_, socket)| socket.dialled.is_some())
        .unwrap();
    assert_eq!(socket.dialled.unwrap().to_string(), "127.0.0.1:4000");
    (*conn, String::from_utf8(socket.written.clone()).unwrap())
}

fn body(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

fn texts(world: &World, conn: ConnId, what: &str) -> Vec<String> {
    let frames = world.frames(conn).into_iter().filter(|frame| frame.opcode == 1);
    frames
        .map(|frame| frame.text().to_string())
        .filter(|text| text.contains(what))
        .collect()
}

/// A client, a run that is asked of the provider, and the provider's connection.
fn asked(world: &mut World) -> (ConnId, String, ConnId) {
    let client = world.client();
    let id = world.run(client, "k", MODEL);
    world.settle();
    world.take_all(client);
    let (conn, _) = server(world);
    (client, id, conn)
}

#[test]
fn an_answer_streams_and_is_kept_and_the_next_turn_knows_of_it() {
    let mut world = ready(settings());
    let (client, id, conn) = asked(&mut world);
    let (_, request) = server(&world);
    assert!(
        request.starts_with("POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:4000\r\n"),
        "{request}"
    );
    assert_eq!(
        body(&request),
        r#"{"model":"moonshot-v1-8k","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}],"stream":true}"#
    );
    world.bytes(conn, HEAD.as_bytes());
    world.bytes(conn, piece("Good ").as_bytes());
    world.bytes(conn, piece("day").as_bytes());
    let stream = texts(&world, client, r#""event":"agent.stream""#);
    assert_eq!(stream.len(), 2);
    assert!(stream[0].contains(r#""stream":"stdout","chunk":"Good ""#), "{stream:?}");
    world.bytes(conn, DONE.as_bytes());
    assert!(world.sockets[&conn].aborted, "the connection is let go");
    world.settle();
    let answer = &world.answers(client, &id)[0];
    assert!(
        answer.contains(r#""code":0,"stdout":"Good day","stderr":"","agentId":"model""#),
        "{answer}"
    );
    assert!(answer.contains("transcriptPath"));

    world.take_all(client);
    world.run(client, "k2", MODEL);
    world.settle();
    let (next, request) = server(&world);
    assert_ne!(next, conn, "a connection serves one request");
    let messages =
        r#"{"role":"user","content":"hi"},{"role":"assistant","content":"Good day"},{"role":"user","content":"hi"}]"#;
    assert!(body(&request).contains(messages), "{request}");
    world.end();
}

#[test]
fn runs_without_a_session_know_of_nothing_and_may_name_a_model() {
    let mut world = ready(settings());
    let client = world.client();
    world.run(
        client,
        "k",
        &format!(r#"{MODEL},"disableSession":true,"model":"other""#),
    );
    world.settle();
    let (_, request) = server(&world);
    assert!(
        body(&request).starts_with(r#"{"model":"other","messages":[{"role":"system""#),
        "{request}"
    );
    world.end();
}

#[test]
fn a_provider_that_fails_is_a_result_with_code_1() {
    let mut world = ready(settings());
    let (client, id, conn) = asked(&mut world);
    world.bytes(conn, b"HTTP/1.1 401 No\r\nContent-Length: 9\r\n\r\nsk-secret");
    world.settle();
    let answer = &world.answers(client, &id)[0];
    let result = r#""code":1,"stdout":"","stderr":"KimiProvider: the API key was refused""#;
    assert!(answer.contains(result), "{answer}");
    assert_eq!(texts(&world, client, r#""stream":"stderr""#).len(), 1);
    world.take_all(client);

    let mut unconfigured = settings();
    unconfigured.providers.kimi.api_key = None;
    let mut world = ready(unconfigured);
    let client = world.client();
    let id = world.run(client, "k", MODEL);
    world.settle();
    let answer = &world.answers(client, &id)[0];
    assert!(answer.contains("KimiProvider: MOONSHOT_API_KEY is not set"), "{answer}");
    world.end();
}

#[test]
fn what_may_pass_is_asked_again_within_the_run() {
    let mut world = ready(settings());
    let (client, id, first) = asked(&mut world);
    world.bytes(first, b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(server(&world).0, first, "not at once");
    world.advance(Duration::from_millis(500));
    world.settle();
    let (second, request) = server(&world);
    assert_ne!(first, second);
    assert!(request.contains("\"stream\":true"));
    world.bytes(second, format!("{HEAD}{}{DONE}", piece("well")).as_bytes());
    world.settle();
    assert!(world.answers(client, &id)[0].contains(r#""code":0,"stdout":"well""#));
    world.end();
}

#[test]
fn a_failure_that_may_pass_is_no_result_and_the_same_request_runs_again() {
    let cut = format!("{HEAD}{}", piece("half"));
    for broken in ["HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", cut.as_str()] {
        let mut once = settings();
        once.providers.kimi.retries = 0;
        let mut world = ready(once);
        let (client, id, first) = asked(&mut world);
        world.bytes(first, broken.as_bytes());
        world.read_closed(first);
        world.settle();
        let answer = &world.answers(client, &id)[0];
        assert!(
            answer.contains(r#""code":"UNAVAILABLE","message":"KimiProvider: "#),
            "{answer}"
        );
        assert!(answer.contains(r#""retryable":true,"retryAfterMs":1000"#), "{answer}");
        world.take_all(client);
        let id = world.run(client, "k", MODEL);
        world.settle();
        let (second, request) = server(&world);
        assert_ne!(first, second, "it is asked again");
        assert!(!request.contains("half"), "no turn was kept: {request}");
        world.bytes(second, format!("{HEAD}{}{DONE}", piece("well")).as_bytes());
        world.settle();
        assert!(world.answers(client, &id)[0].contains(r#""code":0,"stdout":"well""#));
        world.end();
    }
}

#[test]
fn what_stops_a_program_stops_a_chat() {
    let mut world = ready(settings());
    let (client, id, conn) = asked(&mut world);
    world.bytes(conn, format!("{HEAD}{}", piece("part")).as_bytes());
    let cancel = world.ask(client, "agent.cancel", &format!(r#"{{"runId":"{id}"}}"#));
    assert!(world.answers(client, &cancel)[0].contains(r#""cancelled":true"#));
    assert!(world.answers(client, &id)[0].contains("run was cancelled"));
    assert!(world.sockets[&conn].aborted);
    world.end();

    let mut world = ready(settings());
    let (client, id, conn) = asked(&mut world);
    world.bytes(conn, HEAD.as_bytes());
    world.bytes(conn, piece(&"x".repeat(2_000)).as_bytes());
    world.take_all(client);
    world.bytes(conn, piece(&"x".repeat(49)).as_bytes());
    assert!(world.answers(client, &id)[0].contains("run wrote more than 2048 bytes"));
    assert!(world.sockets[&conn].aborted);
    world.end();

    let mut short = settings();
    short.agents.run_timeout = Duration::from_secs(5);
    let mut world = ready(short);
    let (client, id, conn) = asked(&mut world);
    world.bytes(conn, HEAD.as_bytes());
    world.wait(Duration::from_secs(5));
    assert!(world.answers(client, &id)[0].contains("run took longer than 5000 ms"));
    assert!(world.sockets[&conn].aborted);
    world.end();
}

#[test]
fn a_run_is_stopped_while_its_history_is_read() {
    let mut world = ready(settings());
    let client = world.client();
    let id = world.run(client, "k", MODEL);
    while !world
        .running
        .values()
        .any(|running| matches!(running.what, portcullis_core::effect::Effect::ReadFile { .. }))
    {
        let effect = *world.running.keys().next().unwrap();
        world.complete(effect, Ending::Well);
    }
    world.ask(client, "agent.cancel", &format!(r#"{{"runId":"{id}"}}"#));
    world.settle();
    assert!(world.answers(client, &id)[0].contains("run was cancelled"));
    assert!(
        !world.sockets.values().any(|socket| socket.dialled.is_some()),
        "nobody is dialled"
    );
    world.end();
}

#[test]
fn a_client_that_takes_nothing_holds_the_provider_back_and_loses_nothing() {
    let mut generous = settings();
    generous.agents.max_output_bytes = 1_000_000;
    let mut world = ready(generous);
    let (client, id, conn) = asked(&mut world);
    world.bytes(conn, HEAD.as_bytes());
    let mut sent = 0;
    while world.bytes(conn, piece(&"x".repeat(500)).as_bytes()) {
        sent += 1;
        assert!(sent < 50, "the provider is never held back");
    }
    assert!(world.sockets[&conn].paused && sent >= 2, "{sent} pieces");
    while sent < 40 {
        world.take_all(client);
        assert!(!world.sockets[&conn].paused, "it goes on when the client has room");
        sent += usize::from(world.bytes(conn, piece(&"x".repeat(500)).as_bytes()));
    }
    world.take_all(client);
    world.bytes(conn, DONE.as_bytes());
    world.settle();
    let answer = &world.answers(client, &id)[0];
    assert!(answer.contains(&"x".repeat(40 * 500)), "all of it");
    world.take_all(client);

    world.run(client, "k2", MODEL);
    world.settle();
    let (conn, _) = server(&world);
    world.bytes(conn, HEAD.as_bytes());
    while world.bytes(conn, piece(&"x".repeat(500)).as_bytes()) {}
    world.gone(client);
    assert!(
        !world.sockets[&conn].paused,
        "nobody holds it back for a client that is gone"
    );
    world.bytes(conn, DONE.as_bytes());
    world.end();
}

#[test]
fn however_an_answer_is_cut_the_result_is_the_same() {
    let answer = format!("{HEAD}{}{}: x\r\n{DONE}", piece("Gr\u{fc}ezi"), piece(" mitenand"));
    for step in [1, 2, 7, 1_000] {
        let mut world = ready(settings());
        let (client, id, conn) = asked(&mut world);
        for bytes in answer.as_bytes().chunks(step) {
            world.bytes(conn, bytes);
            world.take_all(client);
        }
        world.settle();
        let answers = world.answers(client, &id);
        assert!(
            answers[0].contains("\"stdout\":\"Gr\u{fc}ezi mitenand\""),
            "{step}: {answers:?}"
        );
        world.end();
    }
}

#[test]
fn a_drain_waits_for_chats_and_stops_them_in_the_end() {
    for ends in [true, false] {
        let mut world = ready(settings());
        let (client, id, conn) = asked(&mut world);
        world.bytes(conn, HEAD.as_bytes());
        world.step(Input::Drain {
            how: portcullis_core::machine::DrainHow::Stop,
        });
        world.bytes(conn, piece("late").as_bytes());
        assert!(!world.drained);
        if ends {
            world.bytes(conn, DONE.as_bytes());
            world.settle();
            assert!(world.answers(client, &id)[0].contains(r#""code":0,"stdout":"late""#));
        } else {
            let grace = world.settings.gateway.drain_grace;
            world.wait(grace);
            assert!(world.answers(client, &id)[0].contains("server shutdown"));
            assert!(world.sockets[&conn].aborted);
        }
        for _ in 0..3 {
            world.follow_closes();
            world.wait(Duration::from_secs(10));
        }
        assert!(world.drained, "{ends}");
    }
}

#[test]
fn the_active_provider_is_asked_when_none_is_named() {
    let mut active = settings();
    for agent in &mut active.agents.agents {
        if let AgentKind::Provider { provider, model, .. } = &mut agent.kind {
            *provider = None;
            *model = Some("gemini-x".into());
        }
    }
    active.providers.gemini = active.providers.kimi.clone();
    active.providers.gemini.base_url = portcullis_core::url::Url::parse("http://127.0.0.1:4000").unwrap();
    let mut world = ready(active);
    let (client, id, conn) = asked(&mut world);
    let (_, request) = server(&world);
    assert!(
        request.starts_with("POST /v1beta/models/gemini-x:streamGenerateContent?alt=sse "),
        "{request}"
    );
    let chunk = r#"{"candidates":[{"content":{"parts":[{"text":"ok"}]},"finishReason":"STOP"}]}"#;
    world.bytes(conn, format!("{HEAD}data: {chunk}\r\n\r\n").as_bytes());
    world.read_closed(conn);
    world.settle();
    assert!(world.answers(client, &id)[0].contains(r#""code":0,"stdout":"ok""#));
    world.end();
}
