//! JSON web tokens that an Ed25519 key signs (RFC 7515, RFC 8037), good ones and those that must be refused: unsigned, signed
//! with something that is no secret, altered. `client::jwt` makes those of a shared secret.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use super::keys;

/// The text that every relay of the suite derives its keys from, unless the vector says otherwise.
const ROOT: &str = "reference-signing-key-0123456789abcdef";

/// A token of a header and claims; `how` says how it is signed with the key of this name.
///
/// # Errors
/// When there is no such way.
pub(crate) fn signed(key: &str, how: &str, header: &str, claims: &str) -> Result<String, String> {
    let input = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
    let signature = match how {
        "eddsa" => encode(&keys::ed25519_sign(key, input.as_bytes())?),
        "altered" => {
            let mut signature = keys::ed25519_sign(key, input.as_bytes())?;
            if let Some(byte) = signature.first_mut() {
                *byte ^= 1;
            }
            encode(&signature)
        }
        "empty" => String::new(),
        "hs256-of-public" => {
            let public = STANDARD.decode(keys::ed25519_public(key)).unwrap_or_default();
            encode(&mac(&public, &input)?)
        }
        "hs256-of-root" => encode(&mac(ROOT.as_bytes(), &input)?),
        _ => return Err("\"sign\" is eddsa, altered, empty, hs256-of-public or hs256-of-root".into()),
    };
    Ok(format!("{input}.{signature}"))
}

/// A token with another character at this place; negative places are counted from the end.
///
/// # Errors
/// When it has no such place.
pub(crate) fn altered(token: &str, at: i64) -> Result<String, String> {
    let length = i64::try_from(token.len()).unwrap_or(0);
    let place = usize::try_from(if at < 0 { length + at } else { at }).ok();
    let mut bytes = token.as_bytes().to_vec();
    let byte = place.and_then(|place| bytes.get_mut(place));
    let byte = byte.ok_or_else(|| format!("the token has no character {at}"))?;
    *byte = if *byte == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).map_err(|why| why.to_string())
}

/// The header and the claims of a token, unchecked.
///
/// # Errors
/// When it is none.
pub(crate) fn parts(token: &str) -> Result<[Value; 2], String> {
    let mut parts = token.split('.').map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|why| why.to_string())?;
        serde_json::from_slice::<Value>(&bytes).map_err(|why| why.to_string())
    });
    match (parts.next(), parts.next()) {
        (Some(header), Some(claims)) => Ok([header?, claims?]),
        _ => Err(format!("{token:?} is no token")),
    }
}

fn mac(secret: &[u8], input: &str) -> Result<Vec<u8>, String> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).map_err(|why| why.to_string())?;
    mac.update(input.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_signs_as_the_example_of_the_standard() {
        // RFC 8037, appendix A.4.
        let key = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let input = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let token = signed(key, "eddsa", r#"{"alg":"EdDSA"}"#, "Example of Ed25519 signing").unwrap();
        assert_eq!(
            token.strip_prefix(input),
            Some(".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
        );
        assert!(altered(&token, -1).unwrap().ends_with('A') && altered(&token, 999).is_err());
    }
}
