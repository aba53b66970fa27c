//! A response, read from the bytes that arrived. The body is decoded only as it is asked for, so that who stops asking
//! stops the work, and no more than the limit is ever handed out.

use alloc::boxed::Box;
use core::fmt;

use bytes::{Bytes, BytesMut};

use super::gzip::Gzip;
use super::head::{self, Coding, Framing, Head, rule};
use super::{MAX_INTERIM, MAX_PIECE};
use crate::http::body::{Body, Step, take};
use crate::http::fault::PeerFault;
use crate::http::request::BodyKind;
use crate::http::scan::Scan;

/// Reads one response.
#[derive(Debug)]
pub struct ResponseReader {
    buffer: Unread,
    stage: Stage,
    /// The request was `HEAD`.
    to_head: bool,
    max_body_bytes: u64,
    /// A byte of the response came.
    begun: bool,
    ended: Ended,
    interim: u8,
}

/// What [`ResponseReader::poll`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResponseEvent {
    /// Nothing before more bytes arrive.
    NeedInput,
    /// The final response's head.
    Head(Head),
    /// A piece of the body, decoded: at least one byte, at most [`MAX_PIECE`].
    Body(Bytes),
    /// The body is complete. Nothing follows.
    End,
    /// The response is no good. Nothing follows.
    Failed(ResponseFault),
}

/// Why a response is no good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseFault {
    /// It breaks a rule of HTTP.
    Malformed(&'static str),
    /// The body is larger than the limit.
    TooLarge {
        /// What `Content-Length` said, if that is how it was noticed.
        announced: Option<u64>,
    },
    /// The connection ended too early.
    Cut {
        /// Before any byte of the response came.
        before_head: bool,
    },
}

/// Whether more bytes can come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    No,
    InOrder,
    /// The connection was reset: what was read so far may not be all.
    Broken,
}

#[derive(Debug)]
enum Stage {
    Head(Scan),
    Body(Box<Reading>),
    Done,
}

/// A body on its way through its codings.
#[derive(Debug)]
struct Reading {
    frame: Frame,
    /// Taken out of the framing, not yet decoded or handed out.
    raw: Bytes,
    /// Decoded, not yet handed out.
    piece: Bytes,
    gzip: Option<Gzip>,
    /// What the head promises to fail with, told after the head.
    fault: Option<ResponseFault>,
    /// Decoded bytes that may still be handed out.
    allowance: u64,
    over: bool,
}

#[derive(Debug)]
enum Frame {
    Delimited(Body),
    UntilClose { allowance: u64 },
}

/// Bytes of a peer, which may be secret: only their number is shown.
struct Unread(BytesMut);

impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl ResponseReader {
    /// A reader of the response to a request; `to_head`: the request was `HEAD`.
    #[must_use]
    pub fn new(to_head: bool, max_body_bytes: u64) -> Self {
        Self {
            buffer: Unread(BytesMut::new()),
            stage: Stage::Head(Scan::START),
            to_head,
            max_body_bytes,
            begun: false,
            ended: Ended::No,
            interim: 0,
        }
    }

    /// Takes bytes that arrived. What arrives after the end is dropped.
    pub fn received(&mut self, bytes: &[u8]) {
        if !matches!(self.stage, Stage::Done) && self.ended == Ended::No && !bytes.is_empty() {
            self.begun = true;
            self.buffer.0.extend_from_slice(bytes);
        }
    }

    /// The server will send nothing more.
    pub fn read_closed(&mut self) {
        if self.ended == Ended::No {
            self.ended = Ended::InOrder;
        }
    }

    /// The connection broke: nothing more comes, and what came may not be all.
    pub fn broken(&mut self) {
        if self.ended == Ended::No {
            self.ended = Ended::Broken;
        }
    }

    /// Whether the final response's head was handed out.
    #[must_use]
    pub const fn has_head(&self) -> bool {
        !matches!(self.stage, Stage::Head(_))
    }

    /// What there is to know next.
    pub fn poll(&mut self) -> ResponseEvent {
        let polled = match &mut self.stage {
            Stage::Head(_) => self.poll_head(),
            Stage::Body(reading) => reading.poll(&mut self.buffer.0, self.ended),
            Stage::Done => Ok(None),
        };
        match polled {
            Ok(Some(event)) => {
                if event == ResponseEvent::End {
                    self.finish();
                }
                event
            }
            Ok(None) => ResponseEvent::NeedInput,
            Err(fault) => {
                self.finish();
                ResponseEvent::Failed(fault)
            }
        }
    }

    fn finish(&mut self) {
        self.stage = Stage::Done;
        self.buffer.0 = BytesMut::new();
    }

    fn poll_head(&mut self) -> Result<Option<ResponseEvent>, ResponseFault> {
        loop {
            let Stage::Head(scan) = &mut self.stage else {
                return Ok(None);
            };
            let malformed = |fault| ResponseFault::Malformed(rule(fault));
            let Some(whole) = head::scan(scan, &self.buffer.0).map_err(malformed)? else {
                return match self.ended {
                    Ended::No => Ok(None),
                    _ => Err(ResponseFault::Cut {
                        before_head: !self.begun,
                    }),
                };
            };
            let bytes = take(&mut self.buffer.0, whole.len as u64);
            let parsed = head::parse(&bytes, self.to_head).map_err(malformed)?;
            match parsed.head.status {
                101 => return Err(ResponseFault::Malformed("the server changed the protocol unasked")),
                100..=199 => {
                    self.interim += 1;
                    if self.interim > MAX_INTERIM {
                        return Err(ResponseFault::Malformed("too many interim responses"));
                    }
                    self.stage = Stage::Head(Scan::START);
                }
                _ => {
                    let reading = Reading::new(parsed.framing, parsed.coding, self.max_body_bytes);
                    self.stage = Stage::Body(Box::new(reading));
                    return Ok(Some(ResponseEvent::Head(parsed.head)));
                }
            }
        }
    }
}

impl Reading {
    fn new(framing: Framing, coding: Coding, max: u64) -> Self {
        let has_body = framing != Framing::None;
        let gzip = (has_body && coding == Coding::Gzip).then(Gzip::new);
        // Compressed, a body of the allowed size is at most a little larger than plain.
        let encoded = if gzip.is_some() {
            max.saturating_add(max / 64).saturating_add(MAX_PIECE as u64)
        } else {
            max
        };
        let fault = match framing {
            _ if has_body && coding == Coding::Other => {
                Some(ResponseFault::Malformed("a content coding that was not asked for"))
            }
            Framing::Length(length) if length > encoded => Some(ResponseFault::TooLarge {
                announced: Some(length),
            }),
            _ => None,
        };
        let most = usize::try_from(encoded).unwrap_or(usize::MAX);
        let frame = match framing {
            Framing::None => Frame::Delimited(Body::Length(0)),
            Framing::Length(length) => Frame::Delimited(Body::Length(length)),
            Framing::Chunked => Frame::Delimited(Body::new(BodyKind::Chunked, most)),
            Framing::UntilClose => Frame::UntilClose { allowance: encoded },
        };
        Self {
            frame,
            raw: Bytes::new(),
            piece: Bytes::new(),
            gzip,
            fault,
            allowance: max,
            over: false,
        }
    }

    fn poll(&mut self, buffer: &mut BytesMut, ended: Ended) -> Result<Option<ResponseEvent>, ResponseFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        loop {
            if !self.piece.is_empty() {
                return self.hand_out();
            }
            match &mut self.gzip {
                None => self.piece = core::mem::take(&mut self.raw),
                Some(gzip) => {
                    let decoded = gzip.read(&mut self.raw).map_err(ResponseFault::Malformed)?;
                    self.piece = decoded.unwrap_or_default();
                }
            }
            if !self.piece.is_empty() {
                continue;
            }
            if self.over {
                let whole = self.gzip.as_ref().map_or(Ok(()), Gzip::end);
                return whole
                    .map(|()| Some(ResponseEvent::End))
                    .map_err(ResponseFault::Malformed);
            }
            if !self.unframe(buffer, ended)? {
                return Ok(None);
            }
        }
    }

    /// Hands out as much as is allowed.
    fn hand_out(&mut self) -> Result<Option<ResponseEvent>, ResponseFault> {
        let most = self.allowance.min(MAX_PIECE as u64) as usize;
        if most == 0 {
            return Err(ResponseFault::TooLarge { announced: None });
        }
        let piece = self.piece.split_to(most.min(self.piece.len()));
        self.allowance -= piece.len() as u64;
        Ok(Some(ResponseEvent::Body(piece)))
    }

    /// Takes the next bytes out of the framing; `false`: more input is needed.
    fn unframe(&mut self, buffer: &mut BytesMut, ended: Ended) -> Result<bool, ResponseFault> {
        match &mut self.frame {
            Frame::Delimited(body) => match body.read(buffer) {
                Ok(Step::Data(piece)) => self.raw = piece,
                Ok(Step::End) => self.over = true,
                Ok(Step::NeedInput) if ended == Ended::No => return Ok(false),
                Ok(Step::NeedInput) => return Err(ResponseFault::Cut { before_head: false }),
                Err(PeerFault::BodyTooLarge) => return Err(ResponseFault::TooLarge { announced: None }),
                Err(fault) => return Err(ResponseFault::Malformed(rule(fault))),
            },
            Frame::UntilClose { allowance } if !buffer.is_empty() => {
                if *allowance == 0 {
                    return Err(ResponseFault::TooLarge { announced: None });
                }
                self.raw = take(buffer, *allowance);
                *allowance -= self.raw.len() as u64;
            }
            Frame::UntilClose { .. } => match ended {
                Ended::No => return Ok(false),
                Ended::InOrder => self.over = true,
                Ended::Broken => return Err(ResponseFault::Cut { before_head: false }),
            },
        }
        Ok(true)
    }
}
