//! `control`: the control plane alone on a port of its own, started as its original is: by environment variables. What it
//! says is the original's, too; but the token is only shown to a person, or to whoever asks for it. Spec: `spec/cli.md`.

mod command;
mod lines;
mod teller;

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(super) use command::ControlCommand;
use teller::{Streams, Teller};

use super::reload::{Origin, Running};
use super::start::{Opened, open};
use super::{PreparedGateway, Process, Refusal, Runtime, entropy, logging, running};
use crate::remote::Ready;
use crate::reporting::Reporter;
use crate::settings::{self, Flags, Loaded, Purpose};
use crate::signals::{Reload, SignalPlan};
use crate::supervisor::{State, Supervisor};

/// How long commands under way may take when the process is asked to end.
const GRACE: Duration = Duration::from_secs(5);
/// Its own part of the state folder, so that a gateway may run beside it.
const FOLDER: &str = "control";

/// What the command line says of the token; kept for reading the settings again.
#[derive(Clone, Debug)]
pub(super) struct Choices {
    shows_token: bool,
    token_file: Option<PathBuf>,
}

impl Choices {
    /// Completes settings that were read for this command.
    pub(super) fn complete(&self, loaded: &mut Loaded) {
        let usual = loaded.state_dir.join(FOLDER).join("control-token");
        let core = &mut loaded.core;
        core.gateway.drain_grace = core.gateway.drain_grace.min(GRACE);
        if let Some(control) = &mut core.control {
            control.hand_out_token = self.shows_token;
            let text = |path: &Path| path.to_string_lossy().into_owned();
            match &self.token_file {
                Some(file) => control.token_file = Some(text(file)),
                None => {
                    control.token_file.get_or_insert_with(|| text(&usual));
                }
            }
        }
    }
}

/// Starts the control plane and serves.
pub(super) fn run(runtime: &dyn Runtime, command: &ControlCommand, process: &mut Process) -> Result<(), Refusal> {
    logging::start(logging::level(command.verbose, None));
    let (prepared, teller) = prepare(command, process)?;
    log::debug!("starting on the {} runtime", runtime.name());
    runtime
        .serve(prepared)
        .map_err(|error| format!("The control plane failed: {error}"))?;
    teller.stopped();
    Ok(())
}

fn origin(command: &ControlCommand, process: &Process) -> Origin {
    Origin {
        file: command.config.as_deref().map(PathBuf::from),
        environment: process.environment.clone(),
        set: command.set.clone(),
        flags: Flags {
            bind: command.bind.clone(),
            port: command.port.clone(),
            allow_origin: command.allow_origin.clone(),
            state_dir: command.state_dir.clone(),
            env_file: command.env_file.clone(),
            allow_remote: command.allow_remote,
            tls_cert: command.tls_cert.clone(),
            tls_key: command.tls_key.clone(),
            ..Flags::default()
        },
        working_dir: process.working_dir.clone(),
        purpose: Purpose::Control,
        verbose: command.verbose,
        control: Some(Choices {
            shows_token: command.print_token || (process.is_terminal && !command.json),
            token_file: command.token_file.as_ref().map(|file| process.working_dir.join(file)),
        }),
    }
}

fn prepare(command: &ControlCommand, process: &mut Process) -> Result<(PreparedGateway, Arc<Teller>), Refusal> {
    let origin = origin(command, process);
    let Opened {
        mut loaded,
        listener,
        address,
        tls,
    } = open(&origin)?;
    origin.prepare(&mut loaded, address);
    // The folders come last: a start that is refused leaves nothing behind.
    let state_dir = make_folders(&loaded)?;
    let running = running::marked(&state_dir, address);
    let supervisor = Supervisor::of(process.environment.get("NOTIFY_SOCKET").map(AsRef::as_ref));
    let teller = teller(command, process, &origin, address, tls.is_some());
    let settings = Arc::new(loaded.core.clone());
    let reports = Arc::clone(&teller);
    let ready = supervisor.clone();
    let mut current = Running {
        origin,
        loaded,
        address,
        tls: tls.clone(),
    };
    let reload = running::telling(running.as_ref(), Reload::new(move || current.reload()));
    let prepared = PreparedGateway {
        seed: entropy()?,
        listeners: vec![listener],
        listener_tls: tls,
        state_dir,
        ready: Ready::new(move || {
            ready.tell(State::Ready);
            Ok(())
        }),
        signals: SignalPlan {
            reload: Some(reload),
            grace: settings.gateway.drain_grace,
            supervisor,
            on_drain: running::draining(running.as_ref()),
        },
        settings,
        running,
        reports: Reporter::new(move |report| reports.tell(report)),
    };
    Ok((prepared, teller))
}

fn teller(
    command: &ControlCommand,
    process: &mut Process,
    origin: &Origin,
    address: SocketAddr,
    tls: bool,
) -> Arc<Teller> {
    let scheme = if tls { "wss" } else { "ws" };
    let streams = Streams::new(
        std::mem::replace(&mut process.stdout, Box::new(io::sink()) as Box<dyn Write + Send>),
        std::mem::replace(&mut process.stderr, Box::new(io::stderr())),
    );
    Arc::new(Teller {
        url: format!("{scheme}://{address}"),
        shows_token: origin.control.as_ref().is_some_and(|choices| choices.shows_token),
        json: command.json,
        streams: Mutex::new(streams),
    })
}

/// Makes the folders, and removes the token of an earlier process: who finds one finds a good one.
fn make_folders(loaded: &Loaded) -> Result<PathBuf, Refusal> {
    let made = settings::make_folders(loaded).map_err(|error| format!("The state folder cannot be made: {error}"))?;
    if let Some(warning) = made {
        log::warn!("{warning}");
    }
    let state_dir = loaded.state_dir.join(FOLDER);
    let token_file = loaded
        .core
        .control
        .as_ref()
        .and_then(|control| control.token_file.as_deref());
    for folder in [
        Some(state_dir.as_path()),
        token_file.and_then(|file| Path::new(file).parent()),
    ] {
        let Some(folder) = folder else { continue };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| format!("The folder {} cannot be made: {error}", folder.display()))?;
    }
    match token_file.map(fs::remove_file) {
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
            let file = token_file.unwrap_or_default();
            Err(format!("The token file {file} cannot be replaced: {error}. Name another with --token-file.").into())
        }
        _ => Ok(state_dir),
    }
}
