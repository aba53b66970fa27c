//! What the lists of objects in the settings share: one entry's fields, read strictly, with every mistake told by its place.

use serde_json::{Map, Value};

use super::problem::{Problem, nearest};
use super::reader::{describe, texts};

/// One entry of a list.
pub(crate) struct Entry<'a> {
    place: String,
    fields: &'a Map<String, Value>,
    problems: &'a mut Vec<Problem>,
}

/// Calls `read` with every entry of a list that is an object; other values are mistakes. `known` are the fields that there
/// are.
pub(crate) fn each<T>(
    place: &str,
    value: &Value,
    what: &str,
    known: &'static [&'static str],
    problems: &mut Vec<Problem>,
    mut read: impl FnMut(&mut Entry<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let Value::Array(items) = value else {
        problems.push(Problem::new(
            place,
            format!("must be a list of {what}, is {}", describe(value)),
        ));
        return None;
    };
    let mut all = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let place = format!("{place}[{index}]");
        let Value::Object(fields) = item else {
            let what = format!("must be an object {{{}}}, is {}", known.join(", "), describe(item));
            problems.push(Problem::new(place, what));
            continue;
        };
        let mut entry = Entry {
            place,
            fields,
            problems,
        };
        entry.only(known);
        all.extend(read(&mut entry));
    }
    Some(all)
}

impl Entry<'_> {
    fn only(&mut self, known: &'static [&'static str]) {
        for name in self.fields.keys().filter(|name| !known.contains(&name.as_str())) {
            match nearest(name, known.iter().copied()) {
                Some(meant) => self.problem(name, format!("unknown key (did you mean {meant}?)")),
                None => self.problem(name, format!("unknown key (there are {})", known.join(", "))),
            }
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// A text of 1 to `most` characters; `None` when it is missing, and a mistake when it is anything else.
    pub(crate) fn text(&mut self, name: &str, most: usize) -> Option<String> {
        match self.fields.get(name)? {
            Value::String(text) if (1..=most).contains(&text.trim().chars().count()) && !text.contains('\0') => {
                Some(text.trim().to_owned())
            }
            Value::String(_) => {
                self.problem(name, format!("must have 1 to {most} characters"));
                None
            }
            other => {
                self.problem(name, format!("must be text, is {}", describe(other)));
                None
            }
        }
    }

    /// The same; missing is a mistake too.
    pub(crate) fn required(&mut self, name: &str, most: usize) -> Option<String> {
        if !self.fields.contains_key(name) {
            self.problem(name, "is missing");
        }
        self.text(name, most)
    }

    /// A whole number in a range; `default` when it is missing or a mistake.
    pub(crate) fn number(&mut self, name: &str, range: std::ops::RangeInclusive<u64>, default: u64) -> u64 {
        match self.fields.get(name).map(|value| (value.as_u64(), value)) {
            None => default,
            Some((Some(number), _)) if range.contains(&number) => number,
            Some((_, value)) => {
                let (from, to) = range.into_inner();
                let is = if value.is_number() {
                    String::new()
                } else {
                    format!(", is {}", describe(value))
                };
                self.problem(name, format!("must be a whole number from {from} to {to}{is}"));
                default
            }
        }
    }

    /// True or false; false when it is missing or a mistake.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        match self.fields.get(name) {
            None => false,
            Some(Value::Bool(on)) => *on,
            Some(other) => {
                self.problem(name, format!("must be true or false, is {}", describe(other)));
                false
            }
        }
    }

    /// A program and its arguments.
    pub(crate) fn command(&mut self, name: &str) -> Option<(String, Vec<String>)> {
        let command = self.fields.get(name).and_then(texts);
        let Some((program, args)) = command.as_deref().and_then(|words| words.split_first()) else {
            self.problem(name, "must be a list of texts: the program, then its arguments");
            return None;
        };
        if program.is_empty() || command.iter().flatten().any(|word| word.contains('\0')) {
            self.problem(name, "must begin with a program and must not contain NUL characters");
            return None;
        }
        Some((program.clone(), args.to_vec()))
    }

    pub(crate) fn problem(&mut self, field: &str, what: impl Into<String>) {
        self.problems
            .push(Problem::new(format!("{}.{field}", self.place), what));
    }
}
