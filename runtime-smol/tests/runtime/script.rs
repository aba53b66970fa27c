//! Small machines for the tests: a closure that sees every input and says what is to be done, and a thread that serves it.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use portcullis_blocking::clock::Clock;
use portcullis_blocking::store::Store;
use portcullis_blocking::tls::ClientTls;
use portcullis_core::id::ConnId;
use portcullis_core::machine::{Input, Machine, Output};
use portcullis_core::time::{Instant, Now};
use portcullis_smol::{Host, Remote, serve};

/// Longer than anything here takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a script wants done.
#[derive(Default)]
pub(crate) struct Outbox {
    outputs: VecDeque<Output>,
    pub(crate) wake_at: Option<Instant>,
}

impl Outbox {
    pub(crate) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn transmit(&mut self, conn: ConnId, bytes: &[u8]) {
        self.push(Output::Transmit {
            conn,
            bytes: Bytes::copy_from_slice(bytes),
        });
    }
}

/// A machine that is a closure.
pub(crate) struct Script<F> {
    react: F,
    out: Outbox,
}

impl<F: FnMut(Now, Input<'_>, &mut Outbox)> Script<F> {
    pub(crate) fn new(react: F) -> Self {
        Self {
            react,
            out: Outbox::default(),
        }
    }
}

impl<F: FnMut(Now, Input<'_>, &mut Outbox)> Machine for Script<F> {
    fn handle(&mut self, now: Now, input: Input<'_>) {
        (self.react)(now, input, &mut self.out);
    }

    fn poll(&mut self) -> Output {
        self.out.outputs.pop_front().unwrap_or(Output::Idle {
            wake_at: self.out.wake_at,
        })
    }
}

pub(crate) fn host() -> Host {
    host_with(ClientTls::new(None))
}

pub(crate) fn host_with(tls: ClientTls) -> Host {
    Host::new(Store::memory(), tls, Clock::start())
}

/// Serves a script without listeners, on this thread, until it has drained.
pub(crate) fn run(react: impl FnMut(Now, Input<'_>, &mut Outbox) + 'static) {
    run_on(host(), react);
}

pub(crate) fn run_on(host: Host, react: impl FnMut(Now, Input<'_>, &mut Outbox) + 'static) {
    serve(Script::new(react), Vec::new(), host).unwrap();
}

/// A script that is served on a thread of its own. It ends when a connection sends `quit`.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) remote: Remote,
    events: Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// The script tells the test what it saw through the sender.
    pub(crate) fn start(mut react: impl FnMut(&Sender<String>, Now, Input<'_>, &mut Outbox) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, events) = channel();
        let remote = Remote::default();
        let asked = remote.clone();
        let thread = std::thread::spawn(move || {
            let script = Script::new(move |now, input, out: &mut Outbox| {
                if matches!(&input, Input::Received { bytes, .. } if &**bytes == b"quit") {
                    return out.push(Output::Drained { clean: true });
                }
                react(&tell, now, input, out);
            });
            serve(
                script,
                vec![listener],
                Host {
                    remote: asked,
                    ..host()
                },
            )
            .unwrap();
        });
        Self {
            address,
            remote,
            events,
            thread: Some(thread),
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The next thing that the script saw.
    pub(crate) fn event(&self) -> String {
        self.events.recv_timeout(PATIENCE).expect("the machine sees nothing")
    }

    /// What the script saw and nobody asked for yet.
    pub(crate) fn pending_events(&self) -> Vec<String> {
        self.events.try_iter().collect()
    }

    /// Ends the server and waits for it; returns what it saw until then.
    pub(crate) fn quit(self) -> Vec<String> {
        let mut stream = self.connect();
        std::io::Write::write_all(&mut stream, b"quit").unwrap();
        self.join()
    }

    /// Waits for a server that ends by itself.
    pub(crate) fn join(mut self) -> Vec<String> {
        self.thread.take().unwrap().join().unwrap();
        self.pending_events()
    }
}
