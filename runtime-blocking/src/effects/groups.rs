//! The process groups of all programs that run now, process-wide: a gateway that ends at once takes them with it. It
//! decides nothing about when.

use std::collections::BTreeMap;
use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long [`end`] waits for programs that are being started.
const STARTING: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(5);

/// Shared while a program is started: whoever ends all of them must not miss it.
static DOOR: RwLock<()> = RwLock::new(());
static LIVE: Mutex<BTreeMap<i32, Pid>> = Mutex::new(BTreeMap::new());

fn live() -> MutexGuard<'static, BTreeMap<i32, Pid>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process group on the list. Drop it before its leader is reaped: afterwards the number may be somebody else's.
#[derive(Debug)]
pub struct Group(Pid);

impl Group {
    /// The number of the group, which is its leader's.
    #[must_use]
    pub const fn id(&self) -> Pid {
        self.0
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        live().remove(&self.0.as_raw_nonzero().get());
    }
}

/// Starts a program that leads a process group of its own, and puts the group on the list.
///
/// # Errors
/// When the system refuses to start it.
pub fn start(command: &mut Command) -> io::Result<(Child, Group)> {
    use std::os::unix::process::CommandExt;

    let _open = DOOR.read().unwrap_or_else(PoisonError::into_inner);
    let child = command.process_group(0).spawn()?;
    let group = Pid::from_child(&child);
    live().insert(group.as_raw_nonzero().get(), group);
    Ok((child, Group(group)))
}

/// Kills every group on the list and ends the process. No program is started in between.
pub fn end(status: i32) -> ! {
    let until = Instant::now() + STARTING;
    let _shut = loop {
        match DOOR.try_write() {
            Ok(shut) => break Some(shut),
            Err(TryLockError::Poisoned(shut)) => break Some(shut.into_inner()),
            // A program that hangs in its start must not keep the others alive.
            Err(TryLockError::WouldBlock) if Instant::now() >= until => break None,
            Err(TryLockError::WouldBlock) => thread::sleep(STEP),
        }
    };
    // Held to the end: nobody reaps a leader any more, so every number stays its group's own.
    let live = live();
    for group in live.values() {
        // It fails only when nobody of the group is left.
        let _ = kill_process_group(*group, Signal::KILL);
    }
    log::warn!("ended at once; {} running programs were killed", live.len());
    std::process::exit(status)
}
