//! A gateway in a child process: started with the arguments of its command line, known by what it prints, killed with its
//! state folder when dropped.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value};

use crate::folder::Folder;
use crate::vector::{Surface, TOKEN, Vector};

/// How long a gateway may take to print its URL.
const START: Duration = Duration::from_secs(20);

/// How to start a gateway: a program and the arguments before `gateway`.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file.
    pub file: PathBuf,
    /// Arguments before `gateway`.
    pub prefix: Vec<String>,
}

/// A gateway that runs.
#[derive(Debug)]
pub struct Child {
    program: Program,
    start: Start,
    folder: Folder,
    process: std::process::Child,
    address: SocketAddr,
    log: Arc<Log>,
}

/// What a gateway is started with.
#[derive(Clone, Debug, Default)]
struct Start {
    /// `gateway`, `control` or `relay`.
    command: &'static str,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    /// The settings of its file, by their dotted keys; `None`: it has no file.
    file: Option<Map<String, Value>>,
}

/// How many of the last lines of a log are kept, and how many of them an explanation shows.
const LAST_LINES: usize = 400;
const SHOWN_LINES: usize = 5;

/// What a gateway has logged: how many lines, and the last ones.
#[derive(Debug, Default)]
struct Log {
    lines: AtomicU64,
    last: Mutex<VecDeque<String>>,
}

impl Log {
    fn add(&self, line: &str) {
        self.lines.fetch_add(1, Ordering::Relaxed);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= LAST_LINES {
            last.pop_front();
        }
        last.push_back(line.to_owned());
    }
}

impl Child {
    /// Starts a gateway that must refuse to start with exit code 1 and leave no state behind; what it says.
    ///
    /// # Errors
    /// What it did instead.
    pub fn refused(program: &Program, vector: &Vector) -> Result<String, String> {
        let folder = Folder::fresh()?;
        let mut process = command(program, &Self::start_of(vector), &folder)?
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.file.display()))?;
        match announced(&mut process, &Arc::default()) {
            Ok(address) => {
                let _ = process.kill();
                let _ = process.wait();
                Err(format!("it started and listens on {address}"))
            }
            Err(told) => {
                let status = process.wait().map_err(|error| error.to_string())?;
                if status.code() != Some(1) {
                    Err(format!("it ended with {status}, saying {told:?}"))
                } else if folder.state().exists() {
                    Err(format!("it left {} behind", folder.state().display()))
                } else {
                    Ok(told)
                }
            }
        }
    }

    /// Starts a gateway with the settings that `vector` asks for.
    ///
    /// # Errors
    /// Why it did not start, in its own words.
    pub fn for_vector(program: &Program, vector: &Vector) -> Result<Self, String> {
        Self::spawn(program, Self::start_of(vector))
    }

    /// What a vector's gateway is started with.
    fn start_of(vector: &Vector) -> Start {
        let mut start = Start {
            command: match vector.surface {
                Surface::Gateway | Surface::Nothing => "gateway",
                Surface::Control => "control",
                Surface::Relay => "relay",
            },
            environment: environment(vector),
            ..Start::default()
        };
        if vector.reloads() {
            start.file = Some(vector.settings.clone());
        } else {
            let sets = set_arguments(&vector.settings).into_iter();
            start.args.extend(sets.flat_map(|set| ["--set".to_owned(), set]));
        }
        if vector.surface == Surface::Gateway && !vector.own_token {
            start.args.extend(if vector.auth {
                vec!["--token".into(), TOKEN.into()]
            } else {
                vec!["--no-auth".into()]
            });
        }
        start
    }

    /// Starts a gateway with further arguments; with [`TOKEN`] when `auth` is on.
    ///
    /// # Errors
    /// Why it did not start, in its own words.
    pub fn start(program: &Program, mut args: Vec<String>, auth: bool) -> Result<Self, String> {
        if auth {
            args.extend(["--token".into(), TOKEN.into()]);
        }
        let start = Start {
            command: "gateway",
            args,
            ..Start::default()
        };
        Self::spawn(program, start)
    }

    /// Starts a relay with these variables.
    ///
    /// # Errors
    /// Why it did not start, in its own words.
    pub fn relay(program: &Program, environment: Vec<(String, String)>) -> Result<Self, String> {
        let start = Start {
            command: "relay",
            environment,
            ..Start::default()
        };
        Self::spawn(program, start)
    }

    fn spawn(program: &Program, start: Start) -> Result<Self, String> {
        let folder = Folder::fresh()?;
        let log = Arc::default();
        let (process, address) = spawn(program, &start, &folder, &log)?;
        Ok(Self {
            program: program.clone(),
            start,
            folder,
            process,
            address,
            log,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// How many lines it has logged.
    #[must_use]
    pub fn log_lines(&self) -> u64 {
        self.log.lines.load(Ordering::Relaxed)
    }

    /// Adds to a failure what the gateway has to do with it: whether it still runs, and what it logged last.
    #[must_use]
    pub fn explain(&mut self, failure: &str) -> String {
        let state = match self.process.try_wait() {
            Ok(None) => "still runs".to_owned(),
            Ok(Some(status)) => format!("has ended ({status})"),
            Err(error) => format!("is in a state that the system does not tell ({error})"),
        };
        let last = self.log.last.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = last.len().saturating_sub(SHOWN_LINES);
        let last: Vec<_> = last.iter().skip(shown).map(String::as_str).collect();
        format!("{failure} (the gateway {state}; its last log lines: {last:?})")
    }

    /// Whether it is the control plane alone.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.start.command == "control"
    }

    /// The folder of this gateway, with its state folder in it.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The program that it is.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The last lines that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let last = self.log.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Its exit code, once it has ended; a signal that ended it counts as 128 and its number.
    pub fn exit_code(&mut self) -> Option<i32> {
        let status = self.process.try_wait().ok().flatten()?;
        status.code().or_else(|| status.signal().map(|signal| 128 + signal))
    }

    /// Writes its settings file with these changes and asks it to read it again (SIGHUP).
    ///
    /// # Errors
    /// When it has no settings file, or has ended already.
    pub fn reload(&mut self, changes: &Map<String, Value>) -> Result<(), String> {
        let file = self
            .start
            .file
            .as_mut()
            .ok_or("it was started without a settings file")?;
        file.extend(changes.iter().map(|(key, value)| (key.clone(), value.clone())));
        write_settings(&self.folder, file)?;
        self.signal(Signal::HUP)
    }

    /// Asks it to finish.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn terminate(&self) -> Result<(), String> {
        self.signal(Signal::TERM)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or("the child has no process id")?;
        kill_process(pid, signal).map_err(|error| format!("cannot signal the gateway: {error}"))
    }

    /// Kills it and starts it again on the same state folder.
    ///
    /// # Errors
    /// Why it did not start again.
    pub fn restart(&mut self) -> Result<(), String> {
        self.kill();
        (self.process, self.address) = spawn(&self.program, &self.start, &self.folder, &self.log)?;
        Ok(())
    }

    /// Kills it with SIGKILL, as a crash would, and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The `path=json` arguments of `--set` that settings are.
#[must_use]
pub fn set_arguments(settings: &Map<String, Value>) -> Vec<String> {
    settings.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// A vector's environment variables; those that every relay has, unless the vector says otherwise.
#[must_use]
pub fn environment(vector: &Vector) -> Vec<(String, String)> {
    const RELAY: [(&str, &str); 4] = [
        ("DOTENV_PATH", "-"),
        ("JWT_SIGNING_KEY", "reference-signing-key-0123456789abcdef"),
        ("PUBLIC_BASE_URL", "http://localhost:8080"),
        ("ALLOW_ORIGINS", "*"),
    ];
    let usual = RELAY
        .iter()
        .filter(|(name, _)| vector.surface == Surface::Relay && !vector.environment.contains_key(*name));
    let usual = usual.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let pairs = vector.environment.iter();
    let own = pairs.map(|(name, value)| {
        (
            name.clone(),
            value.as_str().map_or_else(|| value.to_string(), String::from),
        )
    });
    usual.chain(own).collect()
}

/// Settings of dotted keys as the object of objects that a settings file is.
#[must_use]
pub fn nested(settings: &Map<String, Value>) -> Value {
    let mut root = Value::Object(Map::new());
    for (key, value) in settings {
        let mut place = &mut root;
        for part in key.split('.') {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            let Value::Object(map) = place else { break };
            place = map.entry(part).or_insert(Value::Null);
        }
        *place = value.clone();
    }
    root
}

fn settings_file(folder: &Folder) -> PathBuf {
    folder.path().join("settings.json5")
}

fn write_settings(folder: &Folder, settings: &Map<String, Value>) -> Result<(), String> {
    let file = settings_file(folder);
    std::fs::write(&file, nested(settings).to_string()).map_err(|why| format!("cannot write {}: {why}", file.display()))
}

fn spawn(
    program: &Program,
    start: &Start,
    folder: &Folder,
    log: &Arc<Log>,
) -> Result<(std::process::Child, SocketAddr), String> {
    let mut process = command(program, start, folder)?
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.file.display()))?;
    match announced(&mut process, log) {
        Ok(address) => Ok((process, address)),
        Err(why) => {
            let _ = process.kill();
            let _ = process.wait();
            Err(format!("{} did not start: {why}", program.file.display()))
        }
    }
}

/// The command line and environment of a gateway.
fn command(program: &Program, start: &Start, folder: &Folder) -> Result<Command, String> {
    let mut command = Command::new(&program.file);
    command.args(&program.prefix).arg(start.command);
    command
        .args(["--port", "0", "--json", "--state-dir"])
        .arg(folder.state());
    if let Some(settings) = &start.file {
        write_settings(folder, settings)?;
        command.arg("--config").arg(settings_file(folder));
    }
    command.args(&start.args);
    command
        .env_remove("OPENGOAT_GATEWAY_TOKEN")
        .env_remove("OPENCLAW_GATEWAY_TOKEN")
        .envs(start.environment.iter().map(|(name, value)| (name, value)));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

/// The address in the first line that the child prints. Both streams are read to their ends, so that it never waits for us.
fn announced(process: &mut std::process::Child, log: &Arc<Log>) -> Result<SocketAddr, String> {
    let (send, lines) = mpsc::sync_channel(64);
    let stdout = process.stdout.take().ok_or("no standard output")?;
    let stderr = process.stderr.take().ok_or("no standard error")?;
    let also = send.clone();
    let (counted, log) = (Arc::default(), Arc::clone(log));
    std::thread::spawn(move || forward(BufReader::new(stdout), true, &send, &counted));
    std::thread::spawn(move || forward(BufReader::new(stderr), false, &also, &log));
    let deadline = Instant::now() + START;
    let mut told = String::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((true, line)) => return address(&line),
            Ok((false, line)) => told = format!("{told}{line}\n"),
            Err(mpsc::RecvTimeoutError::Disconnected) if told.is_empty() => {
                return Err("it ended without a word".into());
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(told),
            Err(mpsc::RecvTimeoutError::Timeout) => return Err(format!("no URL within {} s. {told}", START.as_secs())),
        }
    }
}

fn forward(from: impl BufRead, stdout: bool, to: &mpsc::SyncSender<(bool, String)>, log: &Log) {
    for line in from.lines().map_while(Result::ok) {
        log.add(&line);
        // When nobody listens any more or the queue is full, the line is dropped and the reading goes on.
        let _ = to.try_send((stdout, line));
    }
}

fn address(line: &str) -> Result<SocketAddr, String> {
    let announcement: Value = serde_json::from_str(line).map_err(|_| format!("it printed {line:?}, no JSON"))?;
    let url = announcement
        .get("url")
        .and_then(Value::as_str)
        .ok_or_else(|| format!("no \"url\" in {line:?}"))?;
    address_of_url(url)
}

/// The address of `ws://` and `http://` URLs with an IP address or `localhost`.
///
/// # Errors
/// Says what the URL should be.
pub fn address_of_url(url: &str) -> Result<SocketAddr, String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest
        .split('/')
        .next()
        .unwrap_or_default()
        .replace("localhost", "127.0.0.1");
    authority
        .parse()
        .map_err(|_| format!("{url:?} is no URL with an address and a port, such as ws://127.0.0.1:18789"))
}
