//! Demo mode: users say who they are, and nobody asks further. Good for a machine of one's own and nothing else: the relay
//! serves it on loopback only, unless it is told otherwise. Spec: `spec/relay.md` section 11.

use super::{Identity, MAX_EMAIL_CHARS, MAX_NAME_CHARS, MAX_UID_CHARS, Refusal};
use crate::random::Random;
use crate::surfaces::relay::keys::Keys;

/// What a user says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Said<'a> {
    /// `demo_uid`
    pub uid: &'a str,
    /// `demo_email`
    pub email: &'a str,
    /// `demo_name`
    pub name: &'a str,
    /// The request is a POST: the login page was sent in, or a program asks.
    pub is_post: bool,
    /// A browser says that a page of another site asks.
    pub is_cross_site: bool,
}

/// What comes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known {
    /// Show the login page.
    Page,
    /// This user.
    User(Identity),
}

/// Who it is.
///
/// # Errors
/// What is told may be too long, or may come from another site.
pub fn identify(keys: &Keys, random: &mut Random, said: Said<'_>) -> Result<Known, Refusal> {
    let (uid, email, name) = (said.uid.trim(), said.email.trim(), said.name.trim());
    let says_nothing = uid.is_empty() && email.is_empty() && name.is_empty();
    // Any site can make a browser ask here; whoever stands before the screen must be the one who says who it is.
    if said.is_cross_site && said.is_post {
        return Err(Refusal::CrossSite);
    }
    if !said.is_post && (says_nothing || said.is_cross_site) {
        return Ok(Known::Page);
    }
    let fits = |text: &str, chars: usize| text.chars().count() <= chars && !text.chars().any(char::is_control);
    if !fits(uid, MAX_UID_CHARS) || !fits(email, MAX_EMAIL_CHARS) || !fits(name, MAX_NAME_CHARS) {
        return Err(Refusal::BadText);
    }
    let uid = if !email.is_empty() {
        keys.demo_uid(email)
    } else if !uid.is_empty() {
        uid.into()
    } else {
        let [a, b, c, d, e] = random.bytes();
        alloc::format!("demo-{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}")
    };
    let name = [name, email].into_iter().find(|text| !text.is_empty());
    Ok(Known::User(Identity {
        name: name.unwrap_or(&uid).into(),
        uid,
        email: email.into(),
        email_verified: !email.is_empty(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seed;
    use crate::secret::Secret;

    fn told(said: Said<'_>) -> Result<Known, Refusal> {
        let keys = Keys::derive(&Secret::new("reference-signing-key-0123456789abcdef".into()));
        identify(&keys, &mut Random::new(Seed([1; 32])), said)
    }

    fn user(said: Said<'_>) -> Identity {
        match told(said) {
            Ok(Known::User(user)) => user,
            other => panic!("{other:?}"),
        }
    }

    const POST: Said<'static> = Said {
        uid: "",
        email: "",
        name: "",
        is_post: true,
        is_cross_site: false,
    };

    #[test]
    fn users_are_who_they_say() {
        let by_email = user(Said {
            email: " Alice@Example.com ",
            ..POST
        });
        assert_eq!(by_email.uid, "demo-29a06794dd30fb91");
        assert_eq!(by_email.email, "Alice@Example.com");
        assert_eq!(by_email.name, "Alice@Example.com");
        assert!(by_email.email_verified);
        let named = user(Said {
            email: "a@b",
            uid: "u",
            name: "Ann",
            is_post: false,
            ..POST
        });
        assert_eq!(named.name, "Ann");
        assert_ne!(named.uid, "u", "the e-mail goes before the uid");
        let by_uid = user(Said { uid: "u-1", ..POST });
        assert_eq!(
            (by_uid.uid.as_str(), by_uid.name.as_str(), by_uid.email_verified),
            ("u-1", "u-1", false)
        );
        let nobody = user(POST);
        assert!(nobody.uid.starts_with("demo-") && nobody.uid.len() == 15);
        assert_eq!(told(Said { is_post: false, ..POST }), Ok(Known::Page));
    }

    #[test]
    fn another_site_cannot_say_it_and_texts_are_bounded() {
        let cross = Said {
            email: "a@b",
            is_cross_site: true,
            ..POST
        };
        assert_eq!(told(cross), Err(Refusal::CrossSite));
        assert_eq!(
            told(Said {
                is_post: false,
                ..cross
            }),
            Ok(Known::Page)
        );
        let long = "x".repeat(400);
        for said in [
            Said { uid: &long, ..POST },
            Said { email: &long, ..POST },
            Said { name: &long, ..POST },
            Said {
                name: "a\u{7}b",
                ..POST
            },
        ] {
            assert_eq!(told(said), Err(Refusal::BadText));
        }
    }
}
