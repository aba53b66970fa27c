//! `echo`: serves the echo machine until it is stopped.

use argh::FromArgs;
use portcullis_conformance::echo::Echo as Machine;
use portcullis_conformance::serve::{self, Runtime};

/// serve a plain WebSocket echo on 127.0.0.1, for suites such as Autobahn
#[derive(FromArgs)]
#[argh(subcommand, name = "echo")]
pub(super) struct Echo {
    /// the port; 0 picks a free one (the default)
    #[argh(option, default = "0")]
    port: u16,
    /// smol or blocking (default: smol)
    #[argh(option, default = "Runtime::Smol")]
    runtime: Runtime,
}

impl Echo {
    pub(super) fn run(self) -> Result<bool, String> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", self.port))
            .map_err(|error| format!("cannot listen on 127.0.0.1:{}: {error}", self.port))?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        println!("ws://{address}/");
        serve::serve_volatile(self.runtime, Machine::default(), listener).map_err(|error| error.to_string())?;
        Ok(true)
    }
}
