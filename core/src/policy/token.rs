//! How good a shared secret is, before the gateway starts with it. It judges what a person wrote; whether a presented one
//! is right is decided in [`crate::secret`]. Spec: `spec/hardening.md`.

use core::fmt;

/// What a token is worth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Strength {
    /// Nothing is there, or a word that scripts write for nothing.
    Missing,
    /// A text that stands in published examples.
    Placeholder,
    /// It holds white space or control characters.
    Malformed,
    /// It can be guessed.
    Weak,
    /// It cannot.
    Strong,
}

/// Texts that mean "nothing": unset variables printed by scripts, and what redaction leaves.
const NOTHING: &[&str] = &["undefined", "null", "__openclaw_redacted__"];

/// Texts that everybody can read in examples.
const PLACEHOLDERS: &[&str] = &[
    "change-me-to-a-long-random-token",
    "change-me-now",
    "your-token",
    "your_token",
    "replace-with-strong-token",
    "replace-with-a-long-random-token",
    "<token>",
];

impl Strength {
    /// Judges a token; white space around it does not count.
    #[must_use]
    pub fn of(token: &str) -> Self {
        let token = token.trim();
        let is_one_of = |list: &[&str]| list.iter().any(|text| token.eq_ignore_ascii_case(text));
        if token.is_empty() || is_one_of(NOTHING) {
            return Self::Missing;
        }
        if is_one_of(PLACEHOLDERS) {
            return Self::Placeholder;
        }
        if token.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Self::Malformed;
        }
        let length = token.chars().count();
        let is_strong = if token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            length >= 32 && distinct(token.bytes().map(|byte| byte.to_ascii_lowercase())) >= 8
        } else {
            let is_base64url = token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            length >= 32 || (length >= 22 && is_base64url && distinct(token.bytes()) >= 12)
        };
        if is_strong { Self::Strong } else { Self::Weak }
    }

    /// Whether a gateway may start with it on loopback; elsewhere only a [`Self::Strong`] one will do.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Weak | Self::Strong)
    }
}

/// What is wrong and what to do; for a strong one, that it is.
impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => {
                "the token is empty or stands for nothing (like undefined or null): make one with `openssl rand -hex 32`, or leave it out to have one made"
            }
            Self::Placeholder => "the token is a published example that everybody knows: make one with `openssl rand -hex 32`",
            Self::Malformed => "the token holds white space or control characters: write it on one line without any",
            Self::Weak => {
                "the token is weak: use at least 32 hexadecimal digits (`openssl rand -hex 32` makes 64) or 32 other characters"
            }
            Self::Strong => "the token is strong",
        })
    }
}

fn distinct(bytes: impl Iterator<Item = u8>) -> u32 {
    let seen = bytes.fold([0_u128; 2], |[low, high], byte| match byte {
        0..=127 => [low | 1 << byte, high],
        128..=255 => [low, high | 1 << (byte - 128)],
    });
    seen.iter().map(|half| half.count_ones()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule() {
        for (token, strength) in [
            ("", Strength::Missing),
            (" \n", Strength::Missing),
            ("undefined", Strength::Missing),
            ("null", Strength::Missing),
            ("__OPENCLAW_REDACTED__", Strength::Missing),
            ("change-me-to-a-long-random-token", Strength::Placeholder),
            ("change-me-now", Strength::Placeholder),
            ("your-token", Strength::Placeholder),
            ("YOUR_TOKEN", Strength::Placeholder),
            ("replace-with-strong-token", Strength::Placeholder),
            ("replace-with-a-long-random-token", Strength::Placeholder),
            ("<token>", Strength::Placeholder),
            ("0123456789abcdef 0123456789abcdef", Strength::Malformed),
            ("0123456789abcdef\u{0}0123456789abcdef", Strength::Malformed),
            ("0123456789abcdef0123456789abcdef", Strength::Strong),
            (" 0123456789ABCDEF0123456789abcdef\n", Strength::Strong),
            ("0123456789abcdef0123456789abcde", Strength::Weak),
            ("0123456012345601234560123456012345601234560123456", Strength::Weak),
            ("aAbBcCdDaAbBcCdDaAbBcCdDaAbBcCdD", Strength::Weak),
            ("correct-horse-battery-staple-and-more", Strength::Strong),
            ("not-long-but-with_many1", Strength::Strong),
            ("not-long-but-with_many!", Strength::Weak),
            ("zyzyzyzyzyzyzyzyzyzyzyz", Strength::Weak),
            ("hunter22", Strength::Weak),
        ] {
            assert_eq!(Strength::of(token), strength, "{token:?}");
        }
        assert!(Strength::Weak.is_usable() && !Strength::Malformed.is_usable());
    }
}
