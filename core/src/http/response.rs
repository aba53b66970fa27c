//! Responses, written: status line, fields, framing. This module holds no state; which framing a response gets is decided in
//! `connection.rs`, and which fields can be written in `fields.rs`.

use bytes::{BufMut, BytesMut};

use super::date::imf_fixdate;
use super::fields::Fields;
use crate::time::UnixMillis;

/// A status code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Status(u16);

macro_rules! statuses {
    ($($name:ident = $code:literal $reason:literal;)*) => {
        impl Status {
            $(#[doc = concat!($code, " ", $reason)] pub const $name: Self = Self($code);)*

            /// The reason phrase: RFC 9110's (or RFC 6585's), or none for a code that is not listed.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self.0 {
                    $($code => $reason,)*
                    _ => "",
                }
            }
        }
    };
}

statuses! {
    CONTINUE = 100 "Continue";
    SWITCHING_PROTOCOLS = 101 "Switching Protocols";
    OK = 200 "OK";
    CREATED = 201 "Created";
    ACCEPTED = 202 "Accepted";
    NO_CONTENT = 204 "No Content";
    MOVED_PERMANENTLY = 301 "Moved Permanently";
    FOUND = 302 "Found";
    SEE_OTHER = 303 "See Other";
    NOT_MODIFIED = 304 "Not Modified";
    TEMPORARY_REDIRECT = 307 "Temporary Redirect";
    PERMANENT_REDIRECT = 308 "Permanent Redirect";
    BAD_REQUEST = 400 "Bad Request";
    UNAUTHORIZED = 401 "Unauthorized";
    FORBIDDEN = 403 "Forbidden";
    NOT_FOUND = 404 "Not Found";
    METHOD_NOT_ALLOWED = 405 "Method Not Allowed";
    NOT_ACCEPTABLE = 406 "Not Acceptable";
    REQUEST_TIMEOUT = 408 "Request Timeout";
    CONFLICT = 409 "Conflict";
    GONE = 410 "Gone";
    LENGTH_REQUIRED = 411 "Length Required";
    PRECONDITION_FAILED = 412 "Precondition Failed";
    CONTENT_TOO_LARGE = 413 "Content Too Large";
    URI_TOO_LONG = 414 "URI Too Long";
    UNSUPPORTED_MEDIA_TYPE = 415 "Unsupported Media Type";
    EXPECTATION_FAILED = 417 "Expectation Failed";
    MISDIRECTED_REQUEST = 421 "Misdirected Request";
    UNPROCESSABLE_CONTENT = 422 "Unprocessable Content";
    UPGRADE_REQUIRED = 426 "Upgrade Required";
    TOO_MANY_REQUESTS = 429 "Too Many Requests";
    REQUEST_HEADER_FIELDS_TOO_LARGE = 431 "Request Header Fields Too Large";
    INTERNAL_SERVER_ERROR = 500 "Internal Server Error";
    NOT_IMPLEMENTED = 501 "Not Implemented";
    BAD_GATEWAY = 502 "Bad Gateway";
    SERVICE_UNAVAILABLE = 503 "Service Unavailable";
    GATEWAY_TIMEOUT = 504 "Gateway Timeout";
    HTTP_VERSION_NOT_SUPPORTED = 505 "HTTP Version Not Supported";
}

impl Status {
    /// The status with this code; `None` outside 200 to 599: interim responses are written by the layer itself.
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        if matches!(code, 200..=599) {
            Some(Self(code))
        } else {
            None
        }
    }

    /// The code.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0
    }

    /// RFC 9110 sections 15.3.5 and 15.4.5: responses with these codes end after their fields.
    pub(super) const fn is_bodiless(self) -> bool {
        matches!(self.0, 100..=199 | 204 | 304)
    }
}

/// A response with its whole body.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The status.
    pub status: Status,
    /// The fields.
    pub headers: Fields<'a>,
    /// The body; only its length counts when the request was `HEAD`.
    pub body: &'a [u8],
    /// For the `Date` field.
    pub date: UnixMillis,
}

/// The head of a response whose body follows piece by piece.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status.
    pub status: Status,
    /// The fields.
    pub headers: Fields<'a>,
    /// For the `Date` field.
    pub date: UnixMillis,
}

/// Room for a head without its owner's fields.
pub(super) const HEAD: usize = 192;

/// What the head says about the end of the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Delimiter {
    /// `Content-Length`.
    Length(usize),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Nothing: the status says that there is no body, or the end of the connection ends it.
    Unsaid,
}

/// What the head says about the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ConnectionOption {
    /// Nothing: HTTP/1.1 goes on.
    Unsaid,
    /// `close`.
    Close,
    /// `keep-alive`, for an HTTP/1.0 peer that asked for it.
    KeepAlive,
}

/// Writes a whole head, its empty line included.
pub(super) fn write_head(head: &ResponseHead<'_>, end: Delimiter, option: ConnectionOption, out: &mut BytesMut) {
    out.reserve(HEAD + head.headers.len());
    write_status(head.status, out);
    head.headers.write(out);
    out.put_slice(b"Date: ");
    out.put_slice(&imf_fixdate(head.date));
    out.put_slice(match end {
        Delimiter::Length(_) => b"\r\nContent-Length: ",
        Delimiter::Chunked => b"\r\nTransfer-Encoding: chunked",
        Delimiter::Unsaid => b"",
    });
    if let Delimiter::Length(length) = end {
        write_decimal(length, out);
    }
    out.put_slice(match option {
        ConnectionOption::Unsaid => b"\r\n\r\n",
        ConnectionOption::Close => b"\r\nConnection: close\r\n\r\n",
        ConnectionOption::KeepAlive => b"\r\nConnection: keep-alive\r\n\r\n",
    });
}

/// Writes a `101` and the caller's fields.
pub(super) fn write_switching(protocol: &str, headers: Fields<'_>, out: &mut BytesMut) {
    out.reserve(HEAD + headers.len());
    write_status(Status::SWITCHING_PROTOCOLS, out);
    out.put_slice(b"Connection: Upgrade\r\n");
    Fields::of(&[("Upgrade", protocol)]).write(out);
    headers.write(out);
    out.put_slice(b"\r\n");
}

/// Writes a `100 Continue`.
pub(super) fn write_continue(out: &mut BytesMut) {
    write_status(Status::CONTINUE, out);
    out.put_slice(b"\r\n");
}

/// Writes one chunk; an empty piece is nothing, because an empty chunk would end the body.
pub(super) fn write_chunk(piece: &[u8], out: &mut BytesMut) {
    if piece.is_empty() {
        return;
    }
    out.reserve(piece.len() + 20);
    write_radix::<16>(piece.len(), out);
    out.put_slice(b"\r\n");
    out.put_slice(piece);
    out.put_slice(b"\r\n");
}

/// Ends a chunked body.
pub(super) fn write_last_chunk(out: &mut BytesMut) {
    out.put_slice(b"0\r\n\r\n");
}

fn write_status(status: Status, out: &mut BytesMut) {
    if status == Status::OK {
        out.put_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.put_slice(b"HTTP/1.1 ");
    write_decimal(usize::from(status.0), out);
    out.put_slice(b" ");
    out.put_slice(status.reason().as_bytes());
    out.put_slice(b"\r\n");
}

fn write_decimal(number: usize, out: &mut BytesMut) {
    write_radix::<10>(number, out);
}

fn write_radix<const RADIX: usize>(number: usize, out: &mut BytesMut) {
    let mut digits = [b'0'; 20];
    let mut rest = number;
    let mut first = digits.len();
    for (index, digit) in digits.iter_mut().enumerate().rev() {
        let value = (rest % RADIX) as u8;
        *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
        rest /= RADIX;
        first = index;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(digits.get(first..).unwrap_or_default());
}
