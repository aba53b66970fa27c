//! Programs: input and output, one chunk at a time, and nothing of them left behind when they are cancelled.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use portcullis_core::effect::{Completion, Effect, ExitStatus, FaultKind, Outcome, OutputStream, Progress, Spawn};
use portcullis_core::id::EffectId;
use portcullis_core::machine::{Input, Output};

use crate::effects::outcome;
use crate::script::{PATIENCE, run};

fn shell(script: &str) -> Spawn {
    Spawn {
        program: "sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        stdin: Bytes::new(),
        dir: None,
    }
}

#[derive(Default)]
struct Told {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    chunks: usize,
    outcome: Option<Outcome>,
}

/// Runs a program; cancels it when `cancel_on` says so about what came on standard output.
fn run_program(spawn: Spawn, cancel_on: impl Fn(&[u8]) -> bool + 'static) -> Told {
    let told = Rc::new(RefCell::new(Told::default()));
    let (seen, mut spawn) = (told.clone(), Some(spawn));
    run(move |_, input, out| {
        let mut seen = seen.borrow_mut();
        if let Some(spawn) = spawn.take() {
            out.push(Output::Start {
                effect: EffectId::FIRST,
                what: Box::new(Effect::Spawn(spawn)),
            });
        }
        match input {
            Input::Progress {
                effect,
                progress: Progress::Output { stream, bytes },
            } => {
                assert!((1..=16 * 1024).contains(&bytes.len()));
                assert_eq!(seen.outcome, None, "output after the end");
                seen.chunks += 1;
                match stream {
                    OutputStream::Stdout => seen.stdout.extend_from_slice(&bytes),
                    OutputStream::Stderr => seen.stderr.extend_from_slice(&bytes),
                }
                out.push(if cancel_on(&seen.stdout) {
                    Output::Cancel { effect }
                } else {
                    Output::Continue { effect }
                });
            }
            Input::Completed { outcome, .. } => {
                assert_eq!(seen.outcome.replace(outcome), None, "it ended twice");
                out.push(Output::Drained { clean: true });
            }
            _ => {}
        }
    });
    told.take()
}

fn finish(spawn: Spawn) -> Told {
    run_program(spawn, |_| false)
}

fn exited(code: i32) -> Option<Outcome> {
    Some(Ok(Completion::Exited(ExitStatus::Code(code))))
}

/// Waits until no process runs under this number: it is gone, or dead and not yet collected by its parent.
fn await_end(pid: &str) {
    let start = Instant::now();
    loop {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if status
            .rsplit(')')
            .next()
            .is_none_or(|state| state.trim().is_empty() || state.starts_with(" Z"))
        {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{pid} still runs: {status}");
        std::thread::yield_now();
    }
}

#[test]
fn input_goes_in_and_both_outputs_come_out() {
    let told = finish(Spawn {
        stdin: Bytes::from_static(b"words"),
        ..shell("cat; echo oops >&2; exit 3")
    });
    assert_eq!(told.stdout, b"words");
    assert_eq!(told.stderr, b"oops\n");
    assert_eq!(told.outcome, exited(3));
}

#[test]
fn much_input_and_much_output_flow_at_the_same_time() {
    let text: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    let told = finish(Spawn {
        stdin: Bytes::from(text.clone()),
        ..shell("cat")
    });
    assert!(told.stdout == text, "{} bytes", told.stdout.len());
    assert_eq!(told.outcome, exited(0));
}

#[test]
fn the_environment_is_what_was_given_and_nothing_else() {
    let spawn = Spawn {
        program: "env".into(),
        args: Vec::new(),
        env: vec![("ONE".into(), "1".into())],
        dir: Some("/".into()),
        stdin: Bytes::new(),
    };
    let told = finish(spawn);
    assert_eq!(told.stdout, b"ONE=1\n");
    let told = finish(Spawn {
        dir: Some("/proc".into()),
        ..shell("pwd")
    });
    assert_eq!(told.stdout, b"/proc\n");
}

#[test]
fn a_program_that_is_killed_says_by_which_signal() {
    assert_eq!(
        finish(shell("kill -TERM $$")).outcome,
        Some(Ok(Completion::Exited(ExitStatus::Signal(15))))
    );
}

#[test]
fn a_program_that_is_not_there_is_not_found() {
    for program in ["no-such-program-anywhere", "/no/such/program", ""] {
        let spawn = Spawn {
            program: program.into(),
            ..shell("")
        };
        let fault = outcome(Effect::Spawn(spawn)).unwrap_err();
        assert_eq!(fault.kind, FaultKind::NotFound, "{program}: {fault}");
    }
    let spawn = Spawn {
        dir: Some("/no/such/folder".into()),
        ..shell("")
    };
    let fault = outcome(Effect::Spawn(spawn)).unwrap_err();
    assert!(fault.detail.contains("no working directory"), "{fault}");
    let spawn = Spawn {
        program: "/etc/passwd".into(),
        ..shell("")
    };
    assert_eq!(
        outcome(Effect::Spawn(spawn)).unwrap_err().kind,
        FaultKind::PermissionDenied
    );
}

#[test]
fn nothing_further_is_told_until_the_machine_goes_on() {
    // The machine never says to go on: one chunk is all it hears, and cancelling still ends it.
    let chunks = Rc::new(RefCell::new(0));
    let (counted, mut spawn) = (chunks.clone(), Some(shell("while :; do echo chatter; done")));
    run(move |now, input, out| {
        if let Some(spawn) = spawn.take() {
            out.push(Output::Start {
                effect: EffectId::FIRST,
                what: Box::new(Effect::Spawn(spawn)),
            });
        }
        match input {
            Input::Progress { .. } => {
                *counted.borrow_mut() += 1;
                out.wake_at = Some(now.monotonic.plus(std::time::Duration::from_millis(50)));
            }
            Input::Tick if out.wake_at.take().is_some() => out.push(Output::Cancel {
                effect: EffectId::FIRST,
            }),
            Input::Completed { outcome, .. } => {
                assert_eq!(outcome.unwrap_err().kind, FaultKind::Cancelled);
                out.push(Output::Drained { clean: true });
            }
            _ => {}
        }
    });
    assert_eq!(*chunks.borrow(), 1);
}

#[test]
fn cancelling_ends_the_whole_process_group() {
    let told = run_program(shell("sleep 1000 & echo $! $$; wait"), |stdout| stdout.ends_with(b"\n"));
    assert_eq!(told.outcome.unwrap().unwrap_err().kind, FaultKind::Cancelled);
    for pid in String::from_utf8(told.stdout).unwrap().split_whitespace() {
        await_end(pid);
    }
}

#[test]
fn what_a_program_leaves_behind_cannot_keep_it_from_ending() {
    let start = Instant::now();
    // One that holds the pipes open, and one that does not.
    for left_behind in ["sleep 1000 &", "sleep 1000 <&- >&- 2>&- &"] {
        let told = finish(shell(&format!("{left_behind} echo $!")));
        assert_eq!(told.outcome, exited(0));
        assert!(start.elapsed() < PATIENCE);
        await_end(String::from_utf8(told.stdout).unwrap().trim());
    }
}

#[test]
fn what_a_program_leaves_behind_cannot_go_on_talking_for_it() {
    let told = finish(shell("setsid sh -c 'while echo more; do sleep 0.1; done' & echo done"));
    assert_eq!(told.outcome, exited(0));
    assert!(told.stdout.starts_with(b"done") || told.stdout.starts_with(b"more"));
}

#[test]
fn what_a_program_said_last_is_told_before_its_end() {
    let told = finish(shell("head -c 60000 /dev/zero; exit 7"));
    assert_eq!(told.stdout.len(), 60_000);
    assert!(told.chunks >= 4);
    assert_eq!(told.outcome, exited(7));
}
