//! What must be seen outside connections: files, and how a run of the program ended and what it printed. It compares; it
//! starts and waits for nothing.

use serde_json::Value;

use crate::pattern::Bindings;
use crate::program::Ended;
use crate::vector::{FilePattern, OutputPattern, Run};
use crate::world::World;

/// Whether a file is what it must be.
pub(crate) fn file(world: &mut dyn World, bindings: &mut Bindings, pattern: &FilePattern) -> Result<(), String> {
    let path = bindings.fill_text(&pattern.path).trim().to_owned();
    let bytes = match (world.file(&path), pattern.absent) {
        (None, true) => return Ok(()),
        (Some(_), true) => return Err(format!("{path} is there")),
        (None, false) => return Err(format!("there is no {path}")),
        (Some(bytes), false) => bytes,
    };
    let mode = world.mode(&path);
    if let (Some(expected), true) = (pattern.mode, pattern.mode != mode) {
        let came = mode.map_or_else(|| "none".to_owned(), |mode| format!("{mode:04o}"));
        return Err(format!(
            "expected {path} to have the mode {expected:04o}, it has {came}"
        ));
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    for pattern in &pattern.has {
        if !records.by_ref().any(|record| bindings.check(pattern, &record).is_ok()) {
            return Err(format!(
                "{path} has no record {pattern} (in this order); it has\n{text}"
            ));
        }
    }
    let whole = OutputPattern {
        whole: pattern.text.clone(),
        json: pattern.json.clone(),
        lacks: pattern.lacks.clone(),
        ..OutputPattern::default()
    };
    output(&text, &whole, bindings).map_err(|why| format!("{path}: {why}"))
}

/// Whether a run has ended and printed as it must.
pub(crate) fn run(ended: &Ended, expected: &Run, bindings: &mut Bindings) -> Result<(), String> {
    let Ended { status, stdout, stderr } = ended;
    let judge = |bindings: &mut Bindings| {
        if *status != expected.exit {
            return Err(format!("expected the exit status {}, came {status}", expected.exit));
        }
        output(stdout, &expected.stdout, bindings).map_err(|why| format!("standard output: {why}"))?;
        output(stderr, &expected.stderr, bindings).map_err(|why| format!("standard error: {why}"))
    };
    judge(bindings).map_err(|why| format!("{why}\n--- standard output\n{stdout}--- standard error\n{stderr}---"))
}

fn output(text: &str, expected: &OutputPattern, bindings: &mut Bindings) -> Result<(), String> {
    if let Some(pattern) = &expected.whole {
        bindings.check(pattern, &Value::from(text.strip_suffix('\n').unwrap_or(text)))?;
    }
    if let Some(pattern) = &expected.json {
        let value: Value = serde_json::from_str(text).map_err(|why| format!("no JSON: {why}"))?;
        bindings.check(pattern, &value)?;
    }
    if let Some(patterns) = &expected.lines {
        let lines: Value = text.lines().map(Value::from).collect();
        bindings.check(&Value::from(patterns.clone()), &lines)?;
    }
    words(text, &expected.has, &expected.lacks, bindings)
}

/// Whether these texts are in `text`, and those are not.
pub(crate) fn words(text: &str, has: &[String], lacks: &[String], bindings: &Bindings) -> Result<(), String> {
    let has = has
        .iter()
        .map(|words| bindings.fill_text(words))
        .find(|words| !text.contains(words.as_str()));
    if let Some(words) = has {
        return Err(format!("{words:?} is not in\n{text}"));
    }
    let lacks = lacks
        .iter()
        .map(|words| bindings.fill_text(words))
        .find(|words| text.contains(words.as_str()));
    lacks.map_or(Ok(()), |words| Err(format!("{words:?} is in\n{text}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pattern(whole: &str) -> OutputPattern {
        OutputPattern {
            whole: Some(whole.into()),
            ..OutputPattern::default()
        }
    }

    #[test]
    fn outputs_are_compared_whole_by_line_as_json_and_by_words() {
        let mut bindings = Bindings::default();
        bindings.bind("port", 18789.into());
        let mut fits = |text: &str, expected: &OutputPattern| output(text, expected, &mut bindings);
        assert!(fits("on ${x} 18789\n", &pattern("on ${x} ${port}")).is_ok());
        assert!(fits("on 18789\n", &pattern("$starts:on ${port}")).is_ok());
        assert!(fits("on 18789\n\n", &pattern("on ${port}")).is_err());
        let lines = OutputPattern {
            lines: Some(vec![json!("a"), json!("$any")]),
            ..OutputPattern::default()
        };
        assert!(fits("a\nb\n", &lines).is_ok());
        assert!(fits("a\n", &lines).is_err() && fits("b\na\n", &lines).is_err());
        let json = OutputPattern {
            json: Some(json!({"$subset": true, "a": "$int"})),
            ..OutputPattern::default()
        };
        assert!(fits("{\"a\":1,\"b\":2}\n", &json).is_ok() && fits("a: 1", &json).is_err());
        let lacks = OutputPattern {
            lacks: vec!["secret".into()],
            ..OutputPattern::default()
        };
        assert!(fits("a secret", &lacks).is_err());
    }

    #[test]
    fn the_exit_status_counts() {
        let ended = Ended {
            status: 1,
            stdout: String::new(),
            stderr: "why\n".into(),
        };
        let expected = |exit| Run {
            args: Vec::new(),
            environment: Vec::new(),
            stop_at: None,
            exit,
            stdout: pattern(""),
            stderr: pattern("why"),
        };
        assert!(run(&ended, &expected(1), &mut Bindings::default()).is_ok());
        let why = run(&ended, &expected(78), &mut Bindings::default()).unwrap_err();
        assert!(why.contains("expected the exit status 78, came 1"), "{why}");
    }
}
