//! The rules over a head's fields that decide where a message ends and what becomes of the connection: `Host`,
//! `Content-Length`, `Transfer-Encoding`, `Connection`, `Expect`. RFC 9112 sections 3.2, 6 and 9, RFC 9110 section 10.1.1.
//! What two readers could take in two ways is refused.

use core::net::Ipv6Addr;

use super::fault::PeerFault;
use super::request::{BodyKind, Version, list};

/// What the fields of one head say about framing.
#[derive(Default)]
pub(super) struct Framing<'a> {
    host: Option<&'a str>,
    length: Option<u64>,
    codings: Codings,
    close: bool,
    keep_alive: bool,
    upgrade_option: bool,
    upgrade_field: bool,
    expects_continue: bool,
    expects_other: bool,
}

/// The list of transfer codings, over all its field lines.
#[derive(Default)]
pub(super) struct Codings {
    pub(super) present: bool,
    chunked: u32,
    other: bool,
    last_is_chunked: bool,
}

impl<'a> Framing<'a> {
    /// Takes one field line.
    pub(super) fn field(&mut self, name: &str, value: &'a [u8]) -> Result<(), PeerFault> {
        // The length tells most fields apart without a comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => return self.host(text(value)?),
            6 if name.eq_ignore_ascii_case("expect") => self.expect(text(value)?),
            7 if name.eq_ignore_ascii_case("upgrade") => self.upgrade_field = true,
            10 if name.eq_ignore_ascii_case("connection") => self.connection(text(value)?),
            14 if name.eq_ignore_ascii_case("content-length") => return self.length(value),
            17 if name.eq_ignore_ascii_case("transfer-encoding") => self.codings.line(text(value)?),
            _ => {}
        }
        Ok(())
    }

    fn host(&mut self, value: &'a str) -> Result<(), PeerFault> {
        if self.host.replace(value).is_some() {
            return Err(PeerFault::HostRepeated);
        }
        if is_host(value) {
            Ok(())
        } else {
            Err(PeerFault::HostInvalid)
        }
    }

    fn length(&mut self, value: &[u8]) -> Result<(), PeerFault> {
        match self.length.replace(digits(value)?) {
            Some(_) => Err(PeerFault::ContentLengthRepeated),
            None => Ok(()),
        }
    }

    fn expect(&mut self, value: &str) {
        for expectation in list(value) {
            if expectation.eq_ignore_ascii_case("100-continue") {
                self.expects_continue = true;
            } else {
                self.expects_other = true;
            }
        }
    }

    fn connection(&mut self, value: &str) {
        for option in list(value) {
            if option.eq_ignore_ascii_case("close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case("keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case("upgrade") {
                self.upgrade_option = true;
            }
        }
    }

    /// RFC 9112 section 3.2: `Host` exactly once in 1.1, and the same as the authority of an absolute target.
    pub(super) fn check_host(&self, version: Version, authority: &str) -> Result<(), PeerFault> {
        match self.host {
            None if version == Version::Http11 => Err(PeerFault::HostMissing),
            Some(host) if !authority.is_empty() && !host.eq_ignore_ascii_case(authority) => {
                Err(PeerFault::HostMismatch)
            }
            _ => Ok(()),
        }
    }

    /// RFC 9112 section 6.3, the rules for requests in their order.
    pub(super) fn body(&self, version: Version, max: usize) -> Result<BodyKind, PeerFault> {
        if self.codings.present {
            if self.length.is_some() {
                return Err(PeerFault::LengthAndCoding);
            }
            if version == Version::Http10 {
                return Err(PeerFault::CodingInHttp10);
            }
            return self.codings.only_chunked().map(|()| BodyKind::Chunked);
        }
        match self.length {
            None | Some(0) => Ok(BodyKind::None),
            Some(length) if length > max as u64 => Err(PeerFault::BodyTooLarge),
            Some(length) => Ok(BodyKind::Length(length)),
        }
    }

    /// RFC 9110 section 10.1.1: a 1.0 request's `100-continue` is ignored; other expectations cannot be met.
    pub(super) fn expects_continue(&self, version: Version) -> Result<bool, PeerFault> {
        if self.expects_other {
            return Err(PeerFault::Expectation);
        }
        let has_body = self.codings.present || self.length.is_some_and(|length| length > 0);
        Ok(self.expects_continue && has_body && version == Version::Http11)
    }

    /// RFC 9112 section 9.3.
    pub(super) const fn keep_alive(&self, version: Version) -> bool {
        match version {
            Version::Http11 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
        }
    }

    /// RFC 9110 section 7.8: an offer to change protocols counts in 1.1 only, and only as a connection option.
    pub(super) const fn upgrade(&self, version: Version) -> bool {
        matches!(version, Version::Http11) && self.upgrade_option && self.upgrade_field
    }
}

impl Codings {
    /// Chunked is all there is, and it is there once.
    pub(super) const fn only_chunked(&self) -> Result<(), PeerFault> {
        if !self.last_is_chunked || self.chunked != 1 {
            Err(PeerFault::CodingNotChunked)
        } else if self.other {
            Err(PeerFault::CodingUnknown)
        } else {
            Ok(())
        }
    }

    pub(super) fn line(&mut self, value: &str) {
        self.present = true;
        // Unlike other lists, an empty element is not passed over here: it counts as an unknown coding.
        for coding in value.split(',') {
            self.last_is_chunked = coding.trim_matches([' ', '\t']).eq_ignore_ascii_case("chunked");
            if self.last_is_chunked {
                self.chunked = self.chunked.saturating_add(1);
            } else {
                self.other = true;
            }
        }
    }
}

pub(super) fn text(value: &[u8]) -> Result<&str, PeerFault> {
    core::str::from_utf8(value).map_err(|_| PeerFault::FieldValue)
}

/// RFC 9110 section 8.6: one or more digits and nothing else; what does not fit in 64 bits is refused.
pub(super) fn digits(value: &[u8]) -> Result<u64, PeerFault> {
    if value.is_empty() {
        return Err(PeerFault::ContentLengthInvalid);
    }
    value
        .iter()
        .try_fold(0_u64, |number, &byte| match byte {
            b'0'..=b'9' => number
                .checked_mul(10)
                .and_then(|number| number.checked_add(u64::from(byte - b'0'))),
            _ => None,
        })
        .ok_or(PeerFault::ContentLengthInvalid)
}

/// RFC 3986 section 3.2.2 and RFC 9110 section 4.2.1: a host that is not empty, and perhaps a port. No user information.
pub(super) fn is_host(text: &str) -> bool {
    let (host_ok, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else {
            return false;
        };
        let port = match after.strip_prefix(':') {
            Some(port) => port,
            None if after.is_empty() => "",
            None => return false,
        };
        (address.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let (name, port) = text.split_once(':').unwrap_or((text, ""));
        (is_reg_name(name.as_bytes()), port)
    };
    let port_ok = port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok());
    host_ok && port_ok
}

fn is_reg_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
            (b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~', _)
            | (b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=', _) => after,
            _ => return false,
        };
    }
    !name.is_empty()
}
