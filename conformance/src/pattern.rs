//! Patterns: what a JSON value must be, with placeholders for what cannot be known beforehand. Spec: `spec/vectors.md`.
//!
//! Matching is exact: an object with a key more than its pattern does not match, unless the pattern says `"$subset"`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::crypto;

/// Values that a vector has taken from what came (`$bind:NAME`), and the number of the round inside `repeat` (`n`).
#[derive(Clone, Debug, Default)]
pub struct Bindings(BTreeMap<String, Value>);

impl Bindings {
    /// Remembers a value under a name.
    pub fn bind(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// A value to send: `$ref:NAME`, `$repeat:N:TEXT` and `${n}` replaced.
    ///
    /// # Errors
    /// Names the reference that is not bound.
    pub fn fill(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => match text.strip_prefix("$ref:") {
                Some(name) => self.bound(name)?.clone(),
                None => {
                    let text = self.fill_text(text);
                    Value::String(crypto::key(&text).unwrap_or(text))
                }
            },
            Value::Array(items) => Value::Array(items.iter().map(|item| self.fill(item)).collect::<Result<_, _>>()?),
            Value::Object(map) => {
                let pairs = map.iter().map(|(key, value)| Ok((key.clone(), self.fill(value)?)));
                let map = pairs.collect::<Result<Map<_, _>, String>>()?;
                Value::Object(if crypto::concerns(&map) {
                    crypto::spliced(&map)?
                } else {
                    map
                })
            }
            other => other.clone(),
        })
    }

    /// Text to send: a leading `$repeat:N:TEXT` written out and every `${NAME}` (`${n}`: the round) replaced by what is bound.
    #[must_use]
    pub fn fill_text(&self, text: &str) -> String {
        let text = match text.strip_prefix("$repeat:").and_then(|rest| rest.split_once(':')) {
            Some((times, unit)) => unit.repeat(times.parse().unwrap_or(0)),
            None => text.to_owned(),
        };
        if !text.contains("${") {
            return text;
        }
        self.0.iter().fold(text, |text, (name, value)| {
            let bound = value.as_str().map_or_else(|| value.to_string(), String::from);
            text.replace(&format!("${{{name}}}"), &bound)
        })
    }

    fn bound(&self, name: &str) -> Result<&Value, String> {
        self.0
            .get(name)
            .ok_or_else(|| format!("the vector refers to {name:?}, which nothing has bound"))
    }

    /// Whether `actual` is what `pattern` says.
    ///
    /// # Errors
    /// Says at which path what was expected and what came.
    pub fn check(&mut self, pattern: &Value, actual: &Value) -> Result<(), String> {
        self.compare("", pattern, Some(actual))
    }

    fn compare(&mut self, path: &str, pattern: &Value, actual: Option<&Value>) -> Result<(), String> {
        let Some(actual) = actual else {
            return if pattern == "$absent" {
                Ok(())
            } else {
                Err(format!("{}: missing, expected {pattern}", at(path)))
            };
        };
        match (pattern, actual) {
            (Value::String(text), _) if text.starts_with('$') && !text.starts_with("${") => {
                self.placeholder(path, text, actual)
            }
            (Value::Object(pattern), Value::Array(items))
                if pattern.contains_key("$has") || pattern.contains_key("$lacks") =>
            {
                self.compare_members(path, pattern, items)
            }
            (Value::Object(pattern), Value::Object(actual)) => self.compare_objects(path, pattern, actual),
            (Value::Array(pattern), Value::Array(items)) if pattern.len() == items.len() => {
                let pairs = pattern.iter().zip(items).enumerate();
                pairs.into_iter().try_for_each(|(index, (pattern, item))| {
                    self.compare(&format!("{path}[{index}]"), pattern, Some(item))
                })
            }
            (Value::String(text), Value::String(actual)) if self.fill_text(text) == *actual => Ok(()),
            _ if pattern == actual => Ok(()),
            _ => Err(format!("{}: expected {pattern}, came {actual}", at(path))),
        }
    }

    fn compare_objects(
        &mut self,
        path: &str,
        pattern: &Map<String, Value>,
        actual: &Map<String, Value>,
    ) -> Result<(), String> {
        if crypto::concerns(pattern) {
            let (ours, others): (Map<_, _>, Map<_, _>) =
                pattern.clone().into_iter().partition(|(name, _)| crypto::is_ours(name));
            let Value::Object(ours) = self.fill(&Value::Object(ours))? else {
                return Err(format!("{}: no object", at(path)));
            };
            let all = ours.into_iter().chain(others).collect();
            return self.compare_objects(path, &all, actual);
        }
        let subset = pattern.get("$subset") == Some(&Value::Bool(true));
        if let Some(extra) = actual.keys().find(|key| !subset && !pattern.contains_key(*key)) {
            return Err(format!("{}: the key {extra:?} is there and should not be", at(path)));
        }
        let keys = pattern.iter().filter(|(key, _)| *key != "$subset");
        keys.into_iter().try_for_each(|(key, pattern)| {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            self.compare(&path, pattern, actual.get(key))
        })
    }

    /// Whether an array has an item for each pattern of `$has`, wherever it stands, and none for those of `$lacks`.
    fn compare_members(&mut self, path: &str, pattern: &Map<String, Value>, items: &[Value]) -> Result<(), String> {
        let patterns = |key: &str| pattern.get(key).and_then(Value::as_array).into_iter().flatten();
        let mut is_there = |pattern: &Value| items.iter().any(|item| self.compare(path, pattern, Some(item)).is_ok());
        if let Some(pattern) = patterns("$has").find(|pattern| !is_there(pattern)) {
            return Err(format!("{}: no item is {pattern}", at(path)));
        }
        match patterns("$lacks").find(|pattern| is_there(pattern)) {
            Some(pattern) => Err(format!("{}: an item is {pattern}", at(path))),
            None => Ok(()),
        }
    }

    fn placeholder(&mut self, path: &str, text: &str, actual: &Value) -> Result<(), String> {
        let (name, argument) = text.split_once(':').unwrap_or((text, ""));
        let string = actual.as_str();
        let fits = match name {
            "$any" => true,
            "$absent" => false,
            "$string" => string.is_some_and(|text| !text.is_empty()),
            "$uuid" => string.is_some_and(is_uuid),
            "$rfc3339" => string.is_some_and(is_rfc_3339),
            "$second" => string.is_some_and(is_whole_second),
            "$x25519" | "$ed25519" => string.is_some() && crypto::key(text).as_deref() == string,
            "$int" => is_int(actual, argument),
            "$digits" => {
                string.is_some_and(|text| text.parse().is_ok_and(|number: i64| is_int(&number.into(), argument)))
            }
            "$number" => actual.is_number(),
            "$bool" => actual.is_boolean(),
            "$object" => actual.is_object(),
            "$array" => actual.is_array(),
            "$contains" => string.is_some_and(|text| text.contains(&self.fill_text(argument))),
            "$starts" => string.is_some_and(|text| text.starts_with(&self.fill_text(argument))),
            "$repeat" => string.is_some_and(|actual| self.fill_text(text) == actual),
            "$bind" => {
                self.bind(argument, actual.clone());
                true
            }
            "$after" => {
                let (name, mark) = argument.split_once(':').unwrap_or((argument, "/"));
                let rest = string
                    .and_then(|text| text.split_once(mark))
                    .map(|(_, rest)| rest.to_owned());
                let found = rest.is_some();
                self.bind(name, rest.into());
                found
            }
            "$ref" => self.bound(argument)? == actual,
            "$differs" => self.bound(argument)? != actual,
            _ => return Err(format!("{}: the vector has an unknown placeholder {text:?}", at(path))),
        };
        if fits {
            Ok(())
        } else {
            Err(format!("{}: expected {text}, came {actual}", at(path)))
        }
    }
}

fn at(path: &str) -> &str {
    if path.is_empty() { "the value" } else { path }
}

/// Whether it is an integer, inside `A..B` (both included) when `range` says so.
fn is_int(value: &Value, range: &str) -> bool {
    let Some(number) = value.as_i64() else { return false };
    let Some((low, high)) = range.split_once("..") else {
        return true;
    };
    low.parse().is_ok_and(|low: i64| low <= number) && high.parse().is_ok_and(|high: i64| number <= high)
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12]
        && text
            .chars()
            .all(|character| character == '-' || character.is_ascii_hexdigit())
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`, the form that JavaScript writes.
fn is_rfc_3339(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|character| if character.is_ascii_digit() { '0' } else { character })
        .collect();
    shape == "0000-00-00T00:00:00.000Z"
}

/// `YYYY-MM-DDTHH:MM:SSZ`.
fn is_whole_second(text: &str) -> bool {
    let padded = text.strip_suffix('Z').map(|text| format!("{text}.000Z"));
    padded.is_some_and(|text| is_rfc_3339(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_exact_unless_a_subset_is_meant() {
        let mut bindings = Bindings::default();
        assert!(bindings.check(&json!({"a": 1}), &json!({"a": 1})).is_ok());
        let why = bindings
            .check(&json!({"a": {"b": 1}}), &json!({"a": {"b": 1, "c": 2}}))
            .unwrap_err();
        assert!(why.contains("a: the key \"c\""), "{why}");
        assert!(
            bindings
                .check(&json!({"$subset": true, "a": 1}), &json!({"a": 1, "b": 2}))
                .is_ok()
        );
        assert!(
            bindings
                .check(&json!({"$subset": true, "b": "$absent"}), &json!({"a": 1}))
                .is_ok()
        );
        assert!(bindings.check(&json!({"b": "$absent"}), &json!({"b": null})).is_err());
    }

    #[test]
    fn arrays_can_be_asked_for_some_items() {
        let fits = |pattern: Value| {
            Bindings::default()
                .check(&pattern, &json!([{"a": 1, "b": 2}, 3]))
                .is_ok()
        };
        assert!(fits(json!({"$has": [3, {"$subset": true, "a": 1}], "$lacks": [4]})));
        assert!(!fits(json!({"$has": [{"a": 1}]})));
        assert!(!fits(json!({"$lacks": [3]})));
    }

    #[test]
    fn placeholders_match_kinds() {
        for (pattern, yes, no) in [
            ("$int", json!(5), json!("5")),
            ("$int:1..3", json!(3), json!(4)),
            ("$digits:1..3", json!("2"), json!(2)),
            (
                "$uuid",
                json!("0b5a8a3c-6f0e-4c5f-9a57-0f5e0f3f9d41"),
                json!("0b5a8a3c"),
            ),
            (
                "$rfc3339",
                json!("2026-11-21T12:34:56.007Z"),
                json!("2026-11-21T12:34:56Z"),
            ),
            ("$contains:lo w", json!("hello world"), json!("hello")),
            ("$repeat:3:ab", json!("ababab"), json!("abab")),
        ] {
            assert!(
                Bindings::default().check(&json!(pattern), &yes).is_ok(),
                "{pattern} {yes}"
            );
            assert!(
                Bindings::default().check(&json!(pattern), &no).is_err(),
                "{pattern} {no}"
            );
        }
    }

    #[test]
    fn what_was_bound_can_be_sent_and_expected() {
        let mut bindings = Bindings::default();
        bindings
            .check(&json!({"nonce": "$bind:nonce"}), &json!({"nonce": "xyz"}))
            .unwrap();
        assert_eq!(
            bindings.fill(&json!(["$ref:nonce", "$repeat:2:é"])).unwrap(),
            json!(["xyz", "éé"])
        );
        assert!(bindings.check(&json!("$ref:nonce"), &json!("abc")).is_err());
        assert!(bindings.fill(&json!("$ref:other")).is_err());
    }
}
