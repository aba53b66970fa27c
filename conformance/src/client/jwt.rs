//! A signer of tokens of the suite's own (RFC 7515, HS256), so that the gateway's is never only tested against itself. It
//! makes good and bad ones.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Sha256, Sha512};

use crate::vector::Signature;

/// A token of a header and a payload, signed with `secret`.
///
/// # Errors
/// When there is no signing with this secret.
pub fn sign(header: &str, payload: &str, secret: &str, how: Signature) -> Result<String, String> {
    let input = format!("{}.{}", encode(header.as_bytes()), encode(payload.as_bytes()));
    let signature = match how {
        Signature::Empty => String::new(),
        Signature::Hs512 => encode(&mac::<Hmac<Sha512>>(&input, secret)?),
        Signature::Hs256 => encode(&mac::<Hmac<Sha256>>(&input, secret)?),
        Signature::Altered => altered(encode(&mac::<Hmac<Sha256>>(&input, secret)?)),
    };
    Ok(format!("{input}.{signature}"))
}

/// The payload of a token, unchecked.
///
/// # Errors
/// When it is none.
pub fn payload(token: &str) -> Result<Value, String> {
    let part = token.split('.').nth(1).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|why| format!("the token's payload: {why}"))?;
    serde_json::from_slice(&bytes).map_err(|why| format!("the token's payload: {why}"))
}

fn mac<M: Mac + KeyInit>(input: &str, secret: &str) -> Result<Vec<u8>, String> {
    let mut mac = <M as KeyInit>::new_from_slice(secret.as_bytes()).map_err(|why| why.to_string())?;
    mac.update(input.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn altered(mut signature: String) -> String {
    let last = signature.pop();
    signature.push(if last == Some('A') { 'E' } else { 'A' });
    signature
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_signs_as_the_example_of_the_fact_sheet() {
        let payload = r#"{"iss":"openclaw-gateway","iat":1700000000,"exp":4102444800,"jti":"00112233445566778899aabbccddeeff","scope":["provider:read","provider:write","gateway:admin"]}"#;
        let token = sign(
            r#"{"alg":"HS256","typ":"JWT"}"#,
            payload,
            "control-plane-test-secret-0123456789abcdef",
            Signature::Hs256,
        );
        assert!(token.unwrap().ends_with(".yLVlRAxtlOYf21O1Ns2UIGFodmkadL2-LsVtlbP4Sdo"));
    }
}
