//! The strict scan of a request head: line ends, control characters, folded lines, the request line and every limit.
//! It judges each byte once, in order, and remembers how far it came, so that a slow sender costs no more than a fast
//! one and gets the same verdict. It never splits fields; that is done once, when the head is whole.

use super::Limits;
use super::fault::PeerFault;

/// How far a head has been searched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    /// Bytes that need no second look.
    searched: usize,
    /// Where the line under way starts.
    line_start: usize,
    /// Lines that ended, the request line included.
    lines: usize,
}

/// A head that is whole and passed the scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Whole {
    /// Its length, the empty line included.
    pub(super) len: usize,
    /// How many field lines it has.
    pub(super) fields: usize,
}

impl Scan {
    /// Nothing is searched yet.
    pub(super) const START: Self = Self {
        searched: 0,
        line_start: 0,
        lines: 0,
    };

    /// Goes on where the last call stopped. `head` starts at the request line; `None` asks for more bytes.
    pub(super) fn advance(&mut self, head: &[u8], limits: &Limits) -> Result<Option<Whole>, PeerFault> {
        self.advance_after(request_line, head, limits)
    }

    /// The same for a head that starts with another line than a request line, which `first_line` judges.
    pub(super) fn advance_after(
        &mut self,
        first_line: impl Fn(&[u8]) -> Result<(), PeerFault>,
        head: &[u8],
        limits: &Limits,
    ) -> Result<Option<Whole>, PeerFault> {
        loop {
            let end = self.window(limits).min(head.len());
            let Some(offset) = head.get(self.searched..end).and_then(first_control) else {
                self.searched = self.searched.max(end);
                return if head.len() > end {
                    Err(self.too_long(limits))
                } else {
                    Ok(None)
                };
            };
            let at = self.searched + offset;
            match head.get(at) {
                Some(b'\t') => self.searched = at + 1,
                Some(b'\r') if at + 1 == end => {
                    // The verdict waits for the byte after it, unless that one lies beyond a limit anyway.
                    self.searched = at;
                    return if head.len() > end {
                        Err(self.too_long(limits))
                    } else {
                        Ok(None)
                    };
                }
                Some(b'\r') if head.get(at + 1) == Some(&b'\n') => {
                    let line = head.get(self.line_start..at).unwrap_or_default();
                    self.searched = at + 2;
                    if let Some(whole) = self.line(&first_line, line, limits)? {
                        return Ok(Some(whole));
                    }
                    self.line_start = at + 2;
                    self.lines += 1;
                }
                Some(b'\r') => return Err(PeerFault::BareCr),
                Some(b'\n') => return Err(PeerFault::BareLf),
                _ => return Err(PeerFault::ControlCharacter),
            }
        }
    }

    /// The first position that the line under way may not reach.
    const fn window(&self, limits: &Limits) -> usize {
        if self.lines == 0 && limits.max_request_line + 2 < limits.max_head_bytes {
            limits.max_request_line + 2
        } else {
            limits.max_head_bytes
        }
    }

    const fn too_long(&self, limits: &Limits) -> PeerFault {
        if self.window(limits) == limits.max_head_bytes {
            PeerFault::HeadTooLarge
        } else {
            PeerFault::RequestLineTooLong
        }
    }

    fn line(
        &self,
        first_line: impl Fn(&[u8]) -> Result<(), PeerFault>,
        line: &[u8],
        limits: &Limits,
    ) -> Result<Option<Whole>, PeerFault> {
        if self.lines == 0 {
            return first_line(line).map(|()| None);
        }
        match line.first() {
            None => Ok(Some(Whole {
                len: self.searched,
                fields: self.lines - 1,
            })),
            Some(b' ' | b'\t') => Err(PeerFault::ObsFold),
            Some(_) if self.lines > limits.max_headers => Err(PeerFault::TooManyHeaders),
            Some(_) => Ok(None),
        }
    }
}

/// RFC 9112 section 3: method SP request-target SP HTTP-version, and nothing else.
fn request_line(line: &[u8]) -> Result<(), PeerFault> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(PeerFault::RequestLine);
    };
    if !is_token(method) {
        return Err(PeerFault::Method);
    }
    // Visible ASCII, and no fragment: RFC 9112 section 3.2.
    if target.is_empty() || !target.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(PeerFault::Target);
    }
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Err(PeerFault::VersionUnsupported)
        }
        _ => Err(PeerFault::VersionSyntax),
    }
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

/// The characters of a token, one bit each.
const TOKEN: u128 = {
    let mut symbols = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".as_slice();
    let mut bits = 0;
    while let [symbol, rest @ ..] = symbols {
        bits |= 1 << *symbol;
        symbols = rest;
    }
    bits
};

/// A character of a token. This is asked for every byte of every field name that is written.
pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte < 128 && (TOKEN >> byte) & 1 == 1
}

/// Where the first control character is (0x00 to 0x1f, and 0x7f). Eight bytes at a time.
pub(super) fn first_control(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // A borrow can only spoil bytes above the first true hit, and the first hit is all that is asked for.
        let low = word.wrapping_sub(ONES * 0x20) & !word;
        let delete = word ^ (ONES * 0x7f);
        let delete = delete.wrapping_sub(ONES) & !delete;
        let hits = (low | delete) & HIGH;
        if hits != 0 {
            return Some(index * 8 + (hits.trailing_zeros() / 8) as usize);
        }
    }
    let tail = rest.iter().position(|&byte| byte < 0x20 || byte == 0x7f)?;
    Some(words.len() * 8 + tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_control_character_is_found_at_every_position() {
        for control in (0..0x20).chain([0x7f]) {
            for length in 1..=24 {
                for at in 0..length {
                    let mut text = [b'~'; 24];
                    text[at] = control;
                    assert_eq!(first_control(&text[..length]), Some(at));
                    text[at..].fill(control);
                    assert_eq!(first_control(&text[..length]), Some(at));
                }
            }
        }
        for byte in (0x20..0x7f).chain(0x80..=0xff) {
            assert_eq!(first_control(&[byte; 24]), None);
        }
    }

    #[test]
    fn what_was_searched_is_not_searched_again() {
        let head = b"GET /a HTTP/1.1\r\nHost: h\r\nA: b\tc\r\n\r\n";
        let mut scan = Scan::START;
        for len in 1..head.len() {
            assert_eq!(scan.advance(&head[..len], &Limits::default()), Ok(None));
            // Only a last CR is looked at once more, with the byte that follows it.
            assert_eq!(scan.searched, len - usize::from(head[len - 1] == b'\r'));
        }
        let whole = Whole {
            len: head.len(),
            fields: 2,
        };
        assert_eq!(scan.advance(head, &Limits::default()), Ok(Some(whole)));
    }

    #[test]
    fn tokens_are_those_of_rfc_9110() {
        let delimiters = b"\"(),/:;<=>?@[\\]{}";
        for byte in 0..=255_u8 {
            let expected = byte.is_ascii_graphic() && !delimiters.contains(&byte);
            assert_eq!(is_token_byte(byte), expected, "{byte:#x}");
        }
        assert!(!is_token(b""));
    }
}
