//! From a draft to the settings of a gateway: paths and agents are checked against the system and the core's types are
//! filled. Reads the file system; changes nothing but in [`make_folders`].

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use log::LevelFilter;
use portcullis_core::policy::bind::Lock;
use portcullis_core::policy::token::Strength;
use portcullis_core::secret::Secret;
use portcullis_core::settings::{Agent, AgentKind, CommandTool, DEFAULT_AGENT, SessionReset, Settings};

use super::draft::{
    AuthMode, Bind, Draft, SessionMode, Suppression, TailscaleMode, TokenSource, WrittenAgent, WrittenCommand,
    WrittenKind,
};
use super::environment::Environment;
use super::problem::Problem;
use super::{credential, local_time, paths, token};
use crate::tls::CertificateFiles;

/// Everything that was chosen, complete and checked.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Where to listen.
    pub bind: Bind,
    /// The port; 0 for a free one.
    pub port: u16,
    /// Other machines may reach the gateway.
    pub allow_remote: bool,
    /// It may listen on every address.
    pub allow_wildcard: bool,
    /// How clients prove themselves.
    pub auth_mode: AuthMode,
    /// The token or password that clients need; `None` when there is none.
    pub token: Option<Secret>,
    /// Where it comes from.
    pub token_source: Option<TokenSource>,
    /// The certificate and key of the listener; `None`: it has no TLS.
    pub tls: Option<CertificateFiles>,
    /// The state folder (absolute, real); [`make_folders`] makes it.
    pub state_dir: PathBuf,
    /// The settings file that was read, if one was.
    pub file: Option<PathBuf>,
    /// How much the log tells; `None`: the usual.
    pub log_level: Option<LevelFilter>,
    /// Findings of the audit that are accepted.
    pub suppressions: Vec<Suppression>,
    /// The devices of the tailnet are restricted, says the operator.
    pub tailnet_acl_attested: bool,
    /// How the tailnet publishes the gateway.
    pub tailscale: TailscaleMode,
    /// What a person should know and may be meant so.
    pub warnings: Vec<String>,
    /// What the machine takes. Its tokens are the one above.
    pub core: Settings,
    folders: Vec<PathBuf>,
}

impl Loaded {
    /// How the door is locked, for the bind guard.
    #[must_use]
    pub fn lock(&self) -> Lock {
        let strength = self.token.as_ref().map(|token| Strength::of(token.reveal()));
        match (self.auth_mode, strength) {
            (AuthMode::None, _) => Lock::Open,
            (AuthMode::TrustedProxy, None) => Lock::Proxy {
                has_trusted: !self.core.doors.trusted_proxies.is_empty(),
            },
            (_, strength) => Lock::Secret(strength.unwrap_or(Strength::Missing)),
        }
    }

    /// The token that [`make_folders`] is followed by writing down: it was made just now.
    #[must_use]
    pub fn fresh_token(&self) -> Option<(PathBuf, &Secret)> {
        let fresh = self.token_source == Some(TokenSource::Fresh);
        self.token
            .as_ref()
            .filter(|_| fresh)
            .map(|token| (token::token_file(&self.state_dir), token))
    }
}

/// What a draft is completed with.
pub(crate) struct Surroundings<'a> {
    pub(crate) state_dir: PathBuf,
    pub(crate) file: Option<PathBuf>,
    pub(crate) fresh_token: Secret,
    pub(crate) environment: &'a Environment,
}

/// Completes a draft. What is wrong goes into `problems`; the result counts only when there is nothing in it.
pub(crate) fn finish(mut draft: Draft, around: Surroundings<'_>, problems: &mut Vec<Problem>) -> Loaded {
    let state_dir = around.state_dir;
    let mut warnings = Vec::new();
    let mut folders = vec![state_dir.clone(), state_dir.join("sessions")];
    for (key, what) in draft.contradictions() {
        problems.push(Problem::new(key, what));
    }
    let given = credential::in_effect(&mut draft, &state_dir, around.fresh_token, problems, &mut warnings);
    let (token, token_source) = given.map_or((None, None), |(source, token)| (Some(token), Some(source)));
    let bind = bind(&draft, problems);
    let tls = tls(&draft, problems);
    let mut core = draft.core;
    core.auth.tokens = match draft.auth_mode {
        AuthMode::None => None,
        _ => Some(token.iter().cloned().collect()),
    };
    core.gateway.raise_to_floors();
    core.operator.raise_to_floors();
    core.operator.home_dir = text(&state_dir, problems);
    core.operator.sessions_dir = text(&state_dir.join("sessions"), problems);
    core.operator.utc_offset_minutes = local_time::utc_offset_minutes();
    core.operator.session_reset = match draft.session_mode {
        SessionMode::Daily => SessionReset::Daily,
        SessionMode::Idle => SessionReset::Idle(draft.session_idle),
        SessionMode::Never => SessionReset::Never,
    };
    let mut control = draft.control;
    if !control.standalone && control.token_file.is_none() {
        // Nothing else hands out the token of a control plane that shares the gateway's port.
        control.token_file = Some(text(&state_dir.join("control-token"), problems));
    }
    core.control = draft.control_on.then_some(control);
    if draft.audit_on {
        let logs = state_dir.join("logs");
        let mut audit = draft.audit;
        if audit.path.is_empty() {
            audit.path = text(&logs.join("audit.jsonl"), problems);
            folders.push(logs);
        }
        core.audit = Some(audit);
    }
    for root in &draft.workspace_roots {
        match root.canonicalize() {
            Ok(real) if real.is_dir() => core.agents.workspace_roots.push(text(&real, problems)),
            _ => problems.push(Problem::new(
                "agents.workspaceRoots",
                format!("{} is not a folder", root.display()),
            )),
        }
    }
    let search = around.environment.get("PATH");
    core.tools.commands = draft
        .commands
        .into_iter()
        .map(|command| tool(command, search, problems))
        .collect();
    let mut home = AgentHome {
        state_dir: &state_dir,
        folders: &mut folders,
        problems,
    };
    core.agents.agents = if draft.agents.is_empty() {
        vec![home.built_in()]
    } else {
        let agents = draft.agents.into_iter();
        agents.map(|agent| home.agent(agent, search)).collect()
    };
    Loaded {
        bind,
        port: draft.port,
        allow_remote: draft.allow_remote,
        allow_wildcard: draft.allow_wildcard,
        auth_mode: draft.auth_mode,
        token,
        token_source,
        tls,
        state_dir,
        file: around.file,
        log_level: draft.log_level,
        suppressions: draft.suppressions,
        tailnet_acl_attested: draft.tailnet_acl_attested,
        tailscale: draft.tailscale,
        warnings,
        core,
        folders,
    }
}

fn bind(draft: &Draft, problems: &mut Vec<Problem>) -> Bind {
    match (&draft.bind, &draft.custom_host) {
        (Bind::Custom, Some(host)) => Bind::Host(host.clone()),
        (Bind::Custom, None) => {
            problems.push(Problem::new(
                "gateway.customBindHost",
                "is missing: gateway.bind \"custom\" needs the address",
            ));
            Bind::Custom
        }
        (bind, _) => bind.clone(),
    }
}

fn tls(draft: &Draft, problems: &mut Vec<Problem>) -> Option<CertificateFiles> {
    if draft.tls.enabled != Some(true) {
        return None;
    }
    let mut file = |key: &str, option: &str, path: &Option<PathBuf>| match path {
        None => {
            problems.push(Problem::new(key, format!("is missing: TLS needs it (or {option})")));
            None
        }
        Some(path) if path.is_file() => Some(path.clone()),
        Some(path) => {
            problems.push(Problem::new(key, format!("{} is not a file", path.display())));
            None
        }
    };
    let cert = file("gateway.tls.certPath", "--tls-cert", &draft.tls.cert);
    let key = file("gateway.tls.keyPath", "--tls-key", &draft.tls.key);
    Some(CertificateFiles {
        cert: cert?,
        key: key?,
        allow_tls12: draft.tls.allow_tls12,
    })
}

fn tool(written: WrittenCommand, search: Option<&str>, problems: &mut Vec<Problem>) -> CommandTool {
    let place = format!("tool {:?} command", written.name);
    let program = program(&written.program, search, place, problems);
    CommandTool {
        program: text(&program, problems),
        name: written.name,
        description: written.description,
        args: written.args,
        timeout: written.timeout,
        max_output_bytes: written.max_output_bytes,
        takes_action: written.takes_action,
    }
}

fn program(written: &str, search: Option<&str>, place: String, problems: &mut Vec<Problem>) -> PathBuf {
    paths::program(written, search).unwrap_or_else(|| {
        let what = match written.contains('/') {
            true => "is not a program that may be run",
            false => "is not on PATH; write the whole path",
        };
        problems.push(Problem::new(place, format!("{written} {what}")));
        PathBuf::new()
    })
}

struct AgentHome<'a> {
    state_dir: &'a Path,
    folders: &'a mut Vec<PathBuf>,
    problems: &'a mut Vec<Problem>,
}

impl AgentHome<'_> {
    fn built_in(&mut self) -> Agent {
        let mut agent = Agent::built_in(&self.own_folder("workspaces", DEFAULT_AGENT));
        agent.internal_config_dir = self.own_folder("agents", DEFAULT_AGENT);
        agent
    }

    fn agent(&mut self, written: WrittenAgent, search: Option<&str>) -> Agent {
        let place = format!("agent {:?}", written.id);
        let kind = match written.answers {
            WrittenKind::Provider(kind) => kind,
            WrittenKind::Command { program: name, args } => {
                let program = program(&name, search, format!("{place} command"), self.problems);
                AgentKind::Command {
                    program: text(&program, self.problems),
                    args,
                }
            }
        };
        let workspace_dir = match &written.workspace_dir {
            None => self.own_folder("workspaces", &written.id),
            Some(folder) => match folder.canonicalize() {
                Ok(real) if real.is_dir() => text(&real, self.problems),
                _ => {
                    let what = format!("{} is not a folder; make it first", folder.display());
                    self.problems.push(Problem::new(format!("{place} workspaceDir"), what));
                    String::new()
                }
            },
        };
        Agent {
            display_name: written.display_name.unwrap_or_else(|| written.id.clone()),
            internal_config_dir: self.own_folder("agents", &written.id),
            workspace_dir,
            kind,
            id: written.id,
        }
    }

    fn own_folder(&mut self, kind: &str, id: &str) -> String {
        let folder = self.state_dir.join(kind).join(id);
        let path = text(&folder, self.problems);
        self.folders.push(folder);
        path
    }
}

fn text(path: &Path, problems: &mut Vec<Problem>) -> String {
    path.to_str().map(str::to_owned).unwrap_or_else(|| {
        problems.push(Problem::new(
            path.display().to_string(),
            "the path is not UTF-8; choose another",
        ));
        String::new()
    })
}

fn not_made(folder: &Path, error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "the folder around it is not writable by this user; change its owner or mode"
        }
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            "it, or what it should lie in, is a file and no folder; move the file away"
        }
        _ => return format!("{}: {error}", folder.display()),
    };
    format!(
        "{}: {what}, or choose another folder with --state-dir ({error})",
        folder.display()
    )
}

/// Makes the state folder and those inside it, for the owner alone (0700). A state folder that was there already and
/// lets others in is left as it is and named in the result, for a warning.
///
/// # Errors
/// The path that could not be made, and why.
pub fn make_folders(loaded: &Loaded) -> io::Result<Option<String>> {
    for folder in &loaded.folders {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| io::Error::new(error.kind(), not_made(folder, &error)))?;
    }
    let mode = fs::metadata(&loaded.state_dir)?.permissions().mode();
    Ok((mode & 0o077 != 0).then(|| {
        let path = loaded.state_dir.display();
        format!("other users can enter the state folder {path}, which holds transcripts: run chmod 700 {path}")
    }))
}
