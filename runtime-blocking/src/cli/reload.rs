//! SIGHUP: everything is read again, from the same places. With a mistake in it, or where the gateway could not go on with
//! it, nothing changes; what only a restart can change is told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_core::settings::Settings;

use super::control::Choices;
use super::{Process, bind, logging};
use crate::redaction;
use crate::settings::{self, Environment, Flags, Loaded, Problems, Purpose, Sources, TokenSource};
use crate::tls::ServerTls;

/// Where the settings of a gateway come from, kept for reading them again.
pub(super) struct Origin {
    pub(super) file: Option<PathBuf>,
    pub(super) environment: Environment,
    pub(super) set: Vec<String>,
    pub(super) flags: Flags,
    pub(super) working_dir: PathBuf,
    pub(super) purpose: Purpose,
    pub(super) verbose: bool,
    /// Of the command `control`.
    pub(super) control: Option<Choices>,
}

/// Where a command that only looks finds the settings.
pub(super) struct Place<'a> {
    /// `--config`.
    pub(super) config: Option<&'a String>,
    /// `--state-dir`.
    pub(super) state_dir: Option<&'a String>,
    /// `--env-file`.
    pub(super) env_file: Option<&'a String>,
}

impl Origin {
    /// Where a command that only looks reads from.
    pub(super) fn at(place: &Place<'_>, process: &Process) -> Self {
        Self {
            file: place.config.map(PathBuf::from),
            environment: process.environment.clone(),
            set: Vec::new(),
            flags: Flags {
                state_dir: place.state_dir.cloned(),
                env_file: place.env_file.cloned(),
                ..Flags::default()
            },
            working_dir: process.working_dir.clone(),
            purpose: Purpose::Gateway,
            verbose: false,
            control: None,
        }
    }

    pub(super) fn sources(&self) -> Sources<'_> {
        Sources {
            file: self.file.as_deref(),
            environment: &self.environment,
            set: &self.set,
            flags: &self.flags,
            working_dir: &self.working_dir,
            purpose: self.purpose,
        }
    }

    /// Completes settings by what depends on the address that the gateway really listens on, and on the command.
    pub(super) fn prepare(&self, loaded: &mut Loaded, address: SocketAddr) {
        loaded.core.doors.check_host = address.ip().to_canonical().is_loopback();
        if let Some(choices) = &self.control {
            choices.complete(loaded);
        } else if let Some(control) = &mut loaded.core.control {
            // Nothing else hands the session token out.
            let usual = || loaded.state_dir.join("control-token").to_string_lossy().into_owned();
            control.token_file.get_or_insert_with(usual);
        }
    }
}

/// A gateway that runs, as far as new settings concern it.
pub(super) struct Running {
    pub(super) origin: Origin,
    pub(super) loaded: Loaded,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<ServerTls>,
}

impl Running {
    /// Reads everything again: the settings to go on with, or `None` when the old ones stay.
    pub(super) fn reload(&mut self) -> Option<Arc<Settings>> {
        match self.read() {
            Ok(settings) => Some(settings),
            Err(why) => {
                log::error!("SIGHUP: the old settings stay: {why}");
                None
            }
        }
    }

    fn read(&mut self) -> Result<Arc<Settings>, String> {
        // A token file that is gone does not change the token under those who know it.
        let token = self.loaded.token.clone().ok_or(()).or_else(|()| {
            let seed = crate::entropy::seed().map_err(|error| format!("no random numbers: {error}"))?;
            Ok::<_, String>(settings::fresh_token(seed))
        })?;
        let mut new = settings::load(&self.origin.sources(), token).map_err(|Problems(problems)| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            lines.join("; ")
        })?;
        if new.state_dir != self.loaded.state_dir {
            return Err("another state folder needs a restart".into());
        }
        bind::still_allowed(&new, self.address)?;
        if let (Some(tls), Some(files)) = (&self.tls, &new.tls) {
            tls.reload(files)?;
        }
        if new.token_source == Some(TokenSource::Fresh) {
            log::warn!("SIGHUP: there is no token in any source any more; the old one stays until the restart");
            new.token_source = self.loaded.token_source;
        }
        settings::make_folders(&new).map_err(|error| error.to_string())?;
        self.origin.prepare(&mut new, self.address);
        settle(&new, self.origin.verbose);
        self.tell(&new);
        let core = Arc::new(new.core.clone());
        self.loaded = new;
        Ok(core)
    }

    fn tell(&self, new: &Loaded) {
        for warning in &new.warnings {
            log::warn!("{warning}");
        }
        let late = needs_restart(&self.loaded, new);
        if !late.is_empty() {
            log::warn!(
                "SIGHUP: changed, but only a restart brings it about: {}",
                late.join(", ")
            );
        }
        let changed = changed(&self.loaded.core, &new.core);
        if changed.is_empty() {
            log::info!("SIGHUP: the settings were read again; nothing in them has changed");
        } else {
            log::info!("SIGHUP: the settings were read again; changed: {}", changed.join(", "));
        }
    }
}

/// What the settings mean for the log.
pub(super) fn settle(loaded: &Loaded, verbose: bool) {
    let core = &loaded.core;
    let keys = [&core.providers.kimi.api_key, &core.providers.gemini.api_key];
    let jwt = core.control.as_ref().and_then(|control| control.jwt_secret.clone());
    let secrets = loaded
        .token
        .iter()
        .cloned()
        .chain(keys.into_iter().flatten().cloned())
        .chain(jwt);
    redaction::know(secrets);
    logging::set_level(logging::level(verbose, loaded.log_level));
}

/// The keys that changed and that a gateway that runs cannot take over.
fn needs_restart(old: &Loaded, new: &Loaded) -> Vec<&'static str> {
    [
        (old.bind != new.bind, "gateway.host"),
        (old.port != new.port, "gateway.port"),
        (old.tls.is_some() != new.tls.is_some(), "gateway.tls.enabled"),
    ]
    .into_iter()
    .filter_map(|(changed, key)| changed.then_some(key))
    .collect()
}

/// The parts of the settings that changed.
fn changed(old: &Settings, new: &Settings) -> Vec<&'static str> {
    [
        (old.gateway != new.gateway, "gateway"),
        (old.auth != new.auth, "gateway.auth"),
        (old.operator != new.operator, "session and idempotency"),
        (old.agents != new.agents, "agents"),
        (old.doors != new.doors, "who may reach the gateway"),
        (old.fetch != new.fetch, "fetching"),
        (old.tools != new.tools, "tools"),
        (old.providers != new.providers, "providers"),
        (old.control != new.control, "control"),
        (old.audit != new.audit, "audit"),
    ]
    .into_iter()
    .filter_map(|(changed, part)| changed.then_some(part))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::random::Seed;

    fn running(file: &std::path::Path) -> Running {
        let home = file.parent().unwrap().to_str().unwrap();
        let origin = Origin {
            file: Some(file.to_path_buf()),
            environment: Environment::from_iter([("HOME", home)]),
            set: Vec::new(),
            flags: Flags::default(),
            working_dir: PathBuf::from("/"),
            purpose: Purpose::Gateway,
            verbose: false,
            control: None,
        };
        let loaded = settings::load(&origin.sources(), settings::fresh_token(Seed([1; 32]))).unwrap();
        Running {
            origin,
            loaded,
            address: "127.0.0.1:18789".parse().unwrap(),
            tls: None,
        }
    }

    #[test]
    fn good_settings_are_taken_over_and_bad_ones_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("openclaw.json");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write("{}");
        let mut running = running(&file);
        let token = running.loaded.token.clone();
        write("{gateway: {maxInFlight: 7, port: 9}}");
        let settings = running.reload().unwrap();
        assert_eq!(settings.gateway.max_in_flight, 7);
        assert_eq!(settings.auth.tokens, token.map(|token| vec![token]));
        assert!(settings.doors.check_host);
        for bad in [
            "{gateway: {maxInFlight: 'x'}}",
            "{gateway: {auth: {mode: 'password'}}}",
            "{gateway: {auth: {token: 'change-me-now'}}}",
            "{",
        ] {
            write(bad);
            assert!(running.reload().is_none(), "{bad}");
        }
        assert_eq!(running.loaded.core.gateway.max_in_flight, 7);
    }

    #[test]
    fn what_needs_a_restart_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("openclaw.json");
        std::fs::write(&file, "{}").unwrap();
        let old = running(&file).loaded;
        std::fs::write(
            &file,
            "{gateway: {port: 9, host: '::1', maxInFlight: 9}, agents: {maxQueuedRuns: 1}}",
        )
        .unwrap();
        let new = running(&file).loaded;
        assert_eq!(needs_restart(&old, &new), ["gateway.host", "gateway.port"]);
        assert_eq!(changed(&old.core, &new.core), ["gateway", "agents"]);
    }
}
