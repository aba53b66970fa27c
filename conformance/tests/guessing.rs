//! A thousand wrong tokens, as fast as they go, over real sockets on both runtimes: from one address, from a web page on
//! this machine, and spread over many connections. Whoever guesses is locked out within the documented number, and a client
//! with the right token is served all the while.
#![allow(clippy::indexing_slicing, reason = "what a JSON value lacks reads as null")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use portcullis_conformance::child::Child;
use portcullis_conformance::client::talk::Talk;
use portcullis_conformance::serve::{self, Runtime};
use portcullis_conformance::vector::TOKEN;
use serde_json::json;

/// All of this machine counts as one, so that clients of different addresses come by way of a proxy.
const PROXY: &str = "gateway.trustedProxies=[\"127.0.0.1\"]";
const GUESSER: (&str, &str) = ("X-Forwarded-For", "203.0.113.9");
const HONEST: (&str, &str) = ("X-Forwarded-For", "203.0.113.10");
/// `gateway.auth.rateLimit.maxAttempts` when nobody sets it.
const ALLOWED: usize = 10;
const GUESSES: usize = 1_000;
const GUESSERS: usize = 8;

fn on_both(set: &[&str], story: impl Fn(&Child) -> Result<(), String>) {
    for runtime in [Runtime::Smol, Runtime::Blocking] {
        let program = serve::own(PathBuf::from(env!("CARGO_BIN_EXE_portcullis-conformance")), runtime);
        let args = set.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]);
        let mut child = Child::start(&program, args.collect(), true).unwrap_or_else(|why| panic!("{why}"));
        if let Err(why) = story(&child) {
            panic!("{}: {}", runtime.name(), child.explain(&why));
        }
    }
}

/// How guesses ended: looked at and wrong, refused unseen, or cut off.
#[derive(Default)]
struct Tally {
    wrong: AtomicUsize,
    locked: AtomicUsize,
    other: AtomicUsize,
}

/// One guess over HTTP; the connection is kept while the gateway keeps it.
fn guess(talk: &mut Option<Talk>, to: SocketAddr, number: usize, as_whom: &[(&str, &str)], tally: &Tally) {
    let bearer = format!("Bearer wrong-token-{number}");
    let mut headers = vec![("Authorization", bearer.as_str())];
    headers.extend_from_slice(as_whom);
    let mut line = match talk.take() {
        Some(line) => line,
        None => match Talk::open(to, None) {
            Ok(line) => line,
            Err(_) => {
                tally.other.fetch_add(1, Ordering::Relaxed);
                return;
            }
        },
    };
    let answer = line.ask("POST", "/tools/invoke", &headers, "{\"tool\":\"health\"}");
    let kind = match answer.map(|answer| answer.status) {
        Ok(401) => &tally.wrong,
        Ok(429) => &tally.locked,
        _ => {
            tally.other.fetch_add(1, Ordering::Relaxed);
            return;
        }
    };
    kind.fetch_add(1, Ordering::Relaxed);
    *talk = Some(line);
}

/// One guess in a WebSocket handshake, on a connection of its own.
fn guess_by_handshake(to: SocketAddr, number: usize, tally: &Tally) -> Result<(), String> {
    let mut talk = Talk::open(to, None)?;
    let switched = talk.upgrade("/gateway", &[GUESSER])?;
    if switched.status != 101 {
        tally.locked.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    }
    let challenge = talk.receive()?.ok_or("closed")?;
    let client = json!({"id": "guesser", "version": "1", "platform": "test", "mode": "test"});
    let params = json!({"minProtocol": 1, "maxProtocol": 1, "client": client, "nonce": challenge["payload"]["nonce"],
        "auth": {"token": format!("wrong-token-{number}")}});
    talk.send(&json!({"type": "req", "id": "c", "method": "connect", "params": params}))?;
    let answer = talk.receive()?.ok_or("closed")?;
    let kind = if answer["error"]["message"] == "invalid auth token" {
        &tally.wrong
    } else {
        &tally.locked
    };
    kind.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Guesses on several threads while a client with the right token asks again and again; all of it must be answered.
fn under_attack(
    child: &Child,
    honest: &[(&str, &str)],
    attack: impl Fn(usize, &Tally) + Sync,
) -> Result<Tally, String> {
    let (tally, over) = (Tally::default(), AtomicBool::new(false));
    let bearer = format!("Bearer {TOKEN}");
    let served = std::thread::scope(|scope| {
        let served = scope.spawn(|| {
            let mut headers = vec![("Authorization", bearer.as_str())];
            headers.extend_from_slice(honest);
            let mut served = 0;
            while !over.load(Ordering::Relaxed) || served == 0 {
                let mut talk = Talk::open(child.address(), None)?;
                let answer = talk.ask("POST", "/tools/invoke", &headers, "{\"tool\":\"health\"}")?;
                if answer.status != 200 {
                    return Err(format!("the client with the right token was answered {answer}"));
                }
                served += 1;
            }
            Ok(())
        });
        let guessers: Vec<_> = (0..GUESSERS)
            .map(|number| {
                scope.spawn({
                    let (attack, tally) = (&attack, &tally);
                    move || attack(number, tally)
                })
            })
            .collect();
        for guesser in guessers {
            let _ = guesser.join();
        }
        over.store(true, Ordering::Relaxed);
        served
            .join()
            .unwrap_or_else(|_| Err("the honest client fell over".into()))
    });
    served.map(|()| tally)
}

fn locked_in_time(tally: &Tally) -> Result<(), String> {
    let (wrong, locked, other) = (
        tally.wrong.load(Ordering::Relaxed),
        tally.locked.load(Ordering::Relaxed),
        tally.other.load(Ordering::Relaxed),
    );
    if wrong <= ALLOWED && locked > 0 && wrong + locked + other >= GUESSES {
        Ok(())
    } else {
        Err(format!(
            "{wrong} guesses were looked at, {locked} refused, {other} cut off"
        ))
    }
}

#[test]
fn one_address_is_locked_out() {
    on_both(&[PROXY], |child| {
        let to = child.address();
        let tally = under_attack(child, &[HONEST], |guesser, tally| {
            let mut talk = None;
            for number in 0..GUESSES / GUESSERS {
                guess(&mut talk, to, guesser * GUESSES + number, &[GUESSER], tally);
            }
        })?;
        locked_in_time(&tally)?;
        let bearer = format!("Bearer {TOKEN}");
        let headers = [("Authorization", bearer.as_str()), GUESSER];
        let answer = Talk::open(to, None)?.ask("POST", "/tools/invoke", &headers, "{}")?;
        if answer.status == 429 {
            Ok(())
        } else {
            Err(format!("the right token was answered {answer}"))
        }
    });
}

#[test]
fn a_web_page_on_this_machine_is_locked_out() {
    on_both(&[], |child| {
        let to = child.address();
        let tally = under_attack(child, &[], |guesser, tally| {
            let mut talk = None;
            for number in 0..GUESSES / GUESSERS {
                let origin = [("Origin", "http://localhost:3000")];
                guess(&mut talk, to, guesser * GUESSES + number, &origin, tally);
            }
        })?;
        locked_in_time(&tally)
    });
}

#[test]
fn guesses_over_many_connections_are_counted_together() {
    on_both(&[PROXY], |child| {
        let to = child.address();
        let tally = under_attack(child, &[HONEST], |guesser, tally| {
            for number in 0..GUESSES / GUESSERS {
                if guess_by_handshake(to, guesser * GUESSES + number, tally).is_err() {
                    tally.other.fetch_add(1, Ordering::Relaxed);
                }
            }
        })?;
        locked_in_time(&tally)
    });
}

#[test]
fn a_program_on_this_machine_is_slowed_down_and_never_locked_out() {
    on_both(&[], |child| {
        let to = child.address();
        let tally = under_attack(child, &[], |guesser, tally| {
            // Each waits for its answer; a right token between makes the wait short again.
            for number in 0..3 {
                guess(&mut None, to, guesser * GUESSES + number, &[], tally);
            }
        })?;
        let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
        match (count(&tally.wrong), count(&tally.locked), count(&tally.other)) {
            (wrong, 0, 0) if wrong == 3 * GUESSERS => Ok(()),
            (wrong, locked, other) => Err(format!(
                "{wrong} were answered, {locked} locked out, {other} not answered"
            )),
        }
    });
}
