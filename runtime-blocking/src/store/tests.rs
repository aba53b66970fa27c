use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use portcullis_core::effect::Completion;
use portcullis_core::store::{Durability, Expect, Key, Op, Record, Reply, StoreReply, Version};
use proptest::prelude::*;

use super::*;

const TABLE: &str = "t";

fn key(id: &str) -> Key {
    Key {
        table: TABLE,
        id: id.to_owned(),
    }
}

fn put(id: &str, expect: Expect, value: &str) -> Op {
    Op::Put {
        key: key(id),
        expect,
        value: Bytes::copy_from_slice(value.as_bytes()),
        expires_at: None,
    }
}

fn get(id: &str) -> Op {
    Op::Get { key: key(id) }
}

fn batch(durability: Durability, ops: Vec<Op>) -> Batch {
    Batch { ops, durability }
}

fn reply(outcome: Outcome) -> StoreReply {
    match outcome {
        Ok(Completion::Stored(reply)) => reply,
        other => panic!("not an answer of the store: {other:?}"),
    }
}

fn read(store: &Store, id: &str) -> Option<Record> {
    match reply(store.apply(batch(Durability::Lazy, vec![get(id)]))) {
        StoreReply::Applied(mut replies) => match replies.remove(0) {
            Reply::Record(record) => record,
            other => panic!("{other:?}"),
        },
        conflict => panic!("{conflict:?}"),
    }
}

fn write(store: &Store, durability: Durability, id: &str, value: &str) -> Version {
    match reply(store.apply(batch(durability, vec![put(id, Expect::Anything, value)]))) {
        StoreReply::Applied(replies) => match replies[0] {
            Reply::Written(version) => version,
            ref other => panic!("{other:?}"),
        },
        conflict => panic!("{conflict:?}"),
    }
}

/// As after a kill -9 that left a child of the gateway between its fork and its exec.
#[test]
fn a_file_whose_last_holder_is_about_to_let_go_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let last = Disk::open(&path).unwrap();
    let waiting = std::thread::spawn(move || Disk::open(&path).map(drop));
    std::thread::sleep(std::time::Duration::from_millis(50));
    drop(last);
    assert!(waiting.join().unwrap().is_ok());
}

#[test]
fn the_file_is_private_and_has_one_holder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/store.redb");
    let store = Store::open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let refusal = Store::open(&path).unwrap_err().to_string();
    assert!(
        refusal.contains("another gateway") && refusal.contains("store.redb"),
        "{refusal}"
    );
    drop(store);
    Store::open(&path).unwrap();
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    std::fs::write(&path, b"something else altogether").unwrap();
    let refusal = Store::open(&path).unwrap_err().to_string();
    assert!(
        refusal.contains("store.redb") && refusal.contains("move the file away"),
        "{refusal}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"something else altogether");
}

/// Waits out the pauses between attempts to open the file again.
fn write_until_kept(store: &Store, id: &str, value: &str) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while store
        .apply(batch(Durability::Durable, vec![put(id, Expect::Anything, value)]))
        .is_err()
    {
        assert!(std::time::Instant::now() < until, "the store does not recover");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_full_disk_fails_what_needs_it_and_no_more_once_there_is_room_and_the_file_is_held_all_the_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let full = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let disk = Disk::open_with(&path, &full).unwrap();
    let store = Store::start(disk, Arc::new(crate::clock::wall)).unwrap();
    let before = write(&store, Durability::Durable, "before", "v");
    for round in 0..2 {
        full.store(true, Ordering::SeqCst);
        for number in 0..3 {
            let lost = put(&format!("lost{number}"), Expect::Anything, &"x".repeat(100_000));
            assert!(store.apply(batch(Durability::Durable, vec![lost])).is_err(), "{round}");
        }
        let refusal = Disk::open(&path).err().map(|error| error.to_string());
        assert!(
            refusal.is_some_and(|refusal| refusal.contains("another gateway")),
            "{round}"
        );
        full.store(false, Ordering::SeqCst);
        write_until_kept(&store, "after", "w");
        assert_eq!(read(&store, "before").unwrap().version, before);
        assert_eq!(read(&store, "lost0"), None);
        assert!(read(&store, "after").unwrap().version > before);
    }
    assert!(Disk::open(&path).is_err(), "held by the store that recovered");
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(read(&store, "after").unwrap().value, &b"w"[..]);
}

#[test]
fn durable_and_lazy_records_outlive_the_handle_and_volatile_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path).unwrap();
    for (durability, id) in [
        (Durability::Durable, "durable"),
        (Durability::Lazy, "lazy"),
        (Durability::Volatile, "volatile"),
    ] {
        write(&store, durability, id, id);
        assert_eq!(read(&store, id).unwrap().value, id.as_bytes());
    }
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(read(&store, "durable").unwrap().value, &b"durable"[..]);
    assert_eq!(read(&store, "lazy").unwrap().value, &b"lazy"[..]);
    assert_eq!(read(&store, "volatile"), None);
}

#[test]
fn what_is_lazy_is_on_disk_once_the_store_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let (path, crashed) = (folder.path().join("store.redb"), folder.path().join("crashed.redb"));
    let store = Store::open(&path).unwrap();
    write(&store, Durability::Lazy, "lazy", "v");
    store.settle().unwrap();
    std::fs::copy(&path, &crashed).unwrap();
    let after = Store::open(&crashed).unwrap();
    assert_eq!(read(&after, "lazy").unwrap().value, &b"v"[..]);
    Store::memory().settle().unwrap();
}

#[test]
fn a_crash_takes_no_acknowledged_record_and_no_version_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, crashed) = (folder.path().join("store.redb"), folder.path().join("crashed.redb"));
    let store = Store::open(&path).unwrap();
    let durable = write(&store, Durability::Durable, "kept", "v");
    let lazy = write(&store, Durability::Lazy, "perhaps", "v");
    // The file as a crash at this moment would leave it.
    std::fs::copy(&path, &crashed).unwrap();
    let after = Store::open(&crashed).unwrap();
    assert_eq!(read(&after, "kept").unwrap().version, durable);
    let next = write(&after, Durability::Lazy, "perhaps", "w");
    assert!(next > lazy && next > durable);
}

#[test]
fn lazy_records_reach_the_disk_without_anybody_asking() {
    let folder = tempfile::tempdir().unwrap();
    let (path, crashed) = (folder.path().join("store.redb"), folder.path().join("crashed.redb"));
    let store = Store::open(&path).unwrap();
    write(&store, Durability::Lazy, "lazy", "v");
    let found = (0..100).any(|_| {
        thread::sleep(std::time::Duration::from_millis(50));
        std::fs::copy(&path, &crashed).unwrap();
        let found = Store::open(&crashed).is_ok_and(|after| read(&after, "lazy").is_some());
        std::fs::remove_file(&crashed).unwrap();
        found
    });
    assert!(found, "never synced");
}

#[test]
fn a_conflict_changes_nothing_and_names_its_operation() {
    let store = Store::memory();
    let version = write(&store, Durability::Lazy, "a", "1");
    let ops = vec![
        put("b", Expect::Absent, "2"),
        put("a", Expect::Version(Version(version.0 + 1)), "3"),
    ];
    let outcome = store.apply(batch(Durability::Durable, ops));
    assert_eq!(reply(outcome), StoreReply::Conflict { index: 1 });
    assert_eq!(read(&store, "b"), None);
    assert_eq!(read(&store, "a").unwrap().value, &b"1"[..]);
}

#[test]
fn a_batch_sees_its_own_writes() {
    let store = Store::memory();
    let ops = vec![
        put("a", Expect::Absent, "1"),
        get("a"),
        Op::Delete {
            key: key("a"),
            expect: Expect::Anything,
        },
        get("a"),
        put("a", Expect::Absent, "2"),
        Op::Scan {
            table: TABLE,
            prefix: String::new(),
            limit: 9,
        },
    ];
    let StoreReply::Applied(replies) = reply(store.apply(batch(Durability::Durable, ops))) else {
        panic!()
    };
    assert!(matches!(&replies[1], Reply::Record(Some(record)) if record.value == b"1"[..]));
    assert_eq!(replies[3], Reply::Record(None));
    assert!(matches!(&replies[5], Reply::Records(records) if records.len() == 1 && records[0].value == b"2"[..]));
}

#[test]
fn names_that_cannot_be_stored_are_refused() {
    let store = Store::memory();
    for id in ["nul\0", &"x".repeat(1_024)] {
        let fault = store
            .apply(batch(Durability::Durable, vec![put(id, Expect::Anything, "v")]))
            .unwrap_err();
        assert_eq!(fault.kind, FaultKind::Invalid);
    }
    assert!(
        store
            .apply(batch(
                Durability::Durable,
                vec![put(&"x".repeat(1_023), Expect::Anything, "v")]
            ))
            .is_ok()
    );
}

#[test]
fn volatile_memory_is_bounded_and_expired_records_make_room() {
    let time = Arc::new(AtomicU64::new(1_000));
    let clock = Arc::clone(&time);
    let store = Store::memory_with_clock(Arc::new(move || UnixMillis(clock.load(Ordering::SeqCst))));
    let value = Bytes::from(vec![0; 8 * 1024 * 1024]);
    let fill = |id: String| {
        let op = Op::Put {
            key: key(&id),
            expect: Expect::Anything,
            value: value.clone(),
            expires_at: Some(UnixMillis(2_000)),
        };
        store.apply(batch(Durability::Volatile, vec![op]))
    };
    let refused = (0..9)
        .find_map(|number| fill(number.to_string()).err())
        .expect("a bound");
    assert_eq!(refused.kind, FaultKind::Unavailable);
    time.store(2_000, Ordering::SeqCst);
    assert_eq!(fill(String::from("later")).map(drop), Ok(()));
}

#[test]
fn expired_records_are_swept_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = Engine::new(Disk::open(&folder.path().join("store.redb")).unwrap());
    let expiring = |id: usize| Op::Put {
        key: key(&format!("{id:04}")),
        expect: Expect::Anything,
        value: Bytes::from_static(b"v"),
        expires_at: Some(UnixMillis(10)),
    };
    let ops = (0..100).map(expiring).collect();
    assert!(engine.apply(&batch(Durability::Lazy, ops), UnixMillis(1)).0.is_ok());
    let later = (0..200)
        .map(|id| put(&format!("z{id}"), Expect::Anything, "v"))
        .collect();
    assert!(engine.apply(&batch(Durability::Lazy, later), UnixMillis(10)).0.is_ok());
    engine.commit(true).unwrap();
    drop(engine);
    let mut disk = Disk::open(&folder.path().join("store.redb")).unwrap();
    let mut left = 0;
    disk.visit(b"", &mut |_, _| {
        left += 1;
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(left, 200);
}

#[test]
fn eight_threads_with_compare_and_set_lose_no_update() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path).unwrap();
    let versions = Mutex::new(BTreeSet::new());
    write(&store, Durability::Durable, "counter", "0");
    thread::scope(|scope| {
        for _ in 0..8 {
            let (store, versions) = (store.clone(), &versions);
            scope.spawn(move || {
                let mut done = 0;
                while done < 20 {
                    let now = read(&store, "counter").unwrap();
                    let next = std::str::from_utf8(&now.value).unwrap().parse::<u32>().unwrap() + 1;
                    let op = put("counter", Expect::Version(now.version), &next.to_string());
                    if let StoreReply::Applied(replies) = reply(store.apply(batch(Durability::Durable, vec![op]))) {
                        let Reply::Written(version) = replies[0] else { panic!() };
                        assert!(versions.lock().unwrap().insert(version), "a version was used twice");
                        done += 1;
                    }
                }
            });
        }
    });
    drop(store);
    assert_eq!(
        read(&Store::open(&path).unwrap(), "counter").unwrap().value,
        &b"160"[..]
    );
}

/// One step of the model test: ids and values are few, so that steps meet.
#[derive(Clone, Debug)]
enum Step {
    Batch(Durability, Vec<(u8, u8, u8, Option<u64>)>),
    Later(u64),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let durability = prop_oneof![
        Just(Durability::Volatile),
        Just(Durability::Lazy),
        Just(Durability::Durable)
    ];
    let op = (0..6_u8, 0..5_u8, 0..3_u8, proptest::option::of(1..30_u64));
    let step = prop_oneof![
        8 => (durability, proptest::collection::vec(op, 1..5)).prop_map(|(durability, ops)| Step::Batch(durability, ops)),
        2 => (1..20_u64).prop_map(Step::Later),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..40)
}

#[derive(Clone)]
struct Kept {
    value: String,
    version: Version,
    expires_at: Option<u64>,
    volatile: bool,
}

#[derive(Clone, Default)]
struct Model {
    records: BTreeMap<String, Kept>,
    now: u64,
    last: u64,
}

impl Model {
    fn there(&self, id: &str) -> Option<&Kept> {
        self.records
            .get(id)
            .filter(|kept| kept.expires_at.is_none_or(|at| at > self.now))
    }

    /// The operation for one drawn tuple; `Expect::Version` is sometimes right and sometimes not.
    fn op(&self, (what, id, expect, ttl): (u8, u8, u8, Option<u64>), number: usize) -> Op {
        let id = format!("k{}{}", id % 2, id);
        let expect = match expect {
            0 => Expect::Anything,
            1 => Expect::Absent,
            _ => Expect::Version(self.records.get(&id).map_or(Version(0), |kept| kept.version)),
        };
        match what {
            0 => get(&id),
            1 => Op::Scan {
                table: TABLE,
                prefix: format!("k{}", id.len() % 2),
                limit: 2,
            },
            2 => Op::Delete { key: key(&id), expect },
            _ => Op::Put {
                key: key(&id),
                expect,
                value: Bytes::from(number.to_string()),
                expires_at: ttl.map(|ttl| UnixMillis(self.now + ttl)),
            },
        }
    }

    /// Plays a batch as the words of the contract say, taking new versions from the real answer after checking that they
    /// grow.
    fn play(&mut self, batch: &Batch, real: &StoreReply) {
        let mut next = self.clone();
        for (index, op) in batch.ops.iter().enumerate() {
            let met = match op {
                Op::Put { key, expect, .. } | Op::Delete { key, expect } => match expect {
                    Expect::Anything => true,
                    Expect::Absent => next.there(&key.id).is_none(),
                    Expect::Version(version) => next.there(&key.id).is_some_and(|kept| kept.version == *version),
                },
                _ => true,
            };
            if !met {
                assert_eq!(*real, StoreReply::Conflict { index });
                return;
            }
            let StoreReply::Applied(replies) = real else {
                // A later operation must be the one in conflict: go on as if this one had been written.
                next.assume(op, batch.durability, Version(u64::MAX - index as u64));
                continue;
            };
            match (op, &replies[index]) {
                (Op::Get { key }, Reply::Record(found)) => assert_eq!(*found, next.record(&key.id)),
                (Op::Scan { prefix, limit, .. }, Reply::Records(found)) => {
                    let ids = next
                        .records
                        .keys()
                        .filter(|id| id.starts_with(prefix))
                        .cloned()
                        .collect::<Vec<_>>();
                    let expected: Vec<_> = ids
                        .iter()
                        .filter_map(|id| next.record(id))
                        .take(*limit as usize)
                        .collect();
                    assert_eq!(*found, expected);
                }
                (Op::Put { .. }, Reply::Written(version)) => {
                    assert!(version.0 > next.last, "versions grow");
                    next.last = version.0;
                    next.assume(op, batch.durability, *version);
                }
                (Op::Delete { .. }, Reply::Removed) => next.assume(op, batch.durability, Version(0)),
                (op, reply) => panic!("{op:?} was answered with {reply:?}"),
            }
        }
        assert!(matches!(real, StoreReply::Applied(_)), "a conflict without a reason");
        *self = next;
    }

    fn assume(&mut self, op: &Op, durability: Durability, version: Version) {
        match op {
            Op::Put {
                key, value, expires_at, ..
            } => {
                let kept = Kept {
                    value: String::from_utf8(value.to_vec()).unwrap(),
                    version,
                    expires_at: expires_at.map(|at| at.0),
                    volatile: durability == Durability::Volatile,
                };
                self.records.insert(key.id.clone(), kept);
            }
            Op::Delete { key, .. } => {
                self.records.remove(&key.id);
            }
            Op::Get { .. } | Op::Scan { .. } => {}
        }
    }

    fn record(&self, id: &str) -> Option<Record> {
        let kept = self.there(id)?;
        Some(Record {
            id: id.to_owned(),
            version: kept.version,
            value: Bytes::from(kept.value.clone()),
        })
    }
}

fn play(steps: Vec<Step>, path: Option<&Path>) {
    let time = Arc::new(AtomicU64::new(100));
    let clock: WallClock = {
        let time = Arc::clone(&time);
        Arc::new(move || UnixMillis(time.load(Ordering::SeqCst)))
    };
    let open = || match path {
        Some(path) => Store::start(Disk::open(path).unwrap(), Arc::clone(&clock)).unwrap(),
        None => Store::memory_with_clock(Arc::clone(&clock)),
    };
    let mut store = open();
    let mut model = Model {
        now: 100,
        ..Model::default()
    };
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Batch(durability, drawn) => {
                let ops = drawn.into_iter().map(|drawn| model.op(drawn, number)).collect();
                let batch = batch(durability, ops);
                model.play(&batch, &reply(store.apply(batch.clone())));
            }
            Step::Later(by) => {
                model.now += by;
                time.store(model.now, Ordering::SeqCst);
            }
            Step::Reopen if path.is_some() => {
                drop(store);
                store = open();
                model.records.retain(|_, kept| !kept.volatile);
            }
            Step::Reopen => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_memory_store_does_what_the_model_does(steps in steps()) {
        play(steps, None);
    }
}

proptest! {
    // Each case opens files and syncs them.
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_store_in_a_file_does_what_the_model_does(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        play(steps, Some(&folder.path().join("store.redb")));
    }
}
