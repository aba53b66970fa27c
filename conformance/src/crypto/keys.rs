//! Private keys by name, the same ones each time: made of the name, or of 64 hex digits that are the key itself. `NAME^N` is
//! the public half with bit N the other way.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use curve25519_dalek::MontgomeryPoint;
use ring::signature::{Ed25519KeyPair, KeyPair};
use sha2::{Digest, Sha256};

/// The public half of an X25519 key, in base64.
pub(super) fn x25519_public(name: &str) -> String {
    let (name, flip) = altered(name);
    encoded(&MontgomeryPoint::mul_base_clamped(secret(name)).0, flip)
}

/// What both ends of two X25519 keys share.
pub(super) fn x25519_shared(own: &str, peer: &str) -> [u8; 32] {
    let peer = MontgomeryPoint::mul_base_clamped(secret(altered(peer).0));
    peer.mul_clamped(secret(altered(own).0)).0
}

/// The public half of an Ed25519 key, in base64.
pub(super) fn ed25519_public(name: &str) -> String {
    let (name, flip) = altered(name);
    pair(name).map_or_else(String::new, |pair| encoded(pair.public_key().as_ref(), flip))
}

/// An Ed25519 signature.
pub(super) fn ed25519_sign(name: &str, message: &[u8]) -> Result<Vec<u8>, String> {
    let pair = pair(altered(name).0).ok_or_else(|| format!("{name:?} makes no Ed25519 key"))?;
    Ok(pair.sign(message).as_ref().to_vec())
}

fn pair(name: &str) -> Option<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(&secret(name)).ok()
}

fn secret(name: &str) -> [u8; 32] {
    let digits = name.as_bytes();
    let pairs = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap_or("?"), 16));
    let bytes: Result<Vec<u8>, _> = pairs.collect();
    match bytes.map(<[u8; 32]>::try_from) {
        Ok(Ok(key)) if digits.len() == 64 => key,
        _ => Sha256::digest(name).into(),
    }
}

fn altered(name: &str) -> (&str, Option<usize>) {
    let parts = name
        .split_once('^')
        .and_then(|(name, bit)| Some((name, bit.parse().ok()?)));
    parts.map_or((name, None), |(name, bit)| (name, Some(bit)))
}

fn encoded(key: &[u8], flip: Option<usize>) -> String {
    let mut key = key.to_vec();
    if let Some(bit) = flip {
        // A key has bits.
        let _ = super::turn(&mut key, bit);
    }
    STANDARD.encode(key)
}
