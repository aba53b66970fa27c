//! A token taken apart, strictly: three parts of base64url without padding, header and payload JSON objects without
//! repeated members, so that no two readers can see different tokens in the same text.

use alloc::string::String;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::fault::TokenFault;

/// The parts of a token: nothing about them is believed yet.
pub(super) struct Parts<'t> {
    /// The first two parts with the dot between them: what is signed.
    pub(super) input: &'t str,
    /// JSON.
    pub(super) header: String,
    /// JSON.
    pub(super) payload: String,
    /// As written.
    pub(super) signature: &'t str,
}

impl<'t> Parts<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`TokenFault::Malformed`] or [`TokenFault::Invalid`].
    pub(super) fn split(token: &'t str) -> Result<Self, TokenFault> {
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenFault::Malformed);
        };
        if token.len() > super::MAX_TOKEN_BYTES || !signature.bytes().all(is_base64url) {
            return Err(TokenFault::Invalid);
        }
        let input = token.get(..header.len() + 1 + payload.len()).unwrap_or_default();
        Ok(Self {
            input,
            header: text(header)?,
            payload: text(payload)?,
            signature,
        })
    }
}

const fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// The text that a part encodes. The decoder takes neither padding nor bits left over at the end.
fn text(part: &str) -> Result<String, TokenFault> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Invalid)?;
    String::from_utf8(bytes).map_err(|_| TokenFault::Invalid)
}
