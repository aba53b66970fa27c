//! A compact JWS (RFC 7515) taken apart, strictly: three parts of base64url without padding, header and payload JSON objects without
//! repeated members, so that no two readers can see different tokens in the same text. It judges no
//! signature, no algorithm and no claim; whoever owns the keys does.

use alloc::borrow::Cow;
use alloc::string::String;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{Object, string};

/// The longest token that is looked at. Ours have some hundred characters; a stranger's may not cost more than this.
pub const MAX_TOKEN_BYTES: usize = 8_192;

/// Why a text is no compact JWS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ShapeFault {
    /// It has not three parts.
    Malformed,
    /// It is too long, or a part is not base64url of text.
    Invalid,
}

/// The parts of a token: nothing about them is believed yet.
pub(crate) struct Parts<'t> {
    /// The first two parts with the dot between them: what is signed.
    pub(crate) input: &'t str,
    /// JSON.
    pub(crate) header: String,
    /// JSON.
    pub(crate) payload: String,
    /// As written.
    pub(crate) signature: &'t str,
}

impl<'t> Parts<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`ShapeFault::Malformed`] or [`ShapeFault::Invalid`].
    pub(crate) fn split(token: &'t str) -> Result<Self, ShapeFault> {
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ShapeFault::Malformed);
        };
        if token.len() > MAX_TOKEN_BYTES || !signature.bytes().all(is_base64url) {
            return Err(ShapeFault::Invalid);
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
fn text(part: &str) -> Result<String, ShapeFault> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| ShapeFault::Invalid)?;
    String::from_utf8(bytes).map_err(|_| ShapeFault::Invalid)
}

/// A member that is a string.
pub(crate) fn text_of<'a>(object: &Object<'a>, key: &str) -> Option<Cow<'a, str>> {
    object.get(key).and_then(string)
}

/// A number, however it is written.
pub(crate) fn number(value: &RawValue) -> Option<f64> {
    f64::deserialize(&mut serde_json::Deserializer::from_str(value.get())).ok()
}
