//! Runs programs: a process group of its own, an environment of the machine's, output in chunks as the machine takes them.
//! What a program may do is decided in the core.

use std::env;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::process::Stdio;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::Timer;
use bytes::Bytes;
use portcullis_blocking::effects::fault::{doing, fault};
use portcullis_core::effect::{Completion, ExitStatus, Fault, FaultKind, Outcome, OutputStream, Progress, Spawn};
use portcullis_core::id::EffectId;
use portcullis_core::machine::{Input, Machine};
use rustix::process::{Pid, Signal, kill_process_group};
use smol::io::{AsyncRead, AsyncWriteExt};
use smol::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::control::{Control, cancelled};
use crate::driver::{Driver, READ_MAX};

/// How long something that the program left behind may hold its output open after the program's own end.
const GRACE: Duration = Duration::from_millis(500);
/// What is still read after that: more than a pipe holds.
const LEFT_BEHIND_MAX: usize = 1024 * 1024;

/// Runs a program to its end.
pub(super) async fn run<M: Machine + 'static>(
    driver: Rc<Driver<M>>,
    effect: EffectId,
    spawn: Spawn,
    control: Rc<Control>,
) -> Outcome {
    let stdin = spawn.stdin.clone();
    // Starting a program holds its thread up until the new program runs.
    let mut child = smol::unblock(move || start(&spawn)).await?;
    let group = Group::of(&child);
    // Dropped, and with it the pipe, when this function ends.
    let _feeding = child.stdin.take().and_then(|pipe| driver.spawn(feed(pipe, stdin)));
    let finished = smol::future::or(
        async { Some(follow(&driver, effect, &mut child, &group, &control).await) },
        async {
            control.cancelled().await;
            None
        },
    )
    .await;
    if let Some(status) = finished {
        group.is_over();
        return status
            .map(Completion::Exited)
            .map_err(|error| doing("waiting for the program", &error));
    }
    group.kill();
    // Nothing survives that signal, so this is only the collecting.
    let _ = child.status().await;
    group.is_over();
    Err(cancelled())
}

/// The program's process group: killed when it is dropped before the program is over.
struct Group(std::cell::Cell<Option<Pid>>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(std::cell::Cell::new(
            i32::try_from(child.id()).ok().and_then(Pid::from_raw),
        ))
    }

    fn kill(&self) {
        if let Some(group) = self.0.get() {
            // It fails when nobody is left in it, which is what it is for.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// The number may name somebody else from now on.
    fn is_over(&self) {
        self.0.set(None);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

fn start(spawn: &Spawn) -> Result<Child, Fault> {
    let program = find(&spawn.program)?;
    let mut command = std::process::Command::new(program);
    command.arg0(&spawn.program).args(&spawn.args).env_clear();
    command
        .envs(spawn.env.iter().map(|(name, value)| (name, value)))
        .process_group(0);
    if let Some(dir) = &spawn.dir {
        command.current_dir(dir);
    }
    Command::from(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| doing(&format!("starting {}", spawn.program), &error))
}

/// The program's file. Names are looked for on our own `PATH`, since the program's environment may have none.
fn find(program: &str) -> Result<PathBuf, Fault> {
    if program.starts_with('/') {
        return Ok(PathBuf::from(program));
    }
    if program.is_empty() || program.contains('/') {
        return Err(fault(
            FaultKind::Invalid,
            format!("{program:?} is neither an absolute path nor a name"),
        ));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join(program)).find(|file| {
        file.metadata()
            .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    });
    found.ok_or_else(|| {
        fault(
            FaultKind::NotFound,
            format!("no program {program:?} on the PATH of the gateway"),
        )
    })
}

async fn feed(mut pipe: ChildStdin, bytes: Bytes) {
    // A program that does not read all of it has its reasons.
    let _ = pipe.write_all(&bytes).await;
}

/// What happens to a running program.
enum Event {
    Output(OutputStream, Bytes),
    Exited(io::Result<std::process::ExitStatus>),
    GraceOver,
    /// Nothing more will come from it.
    OutputEnded,
}

async fn follow<M: Machine + 'static>(
    driver: &Rc<Driver<M>>,
    effect: EffectId,
    child: &mut Child,
    group: &Group,
    control: &Control,
) -> io::Result<ExitStatus> {
    let mut pipes = Pipes::of(child);
    let mut exit = pin!(child.status());
    let mut status = None;
    let mut grace = Timer::never();
    let mut left_behind: Option<usize> = None;
    loop {
        let event = poll_fn(|context| {
            if status.is_none()
                && let Poll::Ready(exited) = exit.as_mut().poll(context)
            {
                return Poll::Ready(Event::Exited(exited));
            }
            if left_behind.is_none() && Pin::new(&mut grace).poll(context).is_ready() {
                return Poll::Ready(Event::GraceOver);
            }
            match pipes.poll_next(context) {
                Poll::Ready(Some((stream, bytes))) => Poll::Ready(Event::Output(stream, bytes)),
                Poll::Ready(None) if status.is_some() => Poll::Ready(Event::OutputEnded),
                // After the grace only what is there already counts.
                Poll::Pending if left_behind.is_some() => Poll::Ready(Event::OutputEnded),
                _ => Poll::Pending,
            }
        })
        .await;
        match event {
            Event::Exited(exited) => {
                status = Some(exited?);
                grace.set_after(GRACE);
            }
            Event::GraceOver => {
                group.kill();
                left_behind = Some(0);
            }
            Event::Output(stream, bytes) => {
                if let Some(count) = &mut left_behind {
                    *count += bytes.len();
                    if *count > LEFT_BEHIND_MAX {
                        pipes.close();
                    }
                }
                driver.turn(
                    None,
                    Input::Progress {
                        effect,
                        progress: Progress::Output { stream, bytes },
                    },
                );
                control.proceeded().await;
            }
            Event::OutputEnded => return Ok(status.map_or(ExitStatus::Code(0), exit_status)),
        }
    }
}

fn exit_status(status: std::process::ExitStatus) -> ExitStatus {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, signal) => ExitStatus::Signal(signal.unwrap_or_default()),
    }
}

/// Both output streams of a program; each is dropped at its end.
struct Pipes {
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    buffer: Vec<u8>,
    /// Which one is asked first, by turns, so that a noisy one does not silence the other.
    stderr_first: bool,
}

impl Pipes {
    fn of(child: &mut Child) -> Self {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Self {
            stdout,
            stderr,
            buffer: vec![0; READ_MAX],
            stderr_first: false,
        }
    }

    fn close(&mut self) {
        (self.stdout, self.stderr) = (None, None);
    }

    /// The next chunk of either; `None` when both have ended.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<(OutputStream, Bytes)>> {
        self.stderr_first = !self.stderr_first;
        for stderr in [self.stderr_first, !self.stderr_first] {
            let (stream, chunk) = if stderr {
                (
                    OutputStream::Stderr,
                    poll_chunk(&mut self.stderr, context, &mut self.buffer),
                )
            } else {
                (
                    OutputStream::Stdout,
                    poll_chunk(&mut self.stdout, context, &mut self.buffer),
                )
            };
            if let Poll::Ready(Some(bytes)) = chunk {
                return Poll::Ready(Some((stream, bytes)));
            }
        }
        if self.stdout.is_none() && self.stderr.is_none() {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }
}

fn poll_chunk<P: AsyncRead + Unpin>(
    pipe: &mut Option<P>,
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<Option<Bytes>> {
    let Some(open) = pipe else { return Poll::Ready(None) };
    match Pin::new(open).poll_read(context, buffer) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(count)) if count > 0 => {
            Poll::Ready(Some(Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default())))
        }
        // An end, or an error, which on a pipe is as good as one.
        Poll::Ready(_) => {
            *pipe = None;
            Poll::Ready(None)
        }
    }
}
