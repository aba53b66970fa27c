//! Server-sent events, read: lines cut anywhere, `data` fields joined, everything else passed over. Bounded: an event is
//! never larger than it may be.

use alloc::vec::Vec;

/// The largest event, in bytes.
const MAX_EVENT: usize = 1_048_576;

/// Reads a stream of events.
#[derive(Debug, Default)]
pub(super) struct Sse {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was a CR: an LF after it ends no further line.
    after_cr: bool,
    /// The first line may begin with a byte order mark.
    begun: bool,
}

/// An event that is larger than it may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooLarge;

impl Sse {
    /// Takes bytes and hands every event's data to `event`, until one of them says no.
    pub(super) fn push(&mut self, bytes: &[u8], mut event: impl FnMut(&[u8]) -> bool) -> Result<(), TooLarge> {
        for &byte in bytes {
            let after_cr = core::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\r' | b'\n' => {
                    if !self.end_line(&mut event) {
                        return Ok(());
                    }
                }
                byte if self.line.len() + self.data.len() < MAX_EVENT => self.line.push(byte),
                _ => return Err(TooLarge),
            }
        }
        Ok(())
    }

    /// The stream ended: an event that only lacks its last empty line counts.
    pub(super) fn end(&mut self, mut event: impl FnMut(&[u8]) -> bool) {
        if !self.line.is_empty() && !self.end_line(&mut event) {
            return;
        }
        self.end_line(&mut event);
    }

    fn end_line(&mut self, event: &mut impl FnMut(&[u8]) -> bool) -> bool {
        let line = core::mem::take(&mut self.line);
        let mut text = line.as_slice();
        if !core::mem::replace(&mut self.begun, true) {
            text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        }
        let mut goes_on = true;
        if text.is_empty() {
            let data = core::mem::take(&mut self.data);
            if core::mem::take(&mut self.has_data) {
                goes_on = event(&data);
            }
        } else if let Some(value) = text
            .strip_prefix(b"data")
            .filter(|rest| matches!(rest.first(), None | Some(b':')))
        {
            let value = value.strip_prefix(b":").unwrap_or(value);
            let value = value.strip_prefix(b" ").unwrap_or(value);
            if core::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
        }
        // The line's memory is used again.
        self.line = line;
        self.line.clear();
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use proptest::prelude::*;

    fn read(pieces: &[&[u8]]) -> Vec<String> {
        let (mut sse, mut all) = (Sse::default(), Vec::new());
        for piece in pieces {
            let taken = sse.push(piece, |data| {
                all.push(String::from_utf8_lossy(data).into_owned());
                true
            });
            taken.unwrap();
        }
        sse.end(|data| {
            all.push(String::from_utf8_lossy(data).into_owned());
            true
        });
        all
    }

    #[test]
    fn the_rules_of_the_format() {
        for (stream, events) in [
            ("data: a\n\ndata:b\n\n", &["a", "b"][..]),
            ("data: a\r\n\r\ndata: b\r\rdata: c\n\n", &["a", "b", "c"]),
            ("data: a\ndata:  b\ndata\n\n", &["a\n b\n"]),
            (": comment\nevent: x\nid: 1\nretry: 5\ndata: a\n\nevent: y\n\n", &["a"]),
            ("\u{feff}data: a\n\n", &["a"]),
            ("database: a\n\ndata: [DONE]", &["[DONE]"]),
            ("\n\n\n", &[]),
        ] {
            assert_eq!(read(&[stream.as_bytes()]), events, "{stream:?}");
        }
        let mut sse = Sse::default();
        assert_eq!(sse.push(&alloc::vec![b'a'; MAX_EVENT + 1], |_| true), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(cut in 0_usize..40, other in 0_usize..40) {
            let stream = "data: a\r\n\r\ndata: b\ndata: c\r\r: x\ndata: d".as_bytes();
            let (cut, other) = (cut.min(other).min(stream.len()), cut.max(other).min(stream.len()));
            let pieces = [&stream[..cut], &stream[cut..other], &stream[other..]];
            prop_assert_eq!(read(&pieces), ["a", "b\nc", "d"]);
        }
    }
}
