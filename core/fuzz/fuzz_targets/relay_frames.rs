//! Any texts, separated by the byte 1, as frames of an agent (first byte `a`), or as messages of a client (anything else):
//! no panic; what goes to the agent are JSON texts; what goes to the listener are events of one line of JSON each, without
//! transport fields; numbers are used once.
#![no_main]

use portcullis_core::http::Method;

#[allow(dead_code, reason = "the benches use more of it")]
#[path = "../../benches/support/relay.rs"]
mod relay;

/// The texts of unmasked, unfragmented frames.
fn texts(mut bytes: &[u8]) -> Vec<&str> {
    let mut texts = Vec::new();
    while let [0x81, length, rest @ ..] = bytes {
        let (length, rest) = match length {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (
                u64::from_be_bytes(rest[..8].try_into().expect("eight")) as usize,
                &rest[8..],
            ),
            short => (usize::from(*short), rest),
        };
        let (text, after) = rest.split_at(length);
        texts.push(std::str::from_utf8(text).expect("UTF-8"));
        bytes = after;
    }
    assert!(bytes.is_empty(), "whole frames");
    texts
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut relay = relay::Bench::new(!text.starts_with('!'));
    relay.agent_bytes();
    relay.listener_bytes();
    let (mut to_agent, mut to_listener) = (0, 0);
    for piece in text.split('\u{1}') {
        match piece.strip_prefix('a') {
            Some(frame) => relay.agent_says(frame),
            None => {
                relay.ask(Method::Post, relay::MESSAGES, piece);
            }
        }
        for text in texts(&relay.agent_bytes()) {
            let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
            if json["encrypted"] == true && json["type"] == "session.message" && !input.starts_with(b"!") {
                let seq = json["seq"].as_f64().expect("a number");
                assert!(seq > f64::from(to_agent), "growing");
                to_agent = seq as u32;
            }
        }
        let heard = relay.listener_bytes();
        let heard = std::str::from_utf8(&heard).expect("UTF-8");
        for event in heard.split_terminator("\n\n") {
            let data = event.split_once("\nevent: session.event\ndata: ").expect("an event").1;
            assert!(!data.contains(['\n', '\r']), "one line");
            let json: serde_json::Value = serde_json::from_str(data).expect("JSON");
            assert!(json.get("transport_token").is_none() && json.get("t_seq").is_none());
            to_listener += 1;
        }
    }
    assert!(to_listener <= text.len());
});
