//! Transport tokens: what an agent shows with each frame to prove that the frame belongs to the connection on which it
//! was told the token. It issues and checks them; what a bad one leads to is decided where frames are read.
//! Spec: `spec/relay.md` section 17.

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::stamp;
use crate::secret::Secret;
use crate::settings::RelaySettings;
use crate::time::UnixMillis;

/// Why a token is not good. The names are those of the original's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenFault {
    /// Not two parts.
    Malformed,
    /// The first part is not base64url.
    TokenEncoding,
    /// The second part is not base64url.
    SignatureEncoding,
    /// Not our signature.
    Signature,
    /// Signed, but not three texts.
    Payload,
    /// Of another device.
    Device,
    /// Of another connection.
    Connection,
    /// The end is no time.
    Expiry,
    /// Over.
    Expired,
}

impl TokenFault {
    /// Its name.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Malformed => "malformed_token",
            Self::TokenEncoding => "invalid_token_encoding",
            Self::SignatureEncoding => "invalid_signature_encoding",
            Self::Signature => "invalid_signature",
            Self::Payload => "invalid_token_payload",
            Self::Device => "device_id_mismatch",
            Self::Connection => "connection_id_mismatch",
            Self::Expiry => "invalid_expiry",
            Self::Expired => "token_expired",
        }
    }
}

/// The key under which tokens are signed: the one that was given, or one that is derived from the signing key.
#[must_use]
pub fn secret(relay: &RelaySettings) -> Secret {
    if let Some(given) = &relay.transport_token_secret {
        return given.clone();
    }
    let mut text = String::with_capacity(64);
    let digest = Hmac::<Sha256>::new_from_slice(relay.signing_key.reveal().as_bytes()).map(|mut mac| {
        mac.update(b"transport-token-secret");
        mac.finalize().into_bytes()
    });
    for byte in digest.unwrap_or_default() {
        let _ = core::fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
    }
    Secret::new(text)
}

/// A token for this connection. It ends at a whole second.
#[must_use]
pub fn issue(secret: &Secret, device_id: &str, connection_id: &str, expires_at: UnixMillis) -> String {
    let mut payload = Vec::with_capacity(device_id.len() + connection_id.len() + 26);
    for part in [device_id, connection_id, &stamp::text(expires_at)] {
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
        payload.extend_from_slice(&length.to_be_bytes());
        payload.extend_from_slice(part.as_bytes());
    }
    let signature = mac(secret, &payload).map(|mac| mac.finalize().into_bytes());
    let mut token = URL_SAFE_NO_PAD.encode(&payload);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature.unwrap_or_default(), &mut token);
    token
}

/// Checks a token that was shown on this connection.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn verify(
    secret: &Secret,
    device_id: &str,
    connection_id: &str,
    now: UnixMillis,
    token: &str,
) -> Result<(), TokenFault> {
    let (payload, signature) = token.split_once('.').ok_or(TokenFault::Malformed)?;
    if signature.contains('.') {
        return Err(TokenFault::Malformed);
    }
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenFault::TokenEncoding)?;
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| TokenFault::SignatureEncoding)?;
    mac(secret, &payload)
        .and_then(|mac| mac.verify_slice(&signature).ok())
        .ok_or(TokenFault::Signature)?;
    let mut rest = &payload[..];
    let parts = [part(&mut rest), part(&mut rest), part(&mut rest)];
    let [Some(device), Some(connection), Some(expiry)] = parts else {
        return Err(TokenFault::Payload);
    };
    if !rest.is_empty() {
        return Err(TokenFault::Payload);
    }
    if device != device_id {
        return Err(TokenFault::Device);
    }
    if connection != connection_id {
        return Err(TokenFault::Connection);
    }
    let expires_at = stamp::parse(expiry).ok_or(TokenFault::Expiry)?;
    if now < expires_at {
        Ok(())
    } else {
        Err(TokenFault::Expired)
    }
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let (text, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *rest = after;
    core::str::from_utf8(text).ok()
}

/// A key of any length will do.
fn mac(secret: &Secret, payload: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).ok()?;
    mac.update(payload);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKEN: &str =
        "AAxkZXZfdmVjdG9yMDEABWFndDoxABQyMDMwLTAxLTAxVDAwOjAwOjAwWg.2RBYkkKmmhnxbCBaT7k6ozR0_bSJ34BDm2hWYwnwu24";
    const END: UnixMillis = UnixMillis(1_893_456_000_000);

    fn secret() -> Secret {
        Secret::new("91a7df53a841efbbcc75aaa08be59c3a45feec623e98a21303cc807ebf7b1e40".into())
    }

    fn check(device: &str, connection: &str, now: u64, token: &str) -> Result<(), TokenFault> {
        verify(&secret(), device, connection, UnixMillis(now), token)
    }

    fn signed(payload: &[u8]) -> String {
        let signature = mac(&secret(), payload).unwrap().finalize().into_bytes();
        alloc::format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(payload),
            URL_SAFE_NO_PAD.encode(signature)
        )
    }

    #[test]
    fn the_worked_example() {
        assert_eq!(issue(&secret(), "dev_vector01", "agt:1", END), TOKEN);
        assert_eq!(check("dev_vector01", "agt:1", END.0 - 1, TOKEN), Ok(()));
    }

    #[test]
    fn each_fault() {
        let good = ("dev_vector01", "agt:1", 0);
        for (fault, (device, connection, now), token) in [
            (TokenFault::Malformed, good, "abc"),
            (TokenFault::Malformed, good, "a.b.c"),
            (TokenFault::TokenEncoding, good, "a=.b"),
            (TokenFault::SignatureEncoding, good, "AAAA.b="),
            (TokenFault::Signature, good, "AAAA.AAAA"),
            (TokenFault::Payload, good, &signed(b"\0\x01a")[..]),
            (TokenFault::Payload, good, &signed(b"\0\x01a\0\x01b\0\x01cd")[..]),
            (TokenFault::Device, ("dev_vector02", "agt:1", 0), TOKEN),
            (TokenFault::Connection, ("dev_vector01", "agt:2", 0), TOKEN),
            (
                TokenFault::Expiry,
                good,
                &signed(b"\0\x0cdev_vector01\0\x05agt:1\0\x04soon")[..],
            ),
            (TokenFault::Expired, ("dev_vector01", "agt:1", END.0), TOKEN),
        ] {
            assert_eq!(check(device, connection, now, token), Err(fault), "{}", fault.text());
        }
        assert_eq!(
            verify(&Secret::new("x".into()), "dev_vector01", "agt:1", UnixMillis(0), TOKEN),
            Err(TokenFault::Signature)
        );
    }

    proptest! {
        #[test]
        fn any_changed_bit_is_refused(bit in 0..TOKEN.len() * 8) {
            let mut token = TOKEN.as_bytes().to_vec();
            token[bit / 8] ^= 1 << (bit % 8);
            if let Ok(token) = core::str::from_utf8(&token) {
                prop_assert!(check("dev_vector01", "agt:1", 0, token).is_err());
            }
        }
    }
}
