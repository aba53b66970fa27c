//! `call`: one request to a gateway. The output of a run is shown as it comes; then the answer, without repeating it.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::commands::CallCommand;
use super::remote::{EXPOSED, Target, answer_timeout};
use super::{FAILURE, Process, SUCCESS, entropy, stdout_failed};
use crate::client::{Client, Scope};
use crate::settings::fresh_token;

const DEFAULT_URL: &str = "ws://127.0.0.1:18789/gateway";

/// Sends the request and prints what comes; the exit status says whether it was answered well.
pub(super) fn run(command: &CallCommand, mut process: Process) -> u8 {
    super::logging::start(log::LevelFilter::Warn);
    let mut screen = Screen::default();
    let called = call(command, &mut process, &mut screen);
    match called {
        Ok(()) => SUCCESS,
        Err(mistake) => {
            screen.end_lines(&mut process);
            let _ = writeln!(process.stderr, "Error: {mistake}");
            FAILURE
        }
    }
}

fn call(command: &CallCommand, process: &mut Process, screen: &mut Screen) -> Result<(), String> {
    let params = command.params.as_deref().map(serde_json::from_str::<Value>).transpose();
    let params = params.map_err(|error| format!("PARAMS are not JSON: {error}"))?;
    let is_run = command.method == "agent.run";
    let params = if is_run { Some(with_key(params)?) } else { params };
    let target = Target {
        url: command.url.as_deref().unwrap_or(DEFAULT_URL),
        token: command.token.as_deref(),
        timeout: command.timeout.as_deref(),
        ca: command.ca.as_deref(),
    };
    let reached = target.read(Scope::of_method(&command.method), process)?;
    if reached.exposes_token() {
        let _ = writeln!(process.stderr, "{EXPOSED}");
    }
    let timeout = if is_run {
        reached.timeout
    } else {
        Some(answer_timeout(reached.timeout))
    };

    let mut client = Client::connect(&reached.url, &reached.options).map_err(|error| error.to_string())?;
    let mut printed = Ok(());
    let answer = client.request(&command.method, params, timeout, &mut |frame| {
        if printed.is_ok() {
            printed = if command.json {
                line(process, frame)
            } else {
                screen.event(process, frame)
            };
        }
    });
    client.close();
    let answer = answer.map_err(|error| error.to_string())?;
    let printed = printed.and_then(|()| {
        if command.json {
            Ok(())
        } else {
            screen.answer(process, answer)
        }
    });
    printed.map_err(|error| stdout_failed(&error))
}

/// A run needs a key; a random one means: this run is no repetition of any other.
fn with_key(params: Option<Value>) -> Result<Value, String> {
    match params.unwrap_or_else(|| Value::Object(Map::new())) {
        Value::Object(mut fields) => {
            if !fields.contains_key("idempotencyKey") {
                fields.insert("idempotencyKey".into(), fresh_token(entropy()?).reveal().into());
            }
            Ok(Value::Object(fields))
        }
        other => Ok(other),
    }
}

fn line(process: &mut Process, frame: &Value) -> io::Result<()> {
    writeln!(process.stdout, "{frame}")?;
    process.stdout.flush()
}

/// What was shown so far.
#[derive(Default)]
struct Screen {
    streamed: bool,
    stdout_in_line: bool,
    stderr_in_line: bool,
}

impl Screen {
    fn event(&mut self, process: &mut Process, frame: &Value) -> io::Result<()> {
        if frame.get("event").and_then(Value::as_str) != Some("agent.stream") {
            return Ok(());
        }
        let text = |name| {
            frame
                .get("payload")
                .and_then(|payload| payload.get(name))
                .and_then(Value::as_str)
        };
        if let (Some(stream), Some(chunk)) = (text("stream"), text("chunk")) {
            self.streamed = true;
            self.chunk(process, stream, chunk)?;
        }
        Ok(())
    }

    fn chunk(&mut self, process: &mut Process, stream: &str, chunk: &str) -> io::Result<()> {
        let Some(last) = chunk.chars().last() else {
            return Ok(());
        };
        let (out, in_line) = match stream {
            "stderr" => (&mut process.stderr, &mut self.stderr_in_line),
            _ => (&mut process.stdout, &mut self.stdout_in_line),
        };
        *in_line = last != '\n';
        out.write_all(chunk.as_bytes())?;
        out.flush()
    }

    /// The payload, without the output that was streamed. Of a run whose result is replayed nothing was: it is shown now.
    fn answer(&mut self, process: &mut Process, mut payload: Value) -> io::Result<()> {
        if let Some(result) = payload.get_mut("result").and_then(Value::as_object_mut) {
            for stream in ["stdout", "stderr"] {
                if !result.get(stream).is_some_and(Value::is_string) {
                    continue;
                }
                let text = result.remove(stream);
                if let (false, Some(text)) = (self.streamed, text.as_ref().and_then(Value::as_str)) {
                    self.chunk(process, stream, text)?;
                }
            }
        }
        self.end_lines(process);
        let pretty = serde_json::to_string_pretty(&payload).map_err(io::Error::other)?;
        writeln!(process.stdout, "{pretty}")?;
        process.stdout.flush()
    }

    /// What follows begins on a line of its own.
    fn end_lines(&mut self, process: &mut Process) {
        if std::mem::take(&mut self.stdout_in_line) {
            let _ = writeln!(process.stdout);
            let _ = process.stdout.flush();
        }
        if std::mem::take(&mut self.stderr_in_line) {
            let _ = writeln!(process.stderr);
        }
    }
}
