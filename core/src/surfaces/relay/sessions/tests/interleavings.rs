//! Whatever the order of messages, disconnections and crashes: nothing that was acknowledged is lost before it was handed
//! over, nothing that the agent showed to have comes twice, nothing comes out of order.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Send,
    Repeat,
    Connect,
    Disconnect,
    Stall,
    Take,
    Wait,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Send),
        2 => Just(Step::Repeat),
        3 => Just(Step::Connect),
        3 => Just(Step::Disconnect),
        2 => Just(Step::Stall),
        2 => Just(Step::Take),
        1 => Just(Step::Wait),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_acknowledged_message_comes_once_and_in_order(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut world, ann, first) = established();
        world.set_max_buffered(8_192);
        let long = "AAAA".repeat(300);
        let body = |seq| message(seq).replace("vDLUwr395BMr", &long);
        let (mut agent, mut seq, mut got, mut accepted) = (Some(first), 0, Vec::new(), Vec::new());
        world.frames(first);
        for step in steps {
            match step {
                Step::Send => {
                    seq += 1;
                    let asked = world.ask(&ann, MESSAGES, &body(seq));
                    match asked.status {
                        202 | 1 => accepted.push(seq),
                        status => prop_assert_eq!(status, 503),
                    }
                }
                Step::Repeat => {
                    if let Some(seq) = accepted.last() {
                        let status = world.ask(&ann, MESSAGES, &body(*seq)).status;
                        prop_assert!(status == 202 || status == 1);
                    }
                }
                Step::Connect => {
                    let old = agent.replace(world.agent(&ann, "dev_1"));
                    if let Some(old) = old {
                        got.extend(world.frames(old));
                        world.agent_leaves(old);
                    }
                }
                Step::Disconnect => if let Some(old) = agent.take() {
                    got.extend(world.frames(old));
                    world.agent_leaves(old);
                }
                Step::Stall => world.sockets_take = false,
                Step::Take => {
                    world.sockets_take = true;
                    world.settle();
                }
                Step::Wait => world.seconds(1),
                Step::Crash => {
                    // What may be lost is what is not on disk yet; this is about what is.
                    world.seconds(4);
                    if let Some(old) = agent.take() {
                        got.extend(world.frames(old));
                    }
                    world.crash();
                }
            }
        }
        world.sockets_take = true;
        let last = world.agent(&ann, "dev_1");
        got.extend(agent.map(|old| world.frames(old)).into_iter().flatten());
        got.extend(world.frames(last));
        let mut numbers: Vec<_> = got.iter().filter_map(|frame| {
            let json: serde_json::Value = serde_json::from_str(frame).ok()?;
            json["seq"].as_u64()
        }).collect();
        // What an agent had not shown to have when its connection ended comes again, in its place.
        let mut seen = 0;
        numbers.retain(|seq| {
            let is_new = *seq > seen;
            seen = seen.max(*seq);
            is_new
        });
        prop_assert_eq!(numbers, accepted);
    }
}

/// A frame or message with bytes changed, or any text.
fn hostile() -> impl Strategy<Value = (bool, String)> {
    let good = prop_oneof![
        Just(answer("session.result", 1)),
        Just(ack_frame("s-01", AGENT_KEY)),
        Just(message(1)),
        Just(r#"{"type":"agent.hello","capabilities":{"transport_token":true}}"#.to_string()),
    ];
    let changed = (
        good,
        proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
    );
    let changed = changed.prop_map(|(text, changes)| {
        let mut bytes = text.into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte & 0x7f;
        }
        String::from_utf8(bytes).unwrap()
    });
    (any::<bool>(), prop_oneof![3 => changed, 1 => any::<String>()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_peers_write_what_goes_on_is_well_formed(
        encrypted in any::<bool>(), texts in proptest::collection::vec(hostile(), 1..8),
    ) {
        let (mut world, ann, agent) = established();
        world.relay.require_encrypted_frames = encrypted;
        let listener = world.ask(&ann, EVENTS, "").conn;
        for (from_agent, text) in texts {
            let frames = if from_agent {
                world.agent_says(agent, &text)
            } else {
                world.ask_with(&ann, MESSAGES, "X-Idempotency-Key: k\r\nContent-Type: application/json\r\n", &text);
                world.frames(agent)
            };
            for frame in frames {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&frame).is_ok(), "{}", frame);
            }
            for event in world.heard(listener).split_terminator("\n\n") {
                let lines: Vec<_> = event.split('\n').collect();
                prop_assert_eq!(lines.len(), 3);
                let json: serde_json::Value = serde_json::from_str(&lines[2][6..]).unwrap();
                prop_assert_eq!(&json["session_id"], "s-01");
                prop_assert!(json.get("t_seq").is_none() && json.get("transport_token").is_none());
            }
        }
    }
}
