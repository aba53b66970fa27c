//! Whether a gateway runs over a state folder, and which process it is: a file with its number, locked as long as it runs.
//! A number in a file that nobody has locked means nothing. A third line counts how often the settings were read again, so
//! that whoever asked for it can wait until it is done; a fourth says whether it drains, when it takes no connections.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::signals::{Hook, Reload};

/// The fourth line, either as long as the other.
const SERVING: &str = "serving \n";
const DRAINING: &str = "draining\n";

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("gateway.pid")
}

/// Marks this process as the one that runs; as long as the answer lives.
///
/// # Errors
/// What the system refuses. That another gateway runs is no error here: the store says so.
pub(super) fn mark(state_dir: &Path, address: SocketAddr) -> io::Result<Mark> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path(state_dir))?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            file.rewind()?;
            let head = format!("{}\n{address}\n", std::process::id());
            write!(file, "{head}{}{SERVING}", line(0, true))?;
            let at = head.len() as u64;
            Ok(Mark { file, at: Some(at) })
        }
        Err(TryLockError::WouldBlock) => Ok(Mark { file, at: None }),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Says which process runs, as long as it lives.
#[derive(Debug)]
pub struct Mark {
    file: File,
    /// Where the line about reloads begins; none when another process has the file.
    at: Option<u64>,
}

impl Mark {
    /// What writes down, after each reload, how many there were and how the last one went.
    ///
    /// # Errors
    /// What the system refuses.
    pub(super) fn reloads(&self) -> io::Result<impl FnMut(bool) + Send + use<>> {
        let (file, at) = (self.file.try_clone()?, self.at);
        let mut count = 0_u32;
        Ok(move |accepted| {
            let Some(at) = at else { return };
            count = count.wrapping_add(1);
            if let Err(error) = file.write_all_at(line(count, accepted).as_bytes(), at) {
                log::warn!("who asked for the reload cannot be told: {error}");
            }
        })
    }
}

impl Mark {
    /// What writes down that the gateway drains.
    ///
    /// # Errors
    /// What the system refuses.
    pub(super) fn drains(&self) -> io::Result<impl FnOnce() + Send + Sync + use<>> {
        let (file, at) = (self.file.try_clone()?, self.at);
        Ok(move || {
            let Some(at) = at else { return };
            let at = at.saturating_add(line(0, true).len() as u64);
            if let Err(error) = file.write_all_at(DRAINING.as_bytes(), at) {
                log::warn!("other commands cannot see that this gateway drains: {error}");
            }
        })
    }
}

/// The same; that it cannot be done is told in the log, and stops nothing.
pub(super) fn marked(state_dir: &Path, address: SocketAddr) -> Option<Mark> {
    mark(state_dir, address)
        .inspect_err(|error| log::warn!("other commands cannot find this gateway: {error}"))
        .ok()
}

/// `reload`, which also writes down how it went.
pub(super) fn telling(mark: Option<&Mark>, reload: Reload) -> Reload {
    match mark.and_then(|mark| mark.reloads().ok()) {
        Some(done) => reload.and_then(done),
        None => reload,
    }
}

/// What says so when a drain begins.
pub(super) fn draining(mark: Option<&Mark>) -> Hook {
    match mark.and_then(|mark| mark.drains().ok()) {
        Some(says) => Hook::new(says),
        None => Hook::default(),
    }
}

/// Always as long as any other, so that it can be written over.
fn line(count: u32, accepted: bool) -> String {
    format!("{count:010} {}\n", if accepted { "taken  " } else { "refused" })
}

/// A gateway that runs.
pub(super) struct Live {
    /// Its process.
    pub(super) pid: i32,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Whether it is about to end, and takes no connections any more.
    pub(super) drains: bool,
}

/// The gateway that runs over this folder, if there is one.
pub(super) fn live(state_dir: &Path) -> Option<Live> {
    let found = find(state_dir)?;
    Some(Live {
        pid: found.pid.as_raw_nonzero().get(),
        address: found.address?,
        drains: found.drains,
    })
}

#[derive(PartialEq, Eq, Debug)]
struct Found {
    pid: Pid,
    address: Option<SocketAddr>,
    /// The line about reloads.
    reloads: Option<String>,
    drains: bool,
}

/// The process that runs over this folder, if there is one, and where it listens.
fn find(state_dir: &Path) -> Option<Found> {
    let mut file = File::open(path(state_dir)).ok()?;
    if file.try_lock_shared().is_ok() {
        return None;
    }
    let mut text = String::new();
    (&mut file).take(128).read_to_string(&mut text).ok()?;
    let mut lines = text.lines();
    let pid = Pid::from_raw(lines.next()?.trim().parse().ok().filter(|number| *number > 1)?)?;
    Some(Found {
        pid,
        address: lines.next().and_then(|line| line.trim().parse().ok()),
        reloads: lines.next().map(|line| line.trim().to_owned()),
        drains: lines.next().is_some_and(|line| line.trim() == DRAINING.trim()),
    })
}

/// What came of asking for a reload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// The gateway goes on with what it read.
    Taken,
    /// It goes on with what it had; its log says why.
    Refused,
    /// It did not say within the time.
    Silent,
    /// No gateway runs over this folder.
    Nobody,
}

/// Has the gateway that runs over this folder read its settings again, and waits until it has.
pub(super) fn reload(state_dir: &Path, patience: Duration) -> Told {
    let Some(before) = find(state_dir) else {
        return Told::Nobody;
    };
    if kill_process(before.pid, Signal::HUP).is_err() {
        return Told::Nobody;
    }
    let until = Instant::now() + patience;
    while Instant::now() < until {
        match find(state_dir) {
            None => return Told::Nobody,
            Some(now) if now.reloads != before.reloads => {
                let taken = now.reloads.is_some_and(|line| line.ends_with("taken"));
                return if taken { Told::Taken } else { Told::Refused };
            }
            // The file cannot be waited for; a reload takes milliseconds.
            Some(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
    Told::Silent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_locked_number_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find(folder.path()), None);
        let address = "127.0.0.1:18789".parse().unwrap();
        let running = mark(folder.path(), address).unwrap();
        let found = |reloads: &str| Found {
            pid: rustix::process::getpid(),
            address: Some(address),
            reloads: Some(reloads.into()),
            drains: false,
        };
        assert_eq!(find(folder.path()), Some(found("0000000000 taken")));
        let mut reloaded = running.reloads().unwrap();
        reloaded(false);
        assert_eq!(find(folder.path()), Some(found("0000000001 refused")));
        reloaded(true);
        assert_eq!(find(folder.path()), Some(found("0000000002 taken")));
        // Another one over the same folder changes nothing.
        mark(folder.path(), "127.0.0.1:1".parse().unwrap())
            .unwrap()
            .reloads()
            .unwrap()(false);
        assert_eq!(find(folder.path()), Some(found("0000000002 taken")));
        running.drains().unwrap()();
        let drains = Found {
            drains: true,
            ..found("0000000002 taken")
        };
        assert_eq!(find(folder.path()), Some(drains));
        drop((running, reloaded));
        assert_eq!(find(folder.path()), None);
        assert_eq!(reload(folder.path(), Duration::from_secs(1)), Told::Nobody);
    }
}
