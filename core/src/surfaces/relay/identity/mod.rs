//! Who a user is: in demo mode what he says himself, else what an identity provider signed. It tells a user's name; what
//! that user may do is decided elsewhere. Spec: `spec/relay.md` section 11.

mod claims;
pub mod demo;
mod documents;
mod jwk;
mod place;
mod upstream;

use alloc::string::String;

pub use upstream::{Upstream, Verdict};

use super::http::Answer;
use crate::http::Status;

/// The longest uid.
pub const MAX_UID_CHARS: usize = 255;
/// The longest e-mail address.
pub const MAX_EMAIL_CHARS: usize = 320;
/// The longest display name; longer ones are cut.
pub const MAX_NAME_CHARS: usize = 200;

/// A user.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// The subject.
    pub uid: String,
    /// The e-mail as it was written; empty: none.
    pub email: String,
    /// Whether whoever tells who the user is has verified it.
    pub email_verified: bool,
    /// What people call the user; empty: nothing.
    pub name: String,
}

/// Why a user is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no id token.
    Missing,
    /// The id token is longer than any that is read.
    TooLong,
    /// The id token is not good.
    NotVerified,
    /// The id token names nobody.
    NoSubject,
    /// A text that the user chose is too long or holds control characters.
    BadText,
    /// A page of another site asks in the user's name.
    CrossSite,
    /// The identity provider does not answer, or too many users wait for it.
    Unavailable,
}

impl Refusal {
    /// The text in the answer.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Missing => "id token is required",
            Self::TooLong => "id token is longer than 8192 bytes",
            Self::NotVerified => "id token verification failed",
            Self::NoSubject => "token missing subject",
            Self::BadText => "demo_uid, demo_email or demo_name is too long or holds control characters",
            Self::CrossSite => "a page of another site cannot log a user in",
            Self::Unavailable => "the identity provider does not answer; try again",
        }
    }

    /// The answer.
    #[must_use]
    pub fn answer(self) -> Answer {
        match self {
            Self::Unavailable => Answer::error(Status::SERVICE_UNAVAILABLE, self.text()).with("Retry-After", "5"),
            Self::CrossSite => Answer::error(Status::FORBIDDEN, self.text()),
            _ => Answer::error(Status::UNAUTHORIZED, self.text()),
        }
    }
}

/// The first characters of a text, without control characters.
fn cut(text: &str, chars: usize) -> String {
    text.trim()
        .chars()
        .filter(|char| !char.is_control())
        .take(chars)
        .collect()
}
