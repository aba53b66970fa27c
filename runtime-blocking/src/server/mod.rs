//! Serves a machine over real sockets with plain threads: one reader for each connection, a writer only for those whose
//! peer is slow, one for each listener; the calling thread keeps the deadlines. It moves bytes and decides nothing.
//!
//! The machine lives in one lock. A reader reads, locks, hands the bytes over, collects what they cause, unlocks, and
//! sends its own answers itself.

mod accept;
mod act;
mod hub;
mod link;
mod peers;
pub(crate) mod socket;
mod start;
#[cfg(test)]
mod tests;
mod threads;

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_core::machine::{Input, Machine};
use portcullis_core::settings::Settings;

use self::hub::Hub;
use crate::clock::Clock;
use crate::store::Store;
use crate::tls::ClientTls;

/// How long the threads may take to end after the machine has drained; the process would end them anyway.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a machine's effects run on, and how far they may go.
#[derive(Debug)]
pub struct Host {
    /// For [`Effect::Store`](portcullis_core::effect::Effect).
    pub store: Store,
    /// For dialled links with TLS.
    pub tls: ClientTls,
    /// Where the machine's time comes from; the machine was made with the same.
    pub clock: Clock,
    /// The most connections at the same time, each with a thread of its own; further sockets are closed at once.
    pub max_connections: usize,
    /// Whether SIGINT and SIGTERM drain the machine.
    pub signals: bool,
    /// Another way to drain it and to hand it new settings.
    pub remote: Remote,
}

impl Host {
    /// A host with usual bounds, without signals.
    #[must_use]
    pub fn new(store: Store, tls: ClientTls, clock: Clock) -> Self {
        Self {
            store,
            tls,
            clock,
            max_connections: 4_096,
            signals: false,
            remote: Remote::default(),
        }
    }
}

/// Speaks to a machine that is being served (or will be). Clones speak to the same one.
#[derive(Clone, Default)]
pub struct Remote(Arc<Mutex<Line>>);

#[derive(Default)]
struct Line {
    /// What was asked before there was anybody to hear it.
    waiting: Vec<Request>,
    hub: Option<Box<dyn Fn(Request) + Send>>,
}

enum Request {
    Drain,
    Reconfigure(Arc<Settings>),
}

impl Remote {
    /// Asks the machine to finish, as SIGTERM does.
    pub fn drain(&self) {
        self.ask(Request::Drain);
    }

    /// Hands the machine new settings.
    pub fn reconfigure(&self, settings: Arc<Settings>) {
        self.ask(Request::Reconfigure(settings));
    }

    fn ask(&self, request: Request) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &line.hub {
            Some(hub) => hub(request),
            None => line.waiting.push(request),
        }
    }

    fn connect(&self, hub: impl Fn(Request) + Send + 'static) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.waiting.drain(..).for_each(&hub);
        line.hub = Some(Box::new(hub));
    }

    fn disconnect(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hub = None;
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

/// Serves `machine` on `listeners` (named by their order) until it has drained. The calling thread keeps its deadlines.
///
/// # Errors
/// When the system refuses the first threads or the signal handlers, and when the machine panicked.
pub fn serve<M: Machine + Send + 'static>(machine: M, listeners: Vec<TcpListener>, host: Host) -> io::Result<()> {
    let (stop, stopper) = io::pipe()?;
    let remote = host.remote.clone();
    let signals = host.signals;
    let hub = Hub::new(machine, host, stopper);
    let connected = Arc::clone(&hub);
    remote.connect(move |request| match request {
        Request::Drain => connected.tell(Input::Drain),
        Request::Reconfigure(settings) => connected.tell(Input::Reconfigured { settings }),
    });
    let served = (|| {
        if signals {
            let remote = remote.clone();
            crate::signals::on_terminate(move || remote.drain())?;
        }
        accept::start(&hub, listeners, stop)?;
        hub.keep_deadlines();
        if hub.has_failed() {
            Err(io::Error::other("the machine has panicked"))
        } else {
            Ok(())
        }
    })();
    remote.disconnect();
    hub.end();
    hub.accepters.wait_for_none(FAREWELL);
    hub.threads.wait_for_none(FAREWELL);
    served
}
