//! A sealed message: AES-256-GCM with the key of its direction, its nonce made of direction and number.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use serde_json::{Map, Value, json};

use super::proof::object;
use super::{Told, keys};

/// The members of a message: `from` is `client` or `agent`, `seq` its number, `message` its id, `text` what is sealed.
pub(super) fn sealed(value: &Value) -> Result<Map<String, Value>, String> {
    let told = Told::new(value, &["from", "seq", "message", "text"])?;
    let from_client = match told.text("from", "client") {
        "client" => true,
        "agent" => false,
        _ => return Err("\"from\" is \"client\" or \"agent\"".into()),
    };
    let (direction, prefix) = if from_client {
        ("client_to_agent", *b"c2a\0")
    } else {
        ("agent_to_client", *b"a2c\0")
    };
    let seq = told.0.get("seq").and_then(Value::as_u64).unwrap_or(1);
    let usual = format!("m-{seq}");
    let message = told.text("message", &usual);
    let mut nonce = [0; 12];
    for (to, from) in nonce.iter_mut().zip(prefix.into_iter().chain(seq.to_be_bytes())) {
        *to = from;
    }
    let aad = format!("{}|{message}|{seq}|{direction}", told.session());
    let mut text = told.text("text", "hello").as_bytes().to_vec();
    let key = key(&told, from_client)?;
    let tag = key
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad.as_bytes()),
            &mut text,
        )
        .map_err(|_| "it cannot be sealed")?;
    let mut members = object(json!({
        "encrypted": true,
        "alg": "aes-256-gcm",
        "direction": direction,
        "seq": seq,
        "message_id": message,
        "nonce": STANDARD.encode(nonce),
        "aad": STANDARD.encode(aad),
        "ciphertext": STANDARD.encode(text),
        "tag": STANDARD.encode(tag.as_ref()),
    }));
    told.spoil(&mut members)?;
    Ok(members)
}

fn key(told: &Told<'_>, from_client: bool) -> Result<LessSafeKey, String> {
    let shared = keys::x25519_shared(told.client(), told.agent());
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &told.transcript()).extract(&shared);
    let mut all = [0; 96];
    extracted
        .expand(&[b"commands.com/gateway/v1/e2ee"], Length)
        .and_then(|keys| keys.fill(&mut all))
        .map_err(|_| "no keys can be derived")?;
    let (client, rest) = all.split_at(32);
    let key = if from_client {
        client
    } else {
        rest.get(..32).unwrap_or_default()
    };
    UnboundKey::new(&AES_256_GCM, key)
        .map(LessSafeKey::new)
        .map_err(|_| "this is no key".into())
}

struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        96
    }
}
