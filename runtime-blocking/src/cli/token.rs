//! `token`: says where the token is, shows it to a person, or makes a new one.

use std::io::Write;
use std::time::Duration;

use portcullis_core::policy::token::Strength;
use portcullis_core::secret::Secret;

use super::commands::TokenCommand;
use super::reload::{Origin, Place};
use super::running::{self, Told};
use super::{Process, Refusal, entropy, logging, stdout_failed};
use crate::settings::{self, AuthMode, Loaded, TokenSource};

/// How long a gateway may take to read the new token.
const PATIENCE: Duration = Duration::from_secs(5);

/// Carries the command out.
pub(super) fn run(command: &TokenCommand, process: &mut Process) -> Result<(), Refusal> {
    logging::start(logging::level(false, None));
    let place = Place {
        config: command.config.as_ref(),
        state_dir: command.state_dir.as_ref(),
        env_file: command.env_file.as_ref(),
    };
    let origin = Origin::at(&place, process);
    let sources = origin.sources();
    let loaded = settings::load(&sources, settings::fresh_token(entropy()?))?;
    let text = match command.action.as_deref() {
        None => shown(command, &loaded, process.is_terminal)?,
        Some("rotate") => rotate(command, &loaded)?,
        Some(_) => return Err("token: the only action is rotate; without one it says where the token is.".into()),
    };
    process
        .stdout
        .write_all(text.as_bytes())
        .and_then(|()| process.stdout.flush())
        .map_err(|error| stdout_failed(&error).into())
}

/// What is shown instead of a secret.
pub(super) fn redacted(token: &Secret, source: TokenSource) -> String {
    let strength = match Strength::of(token.reveal()) {
        Strength::Strong => "strong",
        _ => "weak",
    };
    format!(
        "{} ({} chars, source={}, strength={strength})",
        settings::REDACTED,
        token.reveal().chars().count(),
        source.name()
    )
}

/// The token and where it comes from; none while it would have to be made.
pub(super) fn in_effect(loaded: &Loaded) -> Option<(&Secret, TokenSource)> {
    let source = loaded.token_source.filter(|source| *source != TokenSource::Fresh)?;
    Some((loaded.token.as_ref()?, source))
}

/// The token itself may only go to a terminal.
pub(super) fn reveal(token: &Secret, is_terminal: bool) -> Result<&str, Refusal> {
    if is_terminal {
        Ok(token.reveal())
    } else {
        Err("--show-secret works on a terminal only: what is written elsewhere stays there.".into())
    }
}

fn shown(command: &TokenCommand, loaded: &Loaded, is_terminal: bool) -> Result<String, Refusal> {
    let Some((token, source)) = in_effect(loaded) else {
        return Err(match loaded.auth_mode {
            AuthMode::None => "There is no token: the settings turn auth off.".into(),
            _ => "There is no token yet: start a gateway, or run token rotate.".into(),
        });
    };
    if command.show_secret {
        return Ok(format!("{}\n", reveal(token, is_terminal)?));
    }
    let file = (source == TokenSource::File).then(|| settings::token_file(&loaded.state_dir));
    if command.json {
        let mut object = serde_json::json!({"source": source.name(), "token": redacted(token, source)});
        if let (Some(file), Some(fields)) = (&file, object.as_object_mut()) {
            fields.insert("file".into(), file.to_string_lossy().into());
        }
        return Ok(format!("{object}\n"));
    }
    let place = file.map_or_else(|| source.to_string(), |file| file.display().to_string());
    Ok(format!("{}\nGateway token source: {place}\n", redacted(token, source)))
}

fn rotate(command: &TokenCommand, loaded: &Loaded) -> Result<String, Refusal> {
    if loaded.auth_mode == AuthMode::Password {
        return Err(
            "The settings ask for a password (gateway.auth.mode \"password\"): change it where it is set.".into(),
        );
    }
    if let Some((_, source)) = in_effect(loaded)
        && source != TokenSource::File
    {
        return Err(format!("The token comes from {source}: change it there.").into());
    }
    if command.show_secret {
        return Err("rotate does not go with --show-secret; run token --show-secret afterwards.".into());
    }
    let file = settings::token_file(&loaded.state_dir);
    let token = settings::fresh_token(entropy()?);
    settings::write_token_file(&file, &token)
        .map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    let told = running::reload(&loaded.state_dir, PATIENCE);
    if command.json {
        let object = serde_json::json!({"file": file.to_string_lossy(), "gatewayTold": told == Told::Taken});
        return Ok(format!("{object}\n"));
    }
    let gateway = match told {
        Told::Taken => "The gateway that runs asks for it from now on.",
        Told::Refused => "The gateway that runs did not take it: its log says why. The old token holds there.",
        Told::Silent => "The gateway that runs was told, and has not answered yet.",
        Told::Nobody => "No gateway runs with this state folder; the next one reads it.",
    };
    Ok(format!("Gateway token file: {}\n{gateway}\n", file.display()))
}
