//! Any text as a token: no panic, and none is accepted but the one that was issued. The first byte chooses between the
//! raw text and a token whose header and payload are the input, signed with our key: then only a payload that says what
//! the active token says may pass.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::jwt::{Claims, Expected, SigningKey, issue, verify};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [choice, rest @ ..] = input else { return };
    let key = SigningKey::new(b"fuzz-secret-of-more-than-32-bytes-0123456789");
    let expected = Expected { id: "00112233445566778899aabbccddeeff", now: 1_000 };
    let claims = Claims { issued_at: 1, expires_at: 2_000, id: expected.id, scopes: &["gateway:admin"] };
    let issued = issue(&key, &claims).expect("a token");
    assert!(verify(&key, issued.reveal(), expected).is_ok());
    let token = if choice & 1 == 0 {
        let Ok(text) = std::str::from_utf8(rest) else { return };
        text.to_owned()
    } else {
        // The signature of another text, whatever header and payload say.
        let at = rest.len() / 2;
        let (header, payload) = rest.split_at(at);
        let signature = issued.reveal().rsplit('.').next().unwrap_or_default();
        format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    };
    if token != issued.reveal() {
        assert!(verify(&key, &token, expected).is_err());
    }
});
