//! What the store's file remembers about an error: that it must be opened again, when, and what the log was told. redb
//! refuses everything after its first input or output error until the database is opened again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use portcullis_core::effect::{Fault, FaultKind};

use crate::effects::fault::fault;

/// Between two attempts to open the file; doubled after each that failed or that no write followed.
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
const LAST_BACK_OFF: Duration = Duration::from_secs(3);

pub(super) struct Trouble {
    path: PathBuf,
    /// Nothing may be done before the file has been opened again.
    broken: bool,
    /// The log knows; until something has reached the disk again it is not told twice.
    told: bool,
    reopen_at: Instant,
    back_off: Duration,
}

impl Trouble {
    pub(super) fn none(path: PathBuf) -> Self {
        Self {
            path,
            broken: false,
            told: false,
            reopen_at: Instant::now(),
            back_off: FIRST_BACK_OFF,
        }
    }

    /// Refuses while the file is to be opened again.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.broken {
            return Err(fault(
                FaultKind::Unavailable,
                "store: its file has failed; trying again soon",
            ));
        }
        Ok(())
    }

    /// An error was met.
    pub(super) fn met(&mut self, error: &dyn std::fmt::Display) -> Fault {
        if !self.broken {
            self.broken = true;
            self.reopen_at = Instant::now() + if self.told { self.back_off } else { Duration::ZERO };
        }
        if !self.told {
            self.told = true;
            log::error!(
                "the store cannot write: {error} ({}); free space or mend the disk, the gateway tries again; \
                 records that were not on the disk yet are lost",
                self.path.display()
            );
        }
        fault(FaultKind::Unavailable, format!("store: {error}"))
    }

    /// Whether it is time to open the file again.
    pub(super) fn is_due(&self) -> bool {
        self.broken && Instant::now() >= self.reopen_at
    }

    /// The file was opened again, or could not be.
    pub(super) fn tried(&mut self, opened: Result<(), &dyn std::fmt::Display>) {
        self.broken = opened.is_err();
        self.back_off = self.back_off.saturating_mul(2).min(LAST_BACK_OFF);
        self.reopen_at = Instant::now() + self.back_off;
        if let Err(error) = opened {
            log::debug!("the store {} cannot be opened again yet: {error}", self.path.display());
        }
    }

    /// Something reached the disk.
    pub(super) fn over(&mut self) {
        self.back_off = FIRST_BACK_OFF;
        if std::mem::take(&mut self.told) {
            log::warn!("the store {} can be written again", self.path.display());
        }
    }
}
