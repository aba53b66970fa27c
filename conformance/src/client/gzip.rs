//! A small gzip writer (RFC 1951 and 1952): one block of fixed codes in which runs of one byte become matches. It is enough
//! to make a stream that is small and unpacks to much, without the library that the gateway unpacks with.

/// The longest match of deflate.
const LONGEST: usize = 258;

/// `data` as a gzip stream.
#[must_use]
pub fn compress(data: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    stream.extend(deflate(data));
    stream.extend(crc32(data).to_le_bytes());
    stream.extend(u32::try_from(data.len() & 0xffff_ffff).unwrap_or(0).to_le_bytes());
    stream
}

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut bits = Bits::default();
    // The last block, with fixed codes.
    bits.push_low_first(0b011, 3);
    let mut rest = data;
    let mut last = None;
    while let [first, after @ ..] = rest {
        let run = rest.iter().take_while(|byte| *byte == first).take(LONGEST).count();
        if last == Some(*first) && run == LONGEST {
            // Length 258 (code 285), then distance 1 (code 0).
            bits.push_high_first(0b1100_0101, 8);
            bits.push_high_first(0, 5);
            rest = rest.get(LONGEST..).unwrap_or_default();
        } else {
            bits.push_literal(*first);
            last = Some(*first);
            rest = after;
        }
    }
    bits.push_high_first(0, 7);
    bits.bytes
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u8,
}

impl Bits {
    fn push_literal(&mut self, byte: u8) {
        match byte {
            0..=143 => self.push_high_first(0b0011_0000 + u16::from(byte), 8),
            144.. => self.push_high_first(0b1_1001_0000 + u16::from(byte) - 144, 9),
        }
    }

    fn push_high_first(&mut self, code: u16, length: u8) {
        (0..length).rev().for_each(|place| self.push(code >> place & 1));
    }

    fn push_low_first(&mut self, code: u16, length: u8) {
        (0..length).for_each(|place| self.push(code >> place & 1));
    }

    fn push(&mut self, bit: u16) {
        if self.used == 0 {
            self.bytes.push(0);
        }
        if let (Some(last), 1) = (self.bytes.last_mut(), bit) {
            *last |= 1 << self.used;
        }
        self.used = (self.used + 1) % 8;
    }
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_stream_has_the_bytes_that_gzip_itself_unpacks() {
        // Python: zlib.decompress(bytes, 31) gives b"hello" for these.
        let expected = [
            0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x86, 0xa6, 0x10, 0x36, 5,
            0, 0, 0,
        ];
        assert_eq!(compress(b"hello"), expected);
        assert!(compress(&vec![b'x'; 1_000_000]).len() < 7_000);
    }
}
