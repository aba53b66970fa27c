//! Judging a token: the checks in their order; the first that fails decides. The algorithm is ours, never the header's
//! choice, and no claim is read before the signature is right.

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;
use subtle::ConstantTimeEq;

use super::fault::TokenFault;
use super::{ISSUER, SigningKey};
use crate::json::Object;
use crate::jws::{Parts, number, text_of as text};

/// What a token is compared with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected<'a> {
    /// The id of the active token.
    pub id: &'a str,
    /// Seconds since 1970. There is no tolerance: a token is expired in the second that `exp` names.
    pub now: u64,
}

/// What a good token allows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Granted {
    scopes: Vec<String>,
}

impl Granted {
    /// Whether this scope is among those granted.
    #[must_use]
    pub fn has(&self, scope: &str) -> bool {
        self.scopes.iter().any(|granted| granted == scope)
    }
}

/// Judges a token.
///
/// # Errors
/// The first check that it fails.
pub fn verify(key: &SigningKey, token: &str, expected: Expected<'_>) -> Result<Granted, TokenFault> {
    if token.is_empty() {
        return Err(TokenFault::Missing);
    }
    let parts = Parts::split(token)?;
    let header = Object::parse(&parts.header).map_err(|_| TokenFault::Invalid)?;
    let payload = Object::parse(&parts.payload).map_err(|_| TokenFault::Invalid)?;
    // Whoever writes `crit` wants a token refused by those who do not know what it lists; we know nothing of the kind.
    if header.get("crit").is_some() {
        return Err(TokenFault::Invalid);
    }
    if parts.signature.is_empty() {
        return Err(TokenFault::Unsigned);
    }
    if text(&header, "alg").as_deref() != Some("HS256") {
        return Err(TokenFault::Algorithm);
    }
    check_signature(key, &parts)?;
    check_times(&payload, expected.now)?;
    if text(&payload, "iss").as_deref() != Some(ISSUER) {
        return Err(TokenFault::Issuer);
    }
    let id = text(&payload, "jti").unwrap_or_default();
    if !bool::from(id.as_bytes().ct_eq(expected.id.as_bytes())) {
        return Err(TokenFault::OtherSession);
    }
    Ok(Granted {
        scopes: scopes(&payload),
    })
}

/// The signature is compared as it is written: what decodes to the same bytes in another spelling is not the same token.
fn check_signature(key: &SigningKey, parts: &Parts<'_>) -> Result<(), TokenFault> {
    let right = key.sign(parts.input.as_bytes()).ok_or(TokenFault::Signature)?;
    let mut written = [0; 43];
    let length = URL_SAFE_NO_PAD
        .encode_slice(right, &mut written)
        .map_err(|_| TokenFault::Signature)?;
    let right = written.get(..length).ok_or(TokenFault::Signature)?;
    if bool::from(right.ct_eq(parts.signature.as_bytes())) {
        Ok(())
    } else {
        Err(TokenFault::Signature)
    }
}

fn check_times(payload: &Object<'_>, now: u64) -> Result<(), TokenFault> {
    #[allow(clippy::cast_precision_loss, reason = "seconds are far below 2^53")]
    let now = now as f64;
    if let Some(not_before) = payload.get("nbf")
        && number(not_before).ok_or(TokenFault::NotBeforeType)? > now
    {
        return Err(TokenFault::NotYet);
    }
    let expiry = payload.get("exp").and_then(number).ok_or(TokenFault::ExpiryType)?;
    if now >= expiry {
        return Err(TokenFault::Expired);
    }
    Ok(())
}

/// The claim `scope`; what is no array of strings grants nothing.
fn scopes(payload: &Object<'_>) -> Vec<String> {
    let scope = payload.get("scope").map_or("[]", RawValue::get);
    serde_json::from_str(scope).unwrap_or_default()
}
