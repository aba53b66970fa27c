//! The state of one connection: which part of which message is under way in each direction, and what that allows.
//! This file reads, `answer.rs` writes. Neither looks inside a head (`head.rs`) or a body (`body.rs`).

mod answer;

use core::fmt;

use bytes::{Buf, BytesMut};

use super::body::{Body, Step, take};
use super::fault::PeerFault;
use super::request::{Method, Version};
use super::response;
use super::scan::Scan;
use super::{Event, Limits, MAX_FIELDS, MAX_HEAD, Phase, head};

/// The server's side of one HTTP/1.1 connection.
///
/// The loop of its owner: [`received`](Self::received), then [`poll`](Self::poll) until [`Event::NeedInput`],
/// [`Event::Paused`] or [`Event::Ended`]; one response for each request; `poll` again after a response.
pub struct ServerConnection {
    limits: Limits,
    buffer: BytesMut,
    stage: Stage,
    /// The peer sends nothing more.
    read_closed: bool,
}

#[derive(Debug)]
enum Stage {
    /// Waiting for a head or in it. `skipped`: the one empty line that may precede it was there.
    Head { scan: Scan, skipped: bool },
    /// A request is under way.
    Exchange(Exchange),
    /// The response is finished and the request's body is not.
    Drain { body: Body, left: u64 },
    /// A rule was broken and the answer is owed.
    Refused { head_only: bool },
    /// Nothing is read or written any more.
    Closed,
    /// Another protocol took over.
    Switched,
}

/// One request and its response.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    body: Body,
    reply: Reply,
    version: Version,
    /// The request was `HEAD`.
    head_only: bool,
    keep_alive: bool,
    /// The peer waits for `100 Continue`.
    continue_owed: bool,
}

/// How far the response is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reply {
    Owed,
    /// Streaming, in the chunked coding.
    Chunked,
    /// Streaming, ended by the end of the connection.
    UntilClose,
    /// Streaming in form only: the response has no body.
    Bodiless,
}

const START: Stage = Stage::Head {
    scan: Scan::START,
    skipped: false,
};

impl ServerConnection {
    /// A connection on which nothing has happened.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = Limits {
            max_head_bytes: limits.max_head_bytes.min(MAX_HEAD),
            max_headers: limits.max_headers.min(MAX_FIELDS),
            max_request_line: limits.max_request_line.min(MAX_HEAD),
            ..limits
        };
        Self {
            limits,
            buffer: BytesMut::new(),
            stage: START,
            read_closed: false,
        }
    }

    /// Takes bytes that arrived. They are judged in [`poll`](Self::poll); what arrives after the end is dropped.
    pub fn received(&mut self, bytes: &[u8]) {
        if matches!(self.stage, Stage::Refused { .. } | Stage::Closed | Stage::Switched) || self.read_closed {
            return;
        }
        if self.buffer.is_empty() {
            // A buffer of exactly this size becomes the request's own without another allocation.
            self.buffer = BytesMut::from(bytes);
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The peer will send nothing more.
    pub const fn read_closed(&mut self) {
        self.read_closed = true;
    }

    /// What there is to know next. `out` takes what the layer owes by itself (`100 Continue`).
    pub fn poll(&mut self, out: &mut BytesMut) -> Event {
        loop {
            let event = match &mut self.stage {
                Stage::Head { .. } => Some(self.poll_head()),
                Stage::Exchange(exchange) if exchange.body.is_done() => Some(Event::Paused),
                Stage::Exchange(_) => Some(self.poll_body(out)),
                Stage::Drain { .. } => self.poll_drain(),
                Stage::Refused { .. } | Stage::Closed | Stage::Switched => Some(Event::Ended),
            };
            if self.buffer.is_empty() && self.buffer.capacity() > 0 {
                self.buffer = BytesMut::new();
            }
            if let Some(event) = event {
                return event;
            }
        }
    }

    fn poll_head(&mut self) -> Event {
        let Stage::Head { scan, skipped } = &mut self.stage else {
            return Event::NeedInput;
        };
        // RFC 9112 section 2.2: one empty line before a request line is passed over.
        if !*skipped && self.buffer.starts_with(b"\r\n") {
            self.buffer.advance(2);
            *skipped = true;
        }
        if self.buffer.is_empty() {
            if self.read_closed {
                self.stage = Stage::Closed;
                return Event::Ended;
            }
            return Event::NeedInput;
        }
        if *skipped && self.buffer.starts_with(b"\r\n") {
            return self.refuse(PeerFault::EmptyLines, false);
        }
        // A lone first CR may still become that empty line; the scan starts over with the byte after it.
        match scan.advance(&self.buffer, &self.limits) {
            Err(fault) => self.refuse(fault, false),
            Ok(None) if self.read_closed => self.refuse(PeerFault::IncompleteHead, false),
            Ok(None) => Event::NeedInput,
            Ok(Some(whole)) => {
                let bytes = take(&mut self.buffer, whole.len as u64);
                match head::parse(bytes, whole, &self.limits) {
                    Err(fault) => self.refuse(fault, false),
                    Ok(request) => {
                        self.stage = Stage::Exchange(Exchange {
                            body: Body::new(request.body(), self.limits.max_body_bytes),
                            reply: Reply::Owed,
                            version: request.version(),
                            head_only: request.method() == Method::Head,
                            keep_alive: request.keep_alive(),
                            continue_owed: request.expects_continue(),
                        });
                        Event::Request(request)
                    }
                }
            }
        }
    }

    fn poll_body(&mut self, out: &mut BytesMut) -> Event {
        let Stage::Exchange(exchange) = &mut self.stage else {
            return Event::Paused;
        };
        if exchange.continue_owed && exchange.reply == Reply::Owed {
            exchange.continue_owed = false;
            response::write_continue(out);
        }
        let head_only = exchange.head_only;
        match exchange.body.read(&mut self.buffer) {
            Ok(Step::Data(piece)) => Event::Body(piece),
            Ok(Step::End) => Event::BodyEnd,
            Ok(Step::NeedInput) if self.read_closed => self.refuse(PeerFault::IncompleteBody, head_only),
            Ok(Step::NeedInput) => Event::NeedInput,
            Err(fault) => self.refuse(fault, head_only),
        }
    }

    /// `None`: the body is at its end and the next head may be read.
    fn poll_drain(&mut self) -> Option<Event> {
        let Stage::Drain { body, left } = &mut self.stage else {
            return None;
        };
        loop {
            match body.read(&mut self.buffer) {
                Ok(Step::Data(piece)) if piece.len() as u64 <= *left => *left -= piece.len() as u64,
                Ok(Step::End) => {
                    self.stage = START;
                    return None;
                }
                Ok(Step::NeedInput) if !self.read_closed => return Some(Event::NeedInput),
                // The response is sent: there is nobody to tell what is wrong.
                Ok(Step::Data(_) | Step::NeedInput) | Err(_) => {
                    self.close();
                    return Some(Event::Ended);
                }
            }
        }
    }

    /// Sets the largest body of the request that was just read, at most
    /// [`Limits::max_body_bytes`](super::Limits): owners that allow different sizes for different targets call it before
    /// they poll on.
    ///
    /// # Errors
    /// The request announces a larger one. Nothing is changed then: answer it and close.
    pub const fn limit_body(&mut self, max_body_bytes: usize) -> Result<(), PeerFault> {
        match &mut self.stage {
            Stage::Exchange(exchange) => exchange.body.limit(max_body_bytes),
            _ => Ok(()),
        }
    }

    /// Breaks the connection off for a reason that only its owner knows: a time-out. Answer with
    /// [`respond`](Self::respond) and close.
    pub fn raise(&mut self, fault: PeerFault) {
        let head_only = matches!(self.stage, Stage::Exchange(Exchange { head_only: true, .. }));
        let _told = self.refuse(fault, head_only);
    }

    /// A fault is answered when no response has begun, and closes the connection in any case.
    fn refuse(&mut self, fault: PeerFault, head_only: bool) -> Event {
        let answerable = match &self.stage {
            Stage::Head { .. } => true,
            Stage::Exchange(exchange) => exchange.reply == Reply::Owed,
            Stage::Drain { .. } | Stage::Refused { .. } | Stage::Closed | Stage::Switched => false,
        };
        self.close();
        if answerable {
            self.stage = Stage::Refused { head_only };
        }
        Event::Refused(fault)
    }

    /// What the connection is doing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.stage {
            Stage::Head { .. } if self.buffer.is_empty() => Phase::Idle,
            Stage::Head { .. } => Phase::Head,
            Stage::Exchange(exchange) if exchange.reply != Reply::Owed => Phase::Streaming,
            Stage::Exchange(exchange) if exchange.body.is_done() => Phase::Responding,
            Stage::Exchange(_) => Phase::Body,
            Stage::Drain { .. } => Phase::Draining,
            Stage::Refused { .. } | Stage::Closed | Stage::Switched => Phase::Closing,
        }
    }

    /// Bytes that arrived and are not dealt with.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// A response is owed and has not begun.
    #[must_use]
    pub fn owes_response(&self) -> bool {
        match &self.stage {
            Stage::Exchange(exchange) => exchange.reply == Reply::Owed,
            stage => matches!(stage, Stage::Refused { .. }),
        }
    }

    /// The connection is to be closed once everything written is flushed.
    #[must_use]
    pub const fn must_close(&self) -> bool {
        matches!(self.stage, Stage::Refused { .. } | Stage::Closed)
    }

    fn close(&mut self) {
        self.stage = Stage::Closed;
        self.buffer = BytesMut::new();
    }
}

/// What arrived may hold secrets, so that only its length is shown.
impl fmt::Debug for ServerConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConnection")
            .field("stage", &self.stage)
            .field("buffered", &self.buffer.len())
            .field("read_closed", &self.read_closed)
            .finish_non_exhaustive()
    }
}

// One of these is held for each connection.
const _: () = assert!(size_of::<ServerConnection>() <= 160);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Fields, Response, Status};
    use crate::time::UnixMillis;

    #[test]
    fn an_idle_connection_holds_no_buffer() {
        for request in [
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc".as_slice(),
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n\r\n",
        ] {
            for cut in 1..request.len() {
                let mut connection = ServerConnection::new(Limits::default());
                let out = &mut BytesMut::new();
                for piece in [&request[..cut], &request[cut..]] {
                    connection.received(piece);
                    while !matches!(connection.poll(out), Event::NeedInput | Event::Paused) {}
                }
                let response = Response {
                    status: Status::OK,
                    headers: Fields::NONE,
                    body: b"",
                    date: UnixMillis(0),
                };
                connection.respond(&response, out);
                assert_eq!(
                    (connection.poll(out), connection.phase()),
                    (Event::NeedInput, Phase::Idle)
                );
                assert_eq!(connection.buffer.capacity(), 0, "cut at {cut}");
            }
        }
    }

    #[test]
    fn debug_output_shows_no_bytes_of_the_peer() {
        let mut connection = ServerConnection::new(Limits::default());
        connection.received(b"secret");
        assert!(!alloc::format!("{connection:?}").contains("secret"));
    }
}
