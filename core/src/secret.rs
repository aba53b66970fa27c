//! Secrets: wiped when dropped, never printed, compared in constant time over keyed digests, so that neither the content
//! nor the length of a secret shows in how long a comparison takes.

use alloc::string::String;
use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

/// A text that must not leak.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself: for digests and for showing it once to its owner.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// SHA-256 of `parts`, each preceded by its length, so that no two different lists of parts collide.
#[must_use]
pub fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Compares presented tokens with expected ones under a key that only this process knows.
pub struct TokenVerifier {
    key: [u8; 32],
    expected: alloc::vec::Vec<[u8; 32]>,
}

impl TokenVerifier {
    /// A verifier for `tokens` under a random `key`.
    #[must_use]
    pub fn new(key: [u8; 32], tokens: &[Secret]) -> Self {
        let expected = tokens
            .iter()
            .map(|token| keyed(&key, token.reveal().as_bytes()))
            .collect();
        Self { key, expected }
    }

    /// Whether `presented` is one of the expected tokens. Every one of them is compared, whichever matches.
    #[must_use]
    pub fn verify(&self, presented: &str) -> bool {
        let presented = keyed(&self.key, presented.as_bytes());
        let found = self.expected.iter().fold(Choice::from(0), |found, expected| {
            found | expected.as_slice().ct_eq(presented.as_slice())
        });
        found.into()
    }
}

impl Drop for TokenVerifier {
    fn drop(&mut self) {
        self.key.zeroize();
        self.expected.zeroize();
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenVerifier({} tokens)", self.expected.len())
    }
}

fn keyed(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    // A key of the block size or less is never refused; were it, an all-zero digest would still be compared, not trusted.
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(message);
            mac.finalize().into_bytes().into()
        }
        Err(_) => [0; 32],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::ToString};

    #[test]
    fn verifies_each_token_and_nothing_else() {
        let verifier = TokenVerifier::new(
            [7; 32],
            &[Secret::new("first-token".into()), Secret::new("second".into())],
        );
        assert!(verifier.verify("first-token"));
        assert!(verifier.verify("second"));
        for wrong in ["", "first-toke", "first-token ", "First-token", "secon"] {
            assert!(!verifier.verify(wrong), "{wrong:?}");
        }
        assert!(!TokenVerifier::new([7; 32], &[]).verify(""));
    }

    #[test]
    fn is_never_printed() {
        let secret = Secret::new("hunter22".to_string());
        assert!(!format!("{secret:?}").contains("hunter22"));
        let verifier = TokenVerifier::new([1; 32], &[secret]);
        assert_eq!(format!("{verifier:?}"), "TokenVerifier(1 tokens)");
    }

    #[test]
    fn digests_separate_their_parts() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_ne!(digest(&[b"ab"]), digest(&[b"ab", b""]));
    }
}
