//! Access tokens: compact JWS with EdDSA and nothing else. It signs and it judges; it keeps no token and looks at no clock,
//! and a token's own header never chooses how the token is checked. Whether the login that a token came from still
//! stands is for `oauth` to say. Spec: `spec/relay.md` section 8.

use alloc::string::String;
use core::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::http::{Answer, Caller};
use super::ids::{Email, Uid};
use super::keys::Keys;
use crate::http::Status;
use crate::json::{Object, string};
use crate::jws::{Parts, number, text_of};

/// What a client is told of a token that is not good. A published client refreshes its token when it finds
/// `invalid jwt token` in it.
pub const INVALID: &str = "invalid access token: invalid JWT token";

/// The first check that a token failed, for logs; clients are told [`INVALID`] whatever it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TokenFault {
    /// It is no compact JWS of JSON objects.
    Malformed,
    /// Its header names another algorithm than EdDSA, or asks for what we do not know (`crit`).
    Algorithm,
    /// Its header names another key.
    OtherKey,
    /// The signature is not ours.
    Signature,
    /// Another issuer.
    Issuer,
    /// For another audience.
    Audience,
    /// Not good yet.
    NotYet,
    /// Not good any more.
    Expired,
    /// No subject.
    Subject,
    /// From a time when users were identified in another way.
    Mode,
    /// Its login was ended.
    LoginOver,
}

impl TokenFault {
    /// The answer to a request with such a token.
    #[must_use]
    pub fn answer(self) -> Answer {
        Answer::error(Status::UNAUTHORIZED, INVALID)
    }
}

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the access token is malformed",
            Self::Algorithm => "the access token's algorithm is not EdDSA",
            Self::OtherKey => "the access token names another key",
            Self::Signature => "the access token's signature is not ours",
            Self::Issuer => "the access token is of another issuer",
            Self::Audience => "the access token is for another audience",
            Self::NotYet => "the access token is not good yet",
            Self::Expired => "the access token has expired",
            Self::Subject => "the access token has no subject",
            Self::Mode => "the access token is of another AUTH_MODE",
            Self::LoginOver => "the access token's login was ended",
        })
    }
}

impl core::error::Error for TokenFault {}

/// What a token says. Empty texts are left out of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claims<'a> {
    /// `iss`
    pub issuer: &'a str,
    /// `sub`
    pub subject: &'a str,
    /// `aud`
    pub audience: &'a str,
    /// `iat` and `nbf`, in seconds since 1970.
    pub issued_at: u64,
    /// `exp`
    pub expires_at: u64,
    /// `scope`
    pub scope: &'a str,
    /// `auth_mode`
    pub mode: &'a str,
    /// `email`
    pub email: &'a str,
    /// `name`
    pub name: &'a str,
    /// `jti`
    pub id: &'a str,
    /// `cid`: the login.
    pub login: &'a str,
    /// `email_verified`, if there is an e-mail.
    pub email_verified: bool,
}

#[derive(serde::Serialize)]
struct Payload<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    iss: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    sub: &'a str,
    aud: [&'a str; 1],
    iat: u64,
    nbf: u64,
    exp: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    auth_mode: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    email: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    jti: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
}

/// A token with these claims, in the order in which the original writes them; what is ours comes last.
#[must_use]
pub fn issue(keys: &Keys, claims: &Claims<'_>) -> String {
    let payload = Payload {
        iss: claims.issuer,
        sub: claims.subject,
        aud: [claims.audience],
        iat: claims.issued_at,
        nbf: claims.issued_at,
        exp: claims.expires_at,
        scope: claims.scope,
        auth_mode: claims.mode,
        email: claims.email,
        name: claims.name,
        jti: claims.id,
        cid: claims.login,
        email_verified: (!claims.email.is_empty()).then_some(claims.email_verified),
    };
    let header = alloc::format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"JWT"}}"#, keys.kid());
    let payload = serde_json::to_vec(&payload).unwrap_or_default();
    let mut token = URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut token);
    let signature = keys.sign(token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

/// What a token is compared with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected<'a> {
    /// `iss`
    pub issuer: &'a str,
    /// `aud`
    pub audience: &'a str,
    /// `auth_mode`, if the token says one.
    pub mode: &'a str,
    /// Seconds since 1970. There is no tolerance.
    pub now: u64,
}

/// Judges a token.
///
/// # Errors
/// The first check that it fails.
pub fn verify(keys: &Keys, token: &str, expected: Expected<'_>) -> Result<Caller, TokenFault> {
    let parts = Parts::split(token).map_err(|_| TokenFault::Malformed)?;
    let header = Object::parse(&parts.header).map_err(|_| TokenFault::Malformed)?;
    let payload = Object::parse(&parts.payload).map_err(|_| TokenFault::Malformed)?;
    if text_of(&header, "alg").as_deref() != Some("EdDSA") || header.get("crit").is_some() {
        return Err(TokenFault::Algorithm);
    }
    if let Some(kid) = header.get("kid")
        && string(kid).as_deref() != Some(keys.kid())
    {
        return Err(TokenFault::OtherKey);
    }
    let signature = URL_SAFE_NO_PAD
        .decode(parts.signature)
        .map_err(|_| TokenFault::Signature)?;
    if !keys.verify(parts.input.as_bytes(), &signature) {
        return Err(TokenFault::Signature);
    }
    if text_of(&payload, "iss").as_deref() != Some(expected.issuer) {
        return Err(TokenFault::Issuer);
    }
    if !payload.get("aud").is_some_and(|aud| names(aud, expected.audience)) {
        return Err(TokenFault::Audience);
    }
    let expires_at = times(&payload, expected.now)?;
    let text = |key: &str| text_of(&payload, key).map(alloc::borrow::Cow::into_owned);
    let uid = text("sub")
        .filter(|sub| !sub.trim().is_empty())
        .ok_or(TokenFault::Subject)?;
    if payload.get("auth_mode").is_some() && text_of(&payload, "auth_mode").as_deref() != Some(expected.mode) {
        return Err(TokenFault::Mode);
    }
    let email_written = text("email");
    let says_verified = payload.get("email_verified").is_some_and(|value| value.get() == "true");
    Ok(Caller {
        uid: Uid(uid),
        email: email_written.as_deref().and_then(Email::parse),
        // Demo users say who they are: there is nobody to ask.
        email_verified: says_verified || expected.mode == "demo",
        email_written,
        name: text("name"),
        scope: text("scope").unwrap_or_default(),
        expires_at,
        // A token of the original has no id: its digest stands for one.
        token_id: text("jti").unwrap_or_else(|| digest_id(token)),
        login: text("cid"),
    })
}

/// Whether `aud`, a text or a list, names this audience.
pub(super) fn names(aud: &RawValue, audience: &str) -> bool {
    match string(aud) {
        Some(one) => one == audience,
        None => serde_json::from_str::<alloc::vec::Vec<String>>(aud.get())
            .is_ok_and(|all| all.iter().any(|one| one == audience)),
    }
}

/// Checks `nbf` and `exp`, without tolerance; gives the latter.
fn times(payload: &Object<'_>, now: u64) -> Result<u64, TokenFault> {
    #[allow(clippy::cast_precision_loss, reason = "seconds are far below 2^53")]
    let at = now as f64;
    if let Some(not_before) = payload.get("nbf")
        && !number(not_before).is_some_and(|not_before| not_before <= at)
    {
        return Err(TokenFault::NotYet);
    }
    let expiry = payload.get("exp").and_then(number).ok_or(TokenFault::Expired)?;
    if at >= expiry {
        return Err(TokenFault::Expired);
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is after now; what is too large becomes the largest"
    )]
    Ok(expiry as u64)
}

fn digest_id(token: &str) -> String {
    let digest = Sha256::digest(token.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use alloc::format;
    use proptest::prelude::*;

    const NOW: u64 = 1_800_000_000;
    const EXPECTED: Expected<'static> = Expected {
        issuer: "http://localhost:8080",
        audience: "commands-gateway",
        mode: "oidc",
        now: NOW,
    };
    const CLAIMS: Claims<'static> = Claims {
        issuer: EXPECTED.issuer,
        subject: "u-1",
        audience: EXPECTED.audience,
        issued_at: NOW,
        expires_at: NOW + 3_600,
        scope: "profile email",
        mode: "oidc",
        email: "A@example.org",
        name: "Ann",
        id: "id-1",
        login: "login-1",
        email_verified: true,
    };

    fn keys() -> Keys {
        Keys::derive(&Secret::new("reference-signing-key-0123456789abcdef".into()))
    }

    fn judge(token: &str) -> Result<Caller, TokenFault> {
        verify(&keys(), token, EXPECTED)
    }

    fn signed(header: &str, payload: &str) -> String {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = keys().sign(input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    const HEADER: &str = r#"{"alg":"EdDSA","kid":"DuMrApYr9_4","typ":"JWT"}"#;

    /// A good payload, with one piece of it replaced.
    fn payload(from: &str, to: &str) -> String {
        let good = format!(
            r#"{{"iss":"{}","sub":"u-1","aud":["commands-gateway"],"iat":{NOW},"nbf":{NOW},"exp":{}}}"#,
            EXPECTED.issuer,
            NOW + 1
        );
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    }

    #[test]
    fn what_is_issued_is_written_like_the_original_and_judged_good() {
        let token = issue(&keys(), &CLAIMS);
        let mut parts = token.split('.');
        let mut text = || String::from_utf8(URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap()).unwrap();
        assert_eq!(text(), HEADER);
        assert_eq!(
            text(),
            r#"{"iss":"http://localhost:8080","sub":"u-1","aud":["commands-gateway"],"iat":1800000000,"nbf":1800000000,"exp":1800003600,"scope":"profile email","auth_mode":"oidc","email":"A@example.org","name":"Ann","jti":"id-1","cid":"login-1","email_verified":true}"#
        );
        let caller = judge(&token).unwrap();
        assert_eq!((caller.uid.0.as_str(), caller.expires_at), ("u-1", NOW + 3_600));
        assert_eq!(caller.email.as_ref().map(Email::as_str), Some("a@example.org"));
        assert_eq!(caller.email_written.as_deref(), Some("A@example.org"));
        assert!(caller.email_verified);
        assert_eq!(
            (caller.token_id.as_str(), caller.login.as_deref()),
            ("id-1", Some("login-1"))
        );
        assert_eq!(caller.scope, "profile email");
    }

    #[test]
    fn empty_claims_are_left_out_and_an_unverified_email_stays_so() {
        let bare = Claims {
            email: "",
            name: "",
            login: "",
            scope: "",
            id: "",
            ..CLAIMS
        };
        let token = issue(&keys(), &bare);
        let body = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let body = String::from_utf8(body).unwrap();
        assert!(body.ends_with(r#""exp":1800003600,"auth_mode":"oidc"}"#), "{body}");
        let caller = judge(&token).unwrap();
        assert_eq!((caller.email, caller.name, caller.login), (None, None, None));
        assert_eq!(caller.token_id.len(), 22, "the digest stands for the id");
        let unverified = issue(
            &keys(),
            &Claims {
                email_verified: false,
                ..CLAIMS
            },
        );
        assert!(!judge(&unverified).unwrap().email_verified);
    }

    #[test]
    fn tokens_of_the_original_are_good() {
        let token = signed(HEADER, &payload("\"sub\"", "\"auth_mode\":\"oidc\",\"sub\""));
        assert_eq!(judge(&token).unwrap().uid, Uid("u-1".into()));
    }

    #[test]
    fn each_check() {
        use TokenFault::{Algorithm, Audience, Expired, Issuer, Malformed, Mode, NotYet, OtherKey, Subject};
        let good = payload("", "");
        let exp = format!("\"exp\":{}", NOW + 1);
        for (header, payload, fault) in [
            (r#"{"alg":"none"}"#, good.clone(), Algorithm),
            (r#"{"alg":"HS256"}"#, good.clone(), Algorithm),
            (r#"{"alg":"eddsa"}"#, good.clone(), Algorithm),
            (r#"{"alg":["EdDSA"]}"#, good.clone(), Algorithm),
            (r#"{}"#, good.clone(), Algorithm),
            (r#"{"alg":"EdDSA","crit":[]}"#, good.clone(), Algorithm),
            (r#"{"alg":"EdDSA","kid":"other"}"#, good.clone(), OtherKey),
            (r#"{"alg":"EdDSA","kid":1}"#, good.clone(), OtherKey),
            (r#"{"alg":"EdDSA","alg":"EdDSA"}"#, good.clone(), Malformed),
            ("[]", good.clone(), Malformed),
            (HEADER, "[]".into(), Malformed),
            (HEADER, payload("localhost", "elsewhere"), Issuer),
            (HEADER, payload("\"iss\"", "\"x\""), Issuer),
            (HEADER, payload("[\"commands-gateway\"]", "\"other\""), Audience),
            (HEADER, payload("[\"commands-gateway\"]", "[]"), Audience),
            (
                HEADER,
                payload("[\"commands-gateway\"]", "[\"commands-gateway\",1]"),
                Audience,
            ),
            (HEADER, payload("\"aud\"", "\"x\""), Audience),
            (HEADER, payload("\"nbf\":1800000000", "\"nbf\":1800000001"), NotYet),
            (HEADER, payload("\"nbf\":1800000000", "\"nbf\":\"0\""), NotYet),
            (HEADER, payload(&exp, "\"exp\":1800000000"), Expired),
            (HEADER, payload(&exp, "\"exp\":\"2800000000\""), Expired),
            (HEADER, payload(&exp, "\"x\":1"), Expired),
            (HEADER, payload("u-1", "  "), Subject),
            (HEADER, payload("\"u-1\"", "7"), Subject),
            (HEADER, payload("\"sub\"", "\"auth_mode\":\"demo\",\"sub\""), Mode),
        ] {
            assert_eq!(judge(&signed(header, &payload)), Err(fault), "{header} {payload}");
        }
        assert!(
            judge(&signed(r#"{"alg":"EdDSA"}"#, &good)).is_ok(),
            "no kid is no confusion"
        );
        for text in ["", "a", "a.b", "a.b.c", "a.b.c.d"] {
            assert_eq!(judge(text), Err(Malformed), "{text}");
        }
        let other = Keys::derive(&Secret::new("another-signing-key-of-32-bytes-or-more".into()));
        assert_eq!(judge(&issue(&other, &CLAIMS)), Err(OtherKey));
    }

    #[test]
    fn what_clients_are_told_makes_published_ones_refresh() {
        let answer = TokenFault::Expired.answer();
        assert_eq!(answer.status, Status::UNAUTHORIZED);
        let text = core::str::from_utf8(&answer.body).unwrap();
        assert!(text.starts_with(r#"{"error":"invalid access token"#));
        assert!(text.to_lowercase().contains("invalid jwt token"));
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_a_panic(text in any::<String>()) {
            prop_assert!(judge(&text).is_err());
        }

        #[test]
        fn no_changed_token_is_good(at in 0_usize..400, bit in 0_u32..7) {
            let token = issue(&keys(), &CLAIMS);
            let mut bytes = token.clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(bytes) {
                prop_assert!(changed == token || judge(&changed).is_err(), "{at}");
            }
        }
    }
}
