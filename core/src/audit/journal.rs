//! The journal as a machine: records queue, one batch at a time is appended, and the files are rotated by size. The chain's
//! end is read from the journal at the start. What cannot be written is counted and told when writing works again; it
//! never stops the gateway. It asks for effects and touches no file itself.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use bytes::BytesMut;

use super::chain::Chain;
use super::record::{AuditEvent, AuditOutcome, AuditRecord};
use super::sampling::Sampling;
use crate::calls::{Calls, Owner};
use crate::effect::{Completion, Effect, FaultKind, Outcome};
use crate::id::EffectId;
use crate::machine::Peer;
use crate::policy::address::AddressGroup;
use crate::report::Report;
use crate::settings::AuditSettings;
use crate::time::{Instant, Now, UnixMillis};

/// Records that wait to be written; further ones are counted as lost.
const MAX_WAITING: usize = 4_096;
/// Records of one append.
const MAX_BATCH: usize = 256;
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
    waiting: VecDeque<(UnixMillis, AuditRecord)>,
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
    /// A batch: the chain's end and the file's size once it is written, and how many records are in it.
    Appending {
        effect: EffectId,
        chain: Chain,
        bytes: u64,
        lost: u64,
        records: Vec<(UnixMillis, AuditRecord)>,
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
            waiting: VecDeque::new(),
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
        if self.waiting.len() >= MAX_WAITING {
            self.lost += 1;
            return;
        }
        self.waiting.push_back((now.wall, record));
        if matches!(self.step, Step::Idle) {
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
            _ => None,
        }
    }

    /// A deadline passed.
    pub fn on_deadline(&mut self, now: Now, calls: &mut Calls) {
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
                    self.write(now, calls);
                }
                Err(fault) => {
                    for record in records.into_iter().rev() {
                        self.waiting.push_front(record);
                    }
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
        let (mut chain, mut out, mut records) = (self.chain.clone(), BytesMut::new(), Vec::new());
        let lost = self.lost;
        if lost > 0 {
            let mut record = AuditRecord::new(AuditEvent::RecordsLost, AuditOutcome::Failed);
            record.count = Some(lost);
            chain.write(&mut out, now.wall, &record);
        }
        while records.len() < MAX_BATCH
            && let Some((at, record)) = self.waiting.pop_front()
        {
            chain.write(&mut out, at, &record);
            records.push((at, record));
        }
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
