//! Runs programs: a process group of its own, an environment of the machine's, output in chunks as the machine takes them.
//! What a program may do is decided in the core.

use std::env;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{self, Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::{Async, Timer};
use bytes::Bytes;
use portcullis_blocking::effects::fault::doing;
use portcullis_blocking::effects::groups::{self, Group};
use portcullis_core::effect::{Completion, ExitStatus, Outcome, OutputStream, Progress, Spawn};
use portcullis_core::id::EffectId;
use portcullis_core::machine::{Input, Machine};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, Signal, kill_process_group, pidfd_open};
use smol::io::{AsyncRead, AsyncWriteExt};

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
    let about = spawn.program.clone();
    let failed = |error: io::Error| doing(&about, &error);
    let stdin = spawn.stdin.clone();
    // Starting a program holds its thread up until the new program runs.
    let mut program = smol::unblock(move || Program::start(&spawn)).await.map_err(failed)?;
    // Dropped, and with it the pipe, when this function ends.
    let _feeding = match program.child.stdin.take() {
        Some(pipe) => driver.spawn(feed(Async::new(pipe).map_err(failed)?, stdin)),
        None => None,
    };
    let followed = async {
        follow(&driver, effect, &mut program, &control).await?;
        Ok(true)
    };
    let unwanted = async {
        control.cancelled().await;
        Ok(false)
    };
    let followed = smol::future::or(followed, unwanted).await;
    // However it went: whoever is left of the group goes with its leader, and the leader is collected.
    let status = program.collect().await.map_err(failed)?;
    if followed.map_err(failed)? {
        Ok(Completion::Exited(exit_status(status)))
    } else {
        Err(cancelled())
    }
}

/// A running program. Its number, which is that of its process group too, stays its own until it is collected; dropped
/// before, the whole group is killed.
struct Program {
    child: Child,
    group: Option<Group>,
    /// Readable when it has ended.
    ended: Async<OwnedFd>,
}

impl Program {
    fn start(spawn: &Spawn) -> io::Result<Self> {
        let mut command = Command::new(find(&spawn.program)?);
        command.arg0(&spawn.program).args(&spawn.args).env_clear();
        command.envs(spawn.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &spawn.dir {
            // Told apart from a program that is not there, which the system reports in the same words.
            if !Path::new(dir).is_dir() {
                let what = format!("no working directory {dir:?}");
                return Err(io::Error::new(io::ErrorKind::NotFound, what));
            }
            command.current_dir(dir);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let (mut child, group) = groups::start(&mut command)?;
        let ended = pidfd_open(group.id(), PidfdFlags::empty())
            .map_err(io::Error::from)
            .and_then(Async::new);
        match ended {
            Ok(ended) => Ok(Self {
                child,
                group: Some(group),
                ended,
            }),
            Err(error) => {
                // A program whose end nobody sees must not run.
                let _ = kill_process_group(group.id(), Signal::KILL);
                drop(group);
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn kill(&self) {
        if let Some(group) = &self.group {
            // It fails when nobody is left in it, which is what it is for.
            let _ = kill_process_group(group.id(), Signal::KILL);
        }
    }

    /// Kills what is left of the group, waits for the leader's end and learns how it ended.
    async fn collect(mut self) -> io::Result<process::ExitStatus> {
        self.kill();
        poll_fn(|context| self.poll_end(context)).await?;
        self.group = None;
        self.child.wait()
    }

    fn poll_end(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut wanted = [PollFd::new(&self.ended, PollFlags::IN)];
            if poll(&mut wanted, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
                return Poll::Ready(Ok(()));
            }
            if self.ended.poll_readable(context)?.is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program's file. Names are looked for on our own `PATH`, since the program's environment has no say in it.
fn find(program: &str) -> io::Result<PathBuf> {
    if program.contains('/') {
        return Ok(PathBuf::from(program));
    }
    let runnable = |file: &PathBuf| {
        file.metadata()
            .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    };
    let path = env::var_os("PATH").unwrap_or_default();
    let mut files = env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program));
    files
        .find(runnable)
        .filter(|_| !program.is_empty())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such program on the gateway's PATH"))
}

async fn feed(mut pipe: Async<ChildStdin>, bytes: Bytes) {
    // A program that does not read all of it has its reasons.
    let _ = pipe.write_all(&bytes).await;
}

/// What happens to a running program.
enum Event {
    Output(OutputStream, Bytes),
    Ended,
    GraceOver,
    /// Nothing more will come from it.
    OutputEnded,
}

/// Tells what the program says until it has ended and said all.
async fn follow<M: Machine + 'static>(
    driver: &Rc<Driver<M>>,
    effect: EffectId,
    program: &mut Program,
    control: &Control,
) -> io::Result<()> {
    let mut pipes = Pipes::of(&mut program.child)?;
    let mut has_ended = false;
    let mut grace = Timer::never();
    let mut left_behind: Option<usize> = None;
    loop {
        let event = poll_fn(|context| {
            if !has_ended && let Poll::Ready(ended) = program.poll_end(context) {
                return Poll::Ready(ended.map(|()| Event::Ended));
            }
            if left_behind.is_none() && Pin::new(&mut grace).poll(context).is_ready() {
                return Poll::Ready(Ok(Event::GraceOver));
            }
            match pipes.poll_next(context) {
                Poll::Ready(Some((stream, bytes))) => Poll::Ready(Ok(Event::Output(stream, bytes))),
                Poll::Ready(None) if has_ended => Poll::Ready(Ok(Event::OutputEnded)),
                // After the grace only what is there already counts.
                Poll::Pending if left_behind.is_some() => Poll::Ready(Ok(Event::OutputEnded)),
                _ => Poll::Pending,
            }
        })
        .await?;
        match event {
            Event::Ended => {
                has_ended = true;
                grace.set_after(GRACE);
            }
            Event::GraceOver => {
                program.kill();
                left_behind = Some(0);
            }
            Event::Output(stream, bytes) => {
                if let Some(count) = &mut left_behind {
                    *count += bytes.len();
                    if *count > LEFT_BEHIND_MAX {
                        pipes.close();
                    }
                }
                let progress = Progress::Output { stream, bytes };
                driver.turn(None, Input::Progress { effect, progress });
                control.proceeded().await;
            }
            Event::OutputEnded => return Ok(()),
        }
    }
}

fn exit_status(status: process::ExitStatus) -> ExitStatus {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, signal) => ExitStatus::Signal(signal.unwrap_or_default()),
    }
}

/// Both output streams of a program; each is dropped at its end.
struct Pipes {
    stdout: Option<Async<ChildStdout>>,
    stderr: Option<Async<ChildStderr>>,
    buffer: Vec<u8>,
    /// Which one is asked first, by turns, so that a noisy one does not silence the other.
    stderr_first: bool,
}

impl Pipes {
    fn of(child: &mut Child) -> io::Result<Self> {
        Ok(Self {
            stdout: child.stdout.take().map(Async::new).transpose()?,
            stderr: child.stderr.take().map(Async::new).transpose()?,
            buffer: vec![0; READ_MAX],
            stderr_first: false,
        })
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
