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

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use bytes::Bytes;
    use ring::rand::SystemRandom;
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
    };

    const MESSAGE: &[u8] = b"what was signed";
    // Made with OpenSSL; the private keys were thrown away.
    const MODULUS: &str = "tF4osKOBGdmGVJgI5LaJC9wGlALM8_NMGo2Wou7m4EdMQbRYbzaWK7Wkr1efbKxTlkQldkk3pwOZVMRtX7rBWeZCOBL4rNn2EvlsHX9_Awe-NDtVpj-dPlQ8Myn0t4qauHoocCDVRnhfS-2yT3E2Lw7uhnMB_NY_OeqGe19bouBnUbXymOZTOGassITeDewDiGgwD2ACYn7SXB6YtnA2WCoLkWJGUjkGfGuPUgsUTvm1tJC5Iekv0OnjQJOe06k36aEe7qHc4tsxgjvRIXM340j4UbncTMm94-Ifn-LQvC16fw0OBzdlYb3dwnPkyD-4n-gnIw4QNgQz7FL4dik19Q";
    const SHORT_MODULUS: &str = "ur90aQ6CjpLiWAJ8wPOSvR0F9khLn-yO2MYC3TfP42_5aWTxIROHMJud8ROkGVZKBBlLpd1ZZ2rJqnZmJd9jExPmUI2d1iPxN8ADZ0V3WpfLipbqMrMkwRfA8Y3j9jmITfWLi92WhZ9SJ1fkFYNDwyGWFYcDdX4DYUKwV642D88";
    const BY_SHORT: &str = "NU5y6HXQqbGcPZMwJlTQU9663Po1ryjOuYO4Lx-ycWDf5qFqJZhK9gHlV9m9vJwef8cR6oYpK6EOZML38vWWRInponLSa_m3ECP3MvxxBhV57VXNkQDtN0W-t-twskbboExe-nwpWvo8QNAN9HlhCFwkVQL2eMSxVJ4GWqcqzQ4";
    const BY_RSA: [(bool, ShaLength, &str); 6] = [
        (
            false,
            ShaLength::Sha256,
            "nYSRhC08Vtf4bYMXG9OAiXUpRSuqpeQ5k4_cMLQqQkiCJiKRRz8ZSKdaqj7FS-EpV-G6c5EAyoHoXJOjd-AVdxln-v6W1cw7Sw6G8GtCWCRryYAZ0MiVWkr-o-KFa0gudE8NADq3JK_LpqER4_ObTVmkFzvOQ6cyVBsVQXyl0IqK8S4aOGC8FtcYHJLPkN6O45SELAg-v0kZfsQrt4drtPZ-0VRJHDhTWdoJsvV-n6vU6mm6JlBSZbI5X3OLujL0IuiJ_ZhJIeHiav_ZraxU2pB0g2QG8_gdG6Eo0L2xCQt7V3e1N_EwG-ouCtAEGN7f18T1-B0WRtAHoHZ2AQqCmw",
        ),
        (
            true,
            ShaLength::Sha256,
            "qgo0XVKHCtdwXTIKH9xw7hcK4Gk7rL-MogbUZsG7SkPuAMLDs_jUpa8SXQ7h5iLEioUF0hPpKMZyY8K5jtExXyPOI2TrU0VMvBX7zvIlgO1wSFv-oFydmMdBrpM2VJzKpyV3aAaOqa-3kHvk20JkMIKb93RkJ8sV6jyXK3yNIeRVibOwsRNj1XJQIvbR7khZKgvjth64VunvxMMDxvEh5KD_KclgUIVv9kRhMec5j6lTb1Gjn3LusjFnhAW56Gvqvep3LuRy07kocg2ssWjbEblo6SOpbzvrbpYSQV_56aPNpbqGNAfYDAblxvY0XBsyPGBz8PIvncI2Jpn4tU1onQ",
        ),
        (
            false,
            ShaLength::Sha384,
            "TloRFRAFWFhBCkf5sy1pfBOc7aw3I7s9efL-bouCvp5JkYwk4HK-ehiuATE1P3pa8reAbPb4t64xJPFZ65BjEF_GicDnAV4kWKmlBYFZa7mOIVhdgvjvysdBRbmkf8R55XVMrom2qJ3UdBYCZ0RCrvweRMK-JjHCQ_Wp32GqNaKE7hEblufk7pLvNiRQ1QbCg6jG77vV1GT0MUR2UF75doA0WohDkGWkKSVLU-I_zGplRzYogd7KEaujTVcADcKRq-0mLxfwEYXel_gcufE08dQHu_8vpNdKnyfVcraja1ClKl46aMKsUEyDu2bYqYz413Ze8pDbwDPWiMpquP4wqQ",
        ),
        (
            true,
            ShaLength::Sha384,
            "hCffk5BQXeHqAvBcOXJC3U_JKQnA1VvGODbXJZiYBKiV3kKepk6CI8z4CQeVZ4LN0nWhbfQMsdJdnO1cs55pGc4ylVaPyKGkCf6Jk_8sFzMoEGYOXKPVISzTI8kxQ56r6iA1VlTM27adjFcOq8lE3jY9qva9Dc-OSpIVaPsg3WDObG6lrGgaq2ijGZRaCX4-VagI4T7Ts_hxrqykAWhtvMoIkUi13EfLslwr4diL5jV5cTwyWjnAzloKFIGvXHtYdD9w85Iprs8WcVBQG4k099jFuKnMH2LcPFhbB08lJBaOwKjN4ZMaJlcl2yAUVLUQ6spKGeKCJTC2z61_efa_Cw",
        ),
        (
            false,
            ShaLength::Sha512,
            "UQk7n370Ot2lveIgmes2BpjqhZBJWCb_9tTgtZ7mM5nFzwmCTZDpWF4K3ip8hQVF8VblNrvYSt4Uiz9WpoHHhH_PEotZmBjkJLs2mAziFXlmM3SzsOrs50kmgZcBU70swJM-Y3D92E17oTtQxBkrdtHYdPQ4iYib4ThL5SA0uXSnOd-SZgqih0iej_fjJV1KqT99ARIyKecSvc8FaNd9XxbBuC6xFfdc-bFdSjc9PxmtQJLbcVO8o7s1ny1qWlcPPl18BP9CjP-pwVlbu7bo-r8RIn0ay2cNxpoWOQekMALEa1jM9B5pc93R1iGFVy_X8rYWAYZnB0gn1LhyffiC-w",
        ),
        (
            true,
            ShaLength::Sha512,
            "j9Dnj9pndZPJqcBI59G_EeCLPU_4mrw8KTfqjkO0umQskiUK0i6NnY2QfjZeNCMndubUCj8snu8Wt4LN8TN9W-l1UJwscZORak8uScCaJkgP5c-OTwulU1f6WENUlRyUfaQQppGdev3Mc_8H0LDZ_ppdMhV8MCdov5VpI1r-vTEdWZd4wgK8RM9J002zpIh2b9V6eoxyFyL-PPF_5aYwB1ULhiMBlS3evM3qK9QNRXVI4DWnTfjlX_OcT7vRQUzMRV1pX0B3Fx0f2dAKeaFmZV-kxA5aUmXa7-CVDbE5siybcoZjnoNZu16nt9uxxF0mWRnVQz43F4Ypm_3xzb8iCw",
        ),
    ];

    fn bytes(text: &str) -> Bytes {
        URL_SAFE_NO_PAD.decode(text).unwrap().into()
    }

    fn key(modulus: &str) -> RsaKey {
        RsaKey {
            modulus: bytes(modulus),
            exponent: Bytes::from_static(&[1, 0, 1]),
        }
    }

    fn check(scheme: SignatureScheme, signature: Bytes) -> SignatureCheck {
        SignatureCheck {
            scheme,
            message: Bytes::from_static(MESSAGE),
            signature,
        }
    }

    #[test]
    fn rsa_in_every_form() {
        for (is_pss, length, signature) in BY_RSA {
            let scheme = |is_pss, length| {
                if is_pss {
                    SignatureScheme::RsaPss(length, key(MODULUS))
                } else {
                    SignatureScheme::RsaPkcs1(length, key(MODULUS))
                }
            };
            let good = check(scheme(is_pss, length), bytes(signature));
            assert!(verify(&good), "{is_pss} {length:?}");
            let other = if length == ShaLength::Sha256 {
                ShaLength::Sha384
            } else {
                ShaLength::Sha256
            };
            assert!(!verify(&check(scheme(is_pss, other), bytes(signature))));
            assert!(!verify(&check(scheme(!is_pss, length), bytes(signature))));
            let message = Bytes::from_static(b"what was not signed");
            assert!(!verify(&SignatureCheck { message, ..good }));
        }
    }

    #[test]
    fn a_key_that_is_too_short_or_none_verifies_nothing() {
        let short = SignatureScheme::RsaPkcs1(ShaLength::Sha256, key(SHORT_MODULUS));
        assert!(!verify(&check(short, bytes(BY_SHORT))));
        let empty = SignatureScheme::RsaPkcs1(ShaLength::Sha256, key(""));
        assert!(!verify(&check(empty, Bytes::new())));
        for point in [Bytes::new(), Bytes::from_static(&[4; 65]), Bytes::from_static(&[0])] {
            let p256 = SignatureScheme::EcdsaP256(point.clone());
            assert!(!verify(&check(p256, Bytes::from_static(&[0; 64]))));
            assert!(!verify(&check(
                SignatureScheme::EcdsaP384(point),
                Bytes::from_static(&[0; 96])
            )));
        }
    }

    #[test]
    fn ecdsa_on_both_curves() {
        type Scheme = fn(Bytes) -> SignatureScheme;
        let curves: [(&'static EcdsaSigningAlgorithm, Scheme, Scheme); 2] = [
            (
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                SignatureScheme::EcdsaP256,
                SignatureScheme::EcdsaP384,
            ),
            (
                &ECDSA_P384_SHA384_FIXED_SIGNING,
                SignatureScheme::EcdsaP384,
                SignatureScheme::EcdsaP256,
            ),
        ];
        for (algorithm, scheme, other) in curves {
            let random = SystemRandom::new();
            let pair = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, pair.as_ref(), &random).unwrap();
            let point = Bytes::copy_from_slice(pair.public_key().as_ref());
            let signature = Bytes::copy_from_slice(pair.sign(&random, MESSAGE).unwrap().as_ref());
            assert!(verify(&check(scheme(point.clone()), signature.clone())));
            assert!(!verify(&check(other(point.clone()), signature.clone())));
            let mut changed = signature.to_vec();
            changed[0] ^= 1;
            assert!(!verify(&check(scheme(point), changed.into())));
        }
    }
}
