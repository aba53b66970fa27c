//! What a person chose: flags above environment above file above defaults, as the core's typed settings.
//! Every mistake is told at once and none is forgiven. Spec: `spec/settings.md`. It opens no sockets and prints nothing.

mod document;
mod draft;
mod environment;
mod finish;
mod keys;
mod local_time;
mod paths;
mod problem;
mod reader;
mod token;
mod written_agents;

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use portcullis_core::secret::Secret;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde_json::Value;

pub use environment::Environment;
pub use finish::{Loaded, make_folders};
pub use keys::table;
pub(crate) use problem::nearest;
pub use problem::{Problem, Problems};
pub use token::{TOKEN_VARIABLES, fresh as fresh_token};

use draft::Draft;
use reader::{Reader, Source};

/// A larger settings file is a mistake.
const MAX_FILE_BYTES: u64 = 1_048_576;
/// How long a pipe in the place of the file may be silent.
const PIPE_PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Where settings come from, the strongest last but for the environment, which stands between file and `--set`.
#[derive(Debug)]
pub struct Sources<'a> {
    /// `--config`.
    pub file: Option<&'a Path>,
    /// The environment of the process.
    pub environment: &'a Environment,
    /// Each `--set`, as `path=json`.
    pub set: &'a [String],
    /// The options that stand for one key.
    pub flags: &'a Flags,
    /// Where relative paths of flags begin.
    pub working_dir: &'a Path,
}

/// The options that stand for one key each, as written.
#[derive(Clone, Default)]
pub struct Flags {
    /// `--bind`.
    pub bind: Option<String>,
    /// `--port`.
    pub port: Option<String>,
    /// `--token`.
    pub token: Option<String>,
    /// `--no-auth`.
    pub no_auth: bool,
    /// Each `--allow-origin`.
    pub allow_origin: Vec<String>,
    /// `--state-dir`.
    pub state_dir: Option<String>,
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flags(redacted)")
    }
}

/// Reads all sources. `fresh_token` is used when auth is on and no source names a token.
///
/// # Errors
/// Every mistake in every source.
pub fn load(sources: &Sources<'_>, fresh_token: Secret) -> Result<Loaded, Problems> {
    let mut draft = Draft::new(paths::home(sources.environment));
    let mut problems = Vec::new();
    if let Some(file) = sources.file {
        read_file(file, sources.working_dir, &mut draft, &mut problems);
    }
    draft.begin_layer(sources.working_dir);
    if let Some((name, token)) = sources.environment.first(&TOKEN_VARIABLES) {
        Reader::new(&mut draft, &mut problems, Source::Named(name)).at("gateway.auth.token", &token.into());
    }
    if let Some(port) = sources.environment.get("OPENCLAW_GATEWAY_PORT") {
        Reader::new(&mut draft, &mut problems, Source::Named("OPENCLAW_GATEWAY_PORT"))
            .at("gateway.port", &number(port));
    }
    for written in sources.set {
        draft.begin_layer(sources.working_dir);
        read_set(written, &mut draft, &mut problems);
    }
    draft.begin_layer(sources.working_dir);
    read_flags(sources.flags, &mut draft, &mut problems);
    if sources.flags.token.is_some() && !draft.auth_on && !sources.flags.no_auth {
        problems.push(Problem::new(
            "--token",
            "the settings turn auth off (gateway.auth.mode \"none\" or gateway.requireToken false); leave --token out, \
             or turn it on with --set gateway.auth.mode=token",
        ));
    }

    let state_dir = paths::state_dir(
        sources.flags.state_dir.as_deref(),
        sources.environment,
        sources.working_dir,
    );
    if sources
        .flags
        .state_dir
        .as_deref()
        .is_some_and(|written| written.trim().is_empty())
    {
        problems.push(Problem::new("--state-dir", "must be the path of a folder"));
    }
    if state_dir.is_none() {
        problems.push(Problem::new(
            "--state-dir",
            "neither it nor HOME is set: name a folder for state",
        ));
    }
    let loaded = finish::finish(
        draft,
        state_dir.unwrap_or_default(),
        fresh_token,
        sources.environment,
        &mut problems,
    );
    if problems.is_empty() {
        Ok(loaded)
    } else {
        Err(Problems(problems))
    }
}

fn read_file(file: &Path, working_dir: &Path, draft: &mut Draft, problems: &mut Vec<Problem>) {
    let path = working_dir.join(file);
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(what) => return problems.push(Problem::new(path.display().to_string(), what)),
    };
    match document::parse(text.trim_start_matches('\u{feff}')) {
        Ok(value) => {
            draft.begin_layer(path.parent().unwrap_or(working_dir));
            Reader::new(draft, problems, Source::File).root(&value);
        }
        Err(what) => problems.push(Problem::new(
            path.display().to_string(),
            format!("is not JSON5: {what}"),
        )),
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    // Else opening a named pipe would wait for somebody to write to it.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(unreadable)?;
    let kind = file.metadata().map_err(unreadable)?.file_type();
    // What a shell gives for <(command) is a pipe.
    if !kind.is_file() && !kind.is_fifo() {
        return Err("is not a file".into());
    }
    let mut bytes = Vec::new();
    let mut rest = file.take(MAX_FILE_BYTES + 1);
    loop {
        match rest.read_to_end(&mut bytes) {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for_pipe(rest.get_ref())?,
            Err(error) => return Err(unreadable(error)),
        }
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("is larger than {MAX_FILE_BYTES} bytes"));
    }
    if bytes.is_empty() && kind.is_fifo() {
        return Err("is a pipe that nobody writes to".into());
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".into())
}

fn wait_for_pipe(pipe: &File) -> Result<(), String> {
    let mut wanted = [PollFd::new(pipe, PollFlags::IN)];
    match poll(&mut wanted, Some(&PIPE_PATIENCE)) {
        Ok(0) => Err("is a pipe in which nothing comes".into()),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(format!("cannot be read: {errno}")),
    }
}

fn read_set(written: &str, draft: &mut Draft, problems: &mut Vec<Problem>) {
    let Some((path, text)) = written.split_once('=') else {
        // What was written may be a secret in the wrong place: it is not repeated.
        problems.push(Problem::new(
            "--set",
            "must be path=json, for example gateway.rateLimitPerMinute=600",
        ));
        return;
    };
    let value = match document::parse(text) {
        Ok(value) => value,
        Err(what) if text.trim_start().starts_with(['{', '[', '"', '\'']) => {
            problems.push(Problem::new(format!("--set {path}"), format!("is not JSON5: {what}")));
            return;
        }
        // Words that are no JSON are text, so that quotes need not be quoted for the shell.
        Err(_) => Value::from(text),
    };
    Reader::new(draft, problems, Source::Set).at(path.trim(), &value);
}

fn read_flags(flags: &Flags, draft: &mut Draft, problems: &mut Vec<Problem>) {
    let mut one = |name, path, value: Value| Reader::new(draft, problems, Source::Named(name)).at(path, &value);
    if let Some(host) = &flags.bind {
        one("--bind", "gateway.host", host.as_str().into());
    }
    if let Some(port) = &flags.port {
        one("--port", "gateway.port", number(port));
    }
    if let Some(token) = &flags.token {
        one("--token", "gateway.auth.token", token.as_str().into());
    }
    if !flags.allow_origin.is_empty() {
        one(
            "--allow-origin",
            "gateway.controlUi.allowedOrigins",
            flags.allow_origin.clone().into(),
        );
    }
    if flags.no_auth {
        one("--no-auth", "gateway.auth.mode", "none".into());
        if flags.token.is_some() {
            problems.push(Problem::new(
                "--no-auth",
                "does not go with --token; leave one of them out",
            ));
        }
    }
}

/// A number as written on the command line; what is none stays text and is told as a mistake.
fn number(written: &str) -> Value {
    written
        .trim()
        .parse::<u64>()
        .map_or_else(|_| written.into(), Value::from)
}

#[cfg(test)]
mod tests;
