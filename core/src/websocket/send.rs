//! Frames from the server: unmasked, unfragmented, appended to the caller's buffer.

use bytes::{BufMut, BytesMut};

use super::{CloseCode, Opcode};

/// The longest close reason (RFC 6455 section 5.5: a control frame carries 125 bytes at most, two are the code).
const MAX_REASON: usize = 123;

/// Appends a frame.
pub fn frame(out: &mut BytesMut, opcode: Opcode, payload: &[u8]) {
    out.reserve(payload.len() + 10);
    header(out, opcode, payload.len());
    out.put_slice(payload);
}

/// Appends a text message that `write` writes straight into the buffer; `write` must only append, and only UTF-8.
pub fn text_with(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    // Four bytes are the header of most messages; others are moved once their length is known.
    const GUESS: usize = 4;
    let start = out.len();
    out.put_bytes(0, GUESS);
    write(out);
    let length = out.len().saturating_sub(start + GUESS);
    let mut encoded = [0; 10];
    let size = encode(&mut encoded, Opcode::Text, length);
    if size > GUESS {
        out.put_bytes(0, size - GUESS);
    }
    if size != GUESS {
        out.copy_within(start + GUESS..start + GUESS + length, start + size);
        out.truncate(start + size + length);
    }
    if let Some((place, header)) = out.get_mut(start..start + size).zip(encoded.get(..size)) {
        place.copy_from_slice(header);
    }
}

/// Appends a close frame; a reason that is too long is cut at a character.
pub fn close(out: &mut BytesMut, code: CloseCode, reason: &str) {
    let reason = reason.get(..reason.floor_char_boundary(MAX_REASON)).unwrap_or_default();
    header(out, Opcode::Close, 2 + reason.len());
    out.put_u16(code.0);
    out.put_slice(reason.as_bytes());
}

fn header(out: &mut BytesMut, opcode: Opcode, length: usize) {
    let mut encoded = [0; 10];
    let size = encode(&mut encoded, opcode, length);
    out.put_slice(encoded.get(..size).unwrap_or_default());
}

/// Writes the header in its shortest form and tells its size.
fn encode(header: &mut [u8; 10], opcode: Opcode, length: usize) -> usize {
    let mut rest = &mut header[..];
    rest.put_u8(0x80 | opcode.bits());
    match length {
        0..=125 => rest.put_u8(length as u8),
        126..=0xffff => {
            rest.put_u8(126);
            rest.put_u16(length as u16);
        }
        _ => {
            rest.put_u8(127);
            rest.put_u64(length as u64);
        }
    }
    10 - rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn both_ways_of_writing_agree_at_every_header_size() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload = vec![b'x'; length];
            let (mut one, mut other) = (BytesMut::from(&b"before"[..]), BytesMut::from(&b"before"[..]));
            frame(&mut one, Opcode::Text, &payload);
            text_with(&mut other, |out| out.put_slice(&payload));
            assert_eq!(one, other, "{length}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let mut out = BytesMut::new();
        close(&mut out, CloseCode::POLICY, &"ä".repeat(100));
        assert_eq!(out[..4], [0x88, 124, 0x03, 0xf0]);
        assert_eq!(core::str::from_utf8(&out[4..]).unwrap(), "ä".repeat(61));
    }
}
