//! The smol runtime of Portcullis: one thread, one reactor, one machine. It moves bytes between sockets and the machine
//! and carries out its effects; it decides nothing.
//!
//! Made so that a request costs little more than the system calls that it cannot do without, and an idle connection
//! little more than its socket: one read buffer, one timer and one task serve all of them.
#![forbid(unsafe_code)]

mod accept;
mod bell;
mod driver;
mod effects;
mod link;
mod secure;
mod turning;
mod watch;

use std::io;
use std::net::TcpListener;
use std::rc::Rc;

use async_io::Async;
use portcullis_blocking::clock::Clock;
use portcullis_blocking::remote::Request;
pub use portcullis_blocking::remote::{Ready, Remote};
pub use portcullis_blocking::reporting::Reporter;
use portcullis_blocking::signals::SignalPlan;
use portcullis_blocking::store::Store;
use portcullis_blocking::tls::{ClientTls, ServerTls};
use portcullis_core::id::ListenerId;
use portcullis_core::machine::{Input, Machine};
use rustix::event::{EventfdFlags, eventfd};
use smol::LocalExecutor;
use smol::channel::{Receiver, bounded, unbounded};

use crate::driver::Driver;
use crate::effects::Effects;

/// What a machine is served with.
#[derive(Debug)]
pub struct Host {
    /// For [`Effect::Store`](portcullis_core::effect::Effect).
    pub store: Store,
    /// For dialled links with TLS.
    pub tls: ClientTls,
    /// Where the machine's time comes from; the machine was made with the same.
    pub clock: Clock,
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
    /// A host without signals.
    #[must_use]
    pub fn new(store: Store, tls: ClientTls, clock: Clock) -> Self {
        Self {
            store,
            tls,
            clock,
            signals: None,
            listener_tls: None,
            remote: Remote::default(),
            ready: Ready::default(),
            reports: Reporter::default(),
        }
    }
}

/// Serves `machine` on `listeners` until it has drained. Everything happens on the calling thread but the effects that
/// block. The listeners are named in their order.
///
/// # Errors
/// When the system refuses what serving needs before it begins (a listener that cannot be watched, signal handlers), and
/// when [`Host::ready`] failed; afterwards when the machine drained but cut work short.
pub fn serve<M: Machine + 'static>(machine: M, listeners: Vec<TcpListener>, host: Host) -> io::Result<()> {
    start_reactor()?;
    let executor = Rc::new(LocalExecutor::new());
    let (drained, ended) = bounded(1);
    let (done, completions) = unbounded();
    let store = host.store.clone();
    let effects = Effects::new(host.store, host.tls, done);
    let watch = watch::Watch::new()?;
    let driver = Driver::new(machine, host.clock, effects, watch, host.reports, &executor, drained);
    driver.listener_tls.set(host.listener_tls).ok();
    for (number, listener) in (0..=u16::MAX).zip(listeners) {
        driver.listen(listener, ListenerId(number))?;
    }
    executor.spawn(effects::take_in(driver.clone(), completions)).detach();
    if let Some(plan) = host.signals {
        portcullis_blocking::signals::heed(host.remote.clone(), plan)?;
    }
    // Without a bound: only people ask, by hand.
    let (ask, asked) = unbounded();
    // When nobody takes requests any more, the machine has drained.
    host.remote.connect(move |request| drop(ask.try_send(request)));
    executor.spawn(do_as_asked(driver.clone(), asked)).detach();
    host.ready.tell()?;
    // What the machine wants before anything has happened.
    driver.turn(None, Input::Tick);
    let served = turning::turn(driver, &executor, &ended);
    host.remote.disconnect();
    let settled = store.settle().map_err(portcullis_blocking::store::unsettled);
    served.and(settled)
}

/// Has async-io make its reactor now: it would panic if there were no descriptor left for it when an effect first needs it.
fn start_reactor() -> io::Result<()> {
    let anything = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    Async::new_nonblocking(anything).map(drop)
}

async fn do_as_asked<M: Machine + 'static>(driver: Rc<Driver<M>>, asked: Receiver<Request>) {
    while let Ok(request) = asked.recv().await {
        driver.turn(None, request.into_input());
    }
}
