//! Whatever the order of messages, disconnections and crashes: nothing that was acknowledged is lost before it was handed
//! over, nothing comes twice, nothing comes out of order.

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
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_acknowledged_message_comes_once_and_in_order(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut world, ann, first) = established();
        let long = "AAAA".repeat(80_000);
        let body = |seq| message(seq).replace("vDLUwr395BMr", &long);
        let (mut agent, mut seq, mut got, mut accepted) = (Some(first), 0, Vec::new(), Vec::new());
        world.frames(first);
        for step in steps {
            match step {
                Step::Send => {
                    seq += 1;
                    let asked = world.ask(&ann, MESSAGES, &body(seq));
                    match asked.status {
                        202 => accepted.push(seq),
                        status => prop_assert_eq!(status, 503),
                    }
                }
                Step::Repeat => {
                    if let Some(seq) = accepted.last() {
                        prop_assert_eq!(world.ask(&ann, MESSAGES, &body(*seq)).status, 202);
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
                    if let Some(agent) = agent {
                        for _ in 0..8 {
                            world.act(|_, sessions, cx| sessions.agent_sent(cx, agent, 2_000_000));
                            world.settle();
                        }
                    }
                }
                Step::Wait => world.seconds(1),
                Step::Crash => {
                    // What may be lost is what is not on disk yet; this is about what is.
                    world.seconds(1);
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
        let numbers: Vec<_> = got.iter().filter_map(|frame| {
            let json: serde_json::Value = serde_json::from_str(frame).ok()?;
            json["seq"].as_u64()
        }).collect();
        prop_assert_eq!(numbers, accepted);
    }
}
