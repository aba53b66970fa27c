//! The log on standard error: one line for each fact, with the time in UTC. Warnings and errors, or everything that
//! happens with `--verbose`.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use log::LevelFilter;
use portcullis_core::time::UnixMillis;

/// Starts the log. A log that the embedding program started stays.
pub(super) fn start(verbose: bool) {
    let mut builder = env_logger::Builder::new();
    if verbose {
        // The libraries below tell their own story at these levels; only ours is wanted.
        builder
            .filter_level(LevelFilter::Info)
            .filter_module("portcullis", LevelFilter::Debug);
        builder
            .filter_module("rustls", LevelFilter::Warn)
            .filter_module("tungstenite", LevelFilter::Warn);
    } else {
        builder.filter_level(LevelFilter::Warn);
    }
    builder.format(|line, record| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let utc = UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)).to_utc();
        writeln!(line, "{utc} {:<5} {}", record.level(), record.args())
    });
    let _ = builder.try_init();
}
