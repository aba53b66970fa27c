//! Unmasking (RFC 6455 section 5.3), in place.

/// Applies the mask to `payload`, whose first byte is the `offset`th of its frame.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4], offset: usize) {
    let mut rotated = mask;
    rotated.rotate_left(offset % 4);
    // Eight bytes at a time, in whole words: the compiler makes vectors of it.
    let word = u64::from(u32::from_ne_bytes(rotated));
    let word = word | word << 32;
    let (words, rest) = payload.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(rotated.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::unmask;
    use alloc::vec::Vec;

    #[test]
    fn agrees_with_the_definition_at_every_offset_and_length() {
        let mask = [0x12, 0x34, 0x56, 0x78];
        for offset in 0..5 {
            for length in 0..40 {
                let plain: Vec<u8> = (0..length).collect();
                let mut bytes = plain.clone();
                unmask(&mut bytes, mask, offset);
                let expected: Vec<u8> = plain
                    .iter()
                    .enumerate()
                    .map(|(i, b)| b ^ mask[(i + offset) % 4])
                    .collect();
                assert_eq!(bytes, expected);
            }
        }
    }
}
