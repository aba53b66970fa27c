//! `config get|set|unset|check`: looks at the settings file, changes it, checks it. A change that would be a mistake is not
//! written, and a secret is neither shown nor written.

use std::io::Write;

use serde_json::{Value, json};

use super::commands::ConfigCommand;
use super::reload::{Origin, Place};
use super::{FAILURE, Process, Refusal, entropy, logging, stdout_failed, token};
use crate::settings::{self, ConfigPath, Problems, SettingsFile, Sources};

/// Carries the command out.
pub(super) fn run(command: &ConfigCommand, process: &mut Process) -> Result<(), Refusal> {
    logging::start(logging::level(false, None));
    let place = Place {
        config: command.config.as_ref(),
        state_dir: command.state_dir.as_ref(),
        env_file: command.env_file.as_ref(),
    };
    let origin = Origin::at(&place, process);
    let sources = origin.sources();
    let done = match (command.action.as_str(), command.words.as_slice()) {
        ("get", [path]) => get(command, &sources, path, process.is_terminal),
        ("set", [path, value]) => set(&sources, path, value),
        ("unset", [path]) => unset(&sources, path),
        ("check", []) => check(&sources),
        ("get" | "unset", ..) => Err(format!("config {} takes one path.", command.action).into()),
        ("set", ..) => Err("config set takes a path and a value.".into()),
        ("check", ..) => Err("config check takes nothing more.".into()),
        _ => Err("config: the actions are get, set, unset and check.".into()),
    };
    let said = match done {
        Ok(said) => said,
        Err(refusal) if command.json => {
            let text = format!("{}\n", json!({ "error": refusal.text }));
            let printed = process
                .stdout
                .write_all(text.as_bytes())
                .and_then(|()| process.stdout.flush());
            return Err(match printed {
                Ok(()) => refusal,
                Err(error) => stdout_failed(&error).into(),
            });
        }
        Err(refusal) => return Err(refusal),
    };
    let text = match said {
        Said::Value(Value::String(text)) if !command.json => text,
        Said::Value(value) if value.is_object() || value.is_array() => format!("{value:#}"),
        Said::Value(value) => value.to_string(),
        Said::Done(text) if command.json => json!({ "ok": true, "message": text }).to_string(),
        Said::Done(text) => text,
    };
    let printed = writeln!(process.stdout, "{text}").and_then(|()| process.stdout.flush());
    printed.map_err(|error| stdout_failed(&error).into())
}

enum Said {
    Value(Value),
    Done(String),
}

fn open(sources: &Sources<'_>) -> Result<SettingsFile, Refusal> {
    Ok(SettingsFile::open(settings::settings_file(sources)?)?)
}

fn get(command: &ConfigCommand, sources: &Sources<'_>, path: &str, is_terminal: bool) -> Result<Said, Refusal> {
    let path = ConfigPath::parse(path)?;
    // The token in effect, wherever it comes from: that is what a person asks for.
    if path.key() == "gateway.auth.token" {
        let loaded = settings::load(sources, settings::fresh_token(entropy()?)).map_err(mistakes)?;
        let Some((token, source)) = token::in_effect(&loaded) else {
            return Err(format!("Config path not found: {}", path.written()).into());
        };
        let text = if command.show_secret {
            token::reveal(token, is_terminal)?.to_owned()
        } else {
            token::redacted(token, source)
        };
        return Ok(Said::Value(text.into()));
    }
    if command.show_secret {
        return Err("--show-secret shows gateway.auth.token only.".into());
    }
    Ok(Said::Value(open(sources)?.get(&path)?))
}

fn set(sources: &Sources<'_>, path: &str, written: &str) -> Result<Said, Refusal> {
    let path = ConfigPath::parse(path)?;
    let value = settings::value_of(written).map_err(|what| format!("The value {what}"))?;
    let mut file = open(sources)?;
    file.set(&path, value)?;
    write(&file, sources)?;
    let text = format!("Updated {}. Restart the gateway to apply.", path.written());
    Ok(Said::Done(text))
}

fn unset(sources: &Sources<'_>, path: &str) -> Result<Said, Refusal> {
    let path = ConfigPath::parse(path)?;
    let mut file = open(sources)?;
    file.unset(&path)?;
    write(&file, sources)?;
    let text = format!("Removed {}. Restart the gateway to apply.", path.written());
    Ok(Said::Done(text))
}

fn write(file: &SettingsFile, sources: &Sources<'_>) -> Result<(), Refusal> {
    file.check(sources).map_err(|Problems(problems)| {
        let lines: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
        format!(
            "Nothing was written; the settings would have mistakes:{}",
            lines.concat()
        )
    })?;
    Ok(file.save()?)
}

fn check(sources: &Sources<'_>) -> Result<Said, Refusal> {
    let file = settings::settings_file(sources)?;
    let loaded = settings::load(sources, settings::fresh_token(entropy()?)).map_err(mistakes)?;
    let warnings = loaded.warnings.iter().map(|warning| format!("Warning: {warning}\n"));
    let file = match &loaded.file {
        Some(file) => format!("{} is fine.", file.display()),
        None => format!("There is no settings file ({}); the defaults are fine.", file.display()),
    };
    Ok(Said::Done(format!("{}{file}", warnings.collect::<String>())))
}

fn mistakes(Problems(problems): Problems) -> Refusal {
    let lines: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
    Refusal {
        text: format!("The settings have mistakes:{}", lines.concat()),
        status: FAILURE,
    }
}
