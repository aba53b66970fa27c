//! The smol runtime of Portcullis: one thread, one reactor, one machine. It moves bytes between sockets and the machine
//! and carries out its effects; it decides nothing.
//!
//! Made so that a request costs little more than the system calls that it cannot do without, and an idle connection
//! little more than its socket: one read buffer, one timer and one task serve all of them.
#![forbid(unsafe_code)]

mod accept;
mod deadline;
mod driver;
mod effects;
mod link;
mod remote;
mod secure;
mod watch;

use std::io;
use std::net::TcpListener;
use std::rc::Rc;

use async_io::Async;
use portcullis_blocking::clock::Clock;
use portcullis_blocking::store::Store;
use portcullis_blocking::tls::ClientTls;
use portcullis_core::id::ListenerId;
use portcullis_core::machine::{Input, Machine};
use smol::LocalExecutor;
use smol::channel::{bounded, unbounded};

use crate::driver::Driver;
use crate::effects::Effects;
pub use crate::remote::Remote;
use crate::remote::Request;

/// What a machine is served with.
#[derive(Clone, Debug)]
pub struct Host {
    /// For [`Effect::Store`](portcullis_core::effect::Effect).
    pub store: Store,
    /// For dialled links with TLS.
    pub tls: ClientTls,
    /// Where the machine's time comes from; the machine was made with the same.
    pub clock: Clock,
    /// Whether SIGINT and SIGTERM drain the machine (a second one ends the process).
    pub signals: bool,
    /// Another way to drain it and to hand it new settings.
    pub remote: Remote,
}

impl Host {
    /// A host without signals.
    #[must_use]
    pub fn new(store: Store, tls: ClientTls, clock: Clock) -> Self {
        Self {
            store,
            tls,
            clock,
            signals: false,
            remote: Remote::default(),
        }
    }
}

/// Serves `machine` on `listeners` until it has drained. Everything happens on the calling thread but the effects that
/// block. The listeners are named in their order.
///
/// # Errors
/// When the system refuses what serving needs before it begins: a listener that cannot be watched, signal handlers.
pub fn serve<M: Machine + 'static>(machine: M, listeners: Vec<TcpListener>, host: Host) -> io::Result<()> {
    let executor = Rc::new(LocalExecutor::new());
    let (drained, ended) = bounded(1);
    let (done, completions) = unbounded();
    let effects = Effects::new(host.store, host.tls, done);
    let driver = Driver::new(machine, host.clock, effects, watch::Watch::new()?, &executor, drained);
    for (number, listener) in (0..=u16::MAX).zip(listeners) {
        let accepting = accept::accept(driver.clone(), Async::new(listener)?, ListenerId(number));
        driver.keep_accepting(executor.spawn(accepting));
    }
    executor.spawn(watch::serve(driver.clone())).detach();
    executor.spawn(deadline::Ticking::new(driver.clone())).detach();
    executor.spawn(effects::take_in(driver.clone(), completions)).detach();
    if host.signals {
        let remote = host.remote.clone();
        portcullis_blocking::signals::on_terminate(move || remote.drain())?;
    }
    executor.spawn(do_as_asked(driver.clone(), host.remote)).detach();
    // What the machine wants before anything has happened.
    driver.turn(None, Input::Tick);
    drop(driver);
    // The sender lives in the driver, which the tasks keep: this ends with its message.
    async_io::block_on(executor.run(ended.recv())).unwrap_or(Ok(()))
}

async fn do_as_asked<M: Machine + 'static>(driver: Rc<Driver<M>>, remote: Remote) {
    while let Some(request) = remote.next().await {
        driver.turn(
            None,
            match request {
                Request::Drain => Input::Drain,
                Request::Reconfigure(settings) => Input::Reconfigured { settings },
            },
        );
    }
}
