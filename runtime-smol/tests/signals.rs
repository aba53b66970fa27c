//! A signal asks the machine to drain. Alone in its program, because a signal is for a whole process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use portcullis_blocking::clock::Clock;
use portcullis_blocking::signals::SignalPlan;
use portcullis_blocking::store::Store;
use portcullis_blocking::tls::ClientTls;
use portcullis_core::machine::{Input, Machine, Output};
use portcullis_core::time::Now;
use portcullis_smol::{Host, serve};
use rustix::process::{Signal, getpid, kill_process};

/// Asks for a signal when it is first served, drains when it is told to.
#[derive(Default)]
struct Draining {
    signalled: bool,
    asked: bool,
}

impl Machine for Draining {
    fn handle(&mut self, _now: Now, input: Input<'_>) {
        if !self.signalled {
            self.signalled = true;
            kill_process(getpid(), Signal::TERM).unwrap();
        }
        self.asked |= matches!(input, Input::Drain { .. });
    }

    fn poll(&mut self) -> Output {
        if self.asked {
            Output::Drained { clean: true }
        } else {
            Output::Idle { wake_at: None }
        }
    }
}

#[test]
fn a_signal_asks_the_machine_to_drain() {
    let host = Host {
        signals: Some(SignalPlan::default()),
        ..Host::new(Store::memory(), ClientTls::new(None), Clock::start())
    };
    serve(Draining::default(), Vec::new(), host).unwrap();
}
