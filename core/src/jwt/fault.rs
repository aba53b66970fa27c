//! Why a token is not good, one variant for each check, and the one place where each of them gets its words.

use core::fmt;

use crate::jws::ShapeFault;

/// The first check that a token failed; in the order of the checks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TokenFault {
    /// There is none.
    Missing,
    /// It is not a string.
    NotAString,
    /// It has not three parts.
    Malformed,
    /// A part is not base64url, header or payload is no JSON object, or it asks for what we do not know (`crit`).
    Invalid,
    /// The third part is empty.
    Unsigned,
    /// The header names another algorithm than HS256.
    Algorithm,
    /// The signature is another's.
    Signature,
    /// `nbf` is not a number.
    NotBeforeType,
    /// `nbf` is in the future.
    NotYet,
    /// `exp` is missing or not a number.
    ExpiryType,
    /// `exp` is not in the future.
    Expired,
    /// `iss` is another.
    Issuer,
    /// `jti` is not that of the active token.
    OtherSession,
}

impl From<ShapeFault> for TokenFault {
    fn from(fault: ShapeFault) -> Self {
        match fault {
            ShapeFault::Malformed => Self::Malformed,
            ShapeFault::Invalid => Self::Invalid,
        }
    }
}

impl TokenFault {
    /// Whether it tells that the sender knows no key: what was signed with ours and is only too old, or of another
    /// session, is no guess; nor is a message without a token.
    #[must_use]
    pub const fn is_guess(self) -> bool {
        matches!(
            self,
            Self::NotAString | Self::Malformed | Self::Invalid | Self::Unsigned | Self::Algorithm | Self::Signature
        )
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Missing => "jwt must be provided",
            Self::NotAString => "jwt must be a string",
            Self::Malformed => "jwt malformed",
            Self::Invalid => "invalid token",
            Self::Unsigned => "jwt signature is required",
            Self::Algorithm => "invalid algorithm",
            Self::Signature => "invalid signature",
            Self::NotBeforeType => "invalid nbf value",
            Self::NotYet => "jwt not active",
            Self::ExpiryType => "invalid exp value",
            Self::Expired => "jwt expired",
            Self::Issuer => "jwt issuer invalid. expected: openclaw-gateway",
            Self::OtherSession => {
                "Token JTI does not match active session \u{2014} please use the current startup token"
            }
        }
    }
}

/// The words that clients know.
impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self != Self::OtherSession {
            f.write_str("Token validation failed: ")?;
        }
        f.write_str(self.text())
    }
}
