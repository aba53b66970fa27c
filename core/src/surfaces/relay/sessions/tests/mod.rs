//! Sessions in virtual time: `spec/relay.md` sections 17 to 21.

mod agents;
mod durability;
mod events;
mod flight;
mod handshakes;
mod interleavings;
mod messages;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};

use crate::id::ConnId;
use crate::surfaces::relay::devices::tests::register;
use crate::surfaces::relay::envelope::Direction;
use crate::surfaces::relay::http::Caller;
use crate::surfaces::relay::transcript::Transcript;
use crate::surfaces::relay::world::{Asked, World, caller};

const CLIENT_KEY: &str = "B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw=";
const AGENT_KEY: &str = "iDGGuAC0HVzwQpaV2ps8xPMo680YSm5IL6V4wQPwbHc=";
const OTHER_KEY: &str = "rcFAEfgtHFbZVqpPnXPYhYNhpgYEhSXg0Ixjjcdd2Mc=";
const MESSAGES: &str = "POST /gateway/v1/sessions/s-01/messages";
const INIT: &str = "POST /gateway/v1/sessions/s-01/handshake/client-init";
const ACK: &str = "POST /gateway/v1/sessions/s-01/handshake/agent-ack";
const HANDSHAKE: &str = "GET /gateway/v1/sessions/s-01/handshake/h-01";
const EVENTS: &str = "GET /gateway/v1/sessions/s-01/events";

/// Ann's device, the seed of its identity key, and Bob, with whom she shares it.
fn with_device() -> (World, Caller, Caller) {
    let (mut world, ann, bob) = (World::new(), caller("ann"), caller("bob"));
    register(&mut world, &ann, "dev_1", 1);
    (world, ann, bob)
}

fn share(world: &mut World, ann: &Caller, bob: &Caller) -> String {
    let asked = world.ask(
        ann,
        "POST /gateway/v1/shares/invites",
        r#"{"deviceId":"dev_1","email":"bob@example.org"}"#,
    );
    let json = asked.json();
    let token = json["inviteUrl"]
        .as_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap()
        .to_string();
    let body = format!(r#"{{"token":"{token}"}}"#);
    assert_eq!(
        world.ask(bob, "POST /gateway/v1/shares/invites/accept", &body).status,
        200
    );
    json["grantId"].as_str().unwrap().to_string()
}

fn init_body(session: &str) -> String {
    format!(
        r#"{{"device_id":"dev_1","handshake_id":"h-{}","client_ephemeral_public_key":"{CLIENT_KEY}","client_session_nonce":"nonce"}}"#,
        &session[2..]
    )
}

fn init(world: &mut World, who: &Caller) -> Asked {
    world.ask(who, INIT, &init_body("s-01"))
}

/// The proof of the device's agent with this key, as members of an object.
fn proof_of(session: &str, key: &str) -> String {
    let handshake = format!("h-{}", &session[2..]);
    let transcript = Transcript {
        session_id: session,
        handshake_id: &handshake,
        client_key: CLIENT_KEY,
        client_nonce: "nonce",
        agent_key: key,
    };
    let hash = transcript.hash();
    let signature = SigningKey::from_bytes(&[1; 32]).sign(&hash).to_bytes();
    format!(
        r#""agent_ephemeral_public_key":"{key}","agent_identity_signature":"{}","transcript_hash":"{}""#,
        STANDARD.encode(signature),
        STANDARD.encode(hash)
    )
}

fn ack_frame(session: &str, key: &str) -> String {
    format!(
        r#"{{"type":"session.handshake.ack","session_id":"{session}","handshake_id":"h-{}","status":"ok",{}}}"#,
        &session[2..],
        proof_of(session, key)
    )
}

/// A session of Ann's that is acknowledged, and its agent.
fn established() -> (World, Caller, ConnId) {
    let (mut world, ann, _) = with_device();
    let agent = establish(&mut world, &ann);
    (world, ann, agent)
}

fn establish(world: &mut World, who: &Caller) -> ConnId {
    let agent = world.agent(&caller("ann"), "dev_1");
    assert_eq!(init(world, who).status, 202);
    assert_eq!(world.agent_says(agent, &ack_frame("s-01", AGENT_KEY)).len(), 3);
    agent
}

/// The members of an envelope that has the right form.
fn sealed(direction: Direction, seq: u64) -> String {
    let nonce = direction.nonce(seq);
    format!(
        r#""encrypted":true,"seq":{seq},"nonce":"{}","ciphertext":"vDLUwr395BMr","tag":"re3L12fgFjNKBFurSL7tdw==""#,
        core::str::from_utf8(&nonce).unwrap()
    )
}

fn message(seq: u64) -> String {
    format!(
        r#"{{"message_id":"m-{seq}",{}}}"#,
        sealed(Direction::ClientToAgent, seq)
    )
}

fn send(world: &mut World, who: &Caller, seq: u64) -> Asked {
    let key = format!("X-Idempotency-Key: k-{seq}\r\n");
    world.ask_with(who, MESSAGES, &key, &message(seq))
}

fn answer(kind: &str, seq: u64) -> String {
    format!(
        r#"{{"type":"{kind}","session_id":"s-01",{}}}"#,
        sealed(Direction::AgentToClient, seq)
    )
}

/// An answer to this message.
fn answer_to(kind: &str, seq: u64, message: &str) -> String {
    let named = format!(r#"{{"message_id":"{message}","#);
    answer(kind, seq).replacen('{', &named, 1)
}

/// The types of frames.
fn kinds(frames: &[String]) -> Vec<String> {
    let kind = |frame: &String| {
        let json: serde_json::Value = serde_json::from_str(frame).unwrap_or_default();
        let kind = json["type"].as_str().map_or_else(|| frame.clone(), ToString::to_string);
        match json["seq"].as_u64() {
            Some(seq) => format!("{kind} {seq}"),
            None => match json["error"].as_str() {
                Some(error) => format!("{kind} {error}"),
                None => kind,
            },
        }
    };
    frames.iter().map(kind).collect()
}

/// The data of events, as JSON.
fn data(heard: &str) -> Vec<serde_json::Value> {
    let lines = heard.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}
