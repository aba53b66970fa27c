//! Gathers what the audit looks at: settings, token, files, firewall, the running gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use portcullis_core::policy::token::Strength;
use portcullis_core::security::{
    Bind, Facts, FileFact, FileRole, Firewall, Probe, Suppression, TailnetPublishing, TokenFacts,
};
use portcullis_core::time::UnixMillis;
use serde_json::Value;

use super::super::commands::SecurityCommand;
use super::super::probe::Target;
use super::super::reload::{Origin, Place};
use super::super::running::{self, Live};
use super::super::{Process, Refusal, bind, entropy};
use crate::inspect::{firewall, permissions};
use crate::settings::{self, ConfigPath, Loaded, SettingsFile, TOKEN_VARIABLES, TailscaleMode, TokenSource};

/// How long the running gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The settings in force and what they were read from.
pub(super) struct Ground {
    pub(super) loaded: Loaded,
    pub(super) live: Option<Live>,
    file: Option<SettingsFile>,
    env_file: Option<String>,
    env_token: Option<String>,
    /// The state folder as it is written, where that is a link.
    state_link: Option<PathBuf>,
}

impl Ground {
    pub(super) fn read(command: &SecurityCommand, process: &Process) -> Result<Self, Refusal> {
        let place = Place {
            config: command.config.as_ref(),
            state_dir: command.state_dir.as_ref(),
            env_file: command.env_file.as_ref(),
        };
        let origin = Origin::at(&place, process);
        let sources = origin.sources();
        let loaded = settings::load(&sources, settings::fresh_token(entropy()?))?;
        let file = loaded.file.clone().map(SettingsFile::open).transpose()?;
        Ok(Self {
            live: running::live(&loaded.state_dir),
            file,
            env_file: command.env_file.clone(),
            state_link: settings::written_state_dir(&sources).filter(|folder| folder.is_symlink()),
            env_token: process
                .environment
                .first(&TOKEN_VARIABLES)
                .map(|(_, token)| token.trim().to_owned()),
            loaded,
        })
    }

    /// Where the gateway listens, by its settings and by its sockets.
    pub(super) fn bind(&self) -> Result<Bind, Refusal> {
        let configured = SocketAddr::new(bind::chosen(&self.loaded.bind)?, self.loaded.port);
        Ok(Bind {
            configured,
            live: self.live.as_ref().map(|live| live.address),
        })
    }

    pub(super) fn firewall(&self, bind: Bind) -> Firewall {
        firewall::look(bind.live.unwrap_or(bind.configured).port())
    }

    pub(super) fn token(&self) -> TokenFacts {
        let in_effect = self.loaded.token_source.filter(|source| *source != TokenSource::Fresh);
        let token = self.loaded.token.as_ref().filter(|_| in_effect.is_some());
        let strength = token.map(|token| Strength::of(token.reveal()));
        let written = self.written("gateway.auth.token");
        TokenFacts {
            source: in_effect.map(TokenSource::name),
            length: token.map_or(0, |token| token.reveal().chars().count()),
            is_strong: strength == Some(Strength::Strong),
            is_placeholder: matches!(strength, Some(Strength::Placeholder | Strength::Missing)),
            literal_in_config: is_literal(written.as_ref()),
            password_in_config: is_literal(self.written("gateway.auth.password").as_ref()),
            env_overrides_config: self.names_other_token(),
        }
    }

    /// Whether the settings file names another token than the environment.
    fn names_other_token(&self) -> bool {
        let (Some(file), Some(token)) = (&self.file, &self.env_token) else {
            return false;
        };
        ConfigPath::parse("gateway.auth.token").is_ok_and(|path| file.has_other_text(&path, token))
    }

    fn written(&self, key: &str) -> Option<Value> {
        let path = ConfigPath::parse(key).ok()?;
        self.file.as_ref()?.get(&path).ok()
    }

    /// The gateway that runs, to be asked.
    pub(super) fn target(&self) -> Option<Target<'_>> {
        self.live.as_ref().map(|live| Target {
            address: reachable(live.address),
            certificate: self.loaded.tls.as_ref().map(|files| files.cert.clone()),
            token: self.loaded.token.as_ref(),
            timeout: PATIENCE,
        })
    }

    fn probe(&self) -> Probe {
        let Some(target) = self.target() else {
            return Probe {
                url: self.loaded.state_dir.to_string_lossy().into_owned(),
                ok: false,
                error: Some("no gateway runs over this state directory".into()),
            };
        };
        let asked = target.get("/readyz");
        let error = match asked {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(format!("GET /readyz was answered {}", answer.status)),
            Err(why) => Some(why),
        };
        let scheme = if target.certificate.is_some() { "https" } else { "http" };
        Probe {
            url: format!("{scheme}://{}/readyz", target.address),
            ok: error.is_none(),
            error,
        }
    }

    fn files(&self) -> Vec<FileFact> {
        let state = &self.loaded.state_dir;
        let mut files = vec![
            (FileRole::StateDir, state.clone()),
            (FileRole::Secret, settings::token_file(state)),
            (FileRole::CredentialsDir, state.join("credentials")),
            (FileRole::SessionsStore, state.join("store.redb")),
        ];
        files.extend(self.state_link.iter().map(|link| (FileRole::StateDir, link.clone())));
        files.extend(self.loaded.file.iter().map(|file| (FileRole::Config, file.clone())));
        files.extend(self.env_file.iter().map(|file| (FileRole::Secret, file.into())));
        files.extend(
            self.loaded
                .tls
                .iter()
                .map(|files| (FileRole::PrivateKey, files.key.clone())),
        );
        let user = permissions::user_of(state);
        let journal = self.loaded.core.audit.iter();
        files.extend(journal.map(|journal| (FileRole::Log, journal.path.clone().into())));
        files
            .iter()
            .filter_map(|(role, path)| permissions::look(*role, path, user))
            .collect()
    }

    /// Everything.
    pub(super) fn facts(&self, now: UnixMillis, deep: bool) -> Result<Facts<'_>, Refusal> {
        let (loaded, bind) = (&self.loaded, self.bind()?);
        let doors = &loaded.core.doors;
        let mut dangerous_flags = Vec::new();
        for (on, key) in [
            (loaded.allow_wildcard, "gateway.dangerouslyAllowWildcardBind"),
            (
                doors.host_header_origin_fallback,
                "gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback",
            ),
        ] {
            dangerous_flags.extend(on.then(|| key.to_owned()));
        }
        Ok(Facts {
            at: now,
            settings: &loaded.core,
            bind,
            token: self.token(),
            rate_limit_configured: self.written("gateway.auth.rateLimit").is_some(),
            tls: loaded.tls.is_some(),
            logs_connections: loaded.core.audit.as_ref().is_some_and(|audit| audit.connections),
            // The settings have no switch that turns these off, and no option that approves devices by itself.
            redacts_logs: true,
            weakened_ssrf: Vec::new(),
            auto_approve: Vec::new(),
            dangerous_flags,
            tailnet_publishing: match loaded.tailscale {
                TailscaleMode::Off => TailnetPublishing::Off,
                TailscaleMode::Serve => TailnetPublishing::Serve,
                TailscaleMode::Funnel => TailnetPublishing::Funnel,
            },
            tailnet_acl_attested: loaded.tailnet_acl_attested,
            firewall: self.firewall(bind),
            files: self.files(),
            suppressions: loaded
                .suppressions
                .iter()
                .map(|accepted| Suppression {
                    check_id: accepted.check_id.clone(),
                    title_includes: accepted.title_includes.clone(),
                    detail_includes: accepted.detail_includes.clone(),
                    reason: accepted.reason.clone(),
                })
                .collect(),
            probe: deep.then(|| self.probe()),
        })
    }
}

/// A secret that stands in the file itself, not as the name of a variable.
fn is_literal(written: Option<&Value>) -> bool {
    written
        .and_then(Value::as_str)
        .is_some_and(|text| !text.trim().is_empty() && !text.contains("${"))
}

/// An address to connect to: for one that means every address, loopback.
pub(in crate::cli) fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, v6.port()).into(),
        address => address,
    }
}
