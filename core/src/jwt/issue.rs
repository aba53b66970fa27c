//! Writing a token: header and claims in the order that the original writes them, so that the same claims give the same
//! text.

use alloc::string::String;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::{ISSUER, SigningKey};
use crate::secret::Secret;

/// The header of every token: `{"alg":"HS256","typ":"JWT"}`.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// What a token says besides its issuer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claims<'a> {
    /// Seconds since 1970.
    pub issued_at: u64,
    /// Seconds since 1970.
    pub expires_at: u64,
    /// The token's id.
    pub id: &'a str,
    /// What it is good for.
    pub scopes: &'a [&'a str],
}

#[derive(serde::Serialize)]
struct Payload<'a> {
    iss: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
    scope: &'a [&'a str],
}

/// A token with these claims. `None` only if the key could not be used, which HMAC rules out.
#[must_use]
pub fn issue(key: &SigningKey, claims: &Claims<'_>) -> Option<Secret> {
    let payload = Payload {
        iss: ISSUER,
        iat: claims.issued_at,
        exp: claims.expires_at,
        jti: claims.id,
        scope: claims.scopes,
    };
    let payload = serde_json::to_vec(&payload).ok()?;
    // Its final size at once: a buffer that grows would leave copies of the token behind.
    let mut token = Zeroizing::new(String::with_capacity(HEADER.len() + payload.len().div_ceil(3) * 4 + 46));
    token.push_str(HEADER);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&payload, &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Some(Secret::new(core::mem::take(&mut *token)))
}
