//! Any bytes as a script of operations on a world: what a fuzzer or a property test mutates.

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::id::{ConnId, EffectId};
use portcullis_core::machine::{DrainHow, Input};

use super::client::{UPGRADE, frame, hello, request};
use super::{Ending, TOKEN, World};

/// Reads choices off the script; a script that is over chooses zero.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken.to_vec()
    }
}

const METHODS: &[&str] = &[
    "health",
    "agent.list",
    "agent.run",
    "agent.run",
    "agent.run",
    "agent.cancel",
    "session.list",
    "session.history",
    "nothing",
];

const PARAMS: &[&str] = &[
    "null",
    "{}",
    r#"{"idempotencyKey":"a","message":"hello"}"#,
    r#"{"idempotencyKey":"b","message":"hello","agentId":"program"}"#,
    r#"{"idempotencyKey":"c","message":"hello","agentId":"program","disableSession":true}"#,
    r#"{"idempotencyKey":"d","message":"hello","cwd":"/work/x","sessionRef":"My Plan"}"#,
    r#"{"idempotencyKey":"e","message":"hello","forceNewSession":true}"#,
    r#"{"idempotencyKey":"f","message":"hello","agentId":"nobody"}"#,
    r#"{"idempotencyKey":"g","message":"hello","cwd":"/elsewhere"}"#,
    r#"{"idempotencyKey":"h","message":"bye"}"#,
    r#"{"idempotencyKey":"i","message":"hello","agentId":"model"}"#,
    r#"{"idempotencyKey":"j","message":"hello","agentId":"model","disableSession":true}"#,
    r#"{"runId":"1"}"#,
    r#"{"runId":"2"}"#,
    r#"{"activeMinutes":1}"#,
    r#"{"sessionRef":"main","limit":1,"includeCompaction":true}"#,
];

const HTTP: &[&str] = &[
    "GET /health HTTP/1.1\r\nHost: gw\r\n\r\n",
    "POST /health HTTP/1.1\r\nHost: gw\r\nContent-Length: 5\r\n\r\nab",
    "GET /gateway HTTP/1.1\r\nHost: gw\r\n\r\nGET /x",
    "GET / HTTP/1.1\r\nHo",
    "BAD\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
];

/// What a server may answer, in pieces.
const ANSWERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 429 Slow down\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n{\"choices\":[{\"message\":{\"content\":\"all\"}}]}",
    "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"pie",
    "ce\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"more\"},\"finish_reason\":\"stop\"}]}\n\n",
    "data: [DONE]\n\n",
];

const ADDRESSES: &[&str] = &["127.0.0.1:1", "127.0.0.1:1", "192.0.2.1:1", "[2001:db8::1]:1", "local"];

/// Plays a whole script and lets the world end.
pub(crate) fn play(world: &mut World, script: &[u8]) {
    play_on(world, script);
    world.end();
}

/// Plays a whole script.
pub(crate) fn play_on(world: &mut World, script: &[u8]) {
    let choices = &mut Choices(script);
    while !choices.0.is_empty() && !world.drained {
        act(world, choices);
    }
}

fn act(world: &mut World, choices: &mut Choices<'_>) {
    match choices.byte() % 23 {
        0 => {
            world.connect(choices.of(ADDRESSES));
        }
        1 if world.sockets.len() < 40 => {
            world.client();
        }
        2..=7 => to_client(world, choices),
        8..=11 => to_effect(world, choices),
        12 => {
            let ending = choices.of(&[Ending::Well, Ending::Well, Ending::Badly, Ending::Wrongly]);
            for _ in 0..64 {
                let Some(effect) = world.running.keys().next().copied() else {
                    break;
                };
                world.complete(effect, ending);
            }
        }
        13 => world.advance(Duration::from_millis(choices.byte().into())),
        14 => world.advance(Duration::from_secs(choices.byte().into())),
        15 => {
            let at = world.wake_at.unwrap_or(world.now.monotonic);
            world.advance(at.since(world.now.monotonic));
        }
        16 => world.follow_closes(),
        17 if choices.byte() < 16 => world.step(Input::Drain { how: DrainHow::Stop }),
        18 => reconfigure(world, choices),
        20..=21 if world.sockets.len() < 40 => ask_provider(world, choices),
        22 => answer_as_provider(world, choices),
        _ => world.step(Input::Tick),
    }
}

/// A client asks an agent that is a provider, and every effect up to the connection ends well.
fn ask_provider(world: &mut World, choices: &mut Choices<'_>) {
    let conn = world.client();
    let key = choices.of(&["p", "q", "r"]);
    world.run(
        conn,
        key,
        choices.of(&[r#","agentId":"model""#, r#","agentId":"model","disableSession":true"#]),
    );
    for _ in 0..64 {
        let Some(effect) = world.running.keys().next().copied() else {
            break;
        };
        world.complete(effect, Ending::Well);
    }
}

/// A server that was dialled answers, with sense or without.
fn answer_as_provider(world: &mut World, choices: &mut Choices<'_>) {
    let dialled = world
        .sockets
        .iter()
        .filter(|(_, socket)| socket.dialled.is_some() && !socket.gone);
    let servers: Vec<ConnId> = dialled.map(|(conn, _)| *conn).collect();
    if servers.is_empty() {
        return;
    }
    let conn = choices.of(&servers);
    for _ in 0..=choices.byte() % 4 {
        let piece = choices.of(ANSWERS);
        world.bytes(conn, piece.as_bytes());
    }
    match choices.byte() % 8 {
        0 => world.read_closed(conn),
        1 => world.gone(conn),
        _ => {}
    }
}

fn to_client(world: &mut World, choices: &mut Choices<'_>) {
    let conns: Vec<ConnId> = world.sockets.keys().copied().collect();
    if conns.is_empty() {
        return;
    }
    let conn = choices.of(&conns);
    if world.sockets.get(&conn).is_some_and(|socket| socket.dialled.is_some()) && !choices.byte().is_multiple_of(4) {
        let piece = choices.of(ANSWERS);
        world.bytes(conn, piece.as_bytes());
        return;
    }
    match choices.byte() % 16 {
        0 => drop(world.bytes(conn, UPGRADE.as_bytes())),
        1 => drop(world.bytes(conn, &hello(choices.of(&[TOKEN, TOKEN, "wrong-token"])))),
        2..=7 => drop(world.ask(conn, choices.of(METHODS), choices.of(PARAMS))),
        8 => {
            let first = choices.of(&[0x81, 0x01, 0x80, 0x00, 0x82, 0x88, 0x89, 0x8a, 0xf1]);
            let payload = choices.bytes();
            world.bytes(conn, &frame(first, &payload));
        }
        9 => {
            let many: Vec<u8> = (0..choices.byte() % 24)
                .flat_map(|_| request("many", "nothing", "{}"))
                .collect();
            world.bytes(conn, &many);
        }
        10 => drop(world.bytes(conn, &choices.bytes())),
        11 => drop(world.bytes(conn, choices.of(HTTP).as_bytes())),
        12 => world.sent(conn, usize::from(choices.byte()) * 32),
        13 => world.take_all(conn),
        14 => world.read_closed(conn),
        _ => world.gone(conn),
    }
}

fn to_effect(world: &mut World, choices: &mut Choices<'_>) {
    let effects: Vec<EffectId> = world.running.keys().copied().collect();
    if effects.is_empty() {
        return;
    }
    let effect = choices.of(&effects);
    match choices.byte() % 8 {
        0..=1 => {
            let bytes = choices.bytes().repeat(8);
            world.tell(effect, &bytes);
        }
        2 => world.complete(effect, Ending::Badly),
        3 => world.complete(effect, Ending::Wrongly),
        _ => world.complete(effect, Ending::Well),
    }
}

fn reconfigure(world: &mut World, choices: &mut Choices<'_>) {
    let settings = &mut world.settings;
    settings.agents.max_concurrent_runs = u32::from(choices.byte() % 4);
    settings.operator.idempotency_max_entries = 1 + u32::from(choices.byte() % 4);
    settings.operator.idempotency_strict_params = choices.byte() % 2 == 1;
    settings.gateway.max_in_flight = 1 + u32::from(choices.byte() % 4);
    // Below its floor: the gateway raises it.
    settings.gateway.tick_interval = Duration::from_millis(u64::from(choices.byte()) * 100);
    let settings = Arc::new(settings.clone());
    world.step(Input::Reconfigured { settings });
}
