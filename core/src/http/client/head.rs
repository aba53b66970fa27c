//! The head of a response: the status line, the fields, and what they say about the end of the body. RFC 9112 sections 4
//! and 6. What two readers could frame differently is refused, as on the server's side.

use alloc::string::String;
use alloc::vec::Vec;
use core::mem::MaybeUninit;

use super::LIMITS;
use crate::http::fault::PeerFault;
use crate::http::framing::{Codings, digits, text};
use crate::http::head::blame;
use crate::http::request::list;
use crate::http::scan::{Scan, Whole};
use crate::http::{MAX_FIELDS, Version};

/// The head of a final response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The status code, 200 to 599.
    pub status: u16,
    /// The reason phrase, as it came.
    pub reason: String,
    /// The fields in their order, names in lower case.
    pub fields: Vec<(String, String)>,
}

/// How a response's body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    /// There is no body, whatever the fields say.
    None,
    Length(u64),
    Chunked,
    /// The end of the connection ends it.
    UntilClose,
}

/// What a body was encoded with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Coding {
    Identity,
    Gzip,
    /// One that was not asked for.
    Other,
}

/// A head and what it says about the body.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) head: Head,
    pub(super) framing: Framing,
    pub(super) coding: Coding,
}

/// Looks for the end of the head.
pub(super) fn scan(scan: &mut Scan, bytes: &[u8]) -> Result<Option<Whole>, PeerFault> {
    scan.advance_after(status_line, bytes, &LIMITS)
}

/// RFC 9112 section 4: version SP status SP reason. The blank before an empty reason is often left out.
fn status_line(line: &[u8]) -> Result<(), PeerFault> {
    let mut parts = line.splitn(3, |&byte| byte == b' ');
    match parts.next() {
        Some(b"HTTP/1.1" | b"HTTP/1.0") => {}
        _ => return Err(PeerFault::VersionUnsupported),
    }
    match parts.next() {
        Some([b'1'..=b'5', tens, ones]) if tens.is_ascii_digit() && ones.is_ascii_digit() => Ok(()),
        _ => Err(PeerFault::RequestLine),
    }
}

/// Splits and judges a whole, scanned head. `to_head`: the request was `HEAD`.
pub(super) fn parse(bytes: &[u8], to_head: bool) -> Result<Parsed, PeerFault> {
    if core::str::from_utf8(bytes).is_err() {
        return Err(PeerFault::FieldValue);
    }
    let mut lines = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut split = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut split, bytes, &mut lines) {
        Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
        Ok(_) => return Err(PeerFault::RequestLine),
        Err(_) => return Err(blame(bytes)),
    }
    let (Some(status), Some(version)) = (split.code, split.version) else {
        return Err(PeerFault::RequestLine);
    };
    let version = if version == 1 { Version::Http11 } else { Version::Http10 };
    let mut fields = Vec::with_capacity(split.headers.len());
    let mut length = None;
    let mut codings = Codings::default();
    let mut coding = Coding::Identity;
    for line in split.headers.iter() {
        let (name, value) = (line.name.to_ascii_lowercase(), text(line.value)?);
        match name.as_str() {
            "content-length" => only(length.replace(digits(line.value)?))?,
            "transfer-encoding" => codings.line(value),
            "content-encoding" => list(value).for_each(|element| coding = coding.then(element)),
            _ => {}
        }
        fields.push((name, String::from(value)));
    }
    let framing = framing(status, version, to_head, length, &codings)?;
    let reason = String::from(split.reason.unwrap_or_default());
    let head = Head { status, reason, fields };
    Ok(Parsed { head, framing, coding })
}

/// A length must not have come before.
const fn only(before: Option<u64>) -> Result<(), PeerFault> {
    match before {
        None => Ok(()),
        Some(_) => Err(PeerFault::ContentLengthRepeated),
    }
}

impl Coding {
    const fn then(self, element: &str) -> Self {
        match self {
            coding if element.eq_ignore_ascii_case("identity") => coding,
            Self::Identity if element.eq_ignore_ascii_case("gzip") || element.eq_ignore_ascii_case("x-gzip") => {
                Self::Gzip
            }
            _ => Self::Other,
        }
    }
}

/// RFC 9112 section 6.3, the rules for responses. Fields that contradict each other are refused even where the rules say
/// that there is no body.
fn framing(
    status: u16,
    version: Version,
    to_head: bool,
    length: Option<u64>,
    codings: &Codings,
) -> Result<Framing, PeerFault> {
    if codings.present {
        if length.is_some() {
            return Err(PeerFault::LengthAndCoding);
        }
        if version == Version::Http10 {
            return Err(PeerFault::CodingInHttp10);
        }
        codings.only_chunked()?;
    }
    Ok(match (status, length) {
        (100..=199 | 204 | 304, _) => Framing::None,
        _ if to_head => Framing::None,
        _ if codings.present => Framing::Chunked,
        (_, Some(length)) => Framing::Length(length),
        (_, None) => Framing::UntilClose,
    })
}

/// What was wrong with a response, in words that never repeat what the server sent.
pub(super) const fn rule(fault: PeerFault) -> &'static str {
    match fault {
        PeerFault::RequestLineTooLong => "the status line is too long",
        PeerFault::HeadTooLarge => "the response head is too large",
        PeerFault::RequestLine => "the status line is not a version, a status code and a reason",
        PeerFault::VersionSyntax | PeerFault::VersionUnsupported => "it does not begin with HTTP/1.1 or HTTP/1.0",
        PeerFault::CodingInHttp10 => "Transfer-Encoding in an HTTP/1.0 response",
        fault => fault.text(),
    }
}
