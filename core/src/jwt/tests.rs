//! The vectors of the fact sheet, what can be derived from them, and tokens of our own making.

use alloc::format;
use alloc::string::{String, ToString};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::*;

const SECRET: &str = "control-plane-test-secret-0123456789abcdef";
const ID: &str = "00112233445566778899aabbccddeeff";
const EXPIRES: u64 = 4_102_444_800;
const NOW: u64 = 1_795_187_180;
const SCOPES: [&str; 3] = ["provider:read", "provider:write", "gateway:admin"];

const ACCEPTED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJvcGVuY2xhdy1nYXRld2F5IiwiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjAwMTEyMjMzNDQ1NTY2Nzc4ODk5YWFiYmNjZGRlZWZmIiwic2NvcGUiOlsicHJvdmlkZXI6cmVhZCIsInByb3ZpZGVyOndyaXRlIiwiZ2F0ZXdheTphZG1pbiJdfQ.yLVlRAxtlOYf21O1Ns2UIGFodmkadL2-LsVtlbP4Sdo";
const EXPIRED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJvcGVuY2xhdy1nYXRld2F5IiwiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjE3MDAwMDM2MDAsImp0aSI6IjAwMTEyMjMzNDQ1NTY2Nzc4ODk5YWFiYmNjZGRlZWZmIiwic2NvcGUiOlsicHJvdmlkZXI6cmVhZCIsInByb3ZpZGVyOndyaXRlIiwiZ2F0ZXdheTphZG1pbiJdfQ.fm0Eg6TNJgq3oVawkpb589wpN9xoMTf7fZvW8Ln1iG0";
const OTHER_ISSUER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJvdGhlci1pc3N1ZXIiLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6NDEwMjQ0NDgwMCwianRpIjoiMDAxMTIyMzM0NDU1NjY3Nzg4OTlhYWJiY2NkZGVlZmYiLCJzY29wZSI6WyJwcm92aWRlcjpyZWFkIiwicHJvdmlkZXI6d3JpdGUiLCJnYXRld2F5OmFkbWluIl19.yE5N5uas8iMhsAHS0BjgpU2xs_RYMBKo8ZkTMPAsgsw";
const OTHER_ID: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJvcGVuY2xhdy1nYXRld2F5IiwiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6ImZmZWVkZGNjYmJhYTk5ODg3NzY2NTU0NDMzMjIxMTAwIiwic2NvcGUiOlsicHJvdmlkZXI6cmVhZCIsInByb3ZpZGVyOndyaXRlIiwiZ2F0ZXdheTphZG1pbiJdfQ.clyOa44vOMB6M851zpQTs1_KkGnWQY9Y_xs0WvXND7w";
const NO_EXPIRY: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJvcGVuY2xhdy1nYXRld2F5IiwiaWF0IjoxNzAwMDAwMDAwLCJqdGkiOiIwMDExMjIzMzQ0NTU2Njc3ODg5OWFhYmJjY2RkZWVmZiIsInNjb3BlIjpbInByb3ZpZGVyOnJlYWQiLCJwcm92aWRlcjp3cml0ZSIsImdhdGV3YXk6YWRtaW4iXX0.XUOIsT-Qyy6YmujP695iiRIH-eIfLIcaWbiAQPrO1UA";
const HS512: &str = "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJvcGVuY2xhdy1nYXRld2F5IiwiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjAwMTEyMjMzNDQ1NTY2Nzc4ODk5YWFiYmNjZGRlZWZmIiwic2NvcGUiOlsicHJvdmlkZXI6cmVhZCIsInByb3ZpZGVyOndyaXRlIiwiZ2F0ZXdheTphZG1pbiJdfQ.-ZRmRgcIhBq4GsncZ8NCB4glm22RNVhc2zUKQVPPiUjuPH5pdb4lDa0ftsNOK2xdsGnDGDn09D6SIDguf0F-zg";
const NONE: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJpc3MiOiJvcGVuY2xhdy1nYXRld2F5IiwiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjAwMTEyMjMzNDQ1NTY2Nzc4ODk5YWFiYmNjZGRlZWZmIiwic2NvcGUiOlsicHJvdmlkZXI6cmVhZCIsInByb3ZpZGVyOndyaXRlIiwiZ2F0ZXdheTphZG1pbiJdfQ.";
const EXPIRY_IS_TEXT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJvcGVuY2xhdy1nYXRld2F5IiwiaWF0IjoxNzAwMDAwMDAwLCJleHAiOiI0MTAyNDQ0ODAwIiwianRpIjoiMDAxMTIyMzM0NDU1NjY3Nzg4OTlhYWJiY2NkZGVlZmYiLCJzY29wZSI6WyJwcm92aWRlcjpyZWFkIiwicHJvdmlkZXI6d3JpdGUiLCJnYXRld2F5OmFkbWluIl19.VnAwQ9rWkQOrGLGLrvCDTNzPkd0y0Jxp5sEIZ5H6b60";
const NOT_YET: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJvcGVuY2xhdy1nYXRld2F5IiwiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjAwMTEyMjMzNDQ1NTY2Nzc4ODk5YWFiYmNjZGRlZWZmIiwic2NvcGUiOlsicHJvdmlkZXI6cmVhZCIsInByb3ZpZGVyOndyaXRlIiwiZ2F0ZXdheTphZG1pbiJdLCJuYmYiOjQxMDI0NDQwMDB9.0ILayDbKD5GfV_zNXz6ii9ECsB8K6LrvhNXTOI_kpxw";

fn key() -> SigningKey {
    SigningKey::new(SECRET.as_bytes())
}

fn judge(token: &str) -> Result<Granted, TokenFault> {
    judge_at(token, NOW)
}

fn judge_at(token: &str, now: u64) -> Result<Granted, TokenFault> {
    verify(&key(), token, Expected { id: ID, now })
}

fn fault(token: &str) -> TokenFault {
    judge(token).expect_err(token)
}

/// A token with any header and payload, signed with our key.
fn signed(header: &str, payload: &str) -> String {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = key().sign(input.as_bytes()).unwrap();
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A good payload with further members.
fn payload(more: &str) -> String {
    format!(r#"{{"iss":"{ISSUER}","iat":1,"exp":{EXPIRES},"jti":"{ID}"{more}}}"#)
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

#[test]
fn what_is_issued_is_the_originals_text() {
    let claims = Claims {
        issued_at: 1_700_000_000,
        expires_at: EXPIRES,
        id: ID,
        scopes: &SCOPES,
    };
    let token = issue(&key(), &claims).unwrap();
    assert_eq!(token.reveal(), ACCEPTED);
    let granted = judge(token.reveal()).unwrap();
    assert!(SCOPES.into_iter().all(|scope| granted.has(scope)) && !granted.has("provider"));
    let other = SigningKey::new(b"another-secret-of-at-least-32-bytes");
    let token = issue(&other, &claims).unwrap();
    assert_eq!(fault(token.reveal()), TokenFault::Signature);
}

#[test]
fn the_vectors_of_the_sheet() {
    for (token, expected) in [
        (EXPIRED, TokenFault::Expired),
        (OTHER_ISSUER, TokenFault::Issuer),
        (OTHER_ID, TokenFault::OtherSession),
        (NO_EXPIRY, TokenFault::ExpiryType),
        (HS512, TokenFault::Algorithm),
        (NONE, TokenFault::Unsigned),
        (EXPIRY_IS_TEXT, TokenFault::ExpiryType),
        (NOT_YET, TokenFault::NotYet),
    ] {
        assert_eq!(fault(token), expected);
    }
}

#[test]
fn what_is_derived_from_a_good_token() {
    use TokenFault::{Invalid, Malformed, Missing, Signature, Unsigned};
    let (input, signature) = ACCEPTED.rsplit_once('.').unwrap();
    let (header, body) = input.split_once('.').unwrap();
    let with_payload = |payload: &[u8]| format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(payload));
    let shorter = signature.get(..42).unwrap();
    for (token, expected) in [
        (String::new(), Missing),
        ("abc".into(), Malformed),
        ("a.b".into(), Malformed),
        ("a.b.c.d".into(), Malformed),
        ("a.b.c".into(), Invalid),
        ("..".into(), Invalid),
        (format!("{ACCEPTED}."), Malformed),
        (input.to_string(), Malformed),
        (format!("{input}."), Unsigned),
        (format!("{ACCEPTED}="), Invalid),
        (format!("{ACCEPTED} "), Invalid),
        (format!(" {ACCEPTED}"), Invalid),
        (format!("{ACCEPTED}\n"), Invalid),
        (format!("{header}=.{body}.{signature}"), Invalid),
        (format!("{header}.{body}=.{signature}"), Invalid),
        (format!("{input}.{shorter}A"), Signature),
        (format!("{input}.{shorter}p"), Signature),
        (format!("{input}.{shorter}"), Signature),
        (format!("{ACCEPTED}A"), Signature),
        (format!("{input}.{}", signature.replace('-', "+")), Invalid),
        (with_payload(b"not json"), Invalid),
        (with_payload(b"null"), Invalid),
        (with_payload(&[0xff, 0xfe]), Invalid),
        (with_payload(&[b' '; MAX_TOKEN_BYTES]), Invalid),
    ] {
        assert_eq!(fault(&token), expected, "{token}");
    }
}

#[test]
fn the_first_check_that_fails_decides() {
    use TokenFault::{Algorithm, Expired, ExpiryType, Invalid, Issuer, NotBeforeType, NotYet, OtherSession};
    for (header, payload, expected) in [
        (r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, payload(""), Invalid),
        (r#"{"alg":"HS256","crit":null}"#, payload(""), Invalid),
        (r#"{"alg":"none","alg":"HS256"}"#, payload(""), Invalid),
        (r#"{"alg":"HS256","\u0061lg":"HS256"}"#, payload(""), Invalid),
        ("5", payload(""), Invalid),
        ("[]", payload(""), Invalid),
        (HEADER, payload(r#","exp":1"#), Invalid),
        (HEADER, "[]".into(), Invalid),
        (HEADER, "5".into(), Invalid),
        ("{}", payload(""), Algorithm),
        (r#"{"alg":"none"}"#, payload(""), Algorithm),
        (r#"{"alg":"hs256"}"#, payload(""), Algorithm),
        (r#"{"alg":["HS256"]}"#, payload(""), Algorithm),
        (r#"{"alg":"RS256"}"#, payload(""), Algorithm),
        (HEADER, payload(r#","nbf":null"#), NotBeforeType),
        (HEADER, payload(r#","nbf":"1""#), NotBeforeType),
        (HEADER, payload(&format!(r#","nbf":{}"#, NOW + 1)), NotYet),
        (HEADER, r#"{"iss":"x","exp":null,"jti":"y"}"#.into(), ExpiryType),
        (HEADER, r#"{"iss":"x","jti":"y"}"#.into(), ExpiryType),
        (HEADER, r#"{"iss":"x","exp":1,"jti":"y"}"#.into(), Expired),
        (HEADER, format!(r#"{{"exp":{EXPIRES},"jti":"y"}}"#), Issuer),
        (
            HEADER,
            format!(r#"{{"iss":["{ISSUER}"],"exp":{EXPIRES},"jti":"y"}}"#),
            Issuer,
        ),
        (HEADER, format!(r#"{{"iss":"{ISSUER}","exp":{EXPIRES}}}"#), OtherSession),
        (
            HEADER,
            format!(r#"{{"iss":"{ISSUER}","exp":{EXPIRES},"jti":["{ID}"]}}"#),
            OtherSession,
        ),
    ] {
        assert_eq!(fault(&signed(header, &payload)), expected, "{header} {payload}");
    }
    // A wrong signature hides everything that the claims would say.
    let expired = signed(HEADER, r#"{"iss":"x","exp":1}"#);
    let other = SigningKey::new(b"another-secret-of-at-least-32-bytes");
    let judged = verify(&other, &expired, Expected { id: ID, now: NOW });
    assert_eq!(judged, Err(TokenFault::Signature));
}

#[test]
fn what_may_differ_in_a_good_token() {
    for header in [
        r#"{"alg":"HS256"}"#,
        r#"{"typ":"other","kid":"1","alg":"HS\u0032\u0035\u0036"}"#,
        r#" { "alg" : "HS256" } "#,
    ] {
        judge(&signed(header, &payload(r#","nbf":1.5,"aud":[1,{}]"#))).expect(header);
    }
    for (scope, granted) in [
        ("", false),
        (r#","scope":null"#, false),
        (r#","scope":"gateway:admin""#, false),
        (r#","scope":["gateway:admin",1]"#, false),
        (r#","scope":["gateway:admin"]"#, true),
    ] {
        let token = signed(HEADER, &payload(scope));
        assert_eq!(judge(&token).unwrap().has("gateway:admin"), granted, "{scope}");
    }
}

#[test]
fn a_token_is_expired_in_the_second_that_it_names() {
    assert!(judge_at(ACCEPTED, EXPIRES - 1).is_ok());
    assert_eq!(judge_at(ACCEPTED, EXPIRES), Err(TokenFault::Expired));
    assert!(judge_at(NOT_YET, 4_102_444_000).is_ok());
    assert_eq!(judge_at(NOT_YET, 4_102_443_999), Err(TokenFault::NotYet));
}

#[test]
fn every_change_of_one_bit_is_refused() {
    for at in 0..ACCEPTED.len() {
        for bit in 0..8 {
            let mut bytes = ACCEPTED.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            // What is no UTF-8 is no text message.
            if let Ok(token) = core::str::from_utf8(&bytes) {
                assert!(judge(token).is_err(), "byte {at} bit {bit}");
            }
        }
    }
}

#[test]
fn keys_are_never_printed_and_faults_have_their_words() {
    assert_eq!(format!("{:?}", key()), "SigningKey(redacted)");
    assert_eq!(
        TokenFault::Missing.to_string(),
        "Token validation failed: jwt must be provided"
    );
    assert_eq!(
        TokenFault::OtherSession.to_string(),
        "Token JTI does not match active session — please use the current startup token"
    );
    let guesses = [TokenFault::Missing, TokenFault::Signature, TokenFault::OtherSession].map(TokenFault::is_guess);
    assert_eq!(guesses, [false, true, false]);
}

proptest! {
    #[test]
    fn no_text_but_the_token_is_accepted(token in "[A-Za-z0-9_.=-]{0,400}|.{0,40}") {
        prop_assert!(judge(&token).is_err());
    }
}
