//! `${NAME}` in the texts of a settings file stands for an environment variable, so that secrets need not stand in the file.
//! Keys of objects are left alone, and so is every other form with a dollar sign.

use serde_json::Value;

use super::environment::Environment;
use super::problem::Problem;

/// A text that grows beyond this by substitution is a mistake.
const MAX_TEXT: usize = 1_048_576;

/// Replaces every `${NAME}` in the texts of `value`; what cannot be replaced is told.
pub(crate) fn substitute(value: &mut Value, environment: &Environment, problems: &mut Vec<Problem>) {
    walk(value, String::new(), environment, problems);
}

fn walk(value: &mut Value, path: String, environment: &Environment, problems: &mut Vec<Problem>) {
    match value {
        Value::String(text) if text.contains("${") => match expand(text, environment) {
            Ok(expanded) => *text = expanded,
            Err(Unexpanded::Missing(name)) => {
                let what = format!("Missing env var \"{name}\" referenced at config path: {path}");
                problems.push(Problem::new(path, what));
            }
            Err(Unexpanded::TooLong) => problems.push(Problem::new(path, "is too long after substitution")),
        },
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                walk(item, format!("{path}[{index}]"), environment, problems);
            }
        }
        Value::Object(entries) => {
            for (name, inner) in entries {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                walk(inner, path, environment, problems);
            }
        }
        _ => {}
    }
}

enum Unexpanded {
    Missing(String),
    TooLong,
}

fn expand(text: &str, environment: &Environment) -> Result<String, Unexpanded> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let Some((name, after)) = name_of(from) else {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = from.strip_prefix("${").unwrap_or_default();
            continue;
        };
        if let Some(before) = before.strip_suffix('$') {
            // Written with two dollar signs: the text itself is meant.
            expanded.push_str(before);
            expanded.push_str("${");
            expanded.push_str(name);
            expanded.push('}');
        } else {
            expanded.push_str(before);
            expanded.push_str(
                environment
                    .get(name)
                    .ok_or_else(|| Unexpanded::Missing(name.to_owned()))?,
            );
        }
        if expanded.len() > MAX_TEXT {
            return Err(Unexpanded::TooLong);
        }
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The name in `${NAME}` at the beginning of `from`, and what follows it.
fn name_of(from: &str) -> Option<(&str, &str)> {
    let (name, after) = from.strip_prefix("${")?.split_once('}')?;
    let first = name.bytes().next()?;
    let sound = (first.is_ascii_uppercase() || first == b'_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    sound.then_some((name, after))
}

/// Whether a text takes anything from the environment, so that it holds no secret itself.
pub(crate) fn refers(text: &str) -> bool {
    let mut places = text.match_indices("${").filter_map(|(at, _)| text.get(at..));
    places.any(|from| name_of(from).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_replaced_and_everything_else_is_left() {
        let environment = Environment::from_iter([("A", "one"), ("_B2", "two"), ("EMPTY", "")]);
        for (text, expanded) in [
            ("${A}", "one"),
            ("x${A}y${_B2}z", "xoneytwoz"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("$A ${a} ${A:-b} ${} ${2A} ${A", "$A ${a} ${A:-b} ${} ${2A} ${A"),
            ("${${A}", "${one"),
            ("é${A}é", "éoneé"),
        ] {
            let mut value = json!({ "${A}": [text] });
            let mut problems = Vec::new();
            substitute(&mut value, &environment, &mut problems);
            assert_eq!(value, json!({ "${A}": [expanded] }), "{text}");
            assert!(problems.is_empty());
        }
    }

    #[test]
    fn what_is_missing_or_empty_is_told_with_its_place() {
        let environment = Environment::from_iter([("EMPTY", "")]);
        let mut value = json!({"gateway": {"auth": {"token": "${MY_TOKEN}"}}, "list": ["", "${EMPTY}"]});
        let mut problems = Vec::new();
        substitute(&mut value, &environment, &mut problems);
        let told: Vec<String> = problems.iter().map(|problem| problem.what.clone()).collect();
        assert_eq!(
            told,
            [
                "Missing env var \"MY_TOKEN\" referenced at config path: gateway.auth.token",
                "Missing env var \"EMPTY\" referenced at config path: list[1]"
            ]
        );
    }

    #[test]
    fn what_refers_to_the_environment() {
        assert!(refers("${OPENCLAW_GATEWAY_TOKEN}") && refers("a${A}"));
        assert!(!refers("hunter22") && !refers("${lower}") && !refers("$A"));
    }
}
