//! What a person chose: flags above environment above file above defaults, as the core's typed settings.
//! Every mistake is told at once and none is forgiven. Spec: `spec/settings.md`. It opens no sockets and prints nothing.

mod credential;
mod document;
mod draft;
mod draft_others;
mod edit;
mod environment;
mod finish;
mod keys;
mod local_time;
mod paths;
mod private_file;
mod problem;
mod reader;
mod relay;
mod substitute;
mod token;
mod variables;
mod written_agents;
mod written_commands;
mod written_entry;
mod written_hosts;
mod written_suppressions;

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use portcullis_core::secret::Secret;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde_json::Value;

pub use draft::{AuthMode, Bind, Suppression, TailscaleMode, TokenSource};
pub use edit::{ConfigPath, REDACTED, SettingsFile};
pub use environment::Environment;
pub use finish::{Loaded, make_folders};
pub use keys::table;
pub(crate) use private_file::replace as write_private;
pub(crate) use problem::nearest;
pub use problem::{Problem, Problems};
pub use relay::{RelayChoices, RelayFlags, read_relay};
pub use token::{TOKEN_VARIABLES, fresh as fresh_token, token_file, write_file as write_token_file};

use draft::Draft;
use finish::Surroundings;
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
    /// What is to be started.
    pub purpose: Purpose,
}

/// What settings are read for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Purpose {
    /// `gateway`: everything that the settings switch on.
    #[default]
    Gateway,
    /// `control`: the control plane as its original was, on a port of its own, whether the settings switch it on or not.
    Control,
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
    /// `--token-file`.
    pub token_file: Option<String>,
    /// `--env-file`.
    pub env_file: Option<String>,
    /// `--allow-remote`.
    pub allow_remote: bool,
    /// `--tls-cert`.
    pub tls_cert: Option<String>,
    /// `--tls-key`.
    pub tls_key: Option<String>,
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flags(redacted)")
    }
}

/// Reads all sources. `fresh_token` is used when a token is needed and no source names one.
///
/// # Errors
/// Every mistake in every source.
pub fn load(sources: &Sources<'_>, fresh_token: Secret) -> Result<Loaded, Problems> {
    load_text(sources, fresh_token, None)
}

/// The same, with `text` in the place of what the settings file holds.
pub(crate) fn load_text(sources: &Sources<'_>, fresh_token: Secret, text: Option<&Value>) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let flags = sources.flags;
    let environment = sources
        .environment
        .with_files(flags.env_file.as_deref(), sources.working_dir, &mut problems);
    let mut draft = Draft::new(paths::home(&environment));
    let state_dir = paths::state_dir(flags.state_dir.as_deref(), &environment, sources.working_dir);
    let file = paths::settings_file(sources.file, &environment, state_dir.as_deref(), sources.working_dir);
    // A text that is to become the file is judged also where there is no file yet.
    let file = file.or_else(|| Some((text.and(state_dir.as_ref())?.join(paths::SETTINGS_FILE), false)));
    let before = problems.len();
    if let Some((path, _)) = &file {
        match text {
            Some(value) => read_value(path, value.clone(), &environment, &mut draft, &mut problems),
            None => read_file(path, &environment, &mut draft, &mut problems),
        }
    }
    if let Some((path, false)) = &file
        && problems.len() > before
    {
        let what = "is the file that was read, because nobody named another with --config";
        problems.push(Problem::new(path.display().to_string(), what));
    }
    let late = variables::read(&environment, sources, &mut draft, &mut problems);
    for written in sources.set {
        draft.begin_layer(sources.working_dir, TokenSource::Set);
        read_set(written, &mut draft, &mut problems);
    }
    draft.begin_layer(sources.working_dir, TokenSource::Option);
    read_flags(flags, &mut draft, &mut problems);
    read_token_file(flags, sources.working_dir, &mut draft, &mut problems);
    if sources.purpose == Purpose::Control {
        draft.control_on = true;
        draft.control.standalone = true;
        draft.control.paths = Vec::new();
    }
    if draft.control_on {
        problems.extend(late);
    }
    if flags
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
    let around = Surroundings {
        state_dir: state_dir.unwrap_or_default(),
        file: file.map(|(path, _)| path),
        fresh_token,
        environment: &environment,
    };
    let loaded = finish::finish(draft, around, &mut problems);
    if problems.is_empty() {
        Ok(loaded)
    } else {
        Err(Problems(problems))
    }
}

/// Where the settings file is, or would be: for those who change it.
///
/// # Errors
/// What is wrong with the environment files, or that there is no home for it.
pub fn settings_file(sources: &Sources<'_>) -> Result<PathBuf, Problems> {
    let mut problems = Vec::new();
    let flags = sources.flags;
    let environment = sources
        .environment
        .with_files(flags.env_file.as_deref(), sources.working_dir, &mut problems);
    let state_dir = paths::state_dir(flags.state_dir.as_deref(), &environment, sources.working_dir);
    let file = paths::settings_file(sources.file, &environment, state_dir.as_deref(), sources.working_dir);
    let file = file.map(|(path, _)| path);
    match file.or_else(|| state_dir.map(|folder| folder.join(paths::SETTINGS_FILE))) {
        Some(file) if problems.is_empty() => Ok(file),
        Some(_) => Err(Problems(problems)),
        None => Err(Problems(vec![Problem::new(
            "--config",
            "neither it nor HOME is set: name the settings file",
        )])),
    }
}

/// The state folder that these sources name, as it is written: it may be a link.
#[must_use]
pub fn written_state_dir(sources: &Sources<'_>) -> Option<PathBuf> {
    let flags = sources.flags;
    let environment = sources
        .environment
        .with_files(flags.env_file.as_deref(), sources.working_dir, &mut Vec::new());
    paths::written_state_dir(flags.state_dir.as_deref(), &environment, sources.working_dir)
}

/// The token in the token file of the state folder that these sources name, if there is one that can be read.
#[must_use]
pub fn kept_token(sources: &Sources<'_>) -> Option<Secret> {
    let environment =
        sources
            .environment
            .with_files(sources.flags.env_file.as_deref(), sources.working_dir, &mut Vec::new());
    let state_dir = paths::state_dir(sources.flags.state_dir.as_deref(), &environment, sources.working_dir)?;
    token::read_file(&token_file(&state_dir)).ok().flatten()
}

fn read_file(path: &Path, environment: &Environment, draft: &mut Draft, problems: &mut Vec<Problem>) {
    match read_text(path).and_then(|text| {
        document::parse(text.trim_start_matches('\u{feff}')).map_err(|what| format!("is not JSON5: {what}"))
    }) {
        Ok(value) => read_value(path, value, environment, draft, problems),
        Err(what) => problems.push(Problem::new(path.display().to_string(), what)),
    }
}

fn read_value(
    path: &Path,
    mut value: Value,
    environment: &Environment,
    draft: &mut Draft,
    problems: &mut Vec<Problem>,
) {
    substitute::substitute(&mut value, environment, problems);
    draft.begin_layer(path.parent().unwrap_or_else(|| Path::new("/")), TokenSource::Config);
    Reader::new(draft, problems, Source::File).root(&value);
}

fn read_token_file(flags: &Flags, working_dir: &Path, draft: &mut Draft, problems: &mut Vec<Problem>) {
    let Some(written) = &flags.token_file else { return };
    draft.begin_layer(working_dir, TokenSource::TokenFileOption);
    let path = draft.absolute(written);
    match token::read_file(&path) {
        Ok(Some(token)) => draft.tokens.push((TokenSource::TokenFileOption, token)),
        Ok(None) => problems.push(Problem::new("--token-file", format!("{} is not there", path.display()))),
        Err(what) => problems.push(Problem::new("--token-file", format!("{}: {what}", path.display()))),
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
    match value_of(text) {
        Ok(value) => Reader::new(draft, problems, Source::Set).at(path.trim(), &value),
        Err(what) => problems.push(Problem::new(format!("--set {path}"), what)),
    }
}

/// A value as a person writes it on a command line: JSON5; words that are none are text, so that quotes need not be quoted
/// for the shell.
///
/// # Errors
/// A text that begins like an object, a list or a quoted text and is none.
pub fn value_of(text: &str) -> Result<Value, String> {
    match document::parse(text) {
        Ok(value) => Ok(value),
        Err(what) if text.trim_start().starts_with(['{', '[', '"', '\'']) => Err(format!("is not JSON5: {what}")),
        Err(_) => Ok(Value::from(text)),
    }
}

fn read_flags(flags: &Flags, draft: &mut Draft, problems: &mut Vec<Problem>) {
    let mut one = |name, path, value: Value| Reader::new(draft, problems, Source::Named(name)).at(path, &value);
    if let Some(host) = &flags.bind {
        one("--bind", "gateway.host", host.as_str().into());
    }
    if let Some(port) = &flags.port {
        one("--port", "gateway.port", number(port));
    }
    if flags.allow_remote {
        one("--allow-remote", "gateway.allowRemote", true.into());
    }
    for (name, path, written) in [
        ("--tls-cert", "gateway.tls.certPath", &flags.tls_cert),
        ("--tls-key", "gateway.tls.keyPath", &flags.tls_key),
    ] {
        if let Some(written) = written {
            one(name, path, written.as_str().into());
            one(name, "gateway.tls.enabled", true.into());
        }
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
        for (given, name) in [
            (flags.token.is_some(), "--token"),
            (flags.token_file.is_some(), "--token-file"),
        ] {
            if given {
                let what = format!("does not go with {name}; leave one of them out");
                problems.push(Problem::new("--no-auth", what));
            }
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
