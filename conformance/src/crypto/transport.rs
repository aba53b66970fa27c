//! What an agent shows with its frames: a transport token and a number that grows.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::proof::object;

/// The secret that follows from the signing key that relay vectors have.
const SECRET: &str = "91a7df53a841efbbcc75aaa08be59c3a45feec623e98a21303cc807ebf7b1e40";

/// `transport_token` and `t_seq`, for `device`, `connection` and `expires` as they are told, or with one `bit` of the token
/// the other way.
pub(super) fn shown(value: &Value) -> Result<Map<String, Value>, String> {
    let text = |name: &str, usual| value.get(name).and_then(Value::as_str).unwrap_or(usual);
    let parts = [
        text("device", "dev_01"),
        text("connection", ""),
        text("expires", "2030-01-01T00:00:00Z"),
    ];
    let mut payload = Vec::new();
    for part in parts {
        let length = u16::try_from(part.len()).map_err(|_| "a part is too long")?;
        payload.extend(length.to_be_bytes());
        payload.extend(part.as_bytes());
    }
    let secret = text("secret", SECRET).as_bytes();
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).map_err(|why| why.to_string())?;
    mac.update(&payload);
    let length = payload.len();
    payload.extend(mac.finalize().into_bytes());
    if let Some(bit) = value.get("bit").and_then(Value::as_u64) {
        super::turn(&mut payload, usize::try_from(bit).map_err(|why| why.to_string())?);
    }
    let (payload, signature) = payload.split_at(length);
    let token = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(payload),
        URL_SAFE_NO_PAD.encode(signature)
    );
    let number = value.get("seq").cloned().unwrap_or_else(|| json!(1));
    Ok(object(json!({"transport_token": token, "t_seq": number})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_fact_sheet() {
        let shown = shown(&json!({"device": "dev_vector01", "connection": "agt:1"})).unwrap();
        let token =
            "AAxkZXZfdmVjdG9yMDEABWFndDoxABQyMDMwLTAxLTAxVDAwOjAwOjAwWg.2RBYkkKmmhnxbCBaT7k6ozR0_bSJ34BDm2hWYwnwu24";
        assert_eq!(shown["transport_token"], token);
    }
}
