//! Reading a part's tables at the start: one scan each, tried again every second until all are there. What the records
//! mean is the part's own business.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::calls::{Calls, Owner};
use crate::effect::{Completion, Effect, Outcome};
use crate::id::EffectId;
use crate::report::Report;
use crate::store::{Batch, Durability, Op, Record, Reply, StoreReply};
use crate::time::{Instant, Now};

/// The most records of a table.
const MAX_RECORDS: u32 = 4_000_000;
/// After a read that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Tables that are being read.
#[derive(Debug, Default)]
pub struct Loading {
    missing: Vec<&'static str>,
    reading: BTreeMap<EffectId, &'static str>,
    retry_at: Option<Instant>,
}

impl Loading {
    /// Begins to read these tables.
    #[must_use]
    pub fn start(calls: &mut Calls, tables: &[&'static str]) -> Self {
        let mut loading = Self {
            missing: tables.to_vec(),
            ..Self::default()
        };
        loading.read(calls);
        loading
    }

    fn read(&mut self, calls: &mut Calls) {
        for &table in &self.missing {
            if self.reading.values().all(|reading| *reading != table) {
                let scan = Op::Scan {
                    table,
                    prefix: String::new(),
                    limit: MAX_RECORDS,
                };
                let batch = Batch {
                    ops: alloc::vec![scan],
                    durability: Durability::Lazy,
                };
                self.reading
                    .insert(calls.start(Effect::Store(batch), Owner::Relay), table);
            }
        }
    }

    /// Whether everything is read.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whether this effect is one of these reads.
    #[must_use]
    pub fn owns(&self, effect: EffectId) -> bool {
        self.reading.contains_key(&effect)
    }

    /// A read ended: the table and what is in it, unless it failed.
    pub fn completed(
        &mut self,
        now: Now,
        reports: &mut Vec<Report>,
        effect: EffectId,
        outcome: Outcome,
    ) -> Option<(&'static str, Vec<Record>)> {
        let table = self.reading.remove(&effect)?;
        let detail = match outcome {
            Ok(Completion::Stored(StoreReply::Applied(replies))) => match replies.into_iter().next() {
                Some(Reply::Records(records)) => {
                    self.missing.retain(|missing| *missing != table);
                    return Some((table, records));
                }
                _ => String::from("unexpected answer"),
            },
            Ok(_) => String::from("unexpected answer"),
            Err(fault) => alloc::format!("{fault}"),
        };
        reports.push(Report::EffectFailed {
            what: "the relay's records cannot be read",
            detail,
        });
        self.retry_at = Some(now.monotonic.plus(RETRY));
        None
    }

    /// When [`Self::on_deadline`] wants to be called.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    /// A deadline passed.
    pub fn on_deadline(&mut self, now: Now, calls: &mut Calls) {
        if self.retry_at.is_some_and(|at| at <= now.monotonic) {
            self.retry_at = None;
            self.read(calls);
        }
    }
}
