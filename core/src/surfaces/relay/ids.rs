//! Names in the relay's protocol, checked once. Spec: `spec/relay.md`, RL-17.

use alloc::string::String;
use core::fmt;

/// Why a text is no id; written with the field's name it is what a client is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdFault {
    /// Nothing but blanks.
    Missing,
    /// Too short, too long, or of other characters.
    Invalid,
}

impl IdFault {
    /// `<label> is required`, or `invalid <label>`.
    #[must_use]
    pub fn text(self, label: &str) -> String {
        match self {
            Self::Missing => alloc::format!("{label} is required"),
            Self::Invalid => alloc::format!("invalid {label}"),
        }
    }
}

/// 3 to 128 bytes of `A-Z a-z 0-9 - _ . :` after trimming.
fn check(text: &str) -> Result<&str, IdFault> {
    let text = text.trim();
    if text.is_empty() {
        return Err(IdFault::Missing);
    }
    let good = (3..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
    if good { Ok(text) } else { Err(IdFault::Invalid) }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Reads what a client wrote.
            ///
            /// # Errors
            /// Whether it is missing or of another form.
            pub fn parse(text: &str) -> Result<Self, IdFault> {
                check(text).map(|text| Self(String::from(text)))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl core::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// A device, named by its agent.
    DeviceId;
    /// A session, named by the client that begins it.
    SessionId;
    /// The handshake of a session, named by the client.
    HandshakeId;
    /// A conversation, named by the client, or after the session.
    ConversationId;
}

impl ConversationId {
    /// The conversation of a session that names none: `conv_` and the session's id, which may be five bytes longer than
    /// a client's own id; the form that the original gives out, and takes back here.
    #[must_use]
    pub fn of(session: &SessionId) -> Self {
        Self(alloc::format!("conv_{session}"))
    }

    /// Reads what a client wrote; the default of its session is always one.
    ///
    /// # Errors
    /// Whether it is missing or of another form.
    pub fn parse_in(session: &SessionId, text: &str) -> Result<Self, IdFault> {
        let default = Self::of(session);
        if text.trim() == default.as_str() {
            Ok(default)
        } else {
            Self::parse(text)
        }
    }
}

/// A user: the subject of an access token.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Uid(pub String);

/// An e-mail address as it is compared: trimmed, lower case, one `@` with something on both sides.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Email(String);

impl Email {
    /// Reads one; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_lowercase();
        let (name, host) = text.split_once('@')?;
        let good = !name.is_empty() && !host.is_empty() && !host.contains('@') && text.len() <= 320;
        good.then_some(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        let long = "x".repeat(129);
        for (text, fault) in [
            ("dev_1", None),
            (" a.b ", None),
            ("", Some(IdFault::Missing)),
            ("  ", Some(IdFault::Missing)),
            ("ab", Some(IdFault::Invalid)),
            ("a b", Some(IdFault::Invalid)),
            ("d\u{e9}v", Some(IdFault::Invalid)),
            (&long, Some(IdFault::Invalid)),
        ] {
            assert_eq!(DeviceId::parse(text).err(), fault, "{text}");
        }
        assert_eq!(IdFault::Missing.text("device_id"), "device_id is required");
        let session = SessionId::parse(&long[1..]).unwrap();
        let default = ConversationId::of(&session);
        assert_eq!(ConversationId::parse_in(&session, default.as_str()), Ok(default));
    }

    #[test]
    fn emails_are_compared_in_one_form() {
        assert_eq!(Email::parse(" A@Example.ORG ").unwrap().as_str(), "a@example.org");
        for text in ["", "a", "@", "a@", "@b", "a@b@c"] {
            assert_eq!(Email::parse(text), None, "{text}");
        }
    }
}
