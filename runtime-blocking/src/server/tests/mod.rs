//! Small machines over real loopback sockets.

mod connections;
mod effects;
mod load;

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use portcullis_core::effect::{Effect, Outcome, Progress};
use portcullis_core::id::{ConnId, EffectId, ListenerId};
use portcullis_core::machine::{DrainHow, Input, Output};
use portcullis_core::time::{Instant, Now};

use super::*;

/// How long a test waits for what must come; far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a machine saw, without the bytes that are only lent.
#[derive(Debug, PartialEq)]
enum Seen {
    Opened(ConnId, ListenerId),
    Received(ConnId, Vec<u8>),
    ReadClosed(ConnId),
    Sent(ConnId, usize),
    Gone(ConnId, portcullis_core::machine::GoneReason),
    Completed(EffectId, Outcome),
    Progress(EffectId, Progress),
    Reconfigured,
    Drain,
    Tick,
}

/// What a test has a machine do.
type React = Box<dyn FnMut(&Seen, Now) -> Vec<Output> + Send>;

/// A machine that tells a test what it sees, and does what a closure says.
struct Scripted {
    react: React,
    seen: Sender<Seen>,
    out: VecDeque<Output>,
    wake_at: Option<Instant>,
    drained: bool,
}

impl Machine for Scripted {
    fn handle(&mut self, now: Now, input: Input<'_>) {
        assert!(
            self.out.is_empty(),
            "an input came before the outputs of the last one were taken"
        );
        assert!(!self.drained, "an input came after Drained");
        let seen = match input {
            Input::Opened { conn, listener, .. } => Seen::Opened(conn, listener),
            Input::Received { conn, bytes } => Seen::Received(conn, bytes.to_vec()),
            Input::ReadClosed { conn } => Seen::ReadClosed(conn),
            Input::Sent { conn, bytes } => Seen::Sent(conn, bytes),
            Input::Gone { conn, why } => Seen::Gone(conn, why),
            Input::Completed { effect, outcome } => Seen::Completed(effect, outcome),
            Input::Progress { effect, progress } => Seen::Progress(effect, progress),
            Input::Reconfigured { .. } => Seen::Reconfigured,
            Input::Drain { .. } => Seen::Drain,
            Input::Tick => Seen::Tick,
        };
        self.out.extend((self.react)(&seen, now));
        if seen == Seen::Drain && !self.out.iter().any(|output| matches!(output, Output::Idle { .. })) {
            self.out.push_back(Output::StopAccepting);
            self.drained = true;
        }
        // A test that has seen enough is not there any more.
        let _ = self.seen.send(seen);
    }

    fn poll(&mut self) -> Output {
        match self.out.pop_front() {
            Some(Output::Idle { wake_at }) => {
                self.wake_at = wake_at;
                self.poll()
            }
            Some(output) => output,
            None if self.drained => Output::Drained { clean: true },
            None => Output::Idle { wake_at: self.wake_at },
        }
    }
}

/// A machine that is being served.
struct Served {
    address: SocketAddr,
    seen: Receiver<Seen>,
    remote: Remote,
    server: Option<JoinHandle<io::Result<()>>>,
}

fn host() -> Host {
    Host::new(Store::memory(), ClientTls::new(None), Clock::start())
}

fn serve_script(react: impl FnMut(&Seen, Now) -> Vec<Output> + Send + 'static) -> Served {
    serve_script_on(host(), react)
}

fn serve_script_on(host: Host, react: impl FnMut(&Seen, Now) -> Vec<Output> + Send + 'static) -> Served {
    let (tell, seen) = mpsc::channel();
    let machine = Scripted {
        react: Box::new(react),
        seen: tell,
        out: VecDeque::new(),
        wake_at: None,
        drained: false,
    };
    let listener = TcpListener::bind((own_address(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let remote = host.remote.clone();
    let server = thread::spawn(move || serve(machine, vec![listener], host));
    Served {
        address,
        seen,
        remote,
        server: Some(server),
    }
}

impl Served {
    fn connect(&self) -> TcpStream {
        connect_to(self.address)
    }

    /// The next thing seen, but for ticks.
    fn next(&self) -> Seen {
        loop {
            let seen = self.seen.recv_timeout(PATIENCE).expect("the machine saw nothing more");
            if seen != Seen::Tick {
                return seen;
            }
        }
    }

    /// Skips to the first thing for which `wanted` gives something.
    fn find<T>(&self, mut wanted: impl FnMut(Seen) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.next()) {
                return found;
            }
        }
    }

    fn finish(mut self) {
        self.remote.drain(DrainHow::Stop);
        self.server.take().unwrap().join().unwrap().unwrap();
    }
}

fn connect_to(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn transmit(conn: ConnId, bytes: impl Into<Bytes>) -> Output {
    Output::Transmit {
        conn,
        bytes: bytes.into(),
    }
}

fn start(number: u64, what: Effect) -> Output {
    Output::Start {
        effect: effect(number),
        what: Box::new(what),
    }
}

fn effect(number: u64) -> EffectId {
    EffectId::new(number).unwrap()
}

/// Sends back what comes; closes when the peer does.
fn echo(seen: &Seen) -> Vec<Output> {
    match seen {
        Seen::Received(conn, bytes) => vec![transmit(*conn, bytes.clone())],
        Seen::ReadClosed(conn) => {
            vec![Output::Close {
                conn: *conn,
                how: portcullis_core::machine::CloseHow::Flush,
            }]
        }
        _ => Vec::new(),
    }
}

/// A loopback address that no other test of this process uses: a port that was closed there stays closed.
fn own_address() -> std::net::Ipv4Addr {
    static NEXT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(1);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    std::net::Ipv4Addr::new(127, 0, 7, number)
}
