//! The two ends of an encrypted session, as vectors write them: keys by name, the agent's proof of a handshake, sealed
//! messages and transport tokens, each good or with one thing wrong. It is the suite's own, so that the relay's checks are never only tested
//! against themselves; it judges nothing that comes.

mod envelope;
mod keys;
mod proof;
pub(crate) mod token;
mod transport;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// A key by name, where `text` is `$x25519:NAME` or `$ed25519:NAME`.
pub(crate) fn key(text: &str) -> Option<String> {
    let name = |prefix| text.strip_prefix(prefix);
    name("$x25519:")
        .map(keys::x25519_public)
        .or_else(|| name("$ed25519:").map(keys::ed25519_public))
}

/// An object with the members that its `$envelope`, `$proof` and `$transport` stand for; what the object says itself wins.
///
/// # Errors
/// Says what is wrong with what they were told.
pub(crate) fn spliced(map: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut members = Map::new();
    for (name, value) in map {
        match name.as_str() {
            "$envelope" => members.extend(envelope::sealed(value)?),
            "$proof" => members.extend(proof::signed(value)?),
            "$transport" => members.extend(transport::shown(value)?),
            _ => {}
        }
    }
    let own = map.iter().filter(|(name, _)| !is_ours(name));
    members.extend(own.map(|(name, value)| (name.clone(), value.clone())));
    Ok(members)
}

/// Whether an object has members of that kind.
pub(crate) fn concerns(map: &Map<String, Value>) -> bool {
    map.keys().any(|name| is_ours(name))
}

/// Whether a member stands for others.
pub(crate) fn is_ours(name: &str) -> bool {
    matches!(name, "$envelope" | "$proof" | "$transport")
}

/// What both kinds are told about the handshake; what they are not told is the usual one.
struct Told<'a>(&'a Map<String, Value>);

impl<'a> Told<'a> {
    fn new(value: &'a Value, further: &[&str]) -> Result<Self, String> {
        const COMMON: [&str; 7] = ["session", "handshake", "client", "nonce", "agent", "change", "flip"];
        let map = value.as_object().ok_or("$envelope and $proof take an object")?;
        let known = |key: &str| COMMON.contains(&key) || further.contains(&key);
        match map.keys().find(|key| !known(key)) {
            Some(unknown) => Err(format!("unknown key {unknown:?} (known: {COMMON:?} and {further:?})")),
            None => Ok(Self(map)),
        }
    }

    fn text(&self, name: &str, usual: &'a str) -> &'a str {
        self.0.get(name).and_then(Value::as_str).unwrap_or(usual)
    }

    fn session(&self) -> &'a str {
        self.text("session", "s-01")
    }

    /// The hash over the handshake.
    fn transcript(&self) -> [u8; 32] {
        proof::transcript([
            self.session(),
            self.text("handshake", "h-01"),
            &keys::x25519_public(self.client()),
            self.text("nonce", "nonce-1"),
            &keys::x25519_public(self.agent()),
        ])
    }

    fn client(&self) -> &'a str {
        self.text("client", "C")
    }

    fn agent(&self) -> &'a str {
        self.text("agent", "A")
    }

    /// Makes the wanted things wrong: `flip` is `{"FIELD": BIT}`, `change` is `{"FIELD": VALUE}`.
    fn spoil(&self, members: &mut Map<String, Value>) -> Result<(), String> {
        for (name, bit) in self.0.get("flip").and_then(Value::as_object).into_iter().flatten() {
            let bit = bit.as_u64().and_then(|bit| usize::try_from(bit).ok());
            let bit = bit.ok_or_else(|| format!("the bit of {name:?} to flip must be a number"))?;
            let value = members
                .get_mut(name)
                .ok_or_else(|| format!("there is no {name:?} to flip"))?;
            *value = flipped(value, bit).ok_or_else(|| format!("{name:?} has no bit {bit}"))?;
        }
        for (name, value) in self.0.get("change").and_then(Value::as_object).into_iter().flatten() {
            if value == "$absent" {
                members.remove(name);
            } else {
                members.insert(name.clone(), value.clone());
            }
        }
        Ok(())
    }
}

/// A number, or bytes in base64, with one bit the other way.
fn flipped(value: &Value, bit: usize) -> Option<Value> {
    if let Some(number) = value.as_u64() {
        return Some((number ^ 1_u64.checked_shl(u32::try_from(bit).ok()?)?).into());
    }
    let mut bytes = STANDARD.decode(value.as_str()?).ok()?;
    turn(&mut bytes, bit)?;
    Some(STANDARD.encode(bytes).into())
}

/// Turns a bit around; after the last one they are counted from the first again.
fn turn(bytes: &mut [u8], bit: usize) -> Option<()> {
    let bit = bit.checked_rem(bytes.len() * 8)?;
    *bytes.get_mut(bit / 8)? ^= 1 << (bit % 8);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CLIENT: &str = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20";
    const AGENT: &str = "8182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0";
    const DEVICE: &str = "4142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f60";

    fn made(of: &Value) -> Value {
        Value::Object(spliced(of.as_object().unwrap()).unwrap())
    }

    fn example(further: Value) -> Value {
        let mut told = json!({
            "session": "sess_vector01", "handshake": "hs_vector01", "client": CLIENT, "nonce": "oKGio6SlpqeoqaqrrK2urw==",
            "agent": AGENT
        });
        told.as_object_mut()
            .unwrap()
            .extend(further.as_object().unwrap().clone());
        told
    }

    #[test]
    fn the_worked_example_of_the_fact_sheet() {
        assert_eq!(
            key(&format!("$x25519:{CLIENT}")).unwrap(),
            "B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw="
        );
        assert_eq!(
            key(&format!("$ed25519:{DEVICE}")).unwrap(),
            "rcFAEfgtHFbZVqpPnXPYhYNhpgYEhSXg0Ixjjcdd2Mc="
        );
        assert_eq!(
            made(&json!({"$proof": example(json!({"device": DEVICE}))})),
            json!({
                "agent_ephemeral_public_key": "iDGGuAC0HVzwQpaV2ps8xPMo680YSm5IL6V4wQPwbHc=",
                "agent_identity_signature": "UoX4aW3AyxN61mjYYlwqrsduzgVRy0lpJiqfYq+Zu7ge+7FWufUo5WNYBJ/RPxTl0Xzdk2Hwr4UAana3/GX2DA==",
                "transcript_hash": "KdumseyqKrfYBcaoubuyCck7JJBHCSZoqYJ33Q7CEcg="
            })
        );
        let plain = r#"{"session_id":"sess_vector01","message_id":"msg_vector01","prompt":"hello"}"#;
        let told = example(json!({"seq": 1, "message": "msg_vector01", "text": plain}));
        assert_eq!(
            made(&json!({"$envelope": told, "more": 1})),
            json!({
                "encrypted": true, "alg": "aes-256-gcm", "direction": "client_to_agent", "seq": 1, "more": 1,
                "message_id": "msg_vector01", "nonce": "YzJhAAAAAAAAAAAB",
                "aad": "c2Vzc192ZWN0b3IwMXxtc2dfdmVjdG9yMDF8MXxjbGllbnRfdG9fYWdlbnQ=",
                "ciphertext": "vDLUwr395BMr/ZA7cMzUnEWg47z1ZPobQobYNobzNzreGs2RQpbbW7GQdzNlgSd2cfnsyesgEkbqdDN7PASUa2mizfHKNS/H38No",
                "tag": "re3L12fgFjNKBFurSL7tdw=="
            })
        );
        let plain = r#"{"status":"running","session_id":"sess_vector01","message_id":"msg_vector01"}"#;
        let told = example(json!({"seq": 1, "message": "msg_vector01", "text": plain, "from": "agent"}));
        let answer = made(&json!({"$envelope": told}));
        assert_eq!(answer["nonce"], "YTJjAAAAAAAAAAAB");
        assert_eq!(answer["tag"], "DpwzPOXETduRHx8Eh7JlZQ==");
    }

    #[test]
    fn each_thing_can_be_wrong() {
        let good = made(&json!({"$envelope": {}}));
        let bad = made(&json!({"$envelope": {"flip": {"nonce": 3, "seq": 1}, "change": {"tag": "$absent", "alg": 7}}}));
        assert_eq!((&bad["seq"], &bad["alg"], bad.get("tag")), (&json!(3), &json!(7), None));
        assert_ne!(bad["nonce"], good["nonce"]);
        assert_eq!(bad["ciphertext"], good["ciphertext"]);
        assert_ne!(key("$x25519:C^7"), key("$x25519:C"));
        for wrong in [
            json!({"flip": {"alg": 9}}),
            json!({"flip": {"none": 1}}),
            json!({"from": "me"}),
            json!({"sq": 1}),
        ] {
            let map = json!({"$envelope": wrong});
            assert!(spliced(map.as_object().unwrap()).is_err(), "{map}");
        }
    }
}
