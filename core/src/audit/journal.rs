//! The journal as a machine: records gather for a moment, one batch at a time is appended, and the files are rotated by
//! size. The chain's end is read from the journal at the start. What cannot be written is counted and told when writing
//! works again; it never stops the gateway. It asks for effects and touches no file itself. Spec: `spec/audit.md`.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use bytes::BytesMut;

use super::chain::Chain;
use super::record::{AuditEvent, AuditOutcome, AuditRecord};
use super::sampling::Sampling;
use super::waiting::Waiting;
use crate::calls::{Calls, Owner};
use crate::effect::{Completion, Effect, FaultKind, Outcome};
use crate::id::EffectId;
use crate::machine::Peer;
use crate::policy::address::AddressGroup;
use crate::report::Report;
use crate::settings::AuditSettings;
use crate::time::{Instant, Now};

/// Bytes of records that are not on disk yet; further ones are counted as lost.
const MAX_HELD: usize = 2 * 1024 * 1024;
/// So much is written without waiting for more.
const ENOUGH: usize = 128 * 1024;
/// Bytes of members that are written at a time, or those of one record.
const MAX_BATCH: usize = 128 * 1024;
/// Everyday records wait so long for others to be written with: each write costs a wait for the disk.
const GATHER: Duration = Duration::from_millis(50);
/// The end of the journal that is read at the start: longer than any line can be.
const TAIL_BYTES: u32 = 65_536;
/// After a failure, the next attempt.
const RETRY: Duration = Duration::from_secs(1);
/// Permission bits of the journal.
const MODE: u32 = 0o600;

/// The audit journal of one gateway.
#[derive(Debug)]
pub struct Journal {
    settings: AuditSettings,
    step: Step,
    chain: Chain,
    /// Bytes in the current file.
    size: u64,
    waiting: Waiting,
    /// When what waits is to be written at the latest. Set while something waits.
    due: Option<Instant>,
    lost: u64,
    sampling: Sampling,
}

/// What the journal waits for.
#[derive(Debug)]
enum Step {
    /// The end of the file that is there; or, right after a rotation, of the newest archive.
    Reading {
        effect: EffectId,
        archive: bool,
    },
    Idle,
    /// A batch: the chain's end and the growth of the file once it is written, and what is in it.
    Appending {
        effect: EffectId,
        chain: Chain,
        bytes: u64,
        lost: u64,
        records: Waiting,
    },
    /// The archive with this number moves up; 0 is the current file.
    Rotating {
        effect: EffectId,
        archive: u32,
    },
    /// It did not work; again then.
    Failed {
        until: Instant,
        /// Whether the end of the file is to be read anew.
        unread: bool,
    },
}

impl Journal {
    /// A journal that asks for the end of the last one.
    #[must_use]
    pub fn new(settings: AuditSettings, calls: &mut Calls) -> Self {
        let step = read_end(&settings, calls, false);
        Self {
            settings,
            step,
            chain: Chain::default(),
            size: 0,
            waiting: Waiting::default(),
            due: None,
            lost: 0,
            sampling: Sampling::default(),
        }
    }

    /// Takes new limits. Another path takes effect at the next start.
    pub fn reconfigure(&mut self, settings: &AuditSettings) {
        self.settings = AuditSettings {
            path: core::mem::take(&mut self.settings.path),
            ..settings.clone()
        };
    }

    /// Takes a record in. Requests and connections are left out where the settings say so, repeated failures are sampled.
    pub fn record(&mut self, now: Now, calls: &mut Calls, mut record: AuditRecord) {
        if !self.settings.wants(record.event) {
            return;
        }
        if record.event.is_sampled() {
            let who = record.ip.map(group).unwrap_or_default();
            let Some(left_out) = self.sampling.take(now.monotonic, record.event, who) else {
                return;
            };
            record.count = (left_out > 0).then_some(left_out);
        }
        if self.held() >= MAX_HELD {
            self.lost += 1;
            return;
        }
        self.waiting.push(now.wall, &record);
        let at = if record.event.is_routine() && self.waiting.size() < ENOUGH {
            now.monotonic.plus(GATHER)
        } else {
            now.monotonic
        };
        self.due = Instant::first(self.due, Some(at));
        self.write_if_due(now, calls);
    }

    /// Bytes of records that are not on disk.
    fn held(&self) -> usize {
        match &self.step {
            Step::Appending { records, .. } => self.waiting.size() + records.size(),
            _ => self.waiting.size(),
        }
    }

    fn write_if_due(&mut self, now: Now, calls: &mut Calls) {
        if matches!(self.step, Step::Idle) && self.due.is_some_and(|due| due <= now.monotonic) {
            self.write(now, calls);
        }
    }

    /// Whether everything is on disk.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.waiting.is_empty() && matches!(self.step, Step::Idle | Step::Failed { .. })
    }

    /// Whether the last attempt to write failed.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        matches!(self.step, Step::Failed { .. })
    }

    /// Records that could not be written since the last that could.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// When [`Self::on_deadline`] wants to be called.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Instant> {
        match &self.step {
            Step::Failed { until, .. } => Some(*until),
            Step::Idle => self.due,
            // The outcome of what is under way comes first.
            Step::Reading { .. } | Step::Appending { .. } | Step::Rotating { .. } => None,
        }
    }

    /// A deadline passed.
    pub fn on_deadline(&mut self, now: Now, calls: &mut Calls) {
        self.write_if_due(now, calls);
        if let Step::Failed { until, unread } = self.step
            && until <= now.monotonic
        {
            if unread {
                self.step = read_end(&self.settings, calls, false);
            } else {
                self.write(now, calls);
            }
        }
    }

    /// An effect of the journal is over.
    pub fn completed(
        &mut self,
        now: Now,
        calls: &mut Calls,
        reports: &mut Vec<Report>,
        effect: EffectId,
        outcome: Outcome,
    ) {
        match core::mem::replace(&mut self.step, Step::Idle) {
            Step::Reading { effect: mine, archive } if mine == effect => {
                self.end_read(now, calls, reports, archive, outcome);
            }
            Step::Appending {
                effect: mine,
                chain,
                bytes,
                lost,
                records,
            } if mine == effect => match outcome {
                Ok(_) => {
                    self.chain = chain;
                    self.size += bytes;
                    self.lost -= lost;
                    if self.lost > 0 {
                        self.due = Some(now.monotonic);
                    }
                    self.write_if_due(now, calls);
                }
                Err(fault) => {
                    let came_meanwhile = core::mem::replace(&mut self.waiting, records);
                    self.waiting.append(&came_meanwhile);
                    // How much of the batch is on disk is not known: the end of the file tells.
                    self.fail(now, reports, alloc::format!("{fault}"), true);
                }
            },
            Step::Rotating { effect: mine, archive } if mine == effect => {
                self.moved(now, calls, reports, archive, outcome)
            }
            other => self.step = other,
        }
    }

    fn end_read(&mut self, now: Now, calls: &mut Calls, reports: &mut Vec<Report>, archive: bool, outcome: Outcome) {
        match outcome {
            Ok(Completion::File { bytes, size }) => {
                let size = if archive { 0 } else { size };
                match Chain::last_of(&bytes) {
                    Some(chain) => self.chain = chain,
                    None if size == 0 => {}
                    None => {
                        // Going on with a new chain leaves the break for `audit verify` to find.
                        reports.push(Report::EffectFailed {
                            what: "the audit journal has no readable last record, a new chain begins",
                            detail: self.settings.path.clone(),
                        });
                    }
                }
                self.size = size;
                self.write(now, calls);
            }
            Err(fault) if fault.kind == FaultKind::NotFound && archive => self.write(now, calls),
            // A crash right after a rotation: the chain goes on in a new file.
            Err(fault) if fault.kind == FaultKind::NotFound => self.step = read_end(&self.settings, calls, true),
            Ok(_) => self.fail(now, reports, String::from("unexpected answer"), true),
            Err(fault) => self.fail(now, reports, alloc::format!("{fault}"), true),
        }
    }

    /// Appends what waits, or rotates first.
    fn write(&mut self, now: Now, calls: &mut Calls) {
        self.step = Step::Idle;
        if self.waiting.is_empty() && self.lost == 0 {
            return;
        }
        if self.size >= self.settings.max_bytes && self.size > 0 {
            return self.rotate(calls, self.settings.max_files.saturating_sub(1));
        }
        let (mut chain, mut out) = (self.chain.clone(), BytesMut::new());
        let lost = self.lost;
        if lost > 0 {
            let mut record = AuditRecord::new(AuditEvent::RecordsLost, AuditOutcome::Failed);
            record.count = Some(lost);
            let mut first = Waiting::default();
            first.push(now.wall, &record);
            first.chain(&mut chain, &mut out);
        }
        let records = self.waiting.take(MAX_BATCH);
        self.due = (!self.waiting.is_empty()).then_some(now.monotonic);
        records.chain(&mut chain, &mut out);
        let bytes = out.len() as u64;
        let append = Effect::Append {
            path: self.settings.path.clone(),
            bytes: out.freeze(),
            mode: MODE,
        };
        self.step = Step::Appending {
            effect: calls.start(append, Owner::Journal),
            chain,
            bytes,
            lost,
            records,
        };
    }

    /// Moves an archive one up, the oldest over the one that goes.
    fn rotate(&mut self, calls: &mut Calls, archive: u32) {
        let name = |number: u32| match number {
            0 => self.settings.path.clone(),
            number => alloc::format!("{}.{number}", self.settings.path),
        };
        let rename = Effect::Rename {
            from: name(archive),
            to: name(archive + 1),
        };
        let effect = calls.start(rename, Owner::Journal);
        self.step = Step::Rotating { effect, archive };
    }

    fn moved(&mut self, now: Now, calls: &mut Calls, reports: &mut Vec<Report>, archive: u32, outcome: Outcome) {
        match outcome {
            Err(fault) if fault.kind != FaultKind::NotFound => {
                self.fail(now, reports, alloc::format!("rotation: {fault}"), false);
            }
            _ if archive > 0 => self.rotate(calls, archive - 1),
            _ => {
                self.size = 0;
                self.write(now, calls);
            }
        }
    }

    fn fail(&mut self, now: Now, reports: &mut Vec<Report>, detail: String, unread: bool) {
        self.step = Step::Failed {
            until: now.monotonic.plus(RETRY),
            unread,
        };
        reports.push(Report::EffectFailed {
            what: "the audit journal cannot be written",
            detail,
        });
    }
}

fn read_end(settings: &AuditSettings, calls: &mut Calls, archive: bool) -> Step {
    let path = if archive {
        alloc::format!("{}.1", settings.path)
    } else {
        settings.path.clone()
    };
    let read = Effect::ReadFile {
        path,
        max_bytes: TAIL_BYTES,
    };
    let effect = calls.start(read, Owner::Journal);
    Step::Reading { effect, archive }
}

fn group(ip: IpAddr) -> Option<AddressGroup> {
    AddressGroup::of(Peer::Tcp(SocketAddr::new(ip, 0)))
}

#[cfg(test)]
mod tests;
