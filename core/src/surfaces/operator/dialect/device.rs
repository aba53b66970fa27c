//! A device's proof that it holds its key: an Ed25519 signature over what it says in `connect`, the nonce of this connection
//! included. It proves who asks; it never replaces the token. Spec: `spec/hardening.md`.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::fields::{Reason, object, optional_string, string};
use crate::time::UnixMillis;

const KEYS: &[&str] = &["id", "publicKey", "signature", "signedAt", "nonce"];

/// The URL alphabet, with padding or without, as devices write it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a device says.
#[derive(Debug)]
pub(super) struct Device<'a> {
    id: Cow<'a, str>,
    public_key: Cow<'a, str>,
    signature: Cow<'a, str>,
    signed_at: u64,
    pub(super) nonce: Option<Cow<'a, str>>,
}

/// What the signature is over, besides the device's own words.
pub(super) struct Facts<'a> {
    pub(super) client_id: &'a str,
    pub(super) client_mode: &'a str,
    pub(super) scopes: &'a str,
    pub(super) token: &'a str,
    pub(super) platform: &'a str,
    pub(super) device_family: &'a str,
    pub(super) nonce: Option<&'a str>,
    pub(super) expected_nonce: &'a str,
    pub(super) nonce_may_be_missing: bool,
    pub(super) max_skew_ms: u64,
}

/// What is wrong with a proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    PublicKey,
    Id,
    NonceMissing,
    Nonce,
    Expired,
    Signature,
}

impl Fault {
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::PublicKey => "device public key invalid",
            Self::Id => "device identity mismatch",
            Self::NonceMissing => "device nonce required",
            Self::Nonce => "device nonce mismatch",
            Self::Expired => "device signature expired",
            Self::Signature => "device signature invalid",
        }
    }

    pub(super) const fn details(self) -> &'static str {
        match self {
            Self::PublicKey => r#"{"code":"DEVICE_AUTH_PUBLIC_KEY_INVALID"}"#,
            Self::Id => r#"{"code":"DEVICE_AUTH_DEVICE_ID_MISMATCH"}"#,
            Self::NonceMissing => r#"{"code":"DEVICE_AUTH_NONCE_REQUIRED"}"#,
            Self::Nonce => r#"{"code":"DEVICE_AUTH_NONCE_MISMATCH"}"#,
            Self::Expired => r#"{"code":"DEVICE_AUTH_SIGNATURE_EXPIRED"}"#,
            Self::Signature => r#"{"code":"DEVICE_AUTH_SIGNATURE_INVALID"}"#,
        }
    }
}

impl<'a> Device<'a> {
    pub(super) fn parse(value: &'a RawValue) -> Result<Self, Reason> {
        let (not, unknown) = ("device must be an object", "device contains unknown fields");
        let device = object(Some(value), KEYS, not, unknown)?;
        let signed_at = device.get("signedAt").map(RawValue::get).unwrap_or_default();
        Ok(Self {
            id: string(device.get("id"), "device.id", 1, 200)?,
            public_key: string(device.get("publicKey"), "device.publicKey", 1, 200)?,
            signature: string(device.get("signature"), "device.signature", 1, 400)?,
            signed_at: signed_at.parse().map_err(|_| "device.signedAt must be an integer")?,
            nonce: optional_string(device.get("nonce"), "device.nonce", 1, 200)?,
        })
    }

    /// Checks everything that the device claims.
    ///
    /// # Errors
    /// The first fault.
    pub(super) fn verify(&self, facts: &Facts<'_>, now: UnixMillis) -> Result<(), Fault> {
        let raw: [u8; 32] = decode(&self.public_key).ok_or(Fault::PublicKey)?;
        let key = VerifyingKey::from_bytes(&raw).map_err(|_| Fault::PublicKey)?;
        if key.is_weak() {
            return Err(Fault::PublicKey);
        }
        if self.id != hex(&Sha256::digest(raw)) {
            return Err(Fault::Id);
        }
        if now.0.abs_diff(self.signed_at) > facts.max_skew_ms {
            return Err(Fault::Expired);
        }
        match facts.nonce {
            None if !facts.nonce_may_be_missing => return Err(Fault::NonceMissing),
            Some(nonce) if nonce != facts.expected_nonce => return Err(Fault::Nonce),
            _ => {}
        }
        let signature: [u8; 64] = decode(&self.signature).ok_or(Fault::Signature)?;
        let signature = Signature::from_bytes(&signature);
        let signed = self.signed_texts(facts);
        if signed
            .iter()
            .any(|text| key.verify_strict(text.as_bytes(), &signature).is_ok())
        {
            Ok(())
        } else {
            Err(Fault::Signature)
        }
    }

    /// The texts that the signature may be over, the newest form first.
    fn signed_texts(&self, facts: &Facts<'_>) -> Vec<String> {
        let text = |version: &str| {
            alloc::format!(
                "{version}|{}|{}|{}|operator|{}|{}|{}",
                self.id,
                facts.client_id,
                facts.client_mode,
                facts.scopes,
                self.signed_at,
                facts.token
            )
        };
        match facts.nonce {
            Some(nonce) => {
                let lower = |text: &str| text.trim().to_ascii_lowercase();
                let (platform, family) = (lower(facts.platform), lower(facts.device_family));
                alloc::vec![
                    alloc::format!("{}|{nonce}|{platform}|{family}", text("v3")),
                    alloc::format!("{}|{nonce}", text("v2")),
                ]
            }
            None => alloc::vec![text("v1")],
        }
    }
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // Room for what a decoder wants to write at once; a longer text is refused by its length.
    let mut buffer = [0; 96];
    let written = BASE64.decode_slice(text, &mut buffer).ok()?;
    if written != N {
        return None;
    }
    bytes.copy_from_slice(buffer.get(..N)?);
    Some(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
