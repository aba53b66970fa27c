//! Whether a gateway runs over a state folder, and which process it is: a file with its number, locked as long as it runs.
//! A number in a file that nobody has locked means nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
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
pub(super) fn mark(state_dir: &Path) -> io::Result<File> {
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
            writeln!(file, "{}", std::process::id())?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Ok(file),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The process that runs over this folder, if there is one.
fn find(state_dir: &Path) -> Option<Pid> {
    let mut file = File::open(path(state_dir)).ok()?;
    if file.try_lock_shared().is_ok() {
        return None;
    }
    let mut text = String::new();
    (&mut file).take(32).read_to_string(&mut text).ok()?;
    Pid::from_raw(text.trim().parse().ok().filter(|number| *number > 1)?)
}

/// Has the gateway that runs over this folder read its settings again; whether there is one.
pub(super) fn reload(state_dir: &Path) -> bool {
    find(state_dir).is_some_and(|pid| kill_process(pid, Signal::HUP).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_locked_number_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find(folder.path()), None);
        let running = mark(folder.path()).unwrap();
        assert_eq!(find(folder.path()), Some(rustix::process::getpid()));
        drop(running);
        assert_eq!(find(folder.path()), None);
        assert!(!reload(folder.path()));
    }
}
