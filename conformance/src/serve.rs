//! Machines on the two real runtimes: how this program serves an echo, and how it is a gateway's child process itself, so
//! that the suite needs no other program than its own.

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use portcullis_blocking::cli::{self, PreparedGateway};
use portcullis_blocking::clock::Clock;
use portcullis_blocking::remote::Ready;
use portcullis_blocking::reporting::Reporter;
use portcullis_blocking::server;
use portcullis_blocking::signals::SignalPlan;
use portcullis_blocking::store::Store;
use portcullis_blocking::tls::{ClientTls, ServerTls};
use portcullis_core::gateway::Gateway;
use portcullis_core::machine::Machine;
use portcullis_core::settings::GatewaySettings;

use crate::child::Program;

/// The word before the arguments of a gateway that this program runs in a child process of its own.
pub const CHILD: &str = "gateway-child";
/// The word that makes this program the raw TCP echo.
const FLOOR: &str = "floor";

/// A runtime.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Runtime {
    /// One thread and a reactor.
    Smol,
    /// Threads.
    Blocking,
}

impl Runtime {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smol => "smol",
            Self::Blocking => "blocking",
        }
    }

    /// The gateway program that runs on it.
    const fn binary(self) -> &'static str {
        match self {
            Self::Smol => "portcullis",
            Self::Blocking => "portcullis-blocking",
        }
    }
}

impl std::str::FromStr for Runtime {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "smol" => Ok(Self::Smol),
            "blocking" => Ok(Self::Blocking),
            other => Err(format!("{other:?} is no runtime: smol or blocking")),
        }
    }
}

/// Serves `machine` on `listener` until SIGINT or SIGTERM has drained it; its records are kept in memory.
///
/// # Errors
/// What the system refused.
pub fn serve_volatile<M: Machine + Send + 'static>(
    runtime: Runtime,
    machine: M,
    listener: TcpListener,
) -> io::Result<()> {
    let parts = Parts {
        store: Store::memory(),
        clock: Clock::start(),
        ready: Ready::default(),
        signals: SignalPlan::default(),
        listener_tls: None,
        reports: Reporter::default(),
        settings: &GatewaySettings::default(),
    };
    serve(runtime, machine, vec![listener], parts)
}

/// What the hosts of both runtimes are made of.
struct Parts<'a> {
    store: Store,
    clock: Clock,
    ready: Ready,
    /// What signals bring about.
    signals: SignalPlan,
    /// TLS on the listeners, if there is any.
    listener_tls: Option<ServerTls>,
    /// Who hears what the machine reports.
    reports: Reporter,
    /// How many connections there may be.
    settings: &'a GatewaySettings,
}

fn serve<M: Machine + Send + 'static>(
    runtime: Runtime,
    machine: M,
    listeners: Vec<TcpListener>,
    parts: Parts<'_>,
) -> io::Result<()> {
    let Parts {
        store,
        clock,
        ready,
        signals,
        listener_tls,
        reports,
        settings,
    } = parts;
    let tls = ClientTls::new(None);
    match runtime {
        Runtime::Smol => {
            let host = portcullis_smol::Host {
                signals: Some(signals),
                listener_tls,
                reports,
                ready,
                ..portcullis_smol::Host::new(store, tls, clock)
            };
            portcullis_smol::serve(machine, listeners, host)
        }
        Runtime::Blocking => {
            let mut host = server::Host {
                signals: Some(signals),
                listener_tls,
                reports,
                ready,
                ..server::Host::new(store, tls, clock)
            };
            host.make_room_for(settings);
            server::serve(machine, listeners, host)
        }
    }
}

impl cli::Runtime for Runtime {
    fn name(&self) -> &'static str {
        (*self).name()
    }

    fn serve(&self, prepared: PreparedGateway) -> io::Result<()> {
        let clock = Clock::start();
        let store = Store::open(&prepared.state_dir.join("store.redb")).map_err(io::Error::other)?;
        let settings = prepared.settings;
        let gateway = Gateway::new(Arc::clone(&settings), prepared.seed, clock.now());
        let parts = Parts {
            store,
            clock,
            ready: prepared.ready,
            signals: prepared.signals,
            listener_tls: prepared.listener_tls,
            reports: prepared.reports,
            settings: &settings.gateway,
        };
        serve(*self, gateway, prepared.listeners, parts)
    }
}

/// How a target is started: with `binary`, or with this program itself. It is started in folders of its own, so its path may
/// not begin in this one.
///
/// # Errors
/// When this program does not know its own file, or there is no such runtime, or no such file.
pub fn program(runtime: &str, binary: Option<&Path>) -> Result<Program, String> {
    let runtime: Runtime = runtime.parse()?;
    match binary {
        Some(file) => Ok(Program {
            file: file
                .canonicalize()
                .map_err(|error| format!("{}: {error}", file.display()))?,
            prefix: Vec::new(),
        }),
        None => Ok(own(own_file()?, runtime)),
    }
}

/// The same, with the gateway program beside this one before this one itself.
///
/// # Errors
/// When this program does not know its own file.
pub fn program_or_beside(runtime: Runtime, binary: Option<&Path>) -> Result<Program, String> {
    let beside = own_file()?.with_file_name(runtime.binary());
    let binary = binary.or_else(|| beside.is_file().then_some(beside.as_path()));
    program(runtime.name(), binary)
}

/// How the program `file` (this suite's own) is started as a gateway.
#[must_use]
pub fn own(file: PathBuf, runtime: Runtime) -> Program {
    Program {
        file,
        prefix: vec![CHILD.into(), runtime.name().into()],
    }
}

/// How the raw TCP echo is started.
///
/// # Errors
/// When this program does not know its own file.
pub fn floor_program() -> Result<Program, String> {
    Ok(Program {
        file: own_file()?,
        prefix: vec![CHILD.into(), FLOOR.into()],
    })
}

fn own_file() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("this program does not find itself: {error}"))
}

/// Is a child: `words` are this program's name, [`CHILD`], what to be, and then a gateway's own arguments.
#[must_use]
pub fn child(words: Vec<String>) -> ExitCode {
    let mut words = words.into_iter();
    let (name, what) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
    if what == FLOOR {
        return match crate::load::floor::serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => told(&error.to_string()),
        };
    }
    let runtime: Runtime = match what.parse() {
        Ok(runtime) => runtime,
        Err(why) => return told(&why),
    };
    let Ok(working_dir) = std::env::current_dir() else {
        return told("there is no working directory");
    };
    let process = cli::Process {
        args: std::iter::once(name).chain(words).collect(),
        environment: portcullis_blocking::settings::Environment::of_this_process(),
        working_dir,
        stdout: Box::new(io::stdout()),
        stderr: Box::new(io::stderr()),
        is_terminal: false,
    };
    ExitCode::from(cli::run(&runtime, process))
}

fn told(why: &str) -> ExitCode {
    eprintln!("Error: {why}");
    ExitCode::FAILURE
}
