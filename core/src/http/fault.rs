//! The rules that a peer can break, one variant each, and the one place that says how each is answered.
//! This module never looks at bytes.

use core::fmt;

use super::response::Status;

/// A rule of HTTP that the peer broke. The connection is closed after the answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum PeerFault {
    /// More than one empty line before a request line.
    EmptyLines,
    /// A line feed without a carriage return before it.
    BareLf,
    /// A carriage return without a line feed after it.
    BareCr,
    /// NUL or another control character.
    ControlCharacter,
    /// The request line is longer than [`Limits::max_request_line`](super::Limits).
    RequestLineTooLong,
    /// The head is longer than [`Limits::max_head_bytes`](super::Limits).
    HeadTooLarge,
    /// More fields than [`Limits::max_headers`](super::Limits).
    TooManyHeaders,
    /// The request line is not a method, a target and a version with one space between them.
    RequestLine,
    /// The method is not a token.
    Method,
    /// The target has none of the forms that this method allows, or a character that no target has.
    Target,
    /// The version is not written as `HTTP/`, a digit, a dot and a digit.
    VersionSyntax,
    /// A version other than 1.0 and 1.1.
    VersionUnsupported,
    /// A field line that continues on the next line.
    ObsFold,
    /// White space between a field name and its colon.
    SpaceBeforeColon,
    /// A field name that is not a token, or a field line without a colon.
    FieldName,
    /// A field value that is not UTF-8.
    FieldValue,
    /// An HTTP/1.1 request without `Host`.
    HostMissing,
    /// More than one `Host`.
    HostRepeated,
    /// A `Host` or authority that is not a host with an optional port.
    HostInvalid,
    /// A `Host` other than the authority of an absolute target.
    HostMismatch,
    /// A `Content-Length` that is not digits, or does not fit in 64 bits.
    ContentLengthInvalid,
    /// More than one `Content-Length`.
    ContentLengthRepeated,
    /// `Content-Length` together with `Transfer-Encoding`.
    LengthAndCoding,
    /// `Transfer-Encoding` in an HTTP/1.0 request.
    CodingInHttp10,
    /// `chunked` is not the last transfer coding, or not there exactly once.
    CodingNotChunked,
    /// A transfer coding before `chunked`.
    CodingUnknown,
    /// The method `CONNECT`: this is not a proxy.
    Connect,
    /// An expectation other than `100-continue`.
    Expectation,
    /// The body is longer than [`Limits::max_body_bytes`](super::Limits).
    BodyTooLarge,
    /// A chunk size that is not 1 to 16 hexadecimal digits followed by an extension or the end of the line.
    ChunkSize,
    /// Chunk extensions beyond their bound.
    ChunkExtension,
    /// Chunk data that is not followed by the end of a line.
    ChunkEnd,
    /// A trailer line that is not a field line.
    Trailer,
    /// Trailers beyond their bound.
    TrailersTooLarge,
    /// The peer closed in the middle of a head.
    IncompleteHead,
    /// The peer closed in the middle of a body.
    IncompleteBody,
    /// The head took too long. Raised by the owner of the clock.
    HeadTimeout,
    /// The body took too long. Raised by the owner of the clock.
    BodyTimeout,
}

impl PeerFault {
    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::RequestLineTooLong => Status::URI_TOO_LONG,
            Self::HeadTooLarge | Self::TooManyHeaders | Self::TrailersTooLarge => {
                Status::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::VersionUnsupported => Status::HTTP_VERSION_NOT_SUPPORTED,
            Self::CodingUnknown | Self::Connect => Status::NOT_IMPLEMENTED,
            Self::Expectation => Status::EXPECTATION_FAILED,
            Self::BodyTooLarge => Status::CONTENT_TOO_LARGE,
            Self::HeadTimeout | Self::BodyTimeout => Status::REQUEST_TIMEOUT,
            Self::EmptyLines
            | Self::BareLf
            | Self::BareCr
            | Self::ControlCharacter
            | Self::RequestLine
            | Self::Method
            | Self::Target
            | Self::VersionSyntax
            | Self::ObsFold
            | Self::SpaceBeforeColon
            | Self::FieldName
            | Self::FieldValue
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostInvalid
            | Self::HostMismatch
            | Self::ContentLengthInvalid
            | Self::ContentLengthRepeated
            | Self::LengthAndCoding
            | Self::CodingInHttp10
            | Self::CodingNotChunked
            | Self::ChunkSize
            | Self::ChunkExtension
            | Self::ChunkEnd
            | Self::Trailer
            | Self::IncompleteHead
            | Self::IncompleteBody => Status::BAD_REQUEST,
        }
    }

    /// What was wrong, in words that never repeat what the peer sent.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::EmptyLines => "more than one empty line before the request line",
            Self::BareLf => "a line feed without a carriage return before it",
            Self::BareCr => "a carriage return without a line feed after it",
            Self::ControlCharacter => "a control character in the head or in a chunk line",
            Self::RequestLineTooLong => "the request line is too long",
            Self::HeadTooLarge => "the request head is too large",
            Self::TooManyHeaders => "too many header fields",
            Self::RequestLine => "the request line is not a method, a target and a version with one space between them",
            Self::Method => "the method is not a token",
            Self::Target => "the request target is not valid for this method",
            Self::VersionSyntax => "the protocol version is malformed",
            Self::VersionUnsupported => "only HTTP/1.1 and HTTP/1.0 are spoken here",
            Self::ObsFold => "a header field continues on a second line",
            Self::SpaceBeforeColon => "white space between a field name and its colon",
            Self::FieldName => "a header line without a valid field name",
            Self::FieldValue => "a header value that is not UTF-8",
            Self::HostMissing => "the Host header is missing",
            Self::HostRepeated => "more than one Host header",
            Self::HostInvalid => "the host is not a name or an address with an optional port",
            Self::HostMismatch => "the Host header differs from the request target",
            Self::ContentLengthInvalid => "Content-Length is not a number",
            Self::ContentLengthRepeated => "more than one Content-Length",
            Self::LengthAndCoding => "Content-Length together with Transfer-Encoding",
            Self::CodingInHttp10 => "Transfer-Encoding in an HTTP/1.0 request",
            Self::CodingNotChunked => "the last transfer coding is not chunked",
            Self::CodingUnknown => "a transfer coding other than chunked",
            Self::Connect => "CONNECT is not supported",
            Self::Expectation => "an expectation other than 100-continue",
            Self::BodyTooLarge => "the request body is too large",
            Self::ChunkSize => "a malformed chunk size",
            Self::ChunkExtension => "chunk extensions are too long",
            Self::ChunkEnd => "chunk data is not followed by the end of a line",
            Self::Trailer => "a malformed trailer field",
            Self::TrailersTooLarge => "the trailer fields are too large",
            Self::IncompleteHead => "the connection ended inside a request head",
            Self::IncompleteBody => "the connection ended inside a request body",
            Self::HeadTimeout => "the request head took too long",
            Self::BodyTimeout => "the request body took too long",
        }
    }
}

impl fmt::Display for PeerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for PeerFault {}
