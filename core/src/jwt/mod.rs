//! The control plane's tokens: compact JWS with HS256 and nothing else (RFC 7515, RFC 7519). It signs and it judges; it
//! keeps no token, looks at no clock, and never lets a token's own header choose how the token is checked.
//! Spec: `spec/control.md` section 3.

mod fault;
mod issue;
#[cfg(test)]
mod tests;
mod verify;

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

pub use crate::jws::MAX_TOKEN_BYTES;
pub use fault::TokenFault;
pub use issue::{Claims, issue};
pub use verify::{Expected, Granted, verify};

/// Who issues the tokens: the claim `iss`, on the way out and on the way in.
pub const ISSUER: &str = "openclaw-gateway";

/// The key that signs: wiped when dropped, never printed.
#[derive(Clone)]
pub struct SigningKey(Zeroizing<alloc::vec::Vec<u8>>);

impl SigningKey {
    /// The key of these bytes. How strong they are is judged where they come from (`spec/settings.md`).
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// HMAC-SHA-256 over the signing input; `None` only if the key could not be used, which HMAC rules out.
    fn sign(&self, input: &[u8]) -> Option<[u8; 32]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(input);
        Some(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(redacted)")
    }
}
