//! Whether a gateway runs over a state folder, and which process it is: a file with its number, locked as long as it runs.
//! A number in a file that nobody has locked means nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("gateway.pid")
}

/// Marks this process as the one that runs; as long as the answer lives.
///
/// # Errors
/// What the system refuses. That another gateway runs is no error here: the store says so.
pub(super) fn mark(state_dir: &Path, address: SocketAddr) -> io::Result<File> {
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
            write!(file, "{}\n{address}\n", std::process::id())?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Ok(file),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A gateway that runs.
pub(super) struct Live {
    /// Its process.
    pub(super) pid: i32,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

/// The gateway that runs over this folder, if there is one.
pub(super) fn live(state_dir: &Path) -> Option<Live> {
    let (pid, address) = find(state_dir)?;
    Some(Live {
        pid: pid.as_raw_nonzero().get(),
        address: address?,
    })
}

/// The process that runs over this folder, if there is one, and where it listens.
fn find(state_dir: &Path) -> Option<(Pid, Option<SocketAddr>)> {
    let mut file = File::open(path(state_dir)).ok()?;
    if file.try_lock_shared().is_ok() {
        return None;
    }
    let mut text = String::new();
    (&mut file).take(128).read_to_string(&mut text).ok()?;
    let mut lines = text.lines();
    let pid = Pid::from_raw(lines.next()?.trim().parse().ok().filter(|number| *number > 1)?)?;
    Some((pid, lines.next().and_then(|line| line.trim().parse().ok())))
}

/// Has the gateway that runs over this folder read its settings again; whether there is one.
pub(super) fn reload(state_dir: &Path) -> bool {
    find(state_dir).is_some_and(|(pid, _)| kill_process(pid, Signal::HUP).is_ok())
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
        assert_eq!(find(folder.path()), Some((rustix::process::getpid(), Some(address))));
        drop(running);
        assert_eq!(find(folder.path()), None);
        assert!(!reload(folder.path()));
    }
}
