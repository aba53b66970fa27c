//! Where the core's reports go: to the log, unless the embedding program wants them for itself. It decides nothing: the
//! level and the words are the core's.

use std::fmt;

use portcullis_core::report::{Level, Report};

/// Takes every report of a machine that is served. By default it is written to the log.
pub struct Reporter(Box<dyn Fn(&Report) + Send + Sync>);

impl Reporter {
    /// Hands every report to `tell`, on whichever thread it arises: it must be quick.
    pub fn new(tell: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        Self(Box::new(tell))
    }

    /// For a runtime: a report.
    pub fn tell(&self, report: &Report) {
        (self.0)(report);
    }
}

impl Default for Reporter {
    fn default() -> Self {
        Self::new(log)
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

/// Writes one report to the log at its own level.
pub fn log(report: &Report) {
    log::log!(target: "portcullis", level(report.level()), "{report}");
}

const fn level(level: Level) -> log::Level {
    match level {
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    }
}
