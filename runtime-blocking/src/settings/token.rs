//! The shared token: what may be one, a fresh one from the operating system, and the file that keeps it. It is never shown
//! by an error.

use std::io;
use std::path::{Path, PathBuf};

use portcullis_core::random::{Random, Seed};
use portcullis_core::secret::Secret;

use super::private_file;

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

/// A fresh token: 32 random bytes as 64 lower-case hex characters.
#[must_use]
pub fn fresh(seed: Seed) -> Secret {
    let bytes = Random::new(seed).bytes::<32>();
    Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Where the token is kept that nobody chose.
#[must_use]
pub fn token_file(state_dir: &Path) -> PathBuf {
    state_dir.join("gateway-token")
}

/// Reads a token file: the token and nothing else. `None`: it is not there.
///
/// # Errors
/// What is wrong with it, without its text.
pub(crate) fn read_file(path: &Path) -> Result<Option<Secret>, String> {
    let Some(text) = private_file::read(path)? else {
        return Ok(None);
    };
    read(&text)
        .map(Some)
        .map_err(|what| format!("the token in it {what}; put another there, or remove the file"))
}

/// Writes the token file: for the owner alone, whole or not at all, with a line end.
///
/// # Errors
/// What the system refuses.
pub fn write_file(path: &Path, token: &Secret) -> io::Result<()> {
    private_file::replace(path, &format!("{}\n", token.reveal()))
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
        assert_eq!(token.reveal().len(), 64);
        assert!(token.reveal().bytes().all(|byte| b"0123456789abcdef".contains(&byte)));
        assert!(read(token.reveal()).is_ok());
        assert_ne!(token, fresh(Seed([2; 32])));
    }

    #[test]
    fn a_token_file_keeps_the_token() {
        let scratch = tempfile::tempdir().unwrap();
        let path = token_file(&scratch.path().join("state"));
        assert_eq!(read_file(&path), Ok(None));
        let token = fresh(Seed([1; 32]));
        write_file(&path, &token).unwrap();
        assert_eq!(read_file(&path), Ok(Some(token.clone())));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", token.reveal()));
        private_file::replace(&path, "hunter2\n").unwrap();
        let told = read_file(&path).unwrap_err();
        assert!(
            told.contains("must be at least 8") && !told.contains("hunter2"),
            "{told}"
        );
    }
}
