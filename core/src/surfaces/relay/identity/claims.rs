//! What an id token must say, and what is taken from it. The claims are judged before the signature is checked and
//! believed only after it. Spec: `spec/relay.md` section 11.

use alloc::string::String;

use super::{Identity, MAX_EMAIL_CHARS, MAX_NAME_CHARS, MAX_UID_CHARS, Refusal, cut};
use crate::json::Object;
use crate::jws::{number, text_of};
use crate::settings::RelayAuth;
use crate::surfaces::relay::tokens::names;

/// How far clocks of two machines may differ, where a difference is allowed at all.
const SKEW_SECONDS: f64 = 300.0;

/// Whose id tokens are taken, and for whom they must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Trust {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) is_firebase: bool,
}

impl Trust {
    /// Of these settings; `None` in demo mode.
    pub(super) fn of(auth: &RelayAuth) -> Option<Self> {
        match auth {
            RelayAuth::Demo => None,
            RelayAuth::Oidc { issuer, client_id } => Some(Self {
                issuer: issuer.clone(),
                audience: client_id.clone(),
                is_firebase: false,
            }),
            RelayAuth::Firebase { project_id, .. } => Some(Self {
                issuer: alloc::format!("https://securetoken.google.com/{project_id}"),
                audience: project_id.clone(),
                is_firebase: true,
            }),
        }
    }

    /// Google writes its name with and without the scheme.
    fn is_issuer(&self, written: &str) -> bool {
        written == self.issuer || (self.issuer == "https://accounts.google.com" && written == "accounts.google.com")
    }

    /// Judges the claims, and reads who it is.
    ///
    /// # Errors
    /// Not good, or no subject.
    pub(super) fn judge(&self, payload: &str, nonce: Option<&str>, now: u64) -> Result<Identity, Refusal> {
        let claims = Object::parse(payload).map_err(|_| Refusal::NotVerified)?;
        let is_issuer = text_of(&claims, "iss").is_some_and(|issuer| self.is_issuer(&issuer));
        let is_for_us = claims.get("aud").is_some_and(|aud| names(aud, &self.audience));
        // Whoever asks with a nonce asks for a token that was made for this one login.
        let is_fresh = nonce.is_none_or(|nonce| text_of(&claims, "nonce").as_deref() == Some(nonce));
        if !is_issuer || !is_for_us || !is_fresh || !self.is_in_time(&claims, now) {
            return Err(Refusal::NotVerified);
        }
        let uid = text_of(&claims, "sub").unwrap_or_default();
        if uid.trim().is_empty() {
            return Err(Refusal::NoSubject);
        }
        let most = if self.is_firebase { 128 } else { MAX_UID_CHARS };
        if uid.chars().count() > most || uid.chars().any(char::is_control) {
            return Err(Refusal::NotVerified);
        }
        let text = |name: &str, chars| text_of(&claims, name).map(|text| cut(&text, chars)).unwrap_or_default();
        let email = text_of(&claims, "email").filter(|email| email.chars().count() <= MAX_EMAIL_CHARS);
        let email = cut(&email.unwrap_or_default(), MAX_EMAIL_CHARS);
        let second = if self.is_firebase {
            "display_name"
        } else {
            "preferred_username"
        };
        let names = [
            text("name", MAX_NAME_CHARS),
            text(second, MAX_NAME_CHARS),
            cut(&email, MAX_NAME_CHARS),
        ];
        let name = names.into_iter().find(|name| !name.is_empty());
        Ok(Identity {
            name: name.unwrap_or_else(|| cut(&uid, MAX_NAME_CHARS)),
            email_verified: !email.is_empty() && is_true(&claims, "email_verified"),
            email,
            uid: uid.into_owned(),
        })
    }

    #[allow(clippy::cast_precision_loss, reason = "seconds are far below 2^53")]
    fn is_in_time(&self, claims: &Object<'_>, now: u64) -> bool {
        let now = now as f64;
        let of = |name: &str| claims.get(name).map(|value| number(value).unwrap_or(f64::NAN));
        let late = if self.is_firebase { SKEW_SECONDS } else { 0.0 };
        let has_not_expired = of("exp").is_some_and(|exp| now < exp + late);
        let has_begun = of("nbf").is_none_or(|nbf| nbf <= now + SKEW_SECONDS);
        let is_issued = !self.is_firebase || of("iat").is_some_and(|iat| iat <= now + SKEW_SECONDS);
        has_not_expired && has_begun && is_issued
    }
}

/// Some providers write booleans as texts.
fn is_true(claims: &Object<'_>, name: &str) -> bool {
    claims
        .get(name)
        .is_some_and(|value| matches!(value.get(), "true" | "\"true\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    const NOW: u64 = 1_800_000_000;

    fn oidc() -> Trust {
        Trust {
            issuer: "https://id.example".into(),
            audience: "client-1".into(),
            is_firebase: false,
        }
    }

    fn firebase() -> Trust {
        Trust::of(&RelayAuth::Firebase {
            project_id: "client-1".into(),
            api_key: None,
        })
        .unwrap()
    }

    fn good(trust: &Trust, from: &str, to: &str) -> Result<Identity, Refusal> {
        let payload = format!(
            r#"{{"iss":"{}","aud":"client-1","sub":"u-1","iat":{NOW},"exp":{},"email":"A@b.c","email_verified":true,"name":"Ann"}}"#,
            trust.issuer,
            NOW + 1
        );
        assert!(payload.contains(from), "{from}");
        trust.judge(&payload.replacen(from, to, 1), None, NOW)
    }

    #[test]
    fn what_is_taken_from_a_good_token() {
        let user = good(&oidc(), "", "").unwrap();
        assert_eq!(
            (user.uid.as_str(), user.email.as_str(), user.name.as_str()),
            ("u-1", "A@b.c", "Ann")
        );
        assert!(user.email_verified);
        for (from, to, verified) in [
            (",\"email_verified\":true", "", false),
            ("\"email_verified\":true", "\"email_verified\":false", false),
            ("\"email_verified\":true", "\"email_verified\":1", false),
            ("\"email_verified\":true", "\"email_verified\":\"true\"", true),
            ("\"email\":\"A@b.c\",", "", false),
        ] {
            assert_eq!(good(&oidc(), from, to).unwrap().email_verified, verified, "{to}");
        }
        let name = |trust: &Trust, from: &str, to: &str| good(trust, from, to).unwrap().name;
        assert_eq!(
            name(&oidc(), "\"name\":\"Ann\"", "\"preferred_username\":\"ann\""),
            "ann"
        );
        assert_eq!(name(&firebase(), "\"name\":\"Ann\"", "\"display_name\":\"ann\""), "ann");
        assert_eq!(name(&oidc(), "\"name\":\"Ann\"", "\"display_name\":\"ann\""), "A@b.c");
        assert_eq!(
            name(
                &oidc(),
                "\"email\":\"A@b.c\",\"email_verified\":true,\"name\":\"Ann\"",
                "\"x\":1"
            ),
            "u-1"
        );
        assert!(good(&oidc(), "\"client-1\"", "[\"x\",\"client-1\"]").is_ok());
    }

    #[test]
    fn each_check_of_an_oidc_token() {
        let exp = format!("\"exp\":{}", NOW + 1);
        for (from, to, fault) in [
            ("https://id.example", "https://id.example/", Refusal::NotVerified),
            ("\"iss\"", "\"x\"", Refusal::NotVerified),
            ("\"client-1\"", "\"client-2\"", Refusal::NotVerified),
            ("\"client-1\"", "[\"client-2\"]", Refusal::NotVerified),
            (exp.as_str(), "\"exp\":1800000000", Refusal::NotVerified),
            (&exp, "\"exp\":\"1900000000\"", Refusal::NotVerified),
            (&exp, "\"x\":1", Refusal::NotVerified),
            ("\"sub\"", "\"nbf\":1800000301,\"sub\"", Refusal::NotVerified),
            ("\"sub\"", "\"nbf\":\"1\",\"sub\"", Refusal::NotVerified),
            ("\"u-1\"", "\"\"", Refusal::NoSubject),
            ("\"u-1\"", "7", Refusal::NoSubject),
            ("\"u-1\"", "\"a\\u0000\"", Refusal::NotVerified),
            ("\"sub\"", "\"iss\":\"x\",\"sub\"", Refusal::NotVerified),
        ] {
            assert_eq!(good(&oidc(), from, to), Err(fault), "{to}");
        }
        assert!(good(&oidc(), "\"sub\"", "\"nbf\":1800000300,\"sub\"").is_ok());
        assert!(
            good(&oidc(), "\"iat\":1800000000", "\"iat\":1900000000").is_ok(),
            "not looked at"
        );
    }

    #[test]
    fn each_check_of_a_firebase_token() {
        let exp = format!("\"exp\":{}", NOW + 1);
        assert!(good(&firebase(), &exp, "\"exp\":1799999701").is_ok());
        assert!(good(&firebase(), "\"iat\":1800000000", "\"iat\":1800000300").is_ok());
        let long = format!("\"{}\"", "u".repeat(129));
        for (from, to) in [
            (exp.as_str(), "\"exp\":1799999700"),
            ("\"iat\":1800000000", "\"iat\":1800000301"),
            ("\"iat\":1800000000", "\"x\":1"),
            ("\"u-1\"", &long),
            ("securetoken.google.com/client-1", "securetoken.google.com/client-2"),
        ] {
            assert_eq!(good(&firebase(), from, to), Err(Refusal::NotVerified), "{to}");
        }
    }

    #[test]
    fn google_has_two_names_and_a_nonce_is_looked_at_when_it_is_asked_for() {
        let google = Trust {
            issuer: "https://accounts.google.com".into(),
            ..oidc()
        };
        assert!(good(&google, "https://accounts", "accounts").is_ok());
        assert!(good(&oidc(), "https://id.example", "id.example").is_err());
        let payload = format!(
            r#"{{"iss":"https://id.example","aud":"client-1","sub":"u","exp":{},"nonce":"n-1"}}"#,
            NOW + 1
        );
        assert!(oidc().judge(&payload, Some("n-1"), NOW).is_ok());
        assert!(oidc().judge(&payload, Some("n-2"), NOW).is_err());
        assert!(oidc().judge(&payload, None, NOW).is_ok());
    }
}
