//! The opening handshake, server side (RFC 6455 section 4.2). The HTTP layer parses the request; this decides whether it is
//! a WebSocket handshake and what the answer must carry.

use alloc::string::String;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::http::{Method, Request, Version};

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request is not a good handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandshakeFault {
    /// It does not ask for an upgrade to WebSocket: answer 426 with `Upgrade: websocket`.
    NotAnUpgrade,
    /// Not a GET over HTTP/1.1, or it has a body: answer 400.
    BadRequest,
    /// `Sec-WebSocket-Key` is missing or not 16 bytes in base64: answer 400.
    BadKey,
    /// `Sec-WebSocket-Version` is not 13: answer 426 with `Sec-WebSocket-Version: 13`.
    BadVersion,
}

/// Checks the request and computes `Sec-WebSocket-Accept`.
///
/// # Errors
/// The first rule that the request breaks.
pub fn accept(request: &Request) -> Result<String, HandshakeFault> {
    if !request.wants_upgrade("websocket") {
        return Err(HandshakeFault::NotAnUpgrade);
    }
    if request.method() != Method::Get || request.version() != Version::Http11 || request.has_body() {
        return Err(HandshakeFault::BadRequest);
    }
    if request.headers().get_only("sec-websocket-version") != Ok(Some("13")) {
        return Err(HandshakeFault::BadVersion);
    }
    let key = request
        .headers()
        .get_only("sec-websocket-key")
        .ok()
        .flatten()
        .ok_or(HandshakeFault::BadKey)?;
    accept_key(key).ok_or(HandshakeFault::BadKey)
}

/// The answer to a key; `None` when the key is not 16 bytes in base64.
#[must_use]
pub fn accept_key(key: &str) -> Option<String> {
    let mut nonce = [0; 18];
    if key.len() != 24 || STANDARD.decode_slice(key, &mut nonce) != Ok(16) {
        return None;
    }
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID);
    Some(STANDARD.encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_section_1_3() {
        assert_eq!(
            accept_key("dGhlIHNhbXBsZSBub25jZQ==").as_deref(),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        for bad in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=!",
            "dGhlIHNhbXBsZSBub25jZSE=",
            "x",
        ] {
            assert_eq!(accept_key(bad), None, "{bad}");
        }
    }
}
