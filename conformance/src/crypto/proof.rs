//! The agent's proof of a handshake: the hash over what both sides exchanged, signed with the device's key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Told, keys};

/// SHA-256 over five texts, joined by `|`.
pub(super) fn transcript(parts: [&str; 5]) -> [u8; 32] {
    Sha256::digest(parts.join("|")).into()
}

/// The three members of a proof; `device` names the key that signs, `D` when it is not said.
pub(super) fn signed(value: &Value) -> Result<Map<String, Value>, String> {
    let told = Told::new(value, &["device"])?;
    let hash = told.transcript();
    let signature = keys::ed25519_sign(told.text("device", "D"), &hash)?;
    let mut members = object(json!({
        "agent_ephemeral_public_key": keys::x25519_public(told.agent()),
        "agent_identity_signature": STANDARD.encode(signature),
        "transcript_hash": STANDARD.encode(hash),
    }));
    told.spoil(&mut members)?;
    Ok(members)
}

/// The members of a value that is an object.
pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
