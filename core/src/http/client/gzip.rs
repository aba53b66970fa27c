//! The gzip coding, read (RFC 1952): piece by piece, in bounded memory, with its checksum and length checked. It hands out
//! at most a window at a time, so that a small response which unpacks to a huge one costs no more than was asked for.

use alloc::boxed::Box;

use bytes::{Buf, Bytes};
use crc32fast::Hasher;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// How far back DEFLATE refers.
const WINDOW: usize = 32_768;
/// The longest optional fields (a file name, a comment, extra) that are passed over.
const MAX_OPTIONAL: u32 = 4_096;

/// Decodes one body.
pub(super) struct Gzip {
    at: At,
    inflate: Box<DecompressorOxide>,
    window: Box<[u8; WINDOW]>,
    position: usize,
    checksum: Hasher,
    length: u32,
    optional: u32,
    /// A member has begun: the body may not end before its end.
    inside: bool,
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// In the ten fixed bytes; `flags` once they were read.
    Fixed {
        index: u8,
        flags: u8,
    },
    /// In the optional parts that the flags announce.
    ExtraLength {
        flags: u8,
        low: Option<u8>,
    },
    Extra {
        flags: u8,
        left: u16,
    },
    Text {
        flags: u8,
    },
    Checksum {
        left: u8,
    },
    Deflate,
    /// In the checksum and length at the end.
    Trailer {
        index: u8,
        value: u64,
    },
}

/// The body is not what its coding says.
const MALFORMED: &str = "the body is not valid gzip";

const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const HEADER_CHECKSUM: u8 = 2;

impl Gzip {
    pub(super) fn new() -> Self {
        Self {
            at: At::Fixed { index: 0, flags: 0 },
            inflate: Box::default(),
            window: Box::new([0; WINDOW]),
            position: 0,
            checksum: Hasher::new(),
            length: 0,
            optional: 0,
            inside: false,
        }
    }

    /// Decodes on: the next decoded bytes, or `None` when all of `input` is used up.
    pub(super) fn read(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, &'static str> {
        loop {
            if !matches!(self.at, At::Deflate) {
                let Some(byte) = input.first().copied() else {
                    return Ok(None);
                };
                input.advance(1);
                self.byte(byte)?;
                continue;
            }
            let (status, used, made) = decompress(
                &mut self.inflate,
                input,
                self.window.as_mut_slice(),
                self.position,
                TINFL_FLAG_HAS_MORE_INPUT,
            );
            input.advance(used);
            let piece = self.window.get(self.position..self.position + made).unwrap_or_default();
            self.checksum.update(piece);
            self.length = self.length.wrapping_add(made as u32);
            let piece = Bytes::copy_from_slice(piece);
            self.position = (self.position + made) % WINDOW;
            match status {
                TINFLStatus::Done => self.at = At::Trailer { index: 0, value: 0 },
                TINFLStatus::NeedsMoreInput if piece.is_empty() => return Ok(None),
                TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput => {}
                _ if piece.is_empty() => return Err(MALFORMED),
                // What was decoded before the fault is handed out; the fault comes up again.
                _ => {}
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// The input is over.
    pub(super) const fn end(&self) -> Result<(), &'static str> {
        if self.inside {
            Err("the gzip body ends too early")
        } else {
            Ok(())
        }
    }

    /// One byte outside the compressed data.
    fn byte(&mut self, byte: u8) -> Result<(), &'static str> {
        self.inside = true;
        self.at = match self.at {
            At::Fixed { index, flags } => fixed(index, flags, byte)?,
            At::ExtraLength { flags, low: None } => At::ExtraLength { flags, low: Some(byte) },
            At::ExtraLength { flags, low: Some(low) } => extra(flags, u16::from_le_bytes([low, byte])),
            At::Extra { flags, left } => extra(flags, left - 1),
            At::Text { flags } if byte == 0 => optional(if flags & NAME != 0 {
                flags & !NAME
            } else {
                flags & !COMMENT
            }),
            At::Text { flags } => At::Text { flags },
            At::Checksum { left: 1 } => At::Deflate,
            At::Checksum { left } => At::Checksum { left: left - 1 },
            At::Trailer { index, value } => return self.trailer(index, value | u64::from(byte) << (8 * index)),
            At::Deflate => At::Deflate,
        };
        if matches!(self.at, At::Text { .. } | At::Extra { .. }) {
            self.optional += 1;
            if self.optional > MAX_OPTIONAL {
                return Err(MALFORMED);
            }
        }
        Ok(())
    }

    /// The checksum and the length of what was decoded; another member may follow.
    fn trailer(&mut self, index: u8, value: u64) -> Result<(), &'static str> {
        if index < 7 {
            self.at = At::Trailer {
                index: index + 1,
                value,
            };
            return Ok(());
        }
        let checksum = core::mem::take(&mut self.checksum).finalize();
        if value != u64::from(self.length) << 32 | u64::from(checksum) {
            return Err("the checksum of the gzip body is wrong");
        }
        self.inflate.init();
        self.position = 0;
        self.length = 0;
        self.inside = false;
        self.at = At::Fixed { index: 0, flags: 0 };
        Ok(())
    }
}

/// The ten bytes that every member begins with: two of magic, the method, the flags, and six that do not matter.
fn fixed(index: u8, flags: u8, byte: u8) -> Result<At, &'static str> {
    let flags = match (index, byte) {
        (0, 0x1f) | (1, 0x8b) | (2, 8) => 0,
        (3, flags) if flags & 0xe0 == 0 => flags,
        (0..=3, _) => return Err(MALFORMED),
        (9, _) => return Ok(optional(flags)),
        _ => flags,
    };
    Ok(At::Fixed {
        index: index + 1,
        flags,
    })
}

/// The next part that the flags still announce.
const fn optional(flags: u8) -> At {
    if flags & EXTRA != 0 {
        At::ExtraLength { flags, low: None }
    } else if flags & (NAME | COMMENT) != 0 {
        At::Text { flags }
    } else if flags & HEADER_CHECKSUM != 0 {
        At::Checksum { left: 2 }
    } else {
        At::Deflate
    }
}

const fn extra(flags: u8, left: u16) -> At {
    if left == 0 {
        optional(flags & !EXTRA)
    } else {
        At::Extra { flags, left }
    }
}

impl core::fmt::Debug for Gzip {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Gzip").field("at", &self.at).finish_non_exhaustive()
    }
}
