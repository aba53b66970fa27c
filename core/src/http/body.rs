//! A request body, read from the bytes that arrived. What is handed out is cut off, never copied.

use core::mem;

use bytes::{Bytes, BytesMut};

use super::chunked::Chunked;
use super::fault::PeerFault;
use super::request::BodyKind;

/// How far the body of the request under way has been read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body {
    /// It is read, or there is none.
    Done,
    /// So many bytes are still to come.
    Length(u64),
    /// In the chunked coding.
    Chunked(Chunked),
}

/// What reading brought.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing before more bytes arrive.
    NeedInput,
    /// At least one byte.
    Data(Bytes),
    /// The end of the body. Comes once.
    End,
}

impl Body {
    pub(super) const fn new(kind: BodyKind, max_body_bytes: usize) -> Self {
        match kind {
            BodyKind::None => Self::Done,
            BodyKind::Length(length) => Self::Length(length),
            BodyKind::Chunked => Self::Chunked(Chunked::new(max_body_bytes)),
        }
    }

    /// Sets another limit, before anything was read.
    pub(super) const fn limit(&mut self, max_body_bytes: usize) -> Result<(), PeerFault> {
        match self {
            Self::Length(length) if *length > max_body_bytes as u64 => return Err(PeerFault::BodyTooLarge),
            Self::Chunked(chunked) => *chunked = Chunked::new(max_body_bytes),
            Self::Done | Self::Length(_) => {}
        }
        Ok(())
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Reads on. After [`Step::End`] the body is done.
    pub(super) fn read(&mut self, buffer: &mut BytesMut) -> Result<Step, PeerFault> {
        let step = match self {
            Self::Done => Step::NeedInput,
            Self::Length(0) => Step::End,
            Self::Length(left) => {
                let piece = take(buffer, *left);
                *left -= piece.len() as u64;
                if piece.is_empty() {
                    Step::NeedInput
                } else {
                    Step::Data(piece)
                }
            }
            Self::Chunked(chunked) => chunked.read(buffer)?,
        };
        if matches!(step, Step::End) {
            *self = Self::Done;
        }
        Ok(step)
    }
}

/// Cuts off at most `most` bytes. A buffer that is taken whole is given away, so that nothing stays allocated behind it.
pub(super) fn take(buffer: &mut BytesMut, most: u64) -> Bytes {
    match usize::try_from(most) {
        Ok(most) if most < buffer.len() => buffer.split_to(most).freeze(),
        _ => mem::take(buffer).freeze(),
    }
}
