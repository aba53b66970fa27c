//! Reads steps about the program itself: what it is run with, how it must end and what it must print, and the files that it
//! finds. It starts nothing.

use serde_json::Value;

use super::action::Action;
use super::upstream::known;

/// One run of the program, and how it must end.
#[derive(Clone, Debug)]
pub struct Run {
    /// The arguments; `${NAME}` in them is replaced.
    pub args: Vec<String>,
    /// Environment variables besides those of the vector; `null` takes one away.
    pub environment: Vec<(String, Option<String>)>,
    /// SIGTERM is sent once this is on standard output; `None`: it ends by itself.
    pub stop_at: Option<String>,
    /// The exit status.
    pub exit: i32,
    /// What standard output must be.
    pub stdout: OutputPattern,
    /// The same of standard error.
    pub stderr: OutputPattern,
}

/// What a run must print on one of its outputs.
#[derive(Clone, Default, Debug)]
pub struct OutputPattern {
    /// A pattern for all of it, without the last line's end.
    pub whole: Option<Value>,
    /// A pattern for all of it as one JSON value.
    pub json: Option<Value>,
    /// A pattern for each line.
    pub lines: Option<Vec<Value>>,
    /// Texts that must be in it.
    pub has: Vec<String>,
    /// Texts that must not.
    pub lacks: Vec<String>,
}

pub(super) fn run(value: &Value) -> Result<Action, String> {
    known(value, &["args", "environment", "stopAt", "exit", "stdout", "stderr"])?;
    let exit = match value.get("exit") {
        None => 0,
        Some(code) => {
            let code = code.as_i64().and_then(|code| i32::try_from(code).ok());
            code.ok_or("\"exit\" must be an exit status")?
        }
    };
    let environment = value
        .get("environment")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    Ok(Action::Run(Box::new(Run {
        args: texts(value, "args")?,
        environment: environment.map(variable).collect::<Result<_, _>>()?,
        stop_at: value.get("stopAt").and_then(Value::as_str).map(String::from),
        exit,
        stdout: output(value.get("stdout"))?,
        stderr: output(value.get("stderr"))?,
    })))
}

fn variable((name, value): (&String, &Value)) -> Result<(String, Option<String>), String> {
    match value {
        Value::Null => Ok((name.clone(), None)),
        Value::String(text) => Ok((name.clone(), Some(text.clone()))),
        _ => Err(format!("the variable {name:?} must be a text or null")),
    }
}

fn output(value: Option<&Value>) -> Result<OutputPattern, String> {
    match value {
        None => Ok(OutputPattern::default()),
        Some(text @ Value::String(_)) => Ok(OutputPattern {
            whole: Some(text.clone()),
            ..OutputPattern::default()
        }),
        Some(value @ Value::Object(_)) => {
            known(value, &["json", "lines", "has", "lacks"])?;
            Ok(OutputPattern {
                whole: None,
                json: value.get("json").cloned(),
                lines: value.get("lines").and_then(Value::as_array).cloned(),
                has: texts(value, "has")?,
                lacks: texts(value, "lacks")?,
            })
        }
        Some(_) => Err("an output is a text, or an object with json, lines, has, lacks".into()),
    }
}

/// Permission bits, as `chmod` takes them: `"0600"`.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|bits| *bits <= 0o7777)
        .ok_or_else(|| format!("{text:?} is no mode such as \"0600\""))
}

pub(super) fn texts(value: &Value, key: &str) -> Result<Vec<String>, String> {
    let list = value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let texts = list.iter().map(|text| text.as_str().map(String::from));
    texts
        .collect::<Option<_>>()
        .ok_or_else(|| format!("{key:?} must be a list of texts"))
}
