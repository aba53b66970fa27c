//! What must not stand in a log: secrets that the gateway knows, whole; and what looks like one, by the name before it or by
//! its form. A line of the log stays one line. It decides nothing about where secrets may go; it is the last net.

use std::sync::{PoisonError, RwLock};

use portcullis_core::secret::Secret;

/// What stands in the place of a secret.
const MASK: &str = "***";
/// A shorter text could be any word.
const MIN_KNOWN: usize = 8;
/// How words begin that are keys of well-known services.
const PREFIXES: [&str; 10] = [
    "sk-",
    "ghp_",
    "gho_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AIza",
    "AKIA",
    "eyJ",
];
/// A word with such a beginning is a key only if it goes on.
const MIN_PREFIXED: usize = 16;
/// How the names of secrets end, without dashes and underscores.
const NAMES: [&str; 9] = [
    "token",
    "password",
    "passwd",
    "secret",
    "apikey",
    "accesskey",
    "privatekey",
    "authorization",
    "cookie",
];

static KNOWN: RwLock<Vec<Secret>> = RwLock::new(Vec::new());

/// Has these secrets masked wherever they stand, from now on, instead of those before.
pub fn know(secrets: impl IntoIterator<Item = Secret>) {
    let secrets = secrets.into_iter().filter(|secret| secret.reveal().len() >= MIN_KNOWN);
    *KNOWN.write().unwrap_or_else(PoisonError::into_inner) = secrets.collect();
}

/// The text on one line, with secrets masked.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut text = without_known(text);
    text = without_keys_in_blocks(text);
    let masked = without_user_info(&masked_words(&text));
    let mut line = String::with_capacity(masked.len());
    for c in masked.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

fn without_known(text: &str) -> String {
    let mut text = text.to_owned();
    for secret in KNOWN.read().unwrap_or_else(PoisonError::into_inner).iter() {
        if text.contains(secret.reveal()) {
            text = text.replace(secret.reveal(), MASK);
        }
    }
    text
}

/// PEM blocks.
fn without_keys_in_blocks(text: String) -> String {
    match text.split_once("-----BEGIN ") {
        Some((before, block)) => {
            let end = block.find("-----END ").unwrap_or(block.len());
            let (_, after) = block.split_at(end);
            format!(
                "{before}{MASK}{}",
                after.strip_prefix("-----END ").map_or("", |_| " (a PEM block)")
            )
        }
        None => text,
    }
}

/// `scheme://user:password@host`.
fn without_user_info(text: &str) -> String {
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, from) = rest.split_at(at.saturating_add(3));
        done.push_str(before);
        let end = from
            .find(|c: char| c.is_whitespace() || "/?#\"'".contains(c))
            .unwrap_or(from.len());
        let (authority, after) = from.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                done.push_str(MASK);
                done.push('@');
                done.push_str(host);
            }
            None => done.push_str(authority),
        }
        rest = after;
    }
    done.push_str(rest);
    done
}

/// Values of secret-like names, bearer credentials and keys of well-known services.
fn masked_words(text: &str) -> String {
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    // The last word, when it may be the name of what follows.
    let mut name = Name::None;
    while let Some(first) = rest.chars().next() {
        if !is_of_word(first) {
            let (mark, after) = rest.split_at(first.len_utf8());
            done.push_str(mark);
            rest = after;
            name = name.then(first);
            continue;
        }
        let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let is_masked = name.masks(word) || is_key(word);
        done.push_str(if is_masked { MASK } else { word });
        rest = after;
        name = if name.goes_on(word) {
            Name::Bearer
        } else {
            Name::of(word)
        };
    }
    done
}

const fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '/' | '~' | '*' | '$' | '!' | '%') || !c.is_ascii()
}

fn is_key(word: &str) -> bool {
    word.len() >= MIN_PREFIXED && PREFIXES.iter().any(|prefix| word.starts_with(prefix))
}

/// What the word before says about the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    None,
    /// The name of a secret.
    Secret,
    /// The same, and `=` or a quoted name's `:` came after it: what follows is the value, whatever it looks like.
    Assigned,
    /// The same with `:`: what follows may be the value or the rest of a sentence.
    Told,
    /// The next word is a credential.
    Bearer,
}

impl Name {
    fn of(word: &str) -> Self {
        if word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic") {
            return Self::Bearer;
        }
        let plain: String = word
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        if NAMES.iter().any(|name| plain.ends_with(name)) {
            Self::Secret
        } else {
            Self::None
        }
    }

    /// After a character that belongs to no word.
    const fn then(self, c: char) -> Self {
        match (self, c) {
            (Self::Secret | Self::Told, '=') => Self::Assigned,
            (Self::Secret, ':') => Self::Told,
            (Self::Told, '"' | '\'') => Self::Assigned,
            (Self::Secret, '"' | '\'') | (Self::Told | Self::Assigned, ' ' | '"' | '\'') | (Self::Bearer, ' ') => self,
            _ => Self::None,
        }
    }

    fn masks(self, word: &str) -> bool {
        match self {
            Self::None | Self::Secret => false,
            Self::Assigned => !is_scheme(word),
            Self::Told => word.len() >= MIN_KNOWN && word.bytes().any(|byte| byte.is_ascii_digit()),
            // Words of a sentence about bearers are shorter.
            Self::Bearer => word.len() >= MIN_KNOWN,
        }
    }

    fn goes_on(self, word: &str) -> bool {
        matches!(self, Self::Assigned | Self::Told) && is_scheme(word)
    }
}

fn is_scheme(word: &str) -> bool {
    word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_masked_whole() {
        for (text, line) in [
            ("token=hunter22 next", "token=*** next"),
            ("OPENCLAW_GATEWAY_TOKEN=abc", "OPENCLAW_GATEWAY_TOKEN=***"),
            ("{\"apiKey\":\"short\",\"a\":1}", "{\"apiKey\":\"***\",\"a\":1}"),
            ("api_key: 'a1b2c3d4e5'", "api_key: '***'"),
            ("password: hunter2222", "password: ***"),
            ("Authorization: Bearer abc.def.ghi123", "Authorization: Bearer ***"),
            ("got Bearer 0123456789abcdef from", "got Bearer *** from"),
            ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
            ("https://user:pass@host.example/x", "https://***@host.example/x"),
            ("key sk-0123456789abcdef0 used", "key *** used"),
            ("a\nb\tc\u{1b}[31m", "a\\nb\\tc\\u{1b}[31m"),
            (
                "x -----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----",
                "x *** (a PEM block)",
            ),
        ] {
            assert_eq!(one_line(text), line);
        }
    }

    #[test]
    fn ordinary_words_are_left() {
        for text in [
            "maxTokens=4096 usedTokens: 17",
            "gateway.auth.token: must be at least 8 characters long",
            "the token is weak: make a better one",
            "a token on the command line can be seen",
            "GET https://example.com/path?x=1 200",
            "sk-short",
            "connection 17 from 127.0.0.1:5000 opened",
        ] {
            assert_eq!(one_line(text), text);
        }
    }

    #[test]
    fn known_secrets_are_masked_anywhere() {
        know([Secret::new("correct horse battery".into()), Secret::new("short".into())]);
        assert_eq!(one_line("xcorrect horse batteryx short"), "x***x short");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_one_line(text in ".{0,60}") {
            proptest::prop_assert!(!one_line(&text).contains(['\n', '\r']));
        }
    }
}
