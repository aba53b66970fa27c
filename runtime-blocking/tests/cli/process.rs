//! Runs one command line in this process and keeps what it printed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_blocking::cli::{PreparedGateway, Process, Runtime, run};
use portcullis_blocking::settings::Environment;
use portcullis_core::report::Report;

/// What a command line came to.
pub(crate) struct Ended {
    pub(crate) succeeded: bool,
    pub(crate) status: u8,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A runtime that announces the gateway, keeps it for the test and ends.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) served: Mutex<Option<PreparedGateway>>,
}

impl Runtime for Recorder {
    fn name(&self) -> &'static str {
        "test"
    }

    fn serve(&self, prepared: PreparedGateway) -> io::Result<()> {
        prepared.ready.tell()?;
        // As a machine with a relay does once it has read its records.
        prepared.reports.tell(&Report::RelayReady);
        *self.served.lock().unwrap() = Some(prepared);
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `portcullis ARGS` with only `environment` set.
pub(crate) fn portcullis(args: &[&str], environment: &[(&str, &str)], runtime: &Recorder) -> Ended {
    run_line(args, environment, runtime, false)
}

/// The same in front of a person.
pub(crate) fn on_terminal(args: &[&str], environment: &[(&str, &str)], runtime: &Recorder) -> Ended {
    run_line(args, environment, runtime, true)
}

fn run_line(args: &[&str], environment: &[(&str, &str)], runtime: &dyn Runtime, is_terminal: bool) -> Ended {
    let (stdout, stderr) = (Captured::default(), Captured::default());
    let process = Process {
        args: ["/usr/bin/portcullis"]
            .iter()
            .chain(args)
            .map(|&word| word.to_owned())
            .collect(),
        environment: environment.iter().copied().collect::<Environment>(),
        working_dir: PathBuf::from("/"),
        stdout: Box::new(stdout.clone()),
        stderr: Box::new(stderr.clone()),
        is_terminal,
    };
    let status = run(runtime, process);
    Ended {
        succeeded: status == 0,
        status,
        stdout: stdout.text(),
        stderr: stderr.text(),
    }
}

/// Runs `portcullis ARGS` on a runtime that does `act` while it serves; what standard output got.
pub(crate) fn and_then(args: &[&str], act: impl Fn(&PreparedGateway)) -> (Ended, String) {
    let ended = run_line(args, &[], &Acting(act), false);
    let out = ended.stdout.clone();
    (ended, out)
}

/// See [`and_then`].
struct Acting<A>(A);

impl<A: Fn(&PreparedGateway)> Runtime for Acting<A> {
    fn name(&self) -> &'static str {
        "test"
    }

    fn serve(&self, prepared: PreparedGateway) -> io::Result<()> {
        prepared.ready.tell()?;
        // As a machine with a relay does once it has read its records.
        prepared.reports.tell(&Report::RelayReady);
        (self.0)(&prepared);
        Ok(())
    }
}

/// The same for a command that needs no runtime.
pub(crate) fn command(args: &[&str]) -> Ended {
    portcullis(args, &[], &Recorder::default())
}

/// A folder that is removed when the test ends, by its real path.
pub(crate) struct Scratch(
    PathBuf,
    #[expect(dead_code, reason = "held for its end")] tempfile::TempDir,
);

impl Scratch {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self(folder.path().canonicalize().unwrap(), folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}
