//! What a run's program writes: text, however its bytes are cut, and counted.

use alloc::string::String;
use alloc::vec::Vec;

use crate::effect::OutputStream;

/// The output of a run so far.
#[derive(Debug, Default)]
pub(super) struct RunOutput {
    pub(super) stdout: TextStream,
    pub(super) stderr: TextStream,
    /// Bytes of both streams.
    pub(super) bytes: usize,
}

/// One stream: what is not UTF-8 becomes U+FFFD; a character cut in two waits for its end.
#[derive(Debug, Default)]
pub(super) struct TextStream {
    pub(super) text: String,
    tail: Vec<u8>,
}

impl RunOutput {
    /// Takes a chunk and returns its text, which may be empty.
    pub(super) fn push(&mut self, stream: OutputStream, bytes: &[u8]) -> &str {
        self.bytes = self.bytes.saturating_add(bytes.len());
        match stream {
            OutputStream::Stdout => self.stdout.push(bytes),
            OutputStream::Stderr => self.stderr.push(bytes),
        }
    }

    /// The streams ended: characters whose end never came are replaced.
    pub(super) fn end(&mut self) {
        self.stdout.end();
        self.stderr.end();
    }
}

impl TextStream {
    fn push(&mut self, bytes: &[u8]) -> &str {
        let before = self.text.len();
        let mut joined = core::mem::take(&mut self.tail);
        let bytes = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined
        };
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            let may_go_on = chunks.peek().is_none()
                && core::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if may_go_on {
                self.tail = invalid.to_vec();
            } else if !invalid.is_empty() {
                self.text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.text.get(before..).unwrap_or_default()
    }

    fn end(&mut self) {
        if !core::mem::take(&mut self.tail).is_empty() {
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_survive_any_cut_and_the_rest_is_replaced() {
        let bytes = "aä€🐎".as_bytes();
        for cut in 0..=bytes.len() {
            let mut output = RunOutput::default();
            let first = output.push(OutputStream::Stdout, &bytes[..cut]).len();
            assert!(first <= cut);
            output.push(OutputStream::Stdout, &bytes[cut..]);
            output.end();
            assert_eq!(output.stdout.text, "aä€🐎");
            assert_eq!(output.bytes, bytes.len());
        }
        let mut output = RunOutput::default();
        assert_eq!(output.push(OutputStream::Stderr, b"x\xffy\xe2\x82"), "x\u{fffd}y");
        assert_eq!(output.push(OutputStream::Stderr, b"z"), "\u{fffd}z");
        output.push(OutputStream::Stderr, b"\xf0");
        output.end();
        assert_eq!(output.stderr.text, "x\u{fffd}y\u{fffd}z\u{fffd}");
    }
}
