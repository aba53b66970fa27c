//! Runs the program once, to its end: a command such as `config get`, or a gateway that is to refuse its start. What it finds
//! of the environment is only what it is given.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::child::Program;
use crate::folder::Folder;

/// The most that is kept of an output.
const MOST: u64 = 4 << 20;
/// Between two looks at a program that runs.
const LOOK: Duration = Duration::from_millis(5);

/// A run to do.
#[derive(Clone, Debug)]
pub struct Job {
    /// The arguments.
    pub args: Vec<String>,
    /// Environment variables besides `HOME`, `PATH`, `TZ` and `PORTCULLIS_STATE_DIR`; `None` takes one away.
    pub environment: Vec<(String, Option<String>)>,
    /// SIGTERM is sent once this is on standard output.
    pub stop_at: Option<String>,
    /// How long it may take.
    pub patience: Duration,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit status; 128 and the signal's number when a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs the program in `folder`.
///
/// # Errors
/// When it cannot be started, or has not ended in time.
pub fn run(program: &Program, folder: &Folder, job: &Job) -> Result<Ended, String> {
    let mut command = Command::new(&program.file);
    command.args(&program.prefix).args(&job.args);
    command.env_clear();
    let path = format!("{}/bin:/usr/bin:/bin", folder.path().display());
    command.env("PATH", path).env("TZ", "UTC");
    command.env("HOME", folder.path().join("home"));
    command.env("PORTCULLIS_STATE_DIR", folder.state());
    for (name, value) in &job.environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(folder.path());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = command
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.file.display()))?;
    let stdout = Output::of(process.stdout.take().ok_or("no standard output")?);
    let stderr = Output::of(process.stderr.take().ok_or("no standard error")?);
    let ended = wait(&mut process, job, &stdout);
    if ended.is_none() {
        let _ = process.kill();
        let _ = process.wait();
    }
    let (stdout, stderr) = (stdout.finish(), stderr.finish());
    let status = ended.ok_or_else(|| {
        format!(
            "it has not ended within {} ms; standard output:\n{stdout}standard error:\n{stderr}",
            job.patience.as_millis()
        )
    })?;
    let signalled = status.signal().map(|signal| 128 + signal);
    Ok(Ended {
        status: status.code().or(signalled).unwrap_or(-1),
        stdout,
        stderr,
    })
}

fn wait(process: &mut std::process::Child, job: &Job, stdout: &Output) -> Option<ExitStatus> {
    let deadline = Instant::now() + job.patience;
    let mut stop_at = job.stop_at.as_deref();
    while Instant::now() < deadline {
        if let Some(status) = process.try_wait().ok()? {
            return Some(status);
        }
        if stop_at.is_some_and(|words| stdout.text().contains(words)) {
            stop_at = None;
            let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw)?;
            // It may have ended just now.
            let _ = kill_process(pid, Signal::TERM);
        }
        std::thread::sleep(LOOK);
    }
    None
}

/// An output that is read while the program runs, so that it never waits for us.
struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Output {
    fn of(from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let kept = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let (mut from, mut chunk) = (from.take(MOST), [0; 4_096]);
            while let Ok(size @ 1..) = from.read(&mut chunk) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(chunk.iter().take(size));
            }
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// All of it. Whoever else holds the pipe (a program that outlives its parent) is not waited for long.
    fn finish(self) -> String {
        let deadline = Instant::now() + Duration::from_secs(2);
        while !self.reader.is_finished() && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        self.text()
    }
}
