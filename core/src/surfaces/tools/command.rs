//! Tools that are programs: what they are given, what is kept of what they write, and what stops them. No shell is
//! involved anywhere. Spec: `spec/hardening.md`, HD-139 to HD-142.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;

use super::body::Args;
use super::target::Target;
use crate::calls::Calls;
use crate::effect::{Completion, ExitStatus, Outcome, OutputStream, Progress, Spawn};
use crate::id::EffectId;
use crate::json::write_string;
use crate::settings::CommandTool;
use crate::time::{Instant, Now};

/// The most of what a failed program wrote to standard error that the log is told.
const MAX_TOLD: usize = 500;

/// A program that runs.
#[derive(Debug)]
pub(super) struct Program {
    effect: Option<EffectId>,
    pub(super) deadline: Instant,
    stdout: Vec<u8>,
    /// The start of standard error, for the log.
    stderr: Vec<u8>,
    /// Bytes of both streams.
    written: usize,
    max_output_bytes: usize,
    stop: Option<Stop>,
}

/// Why a program is stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    TimedOut,
    TooMuchOutput,
    /// Nobody waits for it any more.
    GivenUp,
}

/// What to run.
pub(super) fn spawn(command: &CommandTool, args: &Args, call_id: &str, target: &Target<'_>) -> Spawn {
    let variables = [
        ("PORTCULLIS_TOOL", command.name.trim()),
        ("PORTCULLIS_CALL_ID", call_id),
        ("PORTCULLIS_SESSION_KEY", &target.session_key),
        ("PORTCULLIS_AGENT_ID", target.agent.map_or("", |agent| &agent.id)),
    ];
    // A NUL cannot be passed in an environment; who sends one gets the program without that variable.
    let env = variables.into_iter().filter(|(_, value)| !value.contains('\0'));
    Spawn {
        program: command.program.clone(),
        args: command.args.clone(),
        env: env.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        stdin: Bytes::copy_from_slice(args.text().as_bytes()),
        dir: target.agent.map(|agent| agent.workspace_dir.clone()),
    }
}

impl Program {
    pub(super) fn new(now: Now, command: &CommandTool) -> Self {
        Self {
            effect: None,
            deadline: now.monotonic.plus(command.timeout),
            stdout: Vec::new(),
            stderr: Vec::new(),
            written: 0,
            max_output_bytes: command.max_output_bytes,
            stop: None,
        }
    }

    /// The same, running as this effect.
    pub(super) fn running(self, effect: EffectId) -> Self {
        Self {
            effect: Some(effect),
            ..self
        }
    }

    /// Takes output. What comes from a program that is being stopped is dropped.
    pub(super) fn wrote(&mut self, calls: &mut Calls, progress: &Progress) {
        let Progress::Output { stream, bytes } = progress;
        if self.stop.is_some() {
            return;
        }
        self.written = self.written.saturating_add(bytes.len());
        if self.written > self.max_output_bytes {
            return self.stop(calls, Stop::TooMuchOutput);
        }
        match stream {
            OutputStream::Stdout => self.stdout.extend_from_slice(bytes),
            OutputStream::Stderr => {
                let room = MAX_TOLD.saturating_sub(self.stderr.len());
                self.stderr.extend(bytes.iter().take(room));
            }
        }
    }

    /// Stops it, once.
    pub(super) fn stop(&mut self, calls: &mut Calls, why: Stop) {
        if self.stop.is_none() {
            self.stop = Some(why);
            self.stdout = Vec::new();
            if let Some(effect) = self.effect {
                calls.cancel(effect);
            }
        }
    }

    /// It is over: its result as JSON, or what went wrong, for the log.
    pub(super) fn result(&self, tool: &str, outcome: Outcome) -> Result<BytesMut, String> {
        let stderr = String::from_utf8_lossy(&self.stderr);
        match (self.stop, outcome) {
            (Some(Stop::TimedOut), _) => Err(alloc::format!("{tool}: took too long and was stopped")),
            (Some(Stop::TooMuchOutput), _) => Err(alloc::format!(
                "{tool}: wrote more than {} bytes and was stopped",
                self.max_output_bytes
            )),
            (Some(Stop::GivenUp), _) => Err(alloc::format!("{tool}: given up")),
            (None, Ok(Completion::Exited(ExitStatus::Code(0)))) => Ok(json_of(&self.stdout)),
            (None, Ok(Completion::Exited(ExitStatus::Code(code)))) => {
                Err(alloc::format!("{tool}: exit code {code}: {stderr}"))
            }
            (None, Ok(Completion::Exited(ExitStatus::Signal(signal)))) => {
                Err(alloc::format!("{tool}: ended by signal {signal}: {stderr}"))
            }
            (None, Ok(_)) => Err(alloc::format!("{tool}: ended without a status")),
            (None, Err(fault)) => Err(alloc::format!("{tool}: {fault}")),
        }
    }
}

/// Output that is JSON is taken as it is; any other is a text.
fn json_of(output: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    match serde_json::from_slice::<&RawValue>(output) {
        Ok(json) => out.extend_from_slice(json.get().as_bytes()),
        Err(_) => write_string(&mut out, &String::from_utf8_lossy(output)),
    }
    out
}
