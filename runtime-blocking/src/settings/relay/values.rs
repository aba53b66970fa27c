//! How values of the relay's variables are read: blanks around them do not count, an empty value is none, and what cannot be
//! read means the default, as in the original. It knows no variable by name. Spec: `spec/relay.md` section 1.

use std::time::Duration;

use super::super::environment::Environment;

/// Longer times than ten years mean ten years.
const LONGEST: u64 = 315_360_000;

/// The variables.
pub(super) struct Values<'a>(pub(super) &'a Environment);

impl<'a> Values<'a> {
    /// A text; `None` when it is empty.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(str::trim)
    }

    pub(super) fn text_or(&self, name: &str, default: &str) -> String {
        self.text(name).unwrap_or(default).to_owned()
    }

    /// `1 t T true TRUE True` or `0 f F false FALSE False`.
    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        match self.text(name) {
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            _ => default,
        }
    }

    /// A number, moved into its range.
    pub(super) fn number(&self, name: &str, default: u32, (least, most): (u32, u32)) -> u32 {
        let written: Option<i64> = self.text(name).and_then(|text| text.parse().ok());
        written.map_or(default, |number| {
            let moved = number.clamp(i64::from(least), i64::from(most));
            u32::try_from(moved).unwrap_or(default)
        })
    }

    /// Seconds, more than none.
    pub(super) fn seconds(&self, name: &str, default: u64) -> Duration {
        let written: Option<i64> = self.text(name).and_then(|text| text.parse().ok());
        let seconds = written
            .and_then(|seconds| u64::try_from(seconds).ok())
            .filter(|&seconds| seconds > 0);
        Duration::from_secs(seconds.unwrap_or(default).min(LONGEST))
    }

    /// Elements between commas; `None` when all are blank.
    pub(super) fn list(&self, name: &str) -> Option<Vec<String>> {
        let elements: Vec<String> = self
            .text(name)?
            .split(',')
            .map(str::trim)
            .filter(|element| !element.is_empty())
            .map(String::from)
            .collect();
        (!elements.is_empty()).then_some(elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_means_the_default() {
        let environment = Environment::from_iter([
            ("YES", " True "),
            ("ODD", "yes"),
            ("BIG", "99999999999"),
            ("LOW", "-5"),
            ("WORD", "ten"),
            ("ZERO", "0"),
            ("AGES", "999999999999"),
            ("LIST", " a ,, b,"),
            ("BLANK", " , "),
            ("EMPTY", ""),
        ]);
        let values = Values(&environment);
        assert_eq!((values.flag("YES", false), values.flag("ODD", true)), (true, true));
        assert!(!values.flag("NONE", false) && !values.flag("ZERO", true));
        let number = |name| values.number(name, 300, (30, 86_400));
        assert_eq!(["BIG", "LOW", "WORD", "NONE"].map(number), [86_400, 30, 300, 300]);
        let seconds = |name| values.seconds(name, 7).as_secs();
        assert_eq!(["LOW", "ZERO", "WORD", "AGES"].map(seconds), [7, 7, 7, LONGEST]);
        assert_eq!(values.list("LIST"), Some(vec!["a".into(), "b".into()]));
        assert_eq!((values.list("BLANK"), values.list("EMPTY")), (None, None));
    }
}
