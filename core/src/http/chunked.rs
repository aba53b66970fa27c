//! The chunked transfer coding, read: RFC 9112 section 7.1. Everything but chunk data is judged byte by byte and kept
//! nowhere; extensions and trailers are checked, bounded and dropped.

use bytes::{Buf, Bytes, BytesMut};

use super::body::{Step, take};
use super::fault::PeerFault;
use super::scan::is_token_byte;

/// All chunk extensions of one body together.
pub(super) const MAX_EXTENSION_BYTES: u32 = 4_096;
/// All trailer lines of one body together, line ends included.
pub(super) const MAX_TRAILER_BYTES: u32 = 8_192;

/// How far a chunked body has been read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunked {
    at: At,
    /// Body bytes that may still come.
    allowance: u64,
    extension_bytes: u32,
    trailer_bytes: u32,
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// In a chunk size, after so many digits.
    Size {
        value: u64,
        digits: u8,
    },
    /// In an extension.
    Extension {
        size: u64,
    },
    /// At the line feed after a chunk size.
    SizeLf {
        size: u64,
    },
    /// In chunk data.
    Data {
        left: u64,
    },
    /// At the line end after chunk data.
    DataCr,
    DataLf,
    /// At the start of a trailer line, or of the empty line that ends everything.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
}

impl Chunked {
    pub(super) const fn new(max_body_bytes: usize) -> Self {
        Self {
            at: At::Size { value: 0, digits: 0 },
            allowance: max_body_bytes as u64,
            extension_bytes: 0,
            trailer_bytes: 0,
        }
    }

    /// Reads up to the next piece of data, the end, or the end of what arrived.
    pub(super) fn read(&mut self, buffer: &mut BytesMut) -> Result<Step, PeerFault> {
        let mut used = 0;
        let mut ended = false;
        for &byte in buffer.iter() {
            if matches!(self.at, At::Data { .. }) {
                break;
            }
            used += 1;
            if self.byte(byte)? {
                ended = true;
                break;
            }
        }
        buffer.advance(used);
        if ended {
            return Ok(Step::End);
        }
        let At::Data { left } = self.at else {
            return Ok(Step::NeedInput);
        };
        let piece: Bytes = take(buffer, left);
        if piece.is_empty() {
            return Ok(Step::NeedInput);
        }
        let left = left - piece.len() as u64;
        self.at = if left == 0 { At::DataCr } else { At::Data { left } };
        Ok(Step::Data(piece))
    }

    /// One byte outside chunk data. `true`: it was the last one of the body.
    fn byte(&mut self, byte: u8) -> Result<bool, PeerFault> {
        self.at = match self.at {
            At::Size { value, digits } => self.size(byte, value, digits)?,
            At::Extension { size } if byte == b'\r' => At::SizeLf { size },
            At::Extension { size } => {
                self.extension_bytes += 1;
                if self.extension_bytes > MAX_EXTENSION_BYTES {
                    return Err(PeerFault::ChunkExtension);
                }
                text(byte, At::Extension { size })?
            }
            At::SizeLf { size } if byte == b'\n' => self.sized(size)?,
            At::DataCr if byte == b'\r' => At::DataLf,
            At::DataLf if byte == b'\n' => At::Size { value: 0, digits: 0 },
            At::DataCr | At::DataLf | At::Data { .. } => return Err(PeerFault::ChunkEnd),
            At::EndLf if byte == b'\n' => return Ok(true),
            At::SizeLf { .. } | At::TrailerLf | At::EndLf if byte != b'\n' => return Err(PeerFault::BareCr),
            _ => self.trailer(byte)?,
        };
        Ok(false)
    }

    fn size(&self, byte: u8, value: u64, digits: u8) -> Result<At, PeerFault> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if digits > 0 => return Ok(At::SizeLf { size: value }),
            b';' if digits > 0 => return Ok(At::Extension { size: value }),
            b'\n' => return Err(PeerFault::BareLf),
            _ => return Err(PeerFault::ChunkSize),
        };
        // Sixteen digits are what fits in 64 bits.
        if digits >= 16 {
            return Err(PeerFault::ChunkSize);
        }
        Ok(At::Size {
            value: (value << 4) | u64::from(digit),
            digits: digits + 1,
        })
    }

    fn sized(&mut self, size: u64) -> Result<At, PeerFault> {
        if size == 0 {
            return Ok(At::TrailerStart);
        }
        self.allowance = self.allowance.checked_sub(size).ok_or(PeerFault::BodyTooLarge)?;
        Ok(At::Data { left: size })
    }

    fn trailer(&mut self, byte: u8) -> Result<At, PeerFault> {
        if matches!(self.at, At::TrailerStart) && byte == b'\r' {
            return Ok(At::EndLf);
        }
        self.trailer_bytes += 1;
        if self.trailer_bytes > MAX_TRAILER_BYTES {
            return Err(PeerFault::TrailersTooLarge);
        }
        match (self.at, byte) {
            (At::TrailerStart | At::TrailerName, b'\n') => Err(PeerFault::BareLf),
            (At::TrailerStart | At::TrailerName, byte) if is_token_byte(byte) => Ok(At::TrailerName),
            (At::TrailerName, b':') => Ok(At::TrailerValue),
            (At::TrailerValue, b'\r') => Ok(At::TrailerLf),
            (At::TrailerValue, byte) => text(byte, At::TrailerValue),
            (At::TrailerLf, b'\n') => Ok(At::TrailerStart),
            _ => Err(PeerFault::Trailer),
        }
    }
}

/// Goes on to `next` on a byte of text: no control character but the tab.
const fn text(byte: u8, next: At) -> Result<At, PeerFault> {
    match byte {
        b'\t' => Ok(next),
        b'\n' => Err(PeerFault::BareLf),
        0..0x20 | 0x7f => Err(PeerFault::ControlCharacter),
        _ => Ok(next),
    }
}
