//! Keys of an identity provider (RFC 7517), and which way to check a signature a key is good for. A key is taken for what
//! its own type says; what a token's header says never turns it into another. It checks no signature itself but Ed25519.

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::value::RawValue;

use crate::effect::{RsaKey, ShaLength, SignatureScheme};
use crate::json::Object;
use crate::jws::text_of;

/// The most keys of one provider that are kept.
pub(super) const MAX_KEYS: usize = 64;

/// An algorithm of id tokens that is known (RFC 7518, RFC 8037).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Algorithm {
    Rs(ShaLength),
    Ps(ShaLength),
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub(super) const RS256: Self = Self::Rs(ShaLength::Sha256);

    /// The algorithm of this name; never `none`, never one with a shared secret.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs(ShaLength::Sha256),
            "RS384" => Self::Rs(ShaLength::Sha384),
            "RS512" => Self::Rs(ShaLength::Sha512),
            "PS256" => Self::Ps(ShaLength::Sha256),
            "PS384" => Self::Ps(ShaLength::Sha384),
            "PS512" => Self::Ps(ShaLength::Sha512),
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }
}

/// A key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Jwk {
    pub(super) kid: Option<String>,
    /// The one algorithm that it is for, if it says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Material {
    Rsa(RsaKey),
    P256(Bytes),
    P384(Bytes),
    Ed25519([u8; 32]),
}

/// How a signature is to be checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// Outside.
    Effect(SignatureScheme),
    /// Here, with this public key.
    Ed25519([u8; 32]),
}

impl Jwk {
    /// The way to check a signature that says it is of this algorithm; `None` when the key is for another.
    pub(super) fn way(&self, algorithm: Algorithm) -> Option<Way> {
        if self.algorithm.is_some_and(|own| own != algorithm) {
            return None;
        }
        let scheme = match (algorithm, &self.material) {
            (Algorithm::Rs(length), Material::Rsa(key)) => SignatureScheme::RsaPkcs1(length, key.clone()),
            (Algorithm::Ps(length), Material::Rsa(key)) => SignatureScheme::RsaPss(length, key.clone()),
            (Algorithm::Es256, Material::P256(point)) => SignatureScheme::EcdsaP256(point.clone()),
            (Algorithm::Es384, Material::P384(point)) => SignatureScheme::EcdsaP384(point.clone()),
            (Algorithm::EdDsa, Material::Ed25519(key)) => return Some(Way::Ed25519(*key)),
            _ => return None,
        };
        Some(Way::Effect(scheme))
    }

    fn read(value: &RawValue) -> Option<Self> {
        let key = Object::parse(value.get()).ok()?;
        if key.get("use").is_some() && text_of(&key, "use").as_deref() != Some("sig") {
            return None;
        }
        let algorithm = match text_of(&key, "alg") {
            Some(name) => Some(Algorithm::named(&name)?),
            None => None,
        };
        let curve = text_of(&key, "crv");
        let material = match (text_of(&key, "kty").as_deref(), curve.as_deref()) {
            (Some("RSA"), _) => rsa(&key)?,
            (Some("EC"), Some("P-256")) => Material::P256(point(&key, 32)?),
            (Some("EC"), Some("P-384")) => Material::P384(point(&key, 48)?),
            (Some("OKP"), Some("Ed25519")) => Material::Ed25519(member(&key, "x")?.try_into().ok()?),
            _ => return None,
        };
        Some(Self {
            kid: text_of(&key, "kid").map(alloc::borrow::Cow::into_owned),
            algorithm,
            material,
        })
    }
}

fn member(key: &Object<'_>, name: &str) -> Option<Vec<u8>> {
    let text = text_of(key, name)?;
    // Some providers pad what RFC 7517 says must not be padded.
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

fn rsa(key: &Object<'_>) -> Option<Material> {
    let number = |name| {
        let bytes = member(key, name)?;
        let start = bytes.iter().position(|byte| *byte != 0)?;
        bytes.get(start..).map(Bytes::copy_from_slice)
    };
    let (modulus, exponent) = (number("n")?, number("e")?);
    let fits = (256..=1_024).contains(&modulus.len()) && exponent.len() <= 8;
    fits.then_some(Material::Rsa(RsaKey { modulus, exponent }))
}

/// A point in uncompressed form.
fn point(key: &Object<'_>, length: usize) -> Option<Bytes> {
    let (x, y) = (member(key, "x")?, member(key, "y")?);
    if x.len() != length || y.len() != length {
        return None;
    }
    let mut point = Vec::with_capacity(1 + 2 * length);
    point.push(4);
    point.extend_from_slice(&x);
    point.extend_from_slice(&y);
    Some(Bytes::from(point))
}

/// The keys of a set; those that cannot be used are left out. `None`: it is no set.
pub(super) fn read_set(text: &str) -> Option<Vec<Jwk>> {
    #[derive(serde::Deserialize)]
    struct Set<'a> {
        #[serde(borrow)]
        keys: Vec<&'a RawValue>,
    }
    let set: Set<'_> = serde_json::from_str(text).ok()?;
    Some(set.keys.into_iter().filter_map(Jwk::read).take(MAX_KEYS).collect())
}

/// Checks an Ed25519 signature strictly.
pub(super) fn verify_ed25519(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(key) else {
        return false;
    };
    Signature::from_slice(signature).is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn key(text: &str) -> Option<Jwk> {
        read_set(&format!(r#"{{"keys":[{text}]}}"#)).unwrap().pop()
    }

    #[test]
    fn a_key_is_only_what_its_type_says() {
        let n = URL_SAFE_NO_PAD.encode([0xff_u8; 256]);
        let x = URL_SAFE_NO_PAD.encode([1_u8; 32]);
        let mut zeros = alloc::vec![0];
        zeros.extend_from_slice(&[0xff; 256]);
        let padded = URL_SAFE_NO_PAD.encode(zeros);
        let padded = key(&format!(
            r#"{{"kty":"RSA","n":"{padded}","e":"AAEAAQ==","kid":"k","use":"sig"}}"#
        ));
        let rsa = key(&format!(
            r#"{{"kty":"RSA","n":"{n}","e":"AQAB","kid":"k","use":"sig"}}"#
        ))
        .unwrap();
        assert_eq!(padded.as_ref(), Some(&rsa), "leading zeros are no part of a number");
        assert!(rsa.way(Algorithm::RS256).is_some() && rsa.way(Algorithm::Ps(ShaLength::Sha512)).is_some());
        assert_eq!(rsa.way(Algorithm::Es256), None);
        assert_eq!(rsa.way(Algorithm::EdDsa), None);
        let only = key(&format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"PS256"}}"#)).unwrap();
        assert_eq!(only.way(Algorithm::RS256), None);
        let ec = key(&format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}"}}"#)).unwrap();
        assert!(ec.way(Algorithm::Es256).is_some() && ec.way(Algorithm::Es384).is_none());
        let ed = key(&format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#)).unwrap();
        assert!(matches!(ed.way(Algorithm::EdDsa), Some(Way::Ed25519(_))) && ed.way(Algorithm::RS256).is_none());
    }

    #[test]
    fn keys_that_cannot_be_used_are_left_out() {
        let short = URL_SAFE_NO_PAD.encode([0xff_u8; 128]);
        let x = URL_SAFE_NO_PAD.encode([1_u8; 32]);
        for text in [
            format!(r#"{{"kty":"RSA","n":"{short}","e":"AQAB"}}"#),
            r#"{"kty":"RSA","e":"AQAB"}"#.into(),
            r#"{"kty":"oct","k":"AAAA"}"#.into(),
            format!(r#"{{"kty":"OKP","crv":"X25519","x":"{x}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","use":"enc"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","alg":"HS256"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"AA"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-521","x":"{x}","y":"{x}"}}"#),
            "7".into(),
        ] {
            assert_eq!(key(&text), None, "{text}");
        }
        for text in ["", "[]", "{}", r#"{"keys":7}"#] {
            assert_eq!(read_set(text), None, "{text}");
        }
        let many = alloc::vec![format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#); 100].join(",");
        assert_eq!(read_set(&format!(r#"{{"keys":[{many}]}}"#)).unwrap().len(), MAX_KEYS);
    }

    #[test]
    fn algorithms_with_a_shared_secret_or_none_do_not_exist() {
        for name in ["none", "HS256", "HS512", "ES512", "RS1", "rs256", ""] {
            assert_eq!(Algorithm::named(name), None, "{name}");
        }
    }
}
