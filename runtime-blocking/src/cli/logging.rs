//! The log on standard error: one line for each fact, with the time in UTC and without secrets. Warnings and errors, or
//! everything that happens with `--verbose`. A standard error that nobody reads any more is no reason to end.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use log::LevelFilter;
use portcullis_core::time::UnixMillis;

use crate::redaction;

/// How much is told: `--verbose`, else what the settings say.
pub(super) fn level(verbose: bool, chosen: Option<LevelFilter>) -> LevelFilter {
    if verbose {
        LevelFilter::Debug
    } else {
        chosen.unwrap_or(LevelFilter::Warn)
    }
}

/// Starts the log. A log that the embedding program started stays.
pub(super) fn start(level: LevelFilter) {
    let mut builder = env_logger::Builder::new();
    // The libraries below tell their own story; only ours is wanted in full.
    builder
        .filter_level(LevelFilter::Warn)
        .filter_module("portcullis", LevelFilter::Debug);
    builder.format(|line, record| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let utc = UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)).to_utc();
        let text = redaction::one_line(&record.args().to_string());
        writeln!(line, "{utc} {:<5} {text}", record.level())
    });
    if builder.try_init().is_ok() {
        set_level(level);
    }
}

/// Tells more or less from now on.
pub(super) fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}
