//! The journal over a small file system in memory: what it says is on disk, over failures, restarts and rotations.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::*;
use crate::audit::{Verified, Verifier};
use crate::effect::Fault;
use crate::machine::Output;

#[derive(Default)]
struct Disk {
    files: BTreeMap<String, Vec<u8>>,
    broken: bool,
}

const PATH: &str = "/state/logs/audit.jsonl";

impl Disk {
    fn run(&mut self, effect: &Effect) -> Outcome {
        let fault = |kind| {
            Err(Fault {
                kind,
                detail: String::new(),
            })
        };
        if self.broken {
            return fault(FaultKind::Unavailable);
        }
        match effect {
            Effect::ReadFile { path, max_bytes } => match self.files.get(path) {
                None => fault(FaultKind::NotFound),
                Some(file) => Ok(Completion::File {
                    bytes: Bytes::copy_from_slice(&file[file.len().saturating_sub(*max_bytes as usize)..]),
                    size: file.len() as u64,
                }),
            },
            Effect::Append { path, bytes, mode } => {
                assert_eq!(*mode, 0o600);
                let file = self.files.entry(path.clone()).or_default();
                if file.last().is_some_and(|last| *last != b'\n') {
                    file.push(b'\n');
                }
                file.extend_from_slice(bytes);
                Ok(Completion::Done)
            }
            Effect::Rename { from, to } => match self.files.remove(from) {
                None => fault(FaultKind::NotFound),
                Some(file) => {
                    self.files.insert(to.clone(), file);
                    Ok(Completion::Done)
                }
            },
            other => panic!("{other:?}"),
        }
    }

    /// Everything that is left, oldest first.
    fn verify(&self) -> Verified {
        let mut verifier = Verifier::default();
        for number in (0..10).rev() {
            let name = if number == 0 {
                String::from(PATH)
            } else {
                alloc::format!("{PATH}.{number}")
            };
            let file = self.files.get(&name).map(Vec::as_slice).unwrap_or_default();
            for line in file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                verifier.line(line).unwrap();
            }
        }
        verifier.verified().clone()
    }
}

struct House {
    disk: Disk,
    calls: Calls,
    journal: Journal,
    reports: Vec<Report>,
    now: Now,
}

impl House {
    fn new(disk: Disk, settings: AuditSettings) -> Self {
        let mut calls = Calls::default();
        let journal = Journal::new(settings, &mut calls);
        Self {
            disk,
            calls,
            journal,
            reports: Vec::new(),
            now: Now::default(),
        }
    }

    fn record(&mut self, record: AuditRecord) {
        self.journal.record(self.now, &mut self.calls, record);
    }

    /// The disk does what it is asked for, until nothing is asked for.
    fn run(&mut self) {
        while let Some(output) = self.calls.take_output() {
            let Output::Start { effect, what } = output else {
                panic!()
            };
            self.calls.finish(effect);
            let outcome = self.disk.run(&what);
            self.journal
                .completed(self.now, &mut self.calls, &mut self.reports, effect, outcome);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.monotonic = self.now.monotonic.plus(time);
        self.journal.on_deadline(self.now, &mut self.calls);
        self.run();
    }

    /// Nothing more comes, and everything is on disk.
    fn settle(&mut self) {
        self.run();
        self.pass(GATHER);
    }

    /// The append that is asked for now, begun and not ended.
    fn asked(&mut self) -> Option<(EffectId, Effect)> {
        match self.calls.take_output()? {
            Output::Start { effect, what } => Some((effect, *what)),
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, (effect, what): (EffectId, Effect)) {
        self.calls.finish(effect);
        let outcome = self.disk.run(&what);
        self.journal
            .completed(self.now, &mut self.calls, &mut self.reports, effect, outcome);
    }
}

fn opened() -> AuditRecord {
    AuditRecord::new(AuditEvent::ConnOpen, AuditOutcome::Ok)
}

#[test]
fn the_chain_goes_on_over_restarts() {
    let mut house = House::new(Disk::default(), AuditSettings::at(PATH.into()));
    house.record(opened());
    assert!(!house.journal.is_flushed());
    house.settle();
    assert!(house.journal.is_flushed());
    house.record(opened());
    house.record(opened());
    house.settle();
    assert!(house.journal.is_flushed());
    let mut disk = house.disk;
    // A crash in the middle of a line.
    let half = b"{\"ts\":\"2026-11-21T12:34:56.007Z\",\"seq\":4,\"ev";
    disk.files.get_mut(PATH).unwrap().extend_from_slice(half);
    let mut house = House::new(disk, AuditSettings::at(PATH.into()));
    house.settle();
    house.record(opened());
    house.settle();
    let verified = house.disk.verify();
    assert_eq!((verified.records, verified.torn), (4, 1));
    assert_eq!(verified.last.unwrap().0, 4);
}

#[test]
fn the_chain_goes_on_after_a_crash_in_a_rotation() {
    let mut house = House::new(Disk::default(), AuditSettings::at(PATH.into()));
    house.record(opened());
    house.settle();
    let mut disk = house.disk;
    let file = disk.files.remove(PATH).unwrap();
    disk.files.insert(alloc::format!("{PATH}.1"), file);
    let mut house = House::new(disk, AuditSettings::at(PATH.into()));
    house.record(opened());
    house.settle();
    assert_eq!(house.disk.verify().last.unwrap().0, 2);
}

#[test]
fn files_are_rotated_and_the_oldest_goes() {
    let settings = AuditSettings {
        max_bytes: 1_000,
        max_files: 2,
        ..AuditSettings::at(PATH.into())
    };
    let mut house = House::new(Disk::default(), settings);
    house.settle();
    for _ in 0..50 {
        house.record(opened());
        house.settle();
    }
    let names: Vec<&str> = house.disk.files.keys().map(String::as_str).collect();
    assert_eq!(names, [PATH, "/state/logs/audit.jsonl.1", "/state/logs/audit.jsonl.2"]);
    assert!(house.disk.files.values().all(|file| file.len() < 1_400));
    assert_eq!(house.disk.verify().last.unwrap().0, 50);
}

/// AU-1.
#[test]
fn everyday_records_gather_and_are_written_at_once() {
    let mut house = House::new(Disk::default(), AuditSettings::at(PATH.into()));
    house.run();
    for _ in 0..3 {
        house.record(opened());
    }
    assert!(house.asked().is_none() && !house.journal.is_flushed());
    assert_eq!(
        house.journal.next_deadline(),
        Some(house.now.monotonic.plus(Duration::from_millis(50)))
    );
    house.pass(Duration::from_millis(49));
    house.record(opened());
    assert!(house.asked().is_none(), "those that come later do not put it off");
    assert_eq!(house.disk.verify().records, 0);
    house.pass(Duration::from_millis(1));
    assert_eq!(house.disk.verify().records, 4);
    assert!(house.journal.is_flushed() && house.journal.next_deadline().is_none());
}

/// AU-1.
#[test]
fn what_was_refused_or_changed_is_written_without_delay_and_takes_along_what_waits() {
    let mut house = House::new(Disk::default(), AuditSettings::at(PATH.into()));
    house.run();
    let mut written = 0;
    for event in [
        AuditEvent::ConnRejected,
        AuditEvent::AuthFailed,
        AuditEvent::AuthLocked,
        AuditEvent::ToolInvoke,
        AuditEvent::ToolDenied,
        AuditEvent::SsrfBlocked,
        AuditEvent::UrlDenied,
        AuditEvent::FetchRejected,
        AuditEvent::ConfigChanged,
        AuditEvent::TokenGenerated,
        AuditEvent::TokenRotated,
        AuditEvent::ProviderSwitched,
        AuditEvent::DrainStart,
        AuditEvent::DrainEnd,
        AuditEvent::TurnLost,
        AuditEvent::Start,
        AuditEvent::Stop,
    ] {
        house.record(opened());
        house.record(AuditRecord::new(event, AuditOutcome::Ok));
        house.run();
        written += 2;
        assert_eq!(house.disk.verify().records, written, "{event:?}");
        assert!(house.journal.is_flushed());
    }
}

/// AU-1.
#[test]
fn one_append_at_a_time_and_the_next_holds_all_that_came_meanwhile() {
    let mut house = House::new(Disk::default(), AuditSettings::at(PATH.into()));
    house.run();
    let refused = || AuditRecord::new(AuditEvent::AuthLocked, AuditOutcome::Denied);
    house.record(refused());
    let first = house.asked().unwrap();
    for _ in 0..10 {
        house.record(opened());
        house.record(refused());
    }
    assert!(house.asked().is_none() && house.journal.next_deadline().is_none());
    house.end(first);
    let second = house.asked().unwrap();
    house.end(second);
    assert!(house.asked().is_none());
    assert_eq!(house.disk.verify().records, 21);
    // Everyday records that came meanwhile wait for their own time.
    house.record(refused());
    let third = house.asked().unwrap();
    house.record(opened());
    house.end(third);
    assert!(house.asked().is_none());
    house.pass(GATHER);
    assert_eq!(house.disk.verify().records, 23);
}

/// AU-1.
#[test]
fn many_records_are_written_before_their_time() {
    let mut house = House::new(Disk::default(), AuditSettings::at(PATH.into()));
    house.run();
    for _ in 0..20_000 {
        house.record(opened());
        house.run();
        assert!(house.journal.held() < ENOUGH);
    }
    assert!(house.disk.verify().records > 15_000);
}

/// AU-11.
#[test]
fn a_slow_disk_bounds_what_waits_and_takes_it_in_batches() {
    let mut house = House::new(Disk::default(), AuditSettings::at(PATH.into()));
    house.run();
    let mut total = 0;
    while house.journal.lost() == 0 {
        house.record(AuditRecord {
            // Only what is written of it is kept.
            user_agent: Some("u".repeat(8_000)),
            ..opened()
        });
        total += 1;
    }
    assert!((MAX_HELD..MAX_HELD + 1_000).contains(&house.journal.held()));
    let mut appends = 0;
    while let Some(append) = house.asked() {
        let Effect::Append { bytes, .. } = &append.1 else {
            panic!()
        };
        assert!(bytes.len() < 3 * MAX_BATCH);
        appends += 1;
        house.end(append);
    }
    assert!(appends > 4 && house.journal.is_flushed());
    let verified = house.disk.verify();
    assert_eq!(verified.records - 1 + verified.lost, total);
}

/// AU-11.
#[test]
fn a_broken_disk_loses_only_what_does_not_fit_and_says_so() {
    let mut house = House::new(Disk::default(), AuditSettings::at(PATH.into()));
    house.settle();
    house.disk.broken = true;
    for _ in 0..50_000 {
        house.record(opened());
        house.run();
    }
    assert!(house.journal.is_failing());
    assert_eq!(house.reports.len(), 1, "one report for each attempt");
    house.pass(Duration::from_secs(2));
    house.disk.broken = false;
    house.pass(Duration::from_secs(2));
    assert!(house.journal.is_flushed() && !house.journal.is_failing());
    let verified = house.disk.verify();
    assert!(verified.lost > 0);
    assert_eq!(verified.records - 1 + verified.lost, 50_000);
    assert_eq!(house.journal.lost(), 0);
}

#[test]
fn guessers_do_not_fill_the_disk() {
    let mut house = House::new(Disk::default(), AuditSettings::at(PATH.into()));
    for _ in 0..1_000 {
        let ip = Some("192.0.2.7".parse().unwrap());
        house.record(AuditRecord::new(AuditEvent::AuthFailed, AuditOutcome::Denied).from_ip(ip));
    }
    house.settle();
    assert_eq!(house.disk.verify().records, 20);
}

#[test]
fn the_settings_leave_connections_and_requests_out() {
    let settings = AuditSettings {
        connections: false,
        requests: false,
        ..AuditSettings::at(PATH.into())
    };
    let mut house = House::new(Disk::default(), settings);
    house.record(opened());
    house.record(AuditRecord::new(AuditEvent::Request, AuditOutcome::Ok));
    house.record(AuditRecord::new(AuditEvent::Start, AuditOutcome::Ok));
    house.settle();
    assert_eq!(house.disk.verify().records, 1);
}
