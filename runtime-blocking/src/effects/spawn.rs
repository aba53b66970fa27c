//! Runs a program: no shell, a cleared environment, a process group of its own. Its output comes in pieces, one at a time;
//! a cancel kills the whole group. A descendant that keeps the pipes open after the program's end is given a short grace.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use portcullis_core::effect::{Completion, ExitStatus, FaultKind, Outcome, OutputStream, Progress, Spawn};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::control::Control;
use super::fault::{doing, fault, from_io};
use super::groups::{self, Group};

/// The largest piece of output.
const CHUNK: usize = 16 * 1024;
/// How long something that the program left behind may hold its output open after the program's own end.
const GRACE: Duration = Duration::from_millis(500);
/// What is still read after that: more than a pipe holds. A writer that left the group and goes on is cut off there.
const CHUNKS_AFTER_STOP: usize = 64;
const STACK: usize = 128 * 1024;

/// Runs the program to its end. `tell` gets each piece of output after [`Control::take_turn`] has allowed it.
pub(crate) fn run(spawn: &Spawn, control: &Control, tell: &(dyn Fn(Progress) + Sync)) -> Outcome {
    let cancelled = || Err(fault(FaultKind::Cancelled, String::new()));
    if control.is_cancelled() {
        return cancelled();
    }
    let (mut child, group) = start(spawn).map_err(|error| doing(&spawn.program, &error))?;
    control.set_group(Some(group.id()));
    let attended = attend(&mut child, &spawn.stdin, control, tell);
    if attended.is_err() {
        control.kill_group();
    }
    // From here on the number of the group may become somebody else's.
    control.set_group(None);
    drop(group);
    let status = child.wait().map_err(|error| from_io(&error))?;
    attended.map_err(|error| doing(&spawn.program, &error))?;
    if control.is_cancelled() {
        return cancelled();
    }
    match (status.code(), status.signal()) {
        (Some(code), _) => Ok(Completion::Exited(ExitStatus::Code(code))),
        (None, Some(signal)) => Ok(Completion::Exited(ExitStatus::Signal(signal))),
        (None, None) => Err(fault(FaultKind::Unavailable, status.to_string())),
    }
}

fn start(spawn: &Spawn) -> io::Result<(Child, Group)> {
    let mut command = Command::new(find(&spawn.program)?);
    command
        .arg0(&spawn.program)
        .args(&spawn.args)
        .env_clear()
        .envs(spawn.env.iter().map(|(name, value)| (name, value)));
    if let Some(dir) = &spawn.dir {
        // Told apart from a program that is not there, which the system reports in the same words.
        if !Path::new(dir).is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no working directory {dir:?}"),
            ));
        }
        command.current_dir(dir);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    groups::start(&mut command)
}

/// A name without a slash is looked for on the gateway's own `PATH`; the program's environment has no say in it.
fn find(program: &str) -> io::Result<PathBuf> {
    if program.contains('/') {
        return Ok(PathBuf::from(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let runnable = |file: &PathBuf| {
        file.metadata()
            .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    };
    let mut places = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program));
    places
        .find(runnable)
        .filter(|_| !program.is_empty())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such program on the gateway's PATH"))
}

/// The two readers of a program's output.
struct Readers<'a> {
    control: &'a Control,
    tell: &'a (dyn Fn(Progress) + Sync),
    reading: AtomicUsize,
}

/// Feeds and reads the program until it has ended and its output is told. Does not reap it.
fn attend(child: &mut Child, stdin: &Bytes, control: &Control, tell: &(dyn Fn(Progress) + Sync)) -> io::Result<()> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(io::ErrorKind::InvalidData)?;
    let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    // Closing this pipe tells all three threads to end; each waits for it beside its own.
    let (stop, stopper) = io::pipe()?;
    let readers = Readers {
        control,
        tell,
        reading: AtomicUsize::new(2),
    };
    let threads = |name: &str| thread::Builder::new().name(String::from(name)).stack_size(STACK);
    thread::scope(|scope| {
        let (readers, stop) = (&readers, &stop);
        let attended = (|| {
            threads("stdin").spawn_scoped(scope, move || feed(input.into(), stdin, stop))?;
            threads("stdout").spawn_scoped(scope, move || {
                follow(output.into(), OutputStream::Stdout, readers, stop)
            })?;
            threads("stderr").spawn_scoped(scope, move || {
                follow(errors.into(), OutputStream::Stderr, readers, stop)
            })?;
            wait_for_exit(pid)
        })();
        if attended.is_err() {
            control.cancel();
        }
        control.pause(GRACE, || readers.reading.load(Ordering::SeqCst) > 0);
        // Whoever is left of the group goes with its leader.
        control.kill_group();
        drop(stopper);
        attended
    })
}

/// Waits for the program's end and leaves it unreaped, so that its process group keeps its number.
fn wait_for_exit(pid: Pid) -> io::Result<()> {
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Err(Errno::INTR) | Ok(None) => {}
            Err(errno) => return Err(errno.into()),
            Ok(Some(_)) => return Ok(()),
        }
    }
}

/// What a wait for a pipe ended with.
enum Ready {
    /// The pipe has something, or has ended.
    Pipe,
    /// The same, and everybody is to stop.
    PipeAndStop,
    /// Nothing more is to come.
    Stop,
}

/// Waits for a pipe beside the one that says stop.
fn ready(pipe: &impl AsFd, flags: PollFlags, stop: &PipeReader) -> Ready {
    let mut wanted = [PollFd::new(pipe, flags), PollFd::new(stop, PollFlags::IN)];
    loop {
        match poll(&mut wanted, None) {
            Err(Errno::INTR) => {}
            Err(_) => return Ready::Stop,
            Ok(_) => {
                let [pipe, stop] = wanted.each_ref().map(|wanted| !wanted.revents().is_empty());
                return match (pipe, stop) {
                    (true, false) => Ready::Pipe,
                    (true, true) => Ready::PipeAndStop,
                    _ => Ready::Stop,
                };
            }
        }
    }
}

/// Writes the program's standard input and closes it. A program that does not want it has the right not to read it.
fn feed(pipe: OwnedFd, stdin: &[u8], stop: &PipeReader) {
    if rustix::io::ioctl_fionbio(&pipe, true).is_err() {
        return;
    }
    let mut pipe = std::fs::File::from(pipe);
    let mut rest = stdin;
    while !rest.is_empty() && matches!(ready(&pipe, PollFlags::OUT, stop), Ready::Pipe) {
        match pipe.write(rest) {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => return,
        }
    }
}

/// Tells one output stream until it ends, the effect is cancelled, or everybody must stop and nothing is left in the pipe.
fn follow(pipe: OwnedFd, stream: OutputStream, readers: &Readers<'_>, stop: &PipeReader) {
    let mut pipe = std::fs::File::from(pipe);
    let mut buffer = vec![0; CHUNK];
    let mut left_after_stop = CHUNKS_AFTER_STOP;
    loop {
        match ready(&pipe, PollFlags::IN, stop) {
            Ready::Pipe => {}
            Ready::PipeAndStop if left_after_stop > 0 => left_after_stop -= 1,
            Ready::PipeAndStop | Ready::Stop => break,
        }
        let count = match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let Some(bytes) = buffer.get(..count).map(Bytes::copy_from_slice) else {
            break;
        };
        if !readers.control.take_turn() {
            break;
        }
        (readers.tell)(Progress::Output { stream, bytes });
    }
    readers.reading.fetch_sub(1, Ordering::SeqCst);
    readers.control.nudge();
}
