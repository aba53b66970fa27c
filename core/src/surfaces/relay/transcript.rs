//! The agent's proof in a handshake: the transcript hash and the Ed25519 signature over it, and which X25519 keys are
//! keys at all. It keeps nothing and knows no session. Spec: `spec/relay.md` section 18.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use curve25519_dalek::MontgomeryPoint;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The label of version 2.
const LABEL: &[u8] = b"portcullis-relay-transcript-v2";

/// What both sides of a handshake must agree on, as texts, exactly as they were exchanged.
#[derive(Clone, Copy, Debug)]
pub struct Transcript<'a> {
    /// The session.
    pub session_id: &'a str,
    /// The handshake.
    pub handshake_id: &'a str,
    /// The client's key.
    pub client_key: &'a str,
    /// The client's nonce.
    pub client_nonce: &'a str,
    /// The agent's key.
    pub agent_key: &'a str,
}

/// The transcript of version 2: it names the device and its identity key, too, has a label, and each part has its length
/// before it, so that no two handshakes have the same one.
#[derive(Clone, Copy, Debug)]
pub struct BoundTranscript<'a> {
    /// What version 1 has.
    pub exchanged: Transcript<'a>,
    /// The device.
    pub device_id: &'a str,
}

/// Why a proof is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProofFault {
    /// The hash is not that of this handshake.
    Hash,
    /// The signature is not base64 of 64 bytes.
    SignatureForm,
    /// The device's key has not signed this hash.
    Signature,
}

/// Why a text is no ephemeral key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyFault {
    /// Not padded standard base64.
    Encoding,
    /// Not 32 bytes, but so many.
    Length(usize),
    /// A point of low order: the shared secret would be the same for everybody.
    LowOrder,
}

impl Transcript<'_> {
    /// SHA-256 over the five texts, joined by `|`.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for (at, part) in [
            self.session_id,
            self.handshake_id,
            self.client_key,
            self.client_nonce,
            self.agent_key,
        ]
        .into_iter()
        .enumerate()
        {
            if at > 0 {
                hash.update(b"|");
            }
            hash.update(part.as_bytes());
        }
        hash.finalize().into()
    }

    /// Checks an agent's proof: the hash, then the signature over its 32 bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self, identity_key: &[u8; 32], hash: &str, signature: &str) -> Result<(), ProofFault> {
        verify(self.hash(), identity_key, hash, signature)
    }
}

impl BoundTranscript<'_> {
    /// SHA-256 over the label and the seven parts, each after its length in four bytes.
    #[must_use]
    pub fn hash(&self, identity_key: &[u8; 32]) -> [u8; 32] {
        let mut hash = Sha256::new();
        let exchanged = &self.exchanged;
        for part in [
            LABEL,
            self.device_id.as_bytes(),
            identity_key,
            exchanged.session_id.as_bytes(),
            exchanged.handshake_id.as_bytes(),
            exchanged.client_key.as_bytes(),
            exchanged.client_nonce.as_bytes(),
            exchanged.agent_key.as_bytes(),
        ] {
            hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// Checks an agent's proof, as [`Transcript::verify`] does.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self, identity_key: &[u8; 32], hash: &str, signature: &str) -> Result<(), ProofFault> {
        verify(self.hash(identity_key), identity_key, hash, signature)
    }
}

fn verify(own: [u8; 32], identity_key: &[u8; 32], hash: &str, signature: &str) -> Result<(), ProofFault> {
    let claimed: [u8; 32] = decoded(hash).ok_or(ProofFault::Hash)?;
    if !bool::from(own.ct_eq(&claimed)) {
        return Err(ProofFault::Hash);
    }
    let signature: [u8; 64] = decoded(signature).ok_or(ProofFault::SignatureForm)?;
    // Strict: no key or signature of low order, and one form only of each signature.
    VerifyingKey::from_bytes(identity_key)
        .and_then(|key| key.verify_strict(&own, &Signature::from_bytes(&signature)))
        .map_err(|_| ProofFault::Signature)
}

/// Reads an X25519 public key.
///
/// # Errors
/// What is wrong with it.
pub fn ephemeral_key(text: &str) -> Result<[u8; 32], KeyFault> {
    let bytes = STANDARD.decode(text).map_err(|_| KeyFault::Encoding)?;
    let length = bytes.len();
    let key: [u8; 32] = bytes.try_into().map_err(|_| KeyFault::Length(length))?;
    // A clamped scalar is a multiple of the cofactor: it takes points of low order, and no others, to zero.
    if MontgomeryPoint(key).mul_clamped([1; 32]).0 == [0; 32] {
        return Err(KeyFault::LowOrder);
    }
    Ok(key)
}

/// Reads an Ed25519 public key: a point of the curve that is not of low order.
#[must_use]
pub fn identity_key(text: &str) -> Option<[u8; 32]> {
    let bytes: [u8; 32] = decoded(text)?;
    VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak())?;
    Some(bytes)
}

fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes_gcm::aead::{Aead, Payload};
    use aes_gcm::{Aes256Gcm, KeyInit as _};
    use alloc::vec::Vec;
    use ed25519_dalek::{Signer, SigningKey};

    const CLIENT_KEY: &str = "B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw=";
    const AGENT_KEY: &str = "iDGGuAC0HVzwQpaV2ps8xPMo680YSm5IL6V4wQPwbHc=";
    const HASH: &str = "KdumseyqKrfYBcaoubuyCck7JJBHCSZoqYJ33Q7CEcg=";
    const SIGNATURE: &str = "UoX4aW3AyxN61mjYYlwqrsduzgVRy0lpJiqfYq+Zu7ge+7FWufUo5WNYBJ/RPxTl0Xzdk2Hwr4UAana3/GX2DA==";
    const IDENTITY: &str = "rcFAEfgtHFbZVqpPnXPYhYNhpgYEhSXg0Ixjjcdd2Mc=";
    const VECTOR: Transcript<'static> = Transcript {
        session_id: "sess_vector01",
        handshake_id: "hs_vector01",
        client_key: CLIENT_KEY,
        client_nonce: "oKGio6SlpqeoqaqrrK2urw==",
        agent_key: AGENT_KEY,
    };

    fn hex(bytes: &[u8]) -> alloc::string::String {
        bytes.iter().map(|byte| alloc::format!("{byte:02x}")).collect()
    }

    fn counting_from(first: u8) -> [u8; 32] {
        core::array::from_fn(|at| first + at as u8)
    }

    #[test]
    fn the_worked_example() {
        assert_eq!(STANDARD.encode(VECTOR.hash()), HASH);
        let seed = SigningKey::from_bytes(&counting_from(0x41));
        assert_eq!(STANDARD.encode(seed.verifying_key().as_bytes()), IDENTITY);
        assert_eq!(STANDARD.encode(seed.sign(&VECTOR.hash()).to_bytes()), SIGNATURE);
        let identity = identity_key(IDENTITY).unwrap();
        assert_eq!(VECTOR.verify(&identity, HASH, SIGNATURE), Ok(()));
        let client = ephemeral_key(CLIENT_KEY).unwrap();
        assert_eq!(MontgomeryPoint::mul_base_clamped(counting_from(1)).0, client);
        let agent = ephemeral_key(AGENT_KEY).unwrap();
        let shared = MontgomeryPoint(agent).mul_clamped(counting_from(1)).0;
        assert_eq!(
            hex(&shared),
            "c639664aff13ee2696db677b30b74d56103f38953ef4b5c50b87e2ac31b37367"
        );
        let mut keys = [0; 96];
        hkdf::Hkdf::<Sha256>::new(Some(&VECTOR.hash()), &shared)
            .expand(b"commands.com/gateway/v1/e2ee", &mut keys)
            .unwrap();
        for (key, expected) in keys.chunks(32).zip([
            "c957bfe0dd2bf28e5842dd15df14b5ce5b6e7096a8cf3257b3da69b0c84e31b7",
            "6752b7206fa5e39b5f16078ae5f0af0cd6acb5528539a4e7e54c494020f37c5d",
            "62e2facbb0566a3ae29995ed16cad7194742477a1a75e5ea0c7bd52ec6802641",
        ]) {
            assert_eq!(hex(key), expected);
        }
        for (key, nonce, aad, plain, cipher, tag) in [
            (
                &keys[..32],
                "YzJhAAAAAAAAAAAB",
                "c2Vzc192ZWN0b3IwMXxtc2dfdmVjdG9yMDF8MXxjbGllbnRfdG9fYWdlbnQ=",
                r#"{"session_id":"sess_vector01","message_id":"msg_vector01","prompt":"hello"}"#,
                "vDLUwr395BMr/ZA7cMzUnEWg47z1ZPobQobYNobzNzreGs2RQpbbW7GQdzNlgSd2cfnsyesgEkbqdDN7PASUa2mizfHKNS/H38No",
                "re3L12fgFjNKBFurSL7tdw==",
            ),
            (
                &keys[32..64],
                "YTJjAAAAAAAAAAAB",
                "c2Vzc192ZWN0b3IwMXxtc2dfdmVjdG9yMDF8MXxhZ2VudF90b19jbGllbnQ=",
                r#"{"status":"running","session_id":"sess_vector01","message_id":"msg_vector01"}"#,
                "6auocTzyuzj2fPOL9OkAOGrwhqHUyAZAYVblzZX28dD78uIUwoQ0QA+Hg/077XyM3KvYcCr/xjdevwzC4+H4u7KQiq6Y02y6lQYV0fU=",
                "DpwzPOXETduRHx8Eh7JlZQ==",
            ),
        ] {
            let nonce: [u8; 12] = decoded(nonce).unwrap();
            let aad: Vec<u8> = STANDARD.decode(aad).unwrap();
            let payload = Payload {
                msg: plain.as_bytes(),
                aad: &aad,
            };
            let sealed = Aes256Gcm::new_from_slice(key)
                .unwrap()
                .encrypt(&nonce.into(), payload)
                .unwrap();
            let (body, mark) = sealed.split_at(sealed.len() - 16);
            assert_eq!(
                (STANDARD.encode(body), STANDARD.encode(mark)),
                (cipher.into(), tag.into())
            );
        }
    }

    #[test]
    fn keys_that_are_none() {
        for (text, fault) in [
            ("", KeyFault::Length(0)),
            ("AAAA", KeyFault::Length(3)),
            ("%%%%", KeyFault::Encoding),
            // Without padding, and with bits left over.
            ("B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw", KeyFault::Encoding),
            ("B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHx=", KeyFault::Encoding),
            ("B6N8vBQgk8i3VdwbEOhstCY3StFqqFPt\nC9/AsrhtHHw=", KeyFault::Encoding),
            // The URL-safe alphabet.
            ("B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9_AsrhtHHw=", KeyFault::Encoding),
        ] {
            assert_eq!(ephemeral_key(text), Err(fault), "{text}");
        }
        // All points of low order, the first of them with its unused bit set, too.
        let low = [
            [0; 32],
            core::array::from_fn(|at| u8::from(at == 0)),
            core::array::from_fn(|at| if at == 31 { 0x80 } else { 0 }),
            [
                0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
                0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
            ],
            [
                0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
                0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
            ],
            core::array::from_fn(|at| [0xec, 0xff, 0x7f][usize::from(at > 0) + usize::from(at == 31)]),
            core::array::from_fn(|at| [0xed, 0xff, 0x7f][usize::from(at > 0) + usize::from(at == 31)]),
            core::array::from_fn(|at| [0xee, 0xff, 0x7f][usize::from(at > 0) + usize::from(at == 31)]),
        ];
        for point in low {
            assert_eq!(ephemeral_key(&STANDARD.encode(point)), Err(KeyFault::LowOrder));
        }
        assert_eq!(identity_key(&STANDARD.encode([0_u8; 32])), None);
        assert_eq!(identity_key(&STANDARD.encode([1_u8; 31])), None);
    }

    #[test]
    fn each_part_of_a_proof_is_looked_at() {
        let identity = identity_key(IDENTITY).unwrap();
        let check = |hash: &str, signature: &str| VECTOR.verify(&identity, hash, signature);
        assert_eq!(check(CLIENT_KEY, SIGNATURE), Err(ProofFault::Hash));
        assert_eq!(check("", SIGNATURE), Err(ProofFault::Hash));
        assert_eq!(check(HASH, HASH), Err(ProofFault::SignatureForm));
        assert_eq!(check(HASH, &STANDARD.encode([0_u8; 64])), Err(ProofFault::Signature));
    }

    #[test]
    fn any_changed_bit_of_a_handshake_is_refused() {
        let identity = identity_key(IDENTITY).unwrap();
        let parts = [
            VECTOR.session_id,
            VECTOR.handshake_id,
            CLIENT_KEY,
            VECTOR.client_nonce,
            AGENT_KEY,
            HASH,
            SIGNATURE,
        ];
        for (which, part) in parts.iter().enumerate() {
            for bit in 0..part.len() * 8 {
                let mut bytes = part.as_bytes().to_vec();
                bytes[bit / 8] ^= 1 << (bit % 8);
                // What is not UTF-8 is no JSON either.
                let Ok(changed) = core::str::from_utf8(&bytes) else {
                    continue;
                };
                let mut texts = parts;
                texts[which] = changed;
                let [
                    session_id,
                    handshake_id,
                    client_key,
                    client_nonce,
                    agent_key,
                    hash,
                    signature,
                ] = texts;
                let transcript = Transcript {
                    session_id,
                    handshake_id,
                    client_key,
                    client_nonce,
                    agent_key,
                };
                assert!(transcript.verify(&identity, hash, signature).is_err(), "{which} {bit}");
            }
        }
        for bit in 0..256 {
            let mut other = identity;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(VECTOR.verify(&other, HASH, SIGNATURE).is_err(), "identity key, {bit}");
        }
    }
}
