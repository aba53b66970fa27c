//! SIGINT and SIGTERM: the first asks for a drain, a second one ends the process at once, and the programs it runs.

use std::io;
use std::thread;

use portcullis_core::machine::DrainHow;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::effects::groups;

/// What a shell reports for a program that a signal ended: 128 and the signal's number.
const SIGNAL_EXIT_BASE: i32 = 128;

/// Calls `first` on a thread of its own when SIGINT (quick) or SIGTERM comes for the first time; a second one kills the programs
/// that run and exits the process with 128 plus the signal's number. The thread sleeps in between and lives as long as the process.
///
/// # Errors
/// When the system refuses the handlers or the thread.
pub fn on_terminate(first: impl FnOnce(DrainHow) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new()
        .name(String::from("signals"))
        .stack_size(64 * 1024)
        .spawn(move || {
            let mut first = Some(first);
            for signal in signals.forever() {
                match first.take() {
                    Some(first) if signal == SIGINT => first(DrainHow::Quick),
                    Some(first) => first(DrainHow::Stop),
                    None => groups::end(SIGNAL_EXIT_BASE.saturating_add(signal)),
                }
            }
        })?;
    Ok(())
}
