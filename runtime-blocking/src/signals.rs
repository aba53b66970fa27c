//! Signals. SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 ask for a drain; a second one ends the drain; a third ends the process at
//! once, and the programs it runs. SIGHUP has the settings read again. It decides only which signal means what.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use portcullis_core::machine::DrainHow;
use portcullis_core::settings::Settings;
use rustix::time::{ClockId, clock_gettime};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::effects::groups;
use crate::remote::Remote;
use crate::supervisor::{State, Supervisor};

/// What a shell reports for a program that a signal ended: 128 and the signal's number.
const SIGNAL_EXIT_BASE: i32 = 128;
/// How long a drain may be late before the process ends without it.
const OVERTIME: Duration = Duration::from_secs(5);
const STACK: usize = 256 * 1024;

/// What signals bring about.
#[derive(Debug)]
pub struct SignalPlan {
    /// For SIGHUP; `None`: it is ignored.
    pub reload: Option<Reload>,
    /// The longest drain: what the machine's settings give.
    pub grace: Duration,
    /// Told that the gateway ends.
    pub supervisor: Supervisor,
    /// Called when the first drain begins.
    pub on_drain: Hook,
}

/// Something to be done once; nothing by default.
#[derive(Default)]
pub struct Hook(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Hook {
    /// Does `what`.
    pub fn new(what: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(what)))
    }

    fn call(&mut self) {
        if let Some(what) = self.0.take() {
            what();
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

impl Default for SignalPlan {
    fn default() -> Self {
        Self {
            reload: None,
            grace: Duration::from_secs(30),
            supervisor: Supervisor::default(),
            on_drain: Hook::default(),
        }
    }
}

/// Reads the settings again: the new ones, or `None` when the old ones stay. It tells the log what it did.
pub struct Reload {
    read: Mutex<Read>,
    done: Mutex<Done>,
}

type Read = Box<dyn FnMut() -> Option<Arc<Settings>> + Send>;
type Done = Box<dyn FnMut(bool) + Send>;

impl Reload {
    /// Reads them by calling `read`.
    pub fn new(read: impl FnMut() -> Option<Arc<Settings>> + Send + 'static) -> Self {
        Self {
            read: Mutex::new(Box::new(read)),
            done: Mutex::new(Box::new(drop)),
        }
    }

    /// Calls `done` when a reload is over, with whether the gateway goes on with new settings.
    #[must_use]
    pub fn and_then(self, done: impl FnMut(bool) + Send + 'static) -> Self {
        Self {
            done: Mutex::new(Box::new(done)),
            ..self
        }
    }

    /// Reads them.
    pub fn read(&mut self) -> Option<Arc<Settings>> {
        (self.read.get_mut().unwrap_or_else(PoisonError::into_inner))()
    }

    fn done(&mut self, accepted: bool) {
        (self.done.get_mut().unwrap_or_else(PoisonError::into_inner))(accepted);
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reload")
    }
}

/// Heeds signals on a thread of its own, which sleeps in between and lives as long as the process.
///
/// # Errors
/// When the system refuses the handlers or the thread.
pub fn heed(remote: Remote, mut plan: SignalPlan) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2])?;
    thread::Builder::new()
        .name(String::from("signals"))
        .stack_size(STACK)
        .spawn(move || {
            let mut drains = 0_u32;
            for signal in signals.forever() {
                if signal == SIGHUP {
                    reload(&remote, &mut plan, drains > 0);
                    continue;
                }
                drains = drains.saturating_add(1);
                match drains {
                    1 => {
                        plan.supervisor.tell(State::Stopping);
                        plan.on_drain.call();
                        remote.drain(meaning(signal));
                        end_late(plan.grace);
                    }
                    2 => remote.drain(meaning(signal)),
                    _ => groups::end(SIGNAL_EXIT_BASE.saturating_add(signal)),
                }
            }
        })?;
    Ok(())
}

const fn meaning(signal: i32) -> DrainHow {
    match signal {
        SIGINT => DrainHow::Quick,
        SIGUSR1 | SIGUSR2 => DrainHow::Restart,
        _ => DrainHow::Stop,
    }
}

fn reload(remote: &Remote, plan: &mut SignalPlan, draining: bool) {
    match &mut plan.reload {
        _ if draining => log::info!("SIGHUP is ignored: the gateway is about to end"),
        None => log::info!("SIGHUP is ignored: this gateway has no settings to read again"),
        Some(read) => {
            plan.supervisor.tell(State::Reloading {
                monotonic_us: monotonic_us(),
            });
            let new = read.read();
            let accepted = new.is_some();
            if let Some(settings) = new {
                plan.grace = settings.gateway.drain_grace;
                remote.reconfigure(settings);
            }
            read.done(accepted);
            plan.supervisor.tell(State::Ready);
        }
    }
}

/// What the service manager wants a reload to be dated with.
fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000)
}

/// Ends the process when a drain takes longer than it may. When it cannot watch, the drain alone must do.
fn end_late(grace: Duration) {
    let watch = thread::Builder::new()
        .name(String::from("overtime"))
        .stack_size(STACK)
        .spawn(move || {
            thread::sleep(grace.saturating_add(OVERTIME));
            log::error!("the gateway has not drained in time");
            groups::end(1);
        });
    if let Err(error) = watch {
        log::warn!("nobody watches how long the drain takes: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_signal_asks_for() {
        for (signal, how) in [
            (SIGTERM, DrainHow::Stop),
            (SIGINT, DrainHow::Quick),
            (SIGUSR1, DrainHow::Restart),
            (SIGUSR2, DrainHow::Restart),
        ] {
            assert_eq!(meaning(signal), how);
        }
    }

    #[test]
    fn settings_that_were_read_reach_the_machine_and_mistakes_do_not() {
        let (tell, heard) = std::sync::mpsc::channel();
        let remote = Remote::default();
        remote.connect(move |request| tell.send(format!("{request:?}").len()).unwrap());
        let mut good = [false, true].into_iter();
        let mut plan = SignalPlan {
            reload: Some(Reload::new(move || good.next()?.then(Arc::default))),
            ..SignalPlan::default()
        };
        reload(&remote, &mut plan, false);
        assert!(heard.try_recv().is_err());
        reload(&remote, &mut plan, false);
        assert!(heard.try_recv().is_ok());
        reload(&remote, &mut plan, false);
        reload(&remote, &mut SignalPlan::default(), false);
        assert!(heard.try_recv().is_err());
    }
}
