//! Checks signatures of others (RSA, ECDSA) with the library that TLS stands on. It decides nothing: which key and which
//! scheme may be used for what is judged in the core.

use portcullis_core::effect::{RsaKey, ShaLength, SignatureCheck, SignatureScheme};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};

/// Whether the signature is right. Some ten microseconds.
#[must_use]
pub fn verify(check: &SignatureCheck) -> bool {
    let rsa = |parameters: &'static RsaParameters, key: &RsaKey| {
        let key = RsaPublicKeyComponents {
            n: &key.modulus,
            e: &key.exponent,
        };
        key.verify(parameters, &check.message, &check.signature).is_ok()
    };
    match &check.scheme {
        SignatureScheme::RsaPkcs1(length, key) => {
            let parameters = match length {
                ShaLength::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
                ShaLength::Sha384 => &RSA_PKCS1_2048_8192_SHA384,
                ShaLength::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
            };
            rsa(parameters, key)
        }
        SignatureScheme::RsaPss(length, key) => {
            let parameters = match length {
                ShaLength::Sha256 => &RSA_PSS_2048_8192_SHA256,
                ShaLength::Sha384 => &RSA_PSS_2048_8192_SHA384,
                ShaLength::Sha512 => &RSA_PSS_2048_8192_SHA512,
            };
            rsa(parameters, key)
        }
        SignatureScheme::EcdsaP256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(&check.message, &check.signature)
            .is_ok(),
        SignatureScheme::EcdsaP384(point) => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
            .verify(&check.message, &check.signature)
            .is_ok(),
    }
}
