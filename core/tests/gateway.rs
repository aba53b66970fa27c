//! The whole gateway in a world of its own: the contract after every step, and the promises of the operator protocol
//! that only show when connections, effects and time meet.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod world;

use std::time::Duration;

use portcullis_core::id::ConnId;
use proptest::prelude::*;
use world::client::{Frame, UPGRADE, frame, hello, request};
use world::{Ending, TOKEN, World, settings};

fn ready() -> World {
    let mut world = World::new(settings());
    world.settle();
    world
}

fn closes(world: &World, conn: ConnId) -> Vec<String> {
    let frames = world.frames(conn).into_iter().filter(|frame| frame.opcode == 8);
    frames
        .map(|frame: Frame| {
            let code = u16::from_be_bytes([frame.payload[0], frame.payload[1]]);
            format!("{code} {}", String::from_utf8_lossy(&frame.payload[2..]))
        })
        .collect()
}

#[test]
fn nothing_is_transmitted_after_a_half_closed_client_was_closed() {
    let mut world = ready();
    let conn = world.client();
    world.run(conn, "k", "");
    world.read_closed(conn);
    world.settle();
    world.end();
}

#[test]
fn a_client_that_breaks_websocket_is_told_and_closed_at_once() {
    let mut world = ready();
    let conn = world.client();
    world.bytes(conn, &[0xf1, 0x80]);
    assert_eq!(closes(&world, conn), ["1002 reserved bits are set"]);
    assert!(
        world.sockets[&conn].flushing,
        "the write direction ends, nothing is awaited"
    );
}

#[test]
fn http_clients_that_do_not_read_are_not_read_either_and_lose_no_answer() {
    let mut world = ready();
    let conn = world.connect("127.0.0.1:9");
    let get = "GET /health HTTP/1.1\r\nHost: gw\r\n\r\n";
    let mut asked = 0;
    while asked < 100 && world.bytes(conn, get.as_bytes()) {
        asked += 1;
    }
    assert!(asked < 100, "reading pauses");
    while asked < 100 {
        world.take_all(conn);
        asked += usize::from(world.bytes(conn, get.as_bytes()));
    }
    let text = String::from_utf8_lossy(&world.sockets[&conn].written).into_owned();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 100);
    world.take_all(conn);
    assert!(world.bytes(conn, UPGRADE.as_bytes()));
    world.take_all(conn);
    assert!(!world.sockets[&conn].paused, "reading goes on after an upgrade");
}

#[test]
fn a_request_that_takes_too_long_is_answered_408() {
    let mut world = ready();
    for part in ["GET / HTT", "POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 5\r\n\r\n"] {
        let conn = world.connect("127.0.0.1:9");
        world.bytes(conn, part.as_bytes());
        world.wait(Duration::from_secs(31));
        let socket = &world.sockets[&conn];
        let text = String::from_utf8_lossy(&socket.written).into_owned();
        let expected = if part.starts_with("GET") {
            "HTTP/1.1 408 "
        } else {
            "HTTP/1.1 404 "
        };
        assert!(text.starts_with(expected), "{part:?}: {text:?}");
        assert!(socket.flushing);
    }
}

#[test]
fn each_pipelined_request_has_its_own_time() {
    let mut world = ready();
    let conn = world.connect("127.0.0.1:9");
    let get = "GET /health HTTP/1.1\r\nHost: gw\r\n\r\n";
    world.bytes(conn, &get.as_bytes()[..10]);
    for _ in 0..10 {
        world.advance(Duration::from_secs(3));
        // The end of one head and the start of the next.
        let both = [&get.as_bytes()[10..], &get.as_bytes()[..10]].concat();
        world.bytes(conn, &both);
        world.take_all(conn);
        assert!(!world.sockets[&conn].flushing, "every head came within three seconds");
    }
}

#[test]
fn settings_below_their_floor_do_not_hang_the_gateway() {
    let mut settings = settings();
    settings.gateway.tick_interval = Duration::ZERO;
    let mut world = World::new(settings);
    let conn = world.client();
    world.advance(Duration::from_millis(900));
    assert!(
        !world.sockets[&conn].aborted,
        "pings were sent without a pause between them"
    );
}

#[test]
fn many_answers_at_once_are_a_slow_consumer_too() {
    let mut settings = settings();
    settings.gateway.max_in_flight = 64;
    settings.gateway.rate_limit_per_minute = 1_000;
    let mut world = World::new(settings);
    world.settle();
    let conn = world.client();
    for _ in 0..60 {
        world.run(conn, "same", r#","agentId":"program""#);
    }
    while let Some(effect) = world.running.keys().next().copied() {
        world.tell(effect, &[b'x'; 1_500]);
        world.take_all(conn);
        world.complete(effect, Ending::Well);
    }
    assert!(world.sockets[&conn].unsent < 16_384, "not sixty copies of the output");
    assert_eq!(closes(&world, conn), ["1008 slow consumer"]);
}

#[test]
fn strangers_may_not_send_large_messages() {
    let mut settings = settings();
    settings.gateway.max_payload_bytes = 524_288;
    let mut world = World::new(settings);
    world.settle();
    let large = frame(0x81, &[b' '; 65_537]);
    let stranger = world.connect("127.0.0.1:9");
    world.bytes(stranger, UPGRADE.as_bytes());
    world.bytes(stranger, &large);
    assert_eq!(closes(&world, stranger), ["1009 message too big"]);
    let conn = world.connect("127.0.0.1:9");
    let all = [UPGRADE.as_bytes(), &hello(TOKEN), &large].concat();
    world.bytes(conn, &all);
    assert_eq!(closes(&world, conn), [""; 0]);
}

#[test]
fn a_late_peer_does_not_hold_a_drained_gateway() {
    let mut world = ready();
    let conn = world.client();
    world.step(portcullis_core::machine::Input::Drain {
        how: portcullis_core::machine::DrainHow::Stop,
    });
    let late = world.connect("127.0.0.1:9");
    assert!(world.sockets[&late].aborted);
    world.gone(conn);
    assert!(world.drained);
}

#[test]
fn a_result_that_is_being_renewed_is_not_evicted() {
    let mut settings = settings();
    settings.operator.idempotency_max_entries = 2;
    settings.operator.idempotency_ttl = Duration::from_secs(10);
    let mut world = World::new(settings);
    world.settle();
    let conn = world.client();
    world.run(conn, "old", "");
    world.settle();
    world.advance(Duration::from_secs(8));
    world.run(conn, "middle", "");
    world.settle();
    world.advance(Duration::from_secs(3));
    // Both are about to be committed at the same time; the renewed one first.
    let renewed = world.run(conn, "old", r#","disableSession":true"#);
    world.run(conn, "new", r#","disableSession":true"#);
    world.settle();
    world.take_all(conn);
    let again = world.run(conn, "old", r#","disableSession":true"#);
    world.settle();
    let run_id = format!(r#""runId":"{renewed}""#);
    assert!(world.answers(conn, &again)[0].contains(&run_id), "it ran twice");
}

#[test]
fn clients_that_leave_do_not_fill_the_gateway_with_their_queries() {
    let mut world = ready();
    for _ in 0..1_000 {
        let conn = world.client();
        for _ in 0..3 {
            world.ask(conn, "session.list", "{}");
        }
        world.gone(conn);
    }
    assert!(world.running.len() <= 1_100, "{} queries", world.running.len());
    world.end();
}

#[test]
fn a_looping_client_cannot_fill_the_log() {
    let mut world = ready();
    for _ in 0..1_000 {
        let conn = world.connect("127.0.0.1:9");
        world.bytes(conn, UPGRADE.as_bytes());
        world.bytes(conn, &hello("wrong-token"));
        world.follow_closes();
        world.gone(conn);
    }
    assert!(world.reports.len() < 64, "{} lines", world.reports.len());
    world.advance(Duration::from_secs(5));
    let conn = world.connect("127.0.0.1:9");
    world.bytes(conn, UPGRADE.as_bytes());
    world.bytes(conn, &hello("wrong-token"));
    let told = world.reports.iter().any(|report| report.contains("990 "));
    assert!(told, "what was left out is counted: {:?}", world.reports.last());
}

#[test]
fn earlier_results_that_cannot_be_read_are_asked_for_again_before_anything_runs() {
    let mut world = World::new(settings());
    let conn = world.client();
    let first = world.run(conn, "k", "");
    let load = *world.running.keys().next().unwrap();
    world.complete(load, Ending::Badly);
    assert!(world.answers(conn, &first)[0].contains("UNAVAILABLE"));
    let second = world.run(conn, "k", "");
    world.settle();
    assert!(world.answers(conn, &second)[0].contains(r#""ok":true"#));
}

#[test]
fn what_a_client_writes_cannot_begin_a_line_of_the_log() {
    let mut world = ready();
    let conn = world.connect("127.0.0.1:9");
    world.bytes(conn, UPGRADE.as_bytes());
    let client = r#"{"id":"c","version":"1","platform":"p","mode":"m"}"#;
    let params = format!(r#"{{"minProtocol":1,"maxProtocol":1,"client":{client},"scopes":["x\nforged line"]}}"#);
    world.bytes(conn, &request("1", "connect", &params));
    assert!(world.reports.iter().any(|report| report.contains("forged")));
    assert!(!world.reports.iter().any(|report| report.contains('\n')));
}

/// All that a client is sent when its bytes come in these pieces.
fn written(pieces: &[&[u8]]) -> Vec<u8> {
    // Nothing is reported as sent between the pieces: a client may be slow here without being closed for it.
    let mut unhurried = settings();
    unhurried.gateway.max_buffered_bytes = 1_000_000;
    let mut world = World::new(unhurried);
    world.settle();
    let conn = world.connect("127.0.0.1:9");
    for piece in pieces {
        let mut piece = *piece;
        while !piece.is_empty() && !world.sockets[&conn].paused {
            world.bytes(conn, piece);
            piece = &[];
        }
        // What a paused socket holds back comes when reading goes on.
        while !piece.is_empty() {
            let at = world.wake_at.unwrap();
            world.advance(at.since(world.now.monotonic));
            if world.bytes(conn, piece) {
                piece = &[];
            }
        }
    }
    let end = portcullis_core::time::Instant::from_millis(20_000);
    world.wait(end.since(world.now.monotonic));
    world.settle();
    std::mem::take(&mut world.sockets.get_mut(&conn).unwrap().written)
}

fn conversation(choices: &[u8]) -> Vec<u8> {
    let mut bytes = b"GET /health HTTP/1.1\r\nHost: gw\r\n\r\n".to_vec();
    bytes.extend(UPGRADE.as_bytes());
    bytes.extend(hello(TOKEN));
    for (number, choice) in choices.iter().enumerate() {
        let id = number.to_string();
        bytes.extend(match choice % 8 {
            0 => request(&id, "health", "null"),
            1 => request(&id, "nothing", "{}"),
            2 => request(&id, "agent.run", r#"{"idempotencyKey":"k","message":"m"}"#),
            3 => request(&id, "session.list", "{}"),
            4 => frame(0x89, b"ping"),
            5 => frame(0x81, b"{"),
            6 => [frame(0x01, br#"{"type":"#), frame(0x80, br#""req"}"#)].concat(),
            _ => request(&id, "agent.list", "{}"),
        });
    }
    if choices.len().is_multiple_of(3) {
        bytes.extend(frame(0x88, &[0x03, 0xe8]));
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_contract_holds_whatever_happens(script in proptest::collection::vec(any::<u8>(), 0..600)) {
        world::script::play(&mut World::new(settings()), &script);
    }

    #[test]
    fn the_same_inputs_give_the_same_outputs(script in proptest::collection::vec(any::<u8>(), 0..300)) {
        let play = || {
            let mut world = World::new(settings());
            world::script::play(&mut world, &script);
            let written: Vec<Vec<u8>> = world.sockets.into_values().map(|socket| socket.written).collect();
            (written, world.reports)
        };
        prop_assert_eq!(play(), play());
    }

    #[test]
    fn draining_ends_whatever_happened_before(script in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut world = World::new(settings());
        world::script::play_on(&mut world, &script);
        if !world.stopped_accepting {
            world.drain();
        }
    }

    #[test]
    fn the_cuts_of_a_stream_do_not_show(
        choices in proptest::collection::vec(any::<u8>(), 0..20),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let bytes = conversation(&choices);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        prop_assert_eq!(written(&pieces), written(&[&bytes]));
    }

    #[test]
    fn every_request_is_answered_once_whatever_the_effects_do(
        asked in proptest::collection::vec((0_u8..7, any::<u8>()), 1..9),
        endings in proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..6), 0..60),
    ) {
        let mut settings = settings();
        settings.gateway.max_buffered_bytes = 1_000_000;
        settings.gateway.max_in_flight = 64;
        settings.gateway.rate_limit_per_minute = 1_000;
        let mut world = World::new(settings);
        let conn = world.client();
        let keys = ["a", "b", "c"];
        let more = ["", r#","agentId":"program""#, r#","sessionRef":"plan""#, r#","cwd":"/work""#, r#","forceNewSession":true"#];
        let ids: Vec<String> = asked.iter().map(|(what, choice)| {
            let choice = usize::from(*choice);
            match what {
                0 => world.ask(conn, "session.list", "{}"),
                1 => world.ask(conn, "session.history", r#"{"sessionRef":"plan"}"#),
                2 => world.ask(conn, "agent.cancel", &format!(r#"{{"runId":"r{}"}}"#, 1 + choice % 9)),
                _ => world.run(conn, keys[choice % 3], more[choice / 3 % 5]),
            }
        }).collect();
        for (which, ending) in endings {
            let effects: Vec<_> = world.running.keys().copied().collect();
            if effects.is_empty() { break; }
            let effect = effects[which.index(effects.len())];
            match ending {
                0 => world.complete(effect, Ending::Badly),
                1 => world.complete(effect, Ending::Wrongly),
                2 => world.tell(effect, b"output"),
                _ => world.complete(effect, Ending::Well),
            }
        }
        world.settle();
        for id in &ids {
            prop_assert_eq!(world.answers(conn, id).len(), 1, "{} in {:?}", id, asked);
        }
        // Nothing is counted as in flight any more: as many as are allowed are taken again.
        let ids: Vec<String> = (0..64).map(|_| world.ask(conn, "session.list", "{}")).collect();
        world.settle();
        for id in &ids {
            prop_assert!(world.answers(conn, id)[0].contains(r#""ok":true"#));
        }
    }
}
