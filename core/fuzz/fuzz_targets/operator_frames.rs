//! Any text as a client's message, before the handshake and after it: no panic, one answer to each, and every answer is a
//! frame of the protocol. The first byte chooses the state of the connection and the kind of message.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/world/mod.rs"]
mod world;

use world::client::{UPGRADE, frame};
use world::{World, settings};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [choice, message @ ..] = input else { return };
    if message.len() > 2_048 || (choice & 2 == 0 && std::str::from_utf8(message).is_err()) {
        return;
    }
    let mut world = World::new(settings());
    world.settle();
    let conn = if choice & 1 == 0 {
        world.client()
    } else {
        let conn = world.connect("192.0.2.1:9");
        world.bytes(conn, UPGRADE.as_bytes());
        conn
    };
    let before = world.frames(conn).len();
    world.bytes(conn, &frame(if choice & 2 == 0 { 0x81 } else { 0x82 }, message));
    world.settle();
    let answers = &world.frames(conn)[before..];
    let responses = answers.iter().filter(|frame| frame.text().starts_with(r#"{"type":"res","id":""#));
    assert_eq!(responses.count(), 1, "{answers:?}");
    for answer in answers {
        match answer.opcode {
            1 => assert!(answer.text().starts_with('{') && answer.text().ends_with('}'), "{answer:?}"),
            8 => assert_eq!(answer.payload.get(..2), Some(&1008_u16.to_be_bytes()[..])),
            other => panic!("opcode {other}"),
        }
    }
    world.end();
});
