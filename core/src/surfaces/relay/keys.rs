//! Every key of the relay, derived from the one that is configured: the pair that signs access tokens, the key of refresh
//! tokens, the secret of transport tokens, and the uids of demo users. The derivations of the original are kept exactly,
//! so that tokens outlive a change of the server. Spec: `spec/relay.md` section 7.

use alloc::string::String;
use core::fmt;
use core::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The original's salt: part of the contract, not of a name.
const SALT: &[u8] = b"oss-commands-gateway";
/// What the signing key is derived for.
const SIGNING: &[u8] = b"ed25519-signing-key-v1";
/// What the key of refresh tokens is derived for; ours.
const REFRESH: &[u8] = b"portcullis-refresh-token-v1";

/// The keys: wiped when dropped, never printed.
pub struct Keys {
    pair: SigningKey,
    kid: String,
    public: String,
    refresh: Zeroizing<[u8; 32]>,
    root: Secret,
}

impl Keys {
    /// The keys of this signing key (`JWT_SIGNING_KEY`, trimmed).
    #[must_use]
    pub fn derive(signing_key: &Secret) -> Self {
        let pair = SigningKey::from_bytes(&expand(signing_key, SIGNING));
        let public = pair.verifying_key();
        let digest = Sha256::digest(public.as_bytes());
        Self {
            kid: URL_SAFE_NO_PAD.encode(digest.get(..8).unwrap_or_default()),
            public: URL_SAFE_NO_PAD.encode(public.as_bytes()),
            pair,
            refresh: expand(signing_key, REFRESH),
            root: signing_key.clone(),
        }
    }

    /// The id of the pair.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key in base64url: the member `x` of a JWK.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }

    /// Signs.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign(message).to_bytes()
    }

    /// Whether a signature is ours: RFC 8032 with the strict checks, so that there is no second form of one.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = Signature::from_slice(signature) else {
            return false;
        };
        self.pair.verifying_key().verify_strict(message, &signature).is_ok()
    }

    /// The uid of a demo user: `demo-` and 16 hex digits.
    #[must_use]
    pub fn demo_uid(&self, email: &str) -> String {
        let email = email.trim().to_lowercase();
        let digest = keyed(self.root.reveal().as_bytes(), email.as_bytes());
        let mut uid = String::from("demo-");
        write_hex(&mut uid, digest.get(..8).unwrap_or_default());
        uid
    }

    /// A code over these bytes that only this server can make.
    #[must_use]
    pub(super) fn refresh_code(&self, bytes: &[u8]) -> [u8; 32] {
        keyed(&*self.refresh, bytes)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys(kid {})", self.kid)
    }
}

/// The secret of transport tokens: the configured one, else lower-case hex whose text, not its bytes, is the key.
#[must_use]
pub fn transport_secret(signing_key: &Secret, configured: Option<&Secret>) -> Secret {
    if let Some(secret) = configured {
        return secret.clone();
    }
    let digest = keyed(signing_key.reveal().as_bytes(), b"transport-token-secret");
    let mut hex = String::with_capacity(64);
    write_hex(&mut hex, &digest);
    Secret::new(hex)
}

fn expand(signing_key: &Secret, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    let expanded = Hkdf::<Sha256>::new(Some(SALT), signing_key.reveal().as_bytes()).expand(purpose, &mut *key);
    debug_assert!(expanded.is_ok(), "32 bytes are within what HKDF can give");
    key
}

/// HMAC-SHA-256.
fn keyed(key: &[u8], message: &[u8]) -> [u8; 32] {
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(message);
            mac.finalize().into_bytes().into()
        }
        // HMAC takes a key of any length.
        Err(_) => [0; 32],
    }
}

fn write_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    const KEY: &str = "reference-signing-key-0123456789abcdef";

    fn secret(text: &str) -> Secret {
        Secret::new(text.into())
    }

    fn hex(bytes: &[u8]) -> String {
        let mut out = String::new();
        write_hex(&mut out, bytes);
        out
    }

    #[test]
    fn the_vectors_of_the_signing_key() {
        let (extracted, _) = Hkdf::<Sha256>::extract(Some(SALT), KEY.as_bytes());
        assert_eq!(
            hex(&extracted),
            "af468c55178c68d1d337d14e7770d302b84834606948046a7e94e34f8035b984"
        );
        assert_eq!(
            hex(&*expand(&secret(KEY), SIGNING)),
            "ee4b0bcc96755af4262affc7d0c8cc4b038875f4a59a9e38f471d25066ec507f"
        );
        let keys = Keys::derive(&secret(KEY));
        assert_eq!(keys.public(), "7lPmtrj8Lv4KWfHo9xp-qjDKnAyV45rW2NFZ73upWR0");
        assert_eq!(keys.kid(), "DuMrApYr9_4");
        let pinned = Keys::derive(&secret("pinned-test-secret-for-stability-check"));
        assert_eq!(pinned.public(), "KUN3ntkihB9TYDA1G8QHbjOMw-44rWFpD5V4Wb6jQFA");
    }

    #[test]
    fn the_vector_of_the_demo_uid() {
        let keys = Keys::derive(&secret(KEY));
        assert_eq!(keys.demo_uid("alice@example.com"), "demo-29a06794dd30fb91");
        assert_eq!(keys.demo_uid(" Alice@Example.COM "), "demo-29a06794dd30fb91");
    }

    #[test]
    fn the_vectors_of_the_transport_secret() {
        let derived = transport_secret(&secret(KEY), None);
        assert_eq!(
            derived.reveal(),
            "91a7df53a841efbbcc75aaa08be59c3a45feec623e98a21303cc807ebf7b1e40"
        );
        let mut payload = alloc::vec::Vec::new();
        for part in ["dev_vector01", "agt:1", "2030-01-01T00:00:00Z"] {
            payload.extend_from_slice(&(part.len() as u16).to_be_bytes());
            payload.extend_from_slice(part.as_bytes());
        }
        assert_eq!(
            hex(&payload),
            "000c6465765f766563746f72303100056167743a310014323033302d30312d30315430303a30303a30305a"
        );
        let mac = keyed(derived.reveal().as_bytes(), &payload);
        assert_eq!(
            format!("{}.{}", URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(mac)),
            "AAxkZXZfdmVjdG9yMDEABWFndDoxABQyMDMwLTAxLTAxVDAwOjAwOjAwWg.2RBYkkKmmhnxbCBaT7k6ozR0_bSJ34BDm2hWYwnwu24"
        );
        assert_eq!(transport_secret(&secret(KEY), Some(&secret("own"))).reveal(), "own");
    }

    #[test]
    fn signatures_are_ours_or_not_and_keys_are_not_printed() {
        let keys = Keys::derive(&secret(KEY));
        let signature = keys.sign(b"x");
        assert!(keys.verify(b"x", &signature) && !keys.verify(b"y", &signature));
        assert!(!keys.verify(b"x", &signature[1..]) && !keys.verify(b"x", &[]));
        assert!(!Keys::derive(&secret("another-signing-key-of-32-bytes-or-more")).verify(b"x", &signature));
        assert_eq!(format!("{keys:?}"), "Keys(kid DuMrApYr9_4)");
    }
}
