//! The writing half of a connection: responses, streams, the change of protocol, and what each leaves of the connection.

use core::mem;

use bytes::BytesMut;

use super::super::MAX_DRAINED;
use super::super::body::Body;
use super::super::fields::Fields;
use super::super::request::Version;
use super::super::response::{self, ConnectionOption, Delimiter, Response, ResponseHead};
use super::{Exchange, Reply, START, ServerConnection, Stage};

impl ServerConnection {
    /// Writes a response with its whole body. It does nothing when no response is owed.
    pub fn respond(&mut self, response: &Response<'_>, out: &mut BytesMut) {
        let (head_only, option) = match &self.stage {
            Stage::Exchange(exchange) if exchange.reply == Reply::Owed => (exchange.head_only, exchange.option()),
            Stage::Refused { head_only } => (*head_only, ConnectionOption::Close),
            _ => return,
        };
        let Response {
            status,
            headers,
            body,
            date,
        } = *response;
        let end = if status.is_bodiless() {
            Delimiter::Unsaid
        } else {
            Delimiter::Length(body.len())
        };
        let body = if head_only || status.is_bodiless() { &[] } else { body };
        // Head and body in one piece of memory.
        out.reserve(response::HEAD + headers.len() + body.len());
        response::write_head(&ResponseHead { status, headers, date }, end, option, out);
        out.extend_from_slice(body);
        self.responded();
    }

    /// Writes the head of a response whose body follows with [`write`](Self::write) and ends with
    /// [`finish`](Self::finish). It does nothing when no response is owed.
    pub fn respond_streaming(&mut self, head: &ResponseHead<'_>, out: &mut BytesMut) {
        let Stage::Exchange(exchange) = &mut self.stage else {
            return;
        };
        if exchange.reply != Reply::Owed {
            return;
        }
        let bodiless = head.status.is_bodiless();
        let (end, reply) = match exchange.version {
            _ if bodiless => (Delimiter::Unsaid, Reply::Bodiless),
            Version::Http11 => (Delimiter::Chunked, Reply::Chunked),
            Version::Http10 => (Delimiter::Unsaid, Reply::UntilClose),
        };
        if reply == Reply::UntilClose {
            exchange.keep_alive = false;
        }
        exchange.keep_alive = exchange.keeps();
        response::write_head(head, end, exchange.option(), out);
        exchange.reply = if exchange.head_only { Reply::Bodiless } else { reply };
    }

    /// Writes a piece of a streaming response's body. It does nothing when none is under way.
    pub fn write(&mut self, piece: &[u8], out: &mut BytesMut) {
        let Stage::Exchange(exchange) = &self.stage else { return };
        match exchange.reply {
            Reply::Chunked => response::write_chunk(piece, out),
            Reply::UntilClose => out.extend_from_slice(piece),
            Reply::Owed | Reply::Bodiless => {}
        }
    }

    /// Ends a streaming response. It does nothing when none is under way.
    pub fn finish(&mut self, out: &mut BytesMut) {
        let Stage::Exchange(exchange) = &self.stage else { return };
        match exchange.reply {
            Reply::Owed => return,
            Reply::Chunked => response::write_last_chunk(out),
            Reply::UntilClose | Reply::Bodiless => {}
        }
        self.responded();
    }

    /// Writes `101 Switching Protocols` and hands over the bytes that already followed the request. From then on this
    /// connection has nothing to say: drop it. `None`, and nothing is written, unless a response to a wholly read
    /// HTTP/1.1 request is owed.
    #[must_use = "the bytes belong to the new protocol"]
    pub fn switch_protocols(&mut self, protocol: &str, headers: Fields<'_>, out: &mut BytesMut) -> Option<BytesMut> {
        match &self.stage {
            Stage::Exchange(exchange)
                if exchange.reply == Reply::Owed && exchange.body.is_done() && exchange.version == Version::Http11 => {}
            _ => return None,
        }
        response::write_switching(protocol, headers, out);
        self.stage = Stage::Switched;
        Some(mem::take(&mut self.buffer))
    }

    /// Closes the connection after the response that is owed or under way.
    pub const fn close_after_response(&mut self) {
        if let Stage::Exchange(exchange) = &mut self.stage {
            exchange.keep_alive = false;
        }
    }

    /// The response is finished: on to the next request, or to the end.
    fn responded(&mut self) {
        match &self.stage {
            Stage::Exchange(exchange) if exchange.keeps() => {
                self.stage = match exchange.body {
                    Body::Done => START,
                    body => Stage::Drain {
                        body,
                        left: MAX_DRAINED,
                    },
                };
            }
            _ => self.close(),
        }
    }
}

impl Exchange {
    /// Whether another request can follow. An unread body must be short enough to be dropped, and it must be certain
    /// that the peer sends it: a peer that still waits for `100 Continue` may send it or not.
    const fn keeps(&self) -> bool {
        self.keep_alive
            && match self.body {
                Body::Done => true,
                Body::Length(left) => left <= MAX_DRAINED && !self.continue_owed,
                Body::Chunked(_) => !self.continue_owed,
            }
    }

    const fn option(&self) -> ConnectionOption {
        match self.version {
            _ if !self.keeps() => ConnectionOption::Close,
            Version::Http10 => ConnectionOption::KeepAlive,
            Version::Http11 => ConnectionOption::Unsaid,
        }
    }
}
