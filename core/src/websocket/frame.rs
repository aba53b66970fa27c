//! Frame headers (RFC 6455 section 5.2): read strictly, written in their shortest form.

use super::PeerFault;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opcode {
    /// A further fragment of a message.
    Continuation,
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
    /// The end of the connection.
    Close,
    /// Are you there?
    Ping,
    /// I am here.
    Pong,
}

impl Opcode {
    const fn parse(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    pub(super) const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    /// Whether it may stand between the fragments of a message.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A client's frame header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: [u8; 4],
    pub(super) payload: u64,
}

/// The longest header of a masked frame.
pub(super) const MAX_HEADER: usize = 14;

impl Header {
    /// Reads the header at the start of `bytes` and tells its length; `None` when its end has not arrived.
    /// What can be refused early is refused early.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, PeerFault> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(PeerFault::ReservedBits);
        }
        let fin = first & 0x80 != 0;
        let opcode = Opcode::parse(first & 0x0f).ok_or(PeerFault::ReservedOpcode)?;
        if opcode.is_control() && !fin {
            return Err(PeerFault::FragmentedControl);
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(PeerFault::Unmasked);
        }
        let short = second & 0x7f;
        if opcode.is_control() && short > 125 {
            return Err(PeerFault::LongControl);
        }
        let rest = bytes.get(2..).unwrap_or_default();
        let (payload, rest, length_bytes) = match short {
            126 => {
                let Some((length, rest)) = rest.split_first_chunk::<2>() else {
                    return Ok(None);
                };
                let length = u64::from(u16::from_be_bytes(*length));
                if length < 126 {
                    return Err(PeerFault::BadLength);
                }
                (length, rest, 2)
            }
            127 => {
                let Some((length, rest)) = rest.split_first_chunk::<8>() else {
                    return Ok(None);
                };
                let length = u64::from_be_bytes(*length);
                if length < 0x1_0000 || length >> 63 != 0 {
                    return Err(PeerFault::BadLength);
                }
                (length, rest, 8)
            }
            short => (u64::from(short), rest, 0),
        };
        let Some(mask) = rest.first_chunk::<4>() else {
            return Ok(None);
        };
        Ok(Some((
            Self {
                fin,
                opcode,
                mask: *mask,
                payload,
            },
            2 + length_bytes + 4,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_three_lengths_at_their_limits() {
        for (bytes, payload, length) in [
            (&[0x81, 0x80, 1, 2, 3, 4][..], 0, 6),
            (&[0x81, 0xfd, 1, 2, 3, 4], 125, 6),
            (&[0x81, 0xfe, 0, 126, 1, 2, 3, 4], 126, 8),
            (&[0x81, 0xfe, 0xff, 0xff, 1, 2, 3, 4], 65_535, 8),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], 65_536, 14),
        ] {
            let (header, read) = Header::parse(bytes).unwrap().unwrap();
            assert_eq!((header.payload, read, header.mask), (payload, length, [1, 2, 3, 4]));
            for cut in 0..bytes.len() {
                assert_eq!(Header::parse(&bytes[..cut]), Ok(None));
            }
        }
    }

    #[test]
    fn refuses_what_section_5_2_forbids() {
        for (bytes, fault) in [
            (&[0xc1][..], PeerFault::ReservedBits),
            (&[0x83], PeerFault::ReservedOpcode),
            (&[0x8b], PeerFault::ReservedOpcode),
            (&[0x09], PeerFault::FragmentedControl),
            (&[0x81, 0x00], PeerFault::Unmasked),
            (&[0x89, 0xfe], PeerFault::LongControl),
            (&[0x81, 0xfe, 0, 125], PeerFault::BadLength),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], PeerFault::BadLength),
            (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], PeerFault::BadLength),
        ] {
            assert_eq!(Header::parse(bytes), Err(fault), "{bytes:x?}");
        }
    }
}
