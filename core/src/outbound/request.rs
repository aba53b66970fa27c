//! From a [`ClientRequest`] to the bytes of its head. The only place where credentials become bytes.

use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use super::ClientRequest;
use crate::http::client::{RequestParts, Unwritable, write_request};

/// Writes the head. The body follows it as it is.
pub(super) fn write(request: &ClientRequest) -> Result<Bytes, Unwritable> {
    let authority = request.url.authority();
    let plain = request.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let secret = request.credentials.iter().map(|(name, value)| (*name, value.reveal()));
    let fields: Vec<(&str, &str)> = plain.chain(secret).collect();
    let mut out = BytesMut::new();
    let parts = RequestParts {
        method: request.method,
        target: &request.url.target,
        authority: &authority,
        fields: &fields,
        body_bytes: request.body.len(),
    };
    write_request(&parts, &mut out)?;
    Ok(out.freeze())
}
