//! `gateway`: settings, listener, folders, then the runtime. Everything that can be refused is refused before a
//! connection is taken.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_core::random::Seed;
use portcullis_core::settings::Settings;

use super::announce::Announcement;
use super::bind::Listening;
use super::commands::GatewayCommand;
use super::reload::{self, Origin, Running};
use super::running::{self, Mark};
use super::{Process, Refusal, Runtime, bind, entropy, logging};
use crate::remote::Ready;
use crate::reporting::Reporter;
use crate::settings::{self, Flags, Loaded, Purpose, TokenSource};
use crate::signals::{Reload, SignalPlan};
use crate::supervisor::{State, Supervisor};
use crate::tls::ServerTls;

/// A gateway that is ready to run: what the machine and its runtime need.
pub struct PreparedGateway {
    /// For `Gateway::new`.
    pub settings: Arc<Settings>,
    /// For `Gateway::new`: fresh from the operating system.
    pub seed: Seed,
    /// Listening already, in the order of their `ListenerId`s.
    pub listeners: Vec<TcpListener>,
    /// TLS on all of them, for the runtime's host.
    pub listener_tls: Option<ServerTls>,
    /// Where the store is kept; it exists, for the owner alone.
    pub state_dir: PathBuf,
    /// For the runtime's host: tells the URL and where the token is on standard output. Whoever reads it may connect, and
    /// may end the gateway with a signal.
    pub ready: Ready,
    /// For the runtime's host: what signals bring about.
    pub signals: SignalPlan,
    /// Says which process runs over the state folder, as long as it lives.
    pub running: Option<Mark>,
    /// For the runtime's host: where the machine's reports go.
    pub reports: Reporter,
}

/// Starts a gateway and serves.
pub(super) fn run(runtime: &dyn Runtime, command: &GatewayCommand, process: &mut Process) -> Result<(), Refusal> {
    logging::start(logging::level(command.verbose, None));
    let prepared = prepare(command, process)?;
    log::debug!("starting on the {} runtime", runtime.name());
    runtime
        .serve(prepared)
        .map_err(|error| format!("The gateway failed: {error}").into())
}

/// The places that a command line names, and where else to look.
fn origin(command: &GatewayCommand, process: &Process) -> Origin {
    Origin {
        file: command.config.as_deref().map(PathBuf::from),
        environment: process.environment.clone(),
        set: command.set.clone(),
        flags: Flags {
            bind: command.bind.clone(),
            port: command.port.clone(),
            token: command.token.clone(),
            no_auth: command.no_auth,
            allow_origin: command.allow_origin.clone(),
            state_dir: command.state_dir.clone(),
            token_file: command.token_file.clone(),
            env_file: command.env_file.clone(),
            allow_remote: command.allow_remote,
            tls_cert: command.tls_cert.clone(),
            tls_key: command.tls_key.clone(),
        },
        working_dir: process.working_dir.clone(),
        purpose: Purpose::Gateway,
        verbose: command.verbose,
        control: None,
    }
}

/// Settings, and a socket that listens as they say.
pub(super) struct Opened {
    pub(super) loaded: Loaded,
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<ServerTls>,
}

/// Reads the settings and opens the listener, or says what is wrong; tells what a person should know.
pub(super) fn open(origin: &Origin) -> Result<Opened, Refusal> {
    let loaded = settings::load(&origin.sources(), settings::fresh_token(entropy()?)).map_err(Refusal::not_started)?;
    reload::settle(&loaded, origin.verbose);
    let Listening {
        listener,
        address,
        allowed,
    } = bind::listen(&loaded)?;
    let tls = loaded.tls.as_ref().map(ServerTls::load).transpose();
    let tls = tls.map_err(|why| Refusal::of_settings(format!("TLS cannot be used: {why}")))?;
    loaded.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    allowed.warnings().for_each(|warning| log::warn!("{warning}"));
    Ok(Opened {
        loaded,
        listener,
        address,
        tls,
    })
}

fn prepare(command: &GatewayCommand, process: &mut Process) -> Result<PreparedGateway, Refusal> {
    if command.timeout.is_some() || command.ca.is_some() {
        return Err("--timeout and --ca go with --url only.".into());
    }
    if command.print_token && !process.is_terminal {
        return Err("--print-token works on a terminal only: what is written elsewhere stays there.".into());
    }
    if command.token.is_some() {
        log::warn!(
            "a token on the command line can be seen by other users of this machine; --token-file and OPENGOAT_GATEWAY_TOKEN cannot"
        );
    }
    let origin = origin(command, process);
    let Opened {
        mut loaded,
        listener,
        address,
        tls,
    } = open(&origin)?;
    origin.prepare(&mut loaded, address);
    // The folders come last: a start that is refused leaves nothing behind.
    make_folders(&loaded)?;
    let running = running::marked(&loaded.state_dir, address);
    let scheme = if tls.is_some() { "wss" } else { "ws" };
    let url = format!("{scheme}://{address}{}", loaded.core.gateway.path);
    let announcement = announcement(command, process, &loaded, url);
    let supervisor = Supervisor::of(process.environment.get("NOTIFY_SOCKET").map(AsRef::as_ref));
    let settings = Arc::new(loaded.core.clone());
    let state_dir = loaded.state_dir.clone();
    let mut current = Running {
        origin,
        loaded,
        address,
        tls: tls.clone(),
    };
    let reload = running::telling(running.as_ref(), Reload::new(move || current.reload()));
    Ok(PreparedGateway {
        seed: entropy()?,
        listeners: vec![listener],
        listener_tls: tls,
        state_dir,
        ready: ready(announcement, supervisor.clone()),
        signals: SignalPlan {
            reload: Some(reload),
            grace: settings.gateway.drain_grace,
            supervisor,
            on_drain: running::draining(running.as_ref()),
        },
        settings,
        running,
        reports: Reporter::default(),
    })
}

fn make_folders(loaded: &Loaded) -> Result<(), Refusal> {
    let made = settings::make_folders(loaded).map_err(|error| format!("The state folder cannot be made: {error}"))?;
    if let Some(warning) = made {
        log::warn!("{warning}");
    }
    if let Some((file, token)) = loaded.fresh_token() {
        settings::write_token_file(&file, token)
            .map_err(|error| format!("The token file {} cannot be written: {error}", file.display()))?;
    }
    Ok(())
}

fn announcement(command: &GatewayCommand, process: &mut Process, loaded: &Loaded, url: String) -> Announcement {
    let source = loaded.token_source;
    let is_kept = matches!(source, Some(TokenSource::Fresh | TokenSource::File));
    // A token that was made just now is shown to the person who started the gateway; any other only to one who asks.
    let is_shown = process.is_terminal && (command.print_token || source == Some(TokenSource::Fresh));
    Announcement {
        out: std::mem::replace(&mut process.stdout, Box::new(io::sink()) as Box<dyn Write + Send>),
        url,
        auth: loaded.auth_mode,
        source,
        token_file: is_kept.then(|| settings::token_file(&loaded.state_dir)),
        token: loaded.token.clone().filter(|_| is_shown),
        json: command.json,
        state_dir: loaded.state_dir.clone(),
    }
}

fn ready(mut announcement: Announcement, supervisor: Supervisor) -> Ready {
    Ready::new(move || {
        announcement.print();
        supervisor.tell(State::Ready);
        Ok(())
    })
}
