//! Effects that run on other threads: names, files, the store. Each completes once; too many are refused.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use portcullis_core::effect::{Completion, Effect, FaultKind, Outcome, SignatureCheck, SignatureScheme};
use portcullis_core::id::EffectId;
use portcullis_core::machine::{Input, Output};
use portcullis_core::store::{Batch, Durability, Expect, Key, Op, Reply, StoreReply};

use crate::script::{host_with, run_on};

/// Starts all effects at once and returns how each ended, in the order of their ends.
pub(crate) fn outcomes_on(host: portcullis_smol::Host, effects: Vec<Effect>) -> Vec<(u64, Outcome)> {
    let ended = Rc::new(RefCell::new(Vec::new()));
    let (count, told, mut effects) = (effects.len(), ended.clone(), Some(effects));
    run_on(host, move |_, input, out| {
        for (number, what) in (1..).zip(effects.take().into_iter().flatten()) {
            out.push(Output::Start {
                effect: EffectId::new(number).unwrap(),
                what: Box::new(what),
            });
        }
        if let Input::Completed { effect, outcome } = input {
            told.borrow_mut().push((effect.get(), outcome));
            if told.borrow().len() == count {
                out.push(Output::Drained { clean: true });
            }
        }
    });
    ended.take()
}

pub(crate) fn outcomes(effects: Vec<Effect>) -> Vec<(u64, Outcome)> {
    outcomes_on(host_with(portcullis_blocking::tls::ClientTls::new(None)), effects)
}

pub(crate) fn outcome(effect: Effect) -> Outcome {
    outcomes(vec![effect]).pop().unwrap().1
}

#[test]
fn names_are_resolved() {
    let Ok(Completion::Resolved(addresses)) = outcome(Effect::Resolve {
        host: "localhost".into(),
    }) else {
        panic!("localhost does not resolve")
    };
    assert!(addresses.iter().all(std::net::IpAddr::is_loopback));
    assert_eq!(
        outcome(Effect::Resolve { host: String::new() }).unwrap_err().kind,
        FaultKind::Invalid
    );
}

#[test]
fn signatures_are_checked() {
    let check = SignatureCheck {
        scheme: SignatureScheme::EcdsaP256(Bytes::new()),
        message: Bytes::new(),
        signature: Bytes::new(),
    };
    assert_eq!(outcome(Effect::VerifySignature(check)), Ok(Completion::Verified(false)));
}

#[test]
fn files_change_in_the_order_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/file").to_str().unwrap().to_owned();
    let mut effects = vec![Effect::WriteFile {
        path: path.clone(),
        bytes: Bytes::from_static(b"0\n"),
        mode: 0o600,
    }];
    for number in 1..=20 {
        let bytes = Bytes::from(format!("{number}\n"));
        effects.push(Effect::Append {
            path: path.clone(),
            bytes,
            mode: 0o600,
        });
    }
    effects.push(Effect::ReadFile {
        path: path.clone(),
        max_bytes: 6,
    });
    effects.push(Effect::RealPath {
        path: format!("{path}/../file"),
    });
    effects.push(Effect::RealPath { path });
    let ended = outcomes(effects);
    assert!(ended.iter().map(|(number, _)| *number).eq(1..=24), "{ended:?}");
    assert!(ended[..21].iter().all(|(_, outcome)| *outcome == Ok(Completion::Done)));
    assert_eq!(
        ended[21].1,
        Ok(Completion::File {
            bytes: Bytes::from_static(b"19\n20\n"),
            size: 53
        })
    );
    assert_eq!(ended[22].1.as_ref().unwrap_err().kind, FaultKind::Invalid);
    assert!(matches!(&ended[23].1, Ok(Completion::Path(real)) if real.ends_with("deep/er/file")));
}

#[test]
fn the_store_remembers() {
    let key = Key {
        table: "test",
        id: "one".into(),
    };
    let batch = |op| {
        Effect::Store(Batch {
            ops: vec![op],
            durability: Durability::Durable,
        })
    };
    let value = Bytes::from_static(b"value");
    let put = Op::Put {
        key: key.clone(),
        expect: Expect::Absent,
        value: value.clone(),
        expires_at: None,
    };
    let ended = outcomes(vec![batch(put), batch(Op::Get { key })]);
    assert!(
        matches!(&ended[0].1, Ok(Completion::Stored(StoreReply::Applied(_)))),
        "{ended:?}"
    );
    let Ok(Completion::Stored(StoreReply::Applied(replies))) = &ended[1].1 else {
        panic!("{ended:?}")
    };
    assert!(matches!(&replies[..], [Reply::Record(Some(record))] if record.value == value));
}

#[test]
fn too_many_effects_are_refused_and_each_ends_once() {
    let ended = outcomes(vec![Effect::RealPath { path: "/".into() }; 1_100]);
    let mut numbers: Vec<u64> = ended.iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=1_100));
    let refused = ended.iter().filter(|(_, outcome)| {
        outcome
            .as_ref()
            .is_err_and(|fault| fault.kind == FaultKind::Unavailable)
    });
    assert_eq!(refused.count(), 1_100 - 1_024);
}
