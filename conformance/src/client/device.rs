//! A device of the OpenClaw dialect: an Ed25519 key that signs what its owner says in `connect`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

/// The one device of the vectors.
const SEED: [u8; 32] = [7; 32];

/// Its public key, as devices write it.
#[must_use]
pub fn public_key() -> String {
    URL_SAFE_NO_PAD.encode(SigningKey::from_bytes(&SEED).verifying_key().to_bytes())
}

/// Its id: the SHA-256 of its key in hex.
#[must_use]
pub fn id() -> String {
    let digest = Sha256::digest(SigningKey::from_bytes(&SEED).verifying_key().to_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Its signature over a text.
#[must_use]
pub fn sign(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(SigningKey::from_bytes(&SEED).sign(text.as_bytes()).to_bytes())
}
