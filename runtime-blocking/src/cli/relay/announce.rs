//! Telling that the relay serves: not when its sockets are open, but when it has read its records as well, because until then it
//! answers that it is starting. It decides nothing else. Spec: `spec/relay.md`, RL-8.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_core::report::Report;

use crate::remote::Ready;
use crate::reporting::{self, Reporter};
use crate::supervisor::{State, Supervisor};

/// Connections are taken, and the records are read.
const STEPS: u8 = 2;

/// What is told once all steps were taken, in whatever order.
struct Start {
    left: u8,
    out: Box<dyn Write + Send>,
    announcement: String,
    supervisor: Supervisor,
}

impl Start {
    fn step(&mut self) {
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return;
        }
        // A standard output that nobody reads is no reason not to serve.
        let text = std::mem::take(&mut self.announcement);
        if let Err(error) = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            log::warn!("standard output cannot be written: {error}");
        }
        self.supervisor.tell(State::Ready);
    }
}

/// Writes the announcement, and tells whoever supervises the process, once the relay serves.
pub(super) fn when_it_serves(
    out: Box<dyn Write + Send>,
    announcement: String,
    supervisor: Supervisor,
) -> (Ready, Reporter) {
    let start = Arc::new(Mutex::new(Start {
        left: STEPS,
        out,
        announcement,
        supervisor,
    }));
    let step = |start: &Mutex<Start>| start.lock().unwrap_or_else(PoisonError::into_inner).step();
    let listening = Arc::clone(&start);
    let ready = Ready::new(move || {
        step(&listening);
        Ok(())
    });
    let reports = Reporter::new(move |report| {
        reporting::log(report);
        // The core tells it once.
        if matches!(report, Report::RelayReady) {
            step(&start);
        }
    });
    (ready, reports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::mpsc::{self, Sender};

    struct Told(Sender<String>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.0.send(text).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_url_is_told_once_both_sockets_and_records_are_ready() {
        for records_first in [true, false] {
            let (tell, told) = mpsc::channel();
            let out = Box::new(Told(tell));
            let (ready, reports) = when_it_serves(out, "Relay URL: x\n".into(), Supervisor::of(None));
            if records_first {
                reports.tell(&Report::RelayReady);
            } else {
                ready.tell().unwrap();
            }
            assert!(told.try_recv().is_err(), "half of it is nothing");
            if records_first {
                ready.tell().unwrap();
            } else {
                reports.tell(&Report::RelayReady);
            }
            assert_eq!(told.try_recv().as_deref(), Ok("Relay URL: x\n"));
        }
    }
}
