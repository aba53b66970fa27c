//! The sealed part of a session's message: which fields it must have and what they must look like. It cannot read what
//! is sealed and keeps no sequence numbers. Spec: `spec/relay.md` section 19.

use alloc::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::json::{self, Object};

/// The fields of an envelope.
pub const FIELDS: [&str; 8] = [
    "encrypted",
    "alg",
    "direction",
    "seq",
    "nonce",
    "ciphertext",
    "tag",
    "aad",
];
/// Numbers above this one are not the same in every reader.
const MAX_SEQ: u64 = (1 << 53) - 1;
/// What a nonce of 12 bytes and a tag of 16 are as text.
const NONCE_LENGTH: usize = 16;
const TAG_LENGTH: usize = 24;
/// The longest additional data: two ids of the longest kind, a number and a direction.
const MAX_AAD: usize = 1_024;

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the client.
    ClientToAgent,
    /// From the agent.
    AgentToClient,
}

impl Direction {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientToAgent => "client_to_agent",
            Self::AgentToClient => "agent_to_client",
        }
    }

    /// The nonce of the message with this number, as text.
    #[must_use]
    pub fn nonce(self, seq: u64) -> [u8; NONCE_LENGTH] {
        let prefix = match self {
            Self::ClientToAgent => *b"c2a\0",
            Self::AgentToClient => *b"a2c\0",
        };
        let mut nonce = [0; 12];
        let (first, rest) = nonce.split_at_mut(4);
        first.copy_from_slice(&prefix);
        rest.copy_from_slice(&seq.to_be_bytes());
        let mut text = [0; NONCE_LENGTH];
        // Twelve bytes are sixteen characters.
        let written = STANDARD.encode_slice(nonce, &mut text);
        debug_assert_eq!(written, Ok(NONCE_LENGTH));
        text
    }
}

/// What is wrong with an envelope; the first that applies is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is its name")]
pub enum Violation {
    MissingEncryptedFlag,
    MissingCiphertext,
    MissingNonce,
    MissingTag,
    MissingSeq,
    InvalidSeq,
    InvalidAlg,
    InvalidDirection,
    InvalidNonce,
    InvalidCiphertext,
    InvalidTag,
    InvalidAad,
}

impl Violation {
    /// Its name, as clients are told it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::MissingEncryptedFlag => "missing_encrypted_flag",
            Self::MissingCiphertext => "missing_ciphertext",
            Self::MissingNonce => "missing_nonce",
            Self::MissingTag => "missing_tag",
            Self::MissingSeq => "missing_seq",
            Self::InvalidSeq => "invalid_seq",
            Self::InvalidAlg => "invalid_alg",
            Self::InvalidDirection => "invalid_direction",
            Self::InvalidNonce => "invalid_nonce",
            Self::InvalidCiphertext => "invalid_ciphertext",
            Self::InvalidTag => "invalid_tag",
            Self::InvalidAad => "invalid_aad",
        }
    }
}

/// Checks an envelope and tells its number.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(object: &Object<'_>, direction: Direction) -> Result<u64, Violation> {
    if object.get("encrypted").is_none_or(|value| value.get() != "true") {
        return Err(Violation::MissingEncryptedFlag);
    }
    let ciphertext = text(object, "ciphertext").ok_or(Violation::MissingCiphertext)?;
    let nonce = text(object, "nonce").ok_or(Violation::MissingNonce)?;
    let tag = text(object, "tag").ok_or(Violation::MissingTag)?;
    let seq = object.get("seq").ok_or(Violation::MissingSeq)?.get();
    if seq == "null" {
        return Err(Violation::MissingSeq);
    }
    let seq = integer(seq).ok_or(Violation::InvalidSeq)?;
    if given(object, "alg").is_some_and(|alg| alg != "\"aes-256-gcm\"") {
        return Err(Violation::InvalidAlg);
    }
    if given(object, "direction").is_some_and(|given| given.trim_matches('"') != direction.name()) {
        return Err(Violation::InvalidDirection);
    }
    if nonce.as_bytes() != direction.nonce(seq) {
        return Err(Violation::InvalidNonce);
    }
    if !is_base64(&ciphertext) {
        return Err(Violation::InvalidCiphertext);
    }
    if tag.len() != TAG_LENGTH || !is_base64(&tag) || !tag.ends_with("==") {
        return Err(Violation::InvalidTag);
    }
    match given(object, "aad").map(|_| text(object, "aad")) {
        None => Ok(seq),
        Some(Some(aad)) if aad.len() <= MAX_AAD && is_base64(&aad) => Ok(seq),
        Some(_) => Err(Violation::InvalidAad),
    }
}

/// A string that is not blank.
fn text<'a>(object: &Object<'a>, name: &str) -> Option<Cow<'a, str>> {
    json::string(object.get(name)?).filter(|text| !text.trim().is_empty())
}

/// A value that is there and not `null`.
fn given<'a>(object: &Object<'a>, name: &str) -> Option<&'a str> {
    object.get(name).map(|value| value.get()).filter(|text| *text != "null")
}

/// An integral number of at least 1, however it is written; never a string.
#[must_use]
pub fn integer(number: &str) -> Option<u64> {
    if !number.is_empty() && number.len() <= 16 && number.bytes().all(|byte| byte.is_ascii_digit()) {
        return number.parse().ok().filter(|number| (1..=MAX_SEQ).contains(number));
    }
    if !number.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let float: f64 = number.parse().ok()?;
    // Within the bounds the cast is exact for whole numbers, and comparing it tells whether this is one.
    let whole = float as u64;
    ((1..=MAX_SEQ).contains(&whole) && (whole as f64).to_bits() == float.to_bits()).then_some(whole)
}

/// Whether a text is standard base64 with padding and without bits left over. Nothing is decoded: ciphertexts are long.
#[must_use]
pub fn is_base64(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.is_empty() || !bytes.len().is_multiple_of(4) {
        return false;
    }
    let (body, left_over) = match bytes {
        [body @ .., b'=', b'='] => (body, 0x0f),
        [body @ .., b'='] => (body, 0x03),
        _ => (bytes, 0),
    };
    let worst = body.iter().fold(0, |worst: u8, byte| worst | value(*byte));
    let last = body.last().map_or(0x80, |byte| value(*byte));
    worst < 64 && last & left_over == 0
}

/// The six bits of a character; 128 for one outside the alphabet.
fn value(byte: u8) -> u8 {
    const VALUES: [u8; 256] = {
        let mut values = [0x80; 256];
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut at = 0;
        while at < 64 {
            #[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
            {
                values[alphabet[at] as usize] = at as u8;
            }
            at += 1;
        }
        values
    };
    VALUES.get(usize::from(byte)).copied().unwrap_or(0x80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes_gcm::aead::{Aead, Payload};
    use aes_gcm::{Aes256Gcm, KeyInit};
    use alloc::format;
    use alloc::string::{String, ToString};
    use proptest::prelude::*;

    const C2A: &str = r#"{"encrypted":true,"alg":"aes-256-gcm","direction":"client_to_agent","seq":1,"nonce":"YzJhAAAAAAAAAAAB","ciphertext":"vDLUwr395BMr","tag":"re3L12fgFjNKBFurSL7tdw==","aad":"c2Vzcw=="}"#;

    fn seen(text: &str) -> Result<u64, &'static str> {
        check(&Object::parse(text).unwrap(), Direction::ClientToAgent).map_err(Violation::text)
    }

    #[test]
    fn each_violation_in_order() {
        assert_eq!(seen(C2A), Ok(1));
        for (from, to, violation) in [
            ("true", "\"true\"", "missing_encrypted_flag"),
            ("true", "false", "missing_encrypted_flag"),
            ("\"encrypted\"", "\"x\"", "missing_encrypted_flag"),
            ("vDLUwr395BMr", " ", "missing_ciphertext"),
            ("\"vDLUwr395BMr\"", "7", "missing_ciphertext"),
            ("\"YzJhAAAAAAAAAAAB\"", "null", "missing_nonce"),
            ("\"tag\"", "\"gat\"", "missing_tag"),
            ("\"seq\":1", "\"seq\":null", "missing_seq"),
            ("\"seq\"", "\"qes\"", "missing_seq"),
            ("\"seq\":1", "\"seq\":\"1\"", "invalid_seq"),
            ("\"seq\":1", "\"seq\":0", "invalid_seq"),
            ("\"seq\":1", "\"seq\":-1", "invalid_seq"),
            ("\"seq\":1", "\"seq\":1.5", "invalid_seq"),
            ("\"seq\":1", "\"seq\":9007199254740992", "invalid_seq"),
            ("aes-256-gcm", "none", "invalid_alg"),
            ("client_to_agent", "agent_to_client", "invalid_direction"),
            ("\"seq\":1", "\"seq\":2", "invalid_nonce"),
            ("YzJhAAAAAAAAAAAB", "YTJjAAAAAAAAAAAB", "invalid_nonce"),
            ("vDLUwr395BMr", "vDLUwr395BM", "invalid_ciphertext"),
            ("vDLUwr395BMr", "vDLUwr395B_r", "invalid_ciphertext"),
            ("vDLUwr395BMr", "vDLUwr395BB=", "invalid_ciphertext"),
            ("re3L12fgFjNKBFurSL7tdw==", "re3L12fgFjNKBFurSL7t", "invalid_tag"),
            ("re3L12fgFjNKBFurSL7tdw==", "re3L12fgFjNKBFurSL7tdwAA", "invalid_tag"),
            ("\"c2Vzcw==\"", "\"c2Vzcx==\"", "invalid_aad"),
            ("\"c2Vzcw==\"", "3", "invalid_aad"),
        ] {
            assert_eq!(seen(&C2A.replacen(from, to, 1)), Err(violation), "{from} {to}");
        }
        for (from, to) in [
            ("\"seq\":1", "\"seq\":1.0"),
            ("\"seq\":1", "\"seq\":1e0"),
            ("\"aes-256-gcm\"", "null"),
            (",\"aad\":\"c2Vzcw==\"", ""),
        ] {
            assert_eq!(seen(&C2A.replacen(from, to, 1)), Ok(1), "{to}");
        }
    }

    /// A message as an end makes it.
    fn sealed(cipher: &Aes256Gcm, seq: u64, plain: &[u8]) -> String {
        let aad = format!("s-01|m-01|{seq}|client_to_agent");
        let text = Direction::ClientToAgent.nonce(seq);
        let nonce: [u8; 12] = STANDARD.decode(text).unwrap().try_into().unwrap();
        let payload = Payload {
            msg: plain,
            aad: aad.as_bytes(),
        };
        let sealed = cipher.encrypt(&nonce.into(), payload).unwrap();
        let (body, tag) = sealed.split_at(plain.len());
        format!(
            r#"{{"encrypted":true,"seq":{seq},"nonce":"{}","ciphertext":"{}","tag":"{}"}}"#,
            core::str::from_utf8(&text).unwrap(),
            STANDARD.encode(body),
            STANDARD.encode(tag)
        )
    }

    /// What the other end does: nonce and additional data are its own.
    fn opened(cipher: &Aes256Gcm, expected: u64, text: &str) -> Option<Vec<u8>> {
        let object = Object::parse(text).ok()?;
        let seq = check(&object, Direction::ClientToAgent).ok()?;
        let nonce: [u8; 12] = STANDARD
            .decode(Direction::ClientToAgent.nonce(seq))
            .ok()?
            .try_into()
            .ok()?;
        let field = |name| STANDARD.decode(&*json::string(object.get(name)?)?).ok();
        let (mut body, tag) = (field("ciphertext")?, field("tag")?);
        body.extend_from_slice(&tag);
        let aad = format!("s-01|m-01|{seq}|client_to_agent");
        let payload = Payload {
            msg: &body,
            aad: aad.as_bytes(),
        };
        cipher.decrypt(&nonce.into(), payload).ok().filter(|_| seq == expected)
    }

    use alloc::vec::Vec;

    #[test]
    fn each_changed_bit_of_one_message_is_refused_here_or_at_the_other_end() {
        let cipher = Aes256Gcm::new_from_slice(&[7; 32]).unwrap();
        let whole = sealed(&cipher, 5, b"hello");
        assert!(opened(&cipher, 5, &whole).is_some());
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(text) = core::str::from_utf8(&bytes) {
                assert_eq!(opened(&cipher, 5, text), None, "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_changed_bit_is_refused_here_or_at_the_other_end(
            seq in 1_u64..1 << 53, plain in proptest::collection::vec(any::<u8>(), 1..60), bit in any::<proptest::sample::Index>(),
        ) {
            let cipher = Aes256Gcm::new_from_slice(&[7; 32]).unwrap();
            let whole = sealed(&cipher, seq, &plain);
            prop_assert_eq!(opened(&cipher, seq, &whole), Some(plain));
            let mut bytes = whole.as_bytes().to_vec();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(text) = core::str::from_utf8(&bytes) {
                prop_assert_eq!(opened(&cipher, seq, text), None, "{}", text);
            }
        }

        #[test]
        fn base64_as_the_library_reads_it(text in "[A-D/+=_ ]{0,9}") {
            prop_assert_eq!(is_base64(&text), !text.is_empty() && STANDARD.decode(&text).is_ok());
        }

        #[test]
        fn numbers_however_they_are_written(number in any::<u64>()) {
            let good = (1..=MAX_SEQ).contains(&number);
            prop_assert_eq!(integer(&number.to_string()), good.then_some(number));
        }
    }
}
