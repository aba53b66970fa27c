//! `relay`: the relay alone on a port of its own, started as its original is: by environment variables and a `.env` file.
//! Whether it may listen where it is told to is judged here before and after the socket is open. Spec: `spec/relay.md`
//! section 1.

mod announce;
mod command;

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_core::policy::bind::{self as guard, Class};
use portcullis_core::settings::Settings;

pub(super) use command::RelayCommand;

use super::{PreparedGateway, Process, Refusal, Runtime, bind, entropy, logging, running};
use crate::redaction;
use crate::settings::{Environment, RelayChoices, RelayFlags, read_relay};
use crate::signals::{Reload, SignalPlan};
use crate::supervisor::Supervisor;
use crate::tls::ServerTls;

/// Starts the relay and serves.
pub(super) fn run(runtime: &dyn Runtime, command: &RelayCommand, process: &mut Process) -> Result<(), Refusal> {
    logging::start(logging::level(command.verbose, None));
    let prepared = prepare(command, process)?;
    log::debug!("starting on the {} runtime", runtime.name());
    runtime
        .serve(prepared)
        .map_err(|error| format!("startup failed: {error}").into())
}

fn configuration(error: impl std::fmt::Display) -> Refusal {
    format!("configuration error: {error}").into()
}

fn prepare(command: &RelayCommand, process: &mut Process) -> Result<PreparedGateway, Refusal> {
    let origin = Origin {
        environment: process.environment.clone(),
        flags: RelayFlags {
            bind: command.bind.clone(),
            port: command.port.clone(),
            allow_remote: command.allow_remote,
            state_dir: command.state_dir.clone(),
            tls_cert: command.tls_cert.clone(),
            tls_key: command.tls_key.clone(),
        },
        working_dir: process.working_dir.clone(),
    };
    let choices = origin.read().map_err(configuration)?;
    redaction::know(choices.secrets());
    let (listener, address) = listen(&choices)?;
    let tls = choices.tls.as_ref().map(ServerTls::load).transpose();
    let tls = tls.map_err(|why| configuration(format!("TLS cannot be used: {why}")))?;
    warn(&choices);
    if choices.is_demo() && Class::of(address.ip()) != Class::Loopback {
        log::warn!(
            "AUTH_MODE=demo on {address}: everybody who reaches this port can act as every user. Set AUTH_MODE to oidc or firebase."
        );
    }
    // The folders come last: a start that is refused leaves nothing behind.
    make_folder(&choices.state_dir)?;
    make_folder(&choices.state_dir.join("logs"))?;
    let running = running::marked(&choices.state_dir, address);
    let settings = Arc::new(choices.settings(address));
    let supervisor = Supervisor::of(process.environment.get("NOTIFY_SOCKET").map(AsRef::as_ref));
    let announcement = announcement(command, &choices, &settings, address, tls.is_some());
    let state_dir = choices.state_dir.clone();
    let out = std::mem::replace(&mut process.stdout, Box::new(io::sink()) as Box<dyn Write + Send>);
    let (ready, reports) = announce::when_it_serves(out, announcement, supervisor.clone());
    let mut current = Running {
        origin,
        place: place(&choices),
        choices,
        address,
        tls: tls.clone(),
    };
    let reload = running::telling(running.as_ref(), Reload::new(move || current.reload()));
    Ok(PreparedGateway {
        seed: entropy()?,
        listeners: vec![listener],
        listener_tls: tls,
        state_dir,
        ready,
        signals: SignalPlan {
            reload: Some(reload),
            grace: settings.gateway.drain_grace,
            supervisor,
            on_drain: running::draining(running.as_ref()),
        },
        settings,
        running,
        reports,
    })
}

/// Tells what may not be meant so.
fn warn(choices: &RelayChoices) {
    for warning in &choices.warnings {
        log::warn!("{warning}");
    }
}

/// Opens the listening socket, or says why not and what would allow it.
fn listen(choices: &RelayChoices) -> Result<(TcpListener, SocketAddr), Refusal> {
    let address = guard::parse(&choices.bind).map_err(|_| {
        configuration(format!(
            "--bind {:?} is no IP address (names other than localhost are not looked up)",
            choices.bind
        ))
    })?;
    let address = SocketAddr::new(address, choices.port);
    judge(choices, address)?;
    let listener = TcpListener::bind(address).map_err(|error| bind::refused(address, &error))?;
    let bound = listener
        .local_addr()
        .map_err(|error| format!("startup failed: the listener has no address: {error}"))?;
    judge(choices, bound)?;
    Ok((listener, bound))
}

/// Other machines reach the relay only when somebody said so.
fn judge(choices: &RelayChoices, address: SocketAddr) -> Result<(), Refusal> {
    if choices.allow_remote || Class::of(address.ip()) == Class::Loopback {
        return Ok(());
    }
    let why = if choices.is_demo() {
        "in demo mode everybody is who they say they are, so whoever reaches this port can act as every user and take over every \
         device. Set AUTH_MODE to oidc or firebase, or leave --bind out to listen on 127.0.0.1 only; --allow-remote (or \
         RELAY_ALLOW_REMOTE=true) serves demo mode to other machines all the same"
    } else {
        "other machines can reach it. Add --allow-remote (or set RELAY_ALLOW_REMOTE=true) if they shall, or leave --bind out to \
         listen on 127.0.0.1 only"
    };
    Err(configuration(format!("refusing to listen on {}: {why}", address.ip())))
}

fn make_folder(folder: &Path) -> Result<(), Refusal> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| {
            format!(
                "startup failed: the folder {} cannot be made: {error}. Name another place with --state-dir.",
                folder.display()
            )
            .into()
        })
}

fn announcement(
    command: &RelayCommand,
    choices: &RelayChoices,
    settings: &Settings,
    address: SocketAddr,
    tls: bool,
) -> String {
    let scheme = if tls { "https" } else { "http" };
    let relay = settings.relay.as_ref();
    let (base, mode) = relay.map_or(("", ""), |relay| (relay.public_base_url.as_str(), relay.auth.name()));
    if command.json {
        let object = serde_json::json!({
            "url": format!("{scheme}://{address}"),
            "publicBaseUrl": base,
            "authMode": mode,
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "stateDir": choices.state_dir.to_string_lossy(),
        });
        return format!("{object}\n");
    }
    let warning = if mode == "demo" {
        " (everybody is who they say they are: for trying out, on this machine)"
    } else {
        ""
    };
    format!("Relay URL: {scheme}://{address}\nPublic base URL: {base}\nAuth mode: {mode}{warning}\n")
}

/// Where the settings come from, kept for reading them again.
struct Origin {
    environment: Environment,
    flags: RelayFlags,
    working_dir: PathBuf,
}

impl Origin {
    fn read(&self) -> Result<RelayChoices, String> {
        read_relay(&self.environment, &self.flags, &self.working_dir)
    }
}

/// Address, port, and whether there is TLS, as they were chosen: what a running relay cannot change.
type Place = (String, u16, bool);

fn place(choices: &RelayChoices) -> Place {
    (choices.bind.clone(), choices.port, choices.tls.is_some())
}

/// A relay that runs, as far as new settings concern it.
struct Running {
    origin: Origin,
    choices: RelayChoices,
    place: Place,
    address: SocketAddr,
    tls: Option<ServerTls>,
}

impl Running {
    /// Reads everything again: the settings to go on with, or `None` when the old ones stay.
    fn reload(&mut self) -> Option<Arc<Settings>> {
        match self.read() {
            Ok(settings) => {
                log::info!("SIGHUP: the settings were read again");
                Some(settings)
            }
            Err(why) => {
                log::error!("SIGHUP: the old settings stay: {why}");
                None
            }
        }
    }

    fn read(&mut self) -> Result<Arc<Settings>, String> {
        let new = self.origin.read()?;
        judge(&new, self.address).map_err(|refusal| refusal.text)?;
        if !new.secrets().eq(self.choices.secrets()) {
            return Err("other keys need a restart".into());
        }
        if new.state_dir != self.choices.state_dir {
            return Err("another state folder needs a restart".into());
        }
        if let (Some(tls), Some(files)) = (&self.tls, &new.tls) {
            tls.reload(files)?;
        }
        warn(&new);
        if place(&new) != self.place {
            log::warn!(
                "SIGHUP: another address, another port, and whether there is TLS need a restart; the rest holds now"
            );
        }
        let settings = Arc::new(new.settings(self.address));
        self.choices = new;
        Ok(settings)
    }
}
