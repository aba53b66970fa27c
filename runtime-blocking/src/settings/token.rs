//! The shared token: what may be one, and a fresh one from the operating system. It is never shown by an error.

use portcullis_core::random::{Random, Seed};
use portcullis_core::secret::Secret;

/// What the environment may call the token, best first.
pub const TOKEN_VARIABLES: [&str; 2] = ["OPENGOAT_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_TOKEN"];

/// A token as a person wrote it, without the blanks around it: clients trim theirs too.
///
/// # Errors
/// When no client could send it: `connect` takes 8 to 512 characters (UTF-16 code units).
pub(crate) fn read(written: &str) -> Result<Secret, &'static str> {
    let token = written.trim();
    match token.encode_utf16().count() {
        0..8 => Err("must be at least 8 characters long; clients cannot send a shorter token"),
        8..=512 if token.chars().any(char::is_control) => Err("must not contain control characters or line breaks"),
        8..=512 => Ok(Secret::new(token.to_owned())),
        _ => Err("must be at most 512 characters long; clients cannot send a longer token"),
    }
}

/// A fresh token: 32 random bytes, base64url without padding.
#[must_use]
pub fn fresh(seed: Seed) -> Secret {
    Secret::new(Random::new(seed).token())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_client_can_send() {
        assert_eq!(read(" eight888 ").unwrap().reveal(), "eight888");
        assert!(read(&"x".repeat(512)).is_ok());
        for wrong in ["", "seven77", "   seven77   ", &"x".repeat(513), "two\nlines!"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        // Four emoji are eight UTF-16 code units.
        assert!(read("🐐🐐🐐🐐").is_ok());
    }

    #[test]
    fn fresh_tokens_are_tokens() {
        let token = fresh(Seed([1; 32]));
        assert_eq!(token.reveal().len(), 43);
        assert!(read(token.reveal()).is_ok());
        assert_ne!(token, fresh(Seed([2; 32])));
    }
}
