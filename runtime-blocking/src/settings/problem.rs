//! What is wrong with the settings, all of it at once, as `path: what is wrong (did you mean ...)`.
//! Values are never shown: any of them may be a secret.

use std::fmt;

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The key, preceded by where it was given when that is not the file (`--set gateway.port`), or an option's name.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
}

impl Problem {
    pub(crate) fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// Every mistake that was found; at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("The settings have mistakes:")?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The candidate that a person who wrote `path` most likely meant: the same last word elsewhere, or nearly the same path.
pub(crate) fn nearest<'a>(path: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let misplaced = candidates
        .clone()
        .find(|candidate| plain(last_word(candidate)) == plain(last_word(path)));
    misplaced.or_else(|| {
        let allowed = (path.len() / 5).clamp(1, 4);
        candidates
            .map(|candidate| (distance(path, candidate), candidate))
            .filter(|(distance, _)| *distance <= allowed)
            .min()
            .map(|(_, candidate)| candidate)
    })
}

fn last_word(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn plain(word: &str) -> String {
    word.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// The Levenshtein distance, ASCII case ignored: how many characters to insert, delete or replace.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, b) in row.iter_mut().skip(1).zip(other.chars()) {
            let replaced = diagonal + usize::from(!a.eq_ignore_ascii_case(&b));
            diagonal = *cell;
            left = replaced.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (one, other, steps) in [
            ("", "", 0),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("PORT", "port", 0),
        ] {
            assert_eq!(distance(one, other), steps, "{one} {other}");
        }
    }

    #[test]
    fn suggests_near_and_misplaced_keys_and_nothing_far() {
        let keys = ["gateway.port", "gateway.auth.token", "gateway.rateLimitPerMinute"];
        for (written, meant) in [
            ("gateway.prot", Some("gateway.port")),
            ("gateway.token", Some("gateway.auth.token")),
            ("rate-limit-per-minute", Some("gateway.rateLimitPerMinute")),
            ("gateway.rateLimitPerMinut", Some("gateway.rateLimitPerMinute")),
            ("weather", None),
        ] {
            assert_eq!(nearest(written, keys.into_iter()), meant, "{written}");
        }
    }
}
