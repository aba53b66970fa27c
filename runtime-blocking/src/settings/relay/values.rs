//! How values of the relay's variables are read: blanks around them do not count, an empty value is none, and what cannot be
//! read means the default, as in the original; but a person is told. It knows no variable by name. Spec: `spec/relay.md`
//! section 1.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::environment::Environment;

/// Longer times than ten years mean ten years.
const LONGEST: u64 = 315_360_000;

/// The variables, and what became of them.
pub(super) struct Values<'a> {
    environment: &'a Environment,
    /// Names that were looked at.
    asked: RefCell<BTreeSet<String>>,
    /// What was not taken as it is written, by name.
    doubts: RefCell<BTreeMap<String, String>>,
}

impl<'a> Values<'a> {
    pub(super) fn of(environment: &'a Environment) -> Self {
        Self {
            environment,
            asked: RefCell::default(),
            doubts: RefCell::default(),
        }
    }

    /// A text; `None` when it is empty.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.asked.borrow_mut().insert(name.to_owned());
        self.environment.get(name).map(str::trim)
    }

    /// What was written and is not taken so: a person is told, because it may be a slip that makes a setting weaker.
    pub(super) fn doubts(&self) -> Vec<String> {
        self.doubts.borrow().values().cloned().collect()
    }

    /// Variables that begin so and that nothing asked for: mostly misspelt ones.
    pub(super) fn unasked(&self, prefix: &str) -> Vec<String> {
        let asked = self.asked.borrow();
        let names = self.environment.names().filter(|name| name.starts_with(prefix));
        names
            .filter(|&name| !asked.contains(name))
            .map(|name| format!("{name} has no effect: no setting has that name"))
            .collect()
    }

    fn doubt(&self, name: &str, why: &str, taken: impl std::fmt::Display) {
        if let Some(written) = self.text(name) {
            let told = format!("{name}={written:?} {why}: it is taken as {taken}");
            self.doubts.borrow_mut().insert(name.to_owned(), told);
        }
    }

    pub(super) fn text_or(&self, name: &str, default: &str) -> String {
        self.text(name).unwrap_or(default).to_owned()
    }

    /// `1 t T true TRUE True` or `0 f F false FALSE False`.
    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        match self.text(name) {
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            _ => {
                self.doubt(name, "is neither true nor false", default);
                default
            }
        }
    }

    /// A number, moved into its range.
    pub(super) fn number(&self, name: &str, default: u32, (least, most): (u32, u32)) -> u32 {
        let Some(written) = self.text(name) else {
            return default;
        };
        let Ok(number) = written.parse::<i64>() else {
            self.doubt(name, "is not a number", default);
            return default;
        };
        let moved = number.clamp(i64::from(least), i64::from(most));
        if moved != number {
            self.doubt(name, &format!("is not from {least} to {most}"), moved);
        }
        u32::try_from(moved).unwrap_or(default)
    }

    /// Seconds, more than none.
    pub(super) fn seconds(&self, name: &str, default: u64) -> Duration {
        let Some(written) = self.text(name) else {
            return Duration::from_secs(default);
        };
        let number = written
            .parse::<i64>()
            .ok()
            .and_then(|number| u64::try_from(number).ok());
        let Some(seconds) = number.filter(|&seconds| seconds > 0) else {
            self.doubt(name, "is no number of seconds above 0", default);
            return Duration::from_secs(default);
        };
        if seconds > LONGEST {
            self.doubt(name, "is more than ten years", LONGEST);
        }
        Duration::from_secs(seconds.min(LONGEST))
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
        let values = Values::of(&environment);
        assert_eq!((values.flag("YES", false), values.flag("ODD", true)), (true, true));
        assert!(!values.flag("NONE", false) && !values.flag("ZERO", true));
        let number = |name| values.number(name, 300, (30, 86_400));
        assert_eq!(["BIG", "LOW", "WORD", "NONE"].map(number), [86_400, 30, 300, 300]);
        let seconds = |name| values.seconds(name, 7).as_secs();
        assert_eq!(["LOW", "ZERO", "WORD", "AGES"].map(seconds), [7, 7, 7, LONGEST]);
        assert_eq!(values.list("LIST"), Some(vec!["a".into(), "b".into()]));
        assert_eq!((values.list("BLANK"), values.list("EMPTY")), (None, None));
    }

    #[test]
    fn what_is_not_taken_as_it_is_written_is_told_once() {
        let environment = Environment::from_iter([
            ("X_FLAG", "yes"),
            ("X_LOW", "-5"),
            ("X_WORD", "ten"),
            ("X_TIME", "1h"),
            ("X_GOOD", "7"),
            ("X_FALG", "1"),
        ]);
        let values = Values::of(&environment);
        for _ in 0..2 {
            values.flag("X_FLAG", false);
            values.number("X_LOW", 300, (30, 86_400));
            values.number("X_WORD", 300, (30, 86_400));
            values.number("X_GOOD", 3, (1, 9));
            values.seconds("X_TIME", 60);
            values.seconds("X_NONE", 60);
        }
        assert_eq!(
            values.doubts(),
            [
                "X_FLAG=\"yes\" is neither true nor false: it is taken as false",
                "X_LOW=\"-5\" is not from 30 to 86400: it is taken as 30",
                "X_TIME=\"1h\" is no number of seconds above 0: it is taken as 60",
                "X_WORD=\"ten\" is not a number: it is taken as 300",
            ]
        );
        assert_eq!(values.unasked("X_"), ["X_FALG has no effect: no setting has that name"]);
    }
}
