//! `portcullis-blocking`: the gateway on plain threads, for small hosts. Everything but the loop that moves bytes is the
//! library's: the command line (`cli`), the settings, the store, and the machine of the core.
#![forbid(unsafe_code)]

use std::io;
use std::process::ExitCode;

use portcullis_blocking::cli::{self, PreparedGateway, Runtime};
use portcullis_blocking::clock::Clock;
use portcullis_blocking::server::{Host, serve};
use portcullis_blocking::store::Store;
use portcullis_blocking::tls::ClientTls;
use portcullis_core::gateway::Gateway;

struct Blocking;

impl Runtime for Blocking {
    fn name(&self) -> &'static str {
        "blocking"
    }

    fn serve(&self, prepared: PreparedGateway) -> io::Result<()> {
        let clock = Clock::start();
        // One gateway at a time holds a store: a second one with the same state folder ends here.
        let store = Store::open(&prepared.state_dir.join("store.redb")).map_err(io::Error::other)?;
        let mut host = Host::new(store, ClientTls::new(None), clock);
        host.signals = Some(prepared.signals);
        host.listener_tls = prepared.listener_tls;
        host.make_room_for(&prepared.settings.gateway);
        host.ready = prepared.ready;
        host.reports = prepared.reports;
        let machine = Gateway::new(prepared.settings, prepared.seed, clock.now());
        serve(machine, prepared.listeners, host)
    }
}

fn main() -> ExitCode {
    cli::main(&Blocking)
}
