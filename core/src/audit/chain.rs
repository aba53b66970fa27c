//! The hash chain over the journal's lines. A line is `{"ts":...,"seq":N,...,"prev":"HEX","hash":"HEX"}`; its hash is the SHA-256
//! of its bytes before `,"hash"`, and its `prev` is the hash of the line before it (64 zeros in the first).
//! What the chain cannot show: that the newest lines were cut off.

use alloc::string::String;
use core::fmt;

use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::json::write_number;
use crate::time::UnixMillis;

/// Where the chain ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Chain {
    /// The number of the last line; 0 before the first.
    pub(super) seq: u64,
    /// Its hash in hex.
    pub(super) hash: String,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            seq: 0,
            hash: "0".repeat(64),
        }
    }
}

/// How every line begins.
const BEGIN: &[u8] = b"{\"ts\":";

/// The members of a line that the chain is made of.
#[derive(Deserialize)]
struct Link {
    ts: String,
    seq: u64,
    event: String,
    prev: String,
    hash: String,
}

impl Chain {
    /// What a line holds beside a record's members, about.
    pub(super) const LINE_BYTES: usize = 208;

    /// Writes the next line with a record's members, its newline included.
    pub(super) fn write(&mut self, out: &mut BytesMut, at: UnixMillis, members: &[u8]) {
        use fmt::Write;

        let start = out.len();
        self.seq += 1;
        out.put_slice(b"{\"ts\":\"");
        // Memory takes whatever it is given.
        let _ = write!(out, "{}", at.to_utc());
        out.put_slice(b"\",\"seq\":");
        write_number(out, self.seq);
        out.put_u8(b',');
        out.put_slice(members);
        out.put_slice(b",\"prev\":\"");
        out.put_slice(self.hash.as_bytes());
        out.put_u8(b'"');
        self.hash = hex_of(&Sha256::digest(out.get(start..).unwrap_or_default()));
        out.put_slice(b",\"hash\":\"");
        out.put_slice(self.hash.as_bytes());
        out.put_slice(b"\"}\n");
    }

    /// The end of the chain in the last bytes of a journal; `None` when no whole line is among them.
    pub(super) fn last_of(tail: &[u8]) -> Option<Self> {
        let mut lines = tail.rsplit(|byte| *byte == b'\n');
        lines.find_map(|line| {
            let link: Link = serde_json::from_slice(line).ok()?;
            (link.hash == hash_of(line)?).then_some(Self {
                seq: link.seq,
                hash: link.hash,
            })
        })
    }
}

fn hex_of(digest: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [b'0'; 64];
    let halves = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    for (place, half) in hex.iter_mut().zip(halves) {
        *place = DIGITS.get(usize::from(half)).copied().unwrap_or_default();
    }
    String::from(core::str::from_utf8(&hex).unwrap_or_default())
}

/// What the hash of a line must be: over what is before its last member.
fn hash_of(line: &[u8]) -> Option<String> {
    const MEMBER: usize = ",\"hash\":\"\"}".len() + 64;
    let hashed = line.get(..line.len().checked_sub(MEMBER)?)?;
    let member = line.get(hashed.len()..)?;
    member
        .starts_with(b",\"hash\":\"")
        .then(|| hex_of(&Sha256::digest(hashed)))
}

/// Checks a journal, line by line, oldest first.
#[derive(Debug, Default)]
pub struct Verifier {
    last: Option<Chain>,
    verified: Verified,
    line: u64,
    torn: Option<u64>,
}

/// What a journal holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Whole lines.
    pub records: u64,
    /// Number and time of the first and the last one.
    pub first: Option<(u64, String)>,
    /// See [`Self::first`].
    pub last: Option<(u64, String)>,
    /// Lines that a crash left unfinished; what they were to say was never acknowledged.
    pub torn: u64,
    /// Records that the gateway says it could not write.
    pub lost: u64,
}

/// What is wrong with a journal: the number of the line, from 1, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flaw {
    /// The line.
    pub line: u64,
    /// What is wrong with it.
    pub why: FlawKind,
}

/// What is wrong with a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FlawKind {
    /// It is no record, and not the unfinished end of a crash either.
    NotARecord,
    /// It was changed.
    Changed {
        /// The number it bears.
        seq: u64,
    },
    /// It does not continue the line before it: lines were removed, put in or moved.
    Broken {
        /// The number that was to come.
        expected: u64,
        /// The number it bears.
        found: u64,
    },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match self.why {
            FlawKind::NotARecord => f.write_str("this is not an audit record"),
            FlawKind::Changed { seq } => write!(f, "record {seq} was changed after it was written"),
            FlawKind::Broken { expected, found } if expected == found => {
                write!(
                    f,
                    "record {found} does not continue the record before it: that one was replaced"
                )
            }
            FlawKind::Broken { expected, found } => write!(
                f,
                "record {found} where record {expected} belongs: records were removed, put in or moved"
            ),
        }
    }
}

impl core::error::Error for Flaw {}

impl Verifier {
    /// Checks the next line, without its newline. The first line's predecessor may have been rotated away.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Flaw> {
        self.line += 1;
        let flaw = |line, why| Err(Flaw { line, why });
        let link = match serde_json::from_slice::<Link>(line) {
            Ok(link) => link,
            // A crash can leave one line unfinished; the next one continues the last whole one.
            Err(error)
                if error.is_eof() && (line.starts_with(BEGIN) || BEGIN.starts_with(line)) && self.torn.is_none() =>
            {
                self.torn = Some(self.line);
                self.verified.torn += 1;
                return Ok(());
            }
            Err(_) => return flaw(self.torn.unwrap_or(self.line), FlawKind::NotARecord),
        };
        self.torn = None;
        if hash_of(line).as_ref() != Some(&link.hash) {
            return flaw(self.line, FlawKind::Changed { seq: link.seq });
        }
        if let Some(last) = &self.last
            && (link.seq != last.seq + 1 || link.prev != last.hash)
        {
            let expected = last.seq + 1;
            return flaw(
                self.line,
                FlawKind::Broken {
                    expected,
                    found: link.seq,
                },
            );
        }
        if self.last.is_none() && link.seq == 1 && link.prev != Chain::default().hash {
            return flaw(self.line, FlawKind::Broken { expected: 1, found: 1 });
        }
        self.verified.records += 1;
        if link.event == "records_lost" {
            self.verified.lost += count_of(line);
        }
        self.verified.first.get_or_insert_with(|| (link.seq, link.ts.clone()));
        self.verified.last = Some((link.seq, link.ts));
        self.last = Some(Chain {
            seq: link.seq,
            hash: link.hash,
        });
        Ok(())
    }

    /// Lines taken so far.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.line
    }

    /// What was found in the lines so far.
    #[must_use]
    pub const fn verified(&self) -> &Verified {
        &self.verified
    }
}

fn count_of(line: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct Counted {
        count: u64,
    }
    serde_json::from_slice(line).map_or(0, |counted: Counted| counted.count)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::audit::{AuditEvent, AuditOutcome, AuditRecord};

    fn lines(count: u64) -> Vec<Vec<u8>> {
        let (mut chain, mut out) = (Chain::default(), BytesMut::new());
        for at in 0..count {
            let record = AuditRecord::new(AuditEvent::AuthFailed, AuditOutcome::Denied).because("token_mismatch");
            let mut members = BytesMut::new();
            record.write(&mut members);
            chain.write(&mut out, UnixMillis(1_795_264_496_007 + at), &members);
        }
        assert_eq!(Chain::last_of(&out), (count > 0).then_some(chain));
        out[..]
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    }

    fn verify(lines: &[Vec<u8>]) -> Result<u64, FlawKind> {
        let mut verifier = Verifier::default();
        for line in lines {
            verifier.line(line).map_err(|flaw| flaw.why)?;
        }
        Ok(verifier.verified().records)
    }

    #[test]
    fn a_line_as_it_is_written() {
        let line = lines(1).remove(0);
        let text = alloc::string::String::from_utf8(line).unwrap();
        assert!(text.starts_with(
            r#"{"ts":"2026-11-21T12:34:56.007Z","seq":1,"event":"auth_failed","outcome":"denied","reason":"token_mismatch","prev":"0000"#
        ));
        assert!(text.ends_with("\"}"));
    }

    #[test]
    fn an_untouched_journal_verifies_also_without_its_oldest_lines() {
        let lines = lines(5);
        assert_eq!(verify(&lines), Ok(5));
        assert_eq!(verify(&lines[2..]), Ok(3));
        assert_eq!(verify(&[]), Ok(0));
    }

    #[test]
    fn every_changed_bit_shows() {
        let good = lines(3);
        for index in 0..good[1].len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[1][index] ^= 1 << bit;
                assert!(verify(&bad).is_err(), "byte {index} bit {bit}");
            }
        }
    }

    #[test]
    fn removed_inserted_and_moved_lines_show() {
        let good = lines(4);
        let mut removed = good.clone();
        removed.remove(1);
        assert_eq!(verify(&removed), Err(FlawKind::Broken { expected: 2, found: 3 }));
        let mut twice = good.clone();
        twice.insert(1, good[1].clone());
        assert!(verify(&twice).is_err());
        let mut moved = good.clone();
        moved.swap(1, 2);
        assert!(verify(&moved).is_err());
        // A whole forged chain from the second line on does not fit the first.
        let mut forged = lines(3);
        forged.insert(0, good[0].clone());
        assert!(verify(&forged).is_err());
    }

    #[test]
    fn what_a_crash_leaves_is_told_and_harmless() {
        let mut torn = lines(3);
        let half = torn[2][..40].to_vec();
        torn.insert(2, half.clone());
        let mut verifier = Verifier::default();
        for line in &torn {
            verifier.line(line).unwrap();
        }
        assert_eq!((verifier.verified().records, verifier.verified().torn), (3, 1));
        // A crash may leave any number of bytes.
        for length in 1..half.len() {
            torn[2] = half[..length].to_vec();
            assert!(verify(&torn).is_ok(), "{length} bytes");
        }
        torn.insert(2, half);
        assert_eq!(verify(&torn), Err(FlawKind::NotARecord), "a crash tears one line");
    }
}
