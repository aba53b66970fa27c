//! From a draft to the settings of a gateway: paths and agents are checked against the system and the core's types are
//! filled. Reads the file system; changes nothing but in [`make_folders`].

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use portcullis_core::secret::Secret;
use portcullis_core::settings::{Agent, AgentKind, DEFAULT_AGENT, SessionReset, Settings};

use super::draft::{Draft, SessionMode, WrittenAgent};
use super::environment::Environment;
use super::problem::Problem;
use super::{local_time, paths};

/// Everything that was chosen, complete and checked.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The address or host name to listen on.
    pub host: String,
    /// The port; 0 for a free one.
    pub port: u16,
    /// The token that clients need; `None` when the door is open.
    pub token: Option<Secret>,
    /// The state folder (absolute, real); [`make_folders`] makes it.
    pub state_dir: PathBuf,
    /// What the machine takes. Its tokens are the one above.
    pub core: Settings,
    folders: Vec<PathBuf>,
}

/// Completes a draft. What is wrong goes into `problems`; the result counts only when there is nothing in it.
pub(crate) fn finish(
    draft: Draft,
    state_dir: PathBuf,
    fresh_token: Secret,
    environment: &Environment,
    problems: &mut Vec<Problem>,
) -> Loaded {
    let mut folders = vec![state_dir.clone(), state_dir.join("sessions")];
    let mut core = draft.core;
    let token = draft.auth_on.then(|| draft.token.unwrap_or(fresh_token));
    core.auth.tokens = token.clone().map(|token| vec![token]);
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
    for root in &draft.workspace_roots {
        match root.canonicalize() {
            Ok(real) if real.is_dir() => core.agents.workspace_roots.push(text(&real, problems)),
            _ => problems.push(Problem::new(
                "agents.workspaceRoots",
                format!("{} is not a folder", root.display()),
            )),
        }
    }
    let mut home = AgentHome {
        state_dir: &state_dir,
        folders: &mut folders,
        problems,
    };
    core.agents.agents = if draft.agents.is_empty() {
        vec![home.built_in()]
    } else {
        draft
            .agents
            .into_iter()
            .map(|agent| home.agent(agent, environment.get("PATH")))
            .collect()
    };
    Loaded {
        host: draft.host,
        port: draft.port,
        token,
        state_dir,
        core,
        folders,
    }
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
        let program = paths::program(&written.program, search).unwrap_or_else(|| {
            let what = match written.program.contains('/') {
                true => "is not a program that may be run",
                false => "is not on PATH; write the whole path",
            };
            self.problems.push(Problem::new(
                format!("{place} command"),
                format!("{} {what}", written.program),
            ));
            PathBuf::new()
        });
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
            kind: AgentKind::Command {
                program: text(&program, self.problems),
                args: written.args,
            },
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
