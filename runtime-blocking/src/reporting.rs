//! Renders the core's reports as log lines. It decides nothing: the level and the words are the core's.

use portcullis_core::report::{Level, Report};

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
