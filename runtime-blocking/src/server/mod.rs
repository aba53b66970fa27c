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

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::gateway::MAX_TURNED_AWAY;
use portcullis_core::machine::Machine;
use portcullis_core::settings::GatewaySettings;

use self::hub::Hub;
use crate::clock::Clock;
pub use crate::remote::{Ready, Remote};
pub use crate::reporting::Reporter;
use crate::signals::SignalPlan;
use crate::store::Store;
use crate::tls::{ClientTls, ServerTls};

/// What a runtime says when the machine has drained but not all work came to its end.
pub const WORK_LOST: &str = "work was cut short by the end of the gateway; the log tells which runs lost their answer";

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
    /// The most connections at the same time, each with a thread of its own; further sockets are closed at once, without
    /// the machine's knowledge. It should leave the machine's own limit room to be the one that counts:
    /// [`Self::make_room_for`].
    pub max_connections: usize,
    /// What signals bring about; `None`: they are not heeded.
    pub signals: Option<SignalPlan>,
    /// TLS on every listener.
    pub listener_tls: Option<ServerTls>,
    /// Another way to drain it and to hand it new settings.
    pub remote: Remote,
    /// Called once connections are taken and signals are heeded.
    pub ready: Ready,
    /// Where the machine's reports go.
    pub reports: Reporter,
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
            signals: None,
            listener_tls: None,
            remote: Remote::default(),
            ready: Ready::default(),
            reports: Reporter::default(),
        }
    }

    /// Lets so many connections in as a gateway with these settings serves, and as many more as it tells that there is no
    /// room for them.
    pub fn make_room_for(&mut self, settings: &GatewaySettings) {
        let most = settings.max_connections.saturating_add(MAX_TURNED_AWAY);
        self.max_connections = usize::try_from(most).unwrap_or(usize::MAX);
    }
}

/// Serves `machine` on `listeners` (named by their order) until it has drained. The calling thread keeps its deadlines.
///
/// # Errors
/// When the system refuses the first threads or the signal handlers, when [`Host::ready`] failed, when the machine
/// panicked, and when it drained but cut work short ([`WORK_LOST`]).
pub fn serve<M: Machine + Send + 'static>(machine: M, listeners: Vec<TcpListener>, mut host: Host) -> io::Result<()> {
    let (stop, stopper) = io::pipe()?;
    let remote = host.remote.clone();
    let signals = host.signals.take();
    let hub = Hub::new(machine, host, stopper);
    let connected = Arc::clone(&hub);
    remote.connect(move |request| connected.tell(request.into_input()));
    let served = (|| {
        if let Some(plan) = signals {
            crate::signals::heed(remote.clone(), plan)?;
        }
        accept::start(&hub, listeners, stop)?;
        hub.host.ready.tell()?;
        hub.keep_deadlines();
        if hub.has_failed() {
            Err(io::Error::other("the machine has panicked"))
        } else if hub.was_cut_short() {
            Err(io::Error::other(WORK_LOST))
        } else {
            Ok(())
        }
    })();
    remote.disconnect();
    hub.end();
    hub.accepters.wait_for_none(FAREWELL);
    hub.threads.wait_for_none(FAREWELL);
    // Whoever still holds the store may do so for longer than the process lives.
    let settled = hub.host.store.settle().map_err(crate::store::unsettled);
    served.and(settled)
}
