//! SIGTERM drains a machine that is being served. A process of its own, because signals are the whole process's business.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use portcullis_blocking::clock::Clock;
use portcullis_blocking::server::{Host, serve};
use portcullis_blocking::signals::SignalPlan;
use portcullis_blocking::store::Store;
use portcullis_blocking::tls::ClientTls;
use portcullis_core::machine::{Input, Machine, Output};
use portcullis_core::time::Now;

struct Drains {
    heard: Sender<&'static str>,
    out: VecDeque<Output>,
    draining: bool,
}

impl Machine for Drains {
    fn handle(&mut self, _now: Now, input: Input<'_>) {
        match input {
            Input::Drain { .. } => {
                self.draining = true;
                self.out.push_back(Output::StopAccepting);
                let _ = self.heard.send("drain");
            }
            Input::Tick => {
                let _ = self.heard.send("tick");
            }
            _ => {}
        }
    }

    fn poll(&mut self) -> Output {
        match self.out.pop_front() {
            Some(output) => output,
            None if self.draining => Output::Drained { clean: true },
            None => Output::Idle { wake_at: None },
        }
    }
}

#[test]
fn sigterm_drains_the_machine_and_the_service_returns() {
    let (tell, heard) = channel();
    let machine = Drains {
        heard: tell,
        out: VecDeque::new(),
        draining: false,
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let host = Host {
        signals: Some(SignalPlan::default()),
        ..Host::new(Store::memory(), ClientTls::new(None), Clock::start())
    };
    let served = thread::spawn(move || serve(machine, vec![listener], host));
    // The first tick comes after the signal handlers are in place.
    assert_eq!(heard.recv_timeout(Duration::from_secs(20)), Ok("tick"));
    let this_process = rustix::process::getpid();
    rustix::process::kill_process(this_process, rustix::process::Signal::TERM).unwrap();
    assert_eq!(heard.recv_timeout(Duration::from_secs(20)), Ok("drain"));
    served.join().unwrap().unwrap();
    assert!(std::net::TcpStream::connect(address).is_err(), "the listener is closed");
}
