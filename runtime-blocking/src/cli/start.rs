//! `gateway`: settings, listener, folders, then the runtime. Everything that can be refused is refused before a
//! connection is taken.

use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_core::random::Seed;
use portcullis_core::secret::Secret;
use portcullis_core::settings::Settings;

use super::arguments::GatewayCommand;
use super::{Process, Runtime, bind, entropy, logging};
use crate::remote::Ready;
use crate::settings::{self, Flags, Loaded, Sources};

/// A gateway that is ready to run: what the machine and its runtime need.
pub struct PreparedGateway {
    /// For `Gateway::new`.
    pub settings: Arc<Settings>,
    /// For `Gateway::new`: fresh from the operating system.
    pub seed: Seed,
    /// Listening already, in the order of their `ListenerId`s.
    pub listeners: Vec<TcpListener>,
    /// Where the store is kept; it exists, for the owner alone.
    pub state_dir: PathBuf,
    /// For the runtime's host: tells the URL and the token on standard output. Whoever reads them may connect, and may
    /// end the gateway with a signal.
    pub ready: Ready,
}

struct Announcement {
    out: Box<dyn Write + Send>,
    url: String,
    token: Option<Secret>,
    json: bool,
    state_dir: PathBuf,
}

impl Announcement {
    fn print(&mut self) -> io::Result<()> {
        let text = if self.json { self.json() } else { self.lines() };
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn lines(&self) -> String {
        match &self.token {
            Some(token) => format!("Gateway URL: {}\nGateway token: {}\n", self.url, token.reveal()),
            None => format!("Gateway URL: {}\nGateway auth: disabled (loopback only)\n", self.url),
        }
    }

    fn json(&self) -> String {
        let mut object = serde_json::json!({
            "url": self.url,
            "auth": self.token.is_some(),
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "stateDir": self.state_dir.to_string_lossy(),
        });
        if let (Some(token), Some(fields)) = (&self.token, object.as_object_mut()) {
            fields.insert("token".into(), token.reveal().into());
        }
        format!("{object}\n")
    }
}

/// Starts a gateway and serves; whether it ended in order.
pub(super) fn run(runtime: &dyn Runtime, command: GatewayCommand, mut process: Process) -> bool {
    logging::start(command.verbose);
    let out = std::mem::replace(&mut process.stdout, Box::new(io::sink()));
    let served = prepare(command, &process, out).and_then(|prepared| {
        log::debug!("starting on the {} runtime", runtime.name());
        runtime
            .serve(prepared)
            .map_err(|error| format!("The gateway failed: {error}"))
    });
    match served {
        Ok(()) => true,
        Err(mistake) => {
            let _ = writeln!(process.stderr, "{mistake}");
            false
        }
    }
}

fn prepare(command: GatewayCommand, process: &Process, out: Box<dyn Write + Send>) -> Result<PreparedGateway, String> {
    if command.timeout.is_some() || command.ca.is_some() {
        return Err("--timeout and --ca go with --url only.".into());
    }
    if command.token.is_some() {
        log::info!(
            "a token on the command line can be seen by other users of this machine; OPENGOAT_GATEWAY_TOKEN cannot"
        );
    }
    let flags = Flags {
        bind: command.bind,
        port: command.port,
        token: command.token,
        no_auth: command.no_auth,
        allow_origin: command.allow_origin,
        state_dir: command.state_dir,
    };
    let sources = Sources {
        file: command.config.as_deref().map(Path::new),
        environment: &process.environment,
        set: &command.set,
        flags: &flags,
        working_dir: &process.working_dir,
    };
    let loaded =
        settings::load(&sources, settings::fresh_token(entropy()?)).map_err(|problems| problems.to_string())?;
    let listener = bind::listen(bind::Wanted {
        host: &loaded.host,
        port: loaded.port,
        allow_remote: command.allow_remote,
        auth: loaded.token.is_some(),
    })?;
    let bound = listener
        .local_addr()
        .map_err(|error| format!("Cannot tell the address of the listener: {error}."))?;
    // The folders come last: a start that is refused leaves nothing behind.
    if let Some(warning) =
        settings::make_folders(&loaded).map_err(|error| format!("The state folder cannot be made: {error}"))?
    {
        log::warn!("{warning}");
    }
    let Loaded {
        core, state_dir, token, ..
    } = loaded;
    let url = format!("ws://{bound}{}", core.gateway.path);
    let mut announcement = Announcement {
        out,
        url,
        token,
        json: command.json,
        state_dir: state_dir.clone(),
    };
    Ok(PreparedGateway {
        settings: Arc::new(core),
        seed: entropy()?,
        listeners: vec![listener],
        state_dir,
        ready: Ready::new(move || announcement.print()),
    })
}
