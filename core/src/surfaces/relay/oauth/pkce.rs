//! Proof keys (RFC 7636): the challenge that a client shows first and the verifier that it shows last.

use alloc::string::String;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Checks a challenge.
///
/// # Errors
/// What the client is told.
pub(super) fn check_challenge(challenge: &str, method: &str) -> Result<(), String> {
    if challenge.is_empty() {
        return Err("code_challenge is required (PKCE)".into());
    }
    if !(43..=128).contains(&challenge.len()) {
        return Err("code_challenge must be 43-128 characters (RFC 7636)".into());
    }
    if !challenge.bytes().all(is_unreserved) {
        return Err("code_challenge contains invalid characters (RFC 7636)".into());
    }
    match method {
        method if method.eq_ignore_ascii_case("S256") => Ok(()),
        "" => Err("code_challenge_method is required; use S256".into()),
        method if method.eq_ignore_ascii_case("plain") => {
            Err("code_challenge_method 'plain' is not supported; use S256".into())
        }
        method => {
            let method: String = method.chars().take(40).collect();
            Err(alloc::format!("unsupported code_challenge_method: {method}"))
        }
    }
}

/// Checks a verifier against its challenge.
///
/// # Errors
/// What the client is told.
pub(super) fn check_verifier(verifier: &str, challenge: &str) -> Result<(), &'static str> {
    if verifier.is_empty() {
        return Err("code_verifier is required");
    }
    if !(43..=128).contains(&verifier.len()) {
        return Err("code_verifier must be 43-128 characters (RFC 7636)");
    }
    if !verifier.bytes().all(is_unreserved) {
        return Err("code_verifier contains invalid characters (RFC 7636)");
    }
    let right = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    if bool::from(right.as_bytes().ct_eq(challenge.as_bytes())) {
        Ok(())
    } else {
        Err("pkce mismatch")
    }
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_example_of_the_standard() {
        assert_eq!(check_challenge(CHALLENGE, "s256"), Ok(()));
        assert_eq!(check_verifier(VERIFIER, CHALLENGE), Ok(()));
    }

    #[test]
    fn each_check() {
        let (short, long, odd) = (&CHALLENGE[1..], "x".repeat(129), CHALLENGE.replace('9', "+"));
        for (challenge, method, text) in [
            ("", "S256", "code_challenge is required (PKCE)"),
            (short, "S256", "code_challenge must be 43-128 characters (RFC 7636)"),
            (&long, "S256", "code_challenge must be 43-128 characters (RFC 7636)"),
            (&odd, "S256", "code_challenge contains invalid characters (RFC 7636)"),
            (CHALLENGE, "", "code_challenge_method is required; use S256"),
            (
                CHALLENGE,
                "plain",
                "code_challenge_method 'plain' is not supported; use S256",
            ),
            (CHALLENGE, "x", "unsupported code_challenge_method: x"),
        ] {
            assert_eq!(check_challenge(challenge, method).unwrap_err(), text);
        }
        let odd = VERIFIER.replace('9', "+");
        let other = VERIFIER.replace('9', "8");
        for (verifier, text) in [
            ("", "code_verifier is required"),
            (&VERIFIER[1..], "code_verifier must be 43-128 characters (RFC 7636)"),
            (&long, "code_verifier must be 43-128 characters (RFC 7636)"),
            (&odd, "code_verifier contains invalid characters (RFC 7636)"),
            (&other, "pkce mismatch"),
        ] {
            assert_eq!(check_verifier(verifier, CHALLENGE), Err(text));
        }
    }
}
