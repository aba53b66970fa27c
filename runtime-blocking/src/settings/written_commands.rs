//! The list of tools that are programs, as a person writes it. Whether the programs exist is looked at later (`finish`).

use std::time::Duration;

use serde_json::Value;

use super::draft::{Draft, WrittenCommand};
use super::keys::MAX_MILLIS;
use super::problem::Problem;
use super::written_entry::{self, Entry};

const FIELDS: &[&str] = &[
    "name",
    "description",
    "command",
    "timeoutMs",
    "maxOutputBytes",
    "takesAction",
];
const DEFAULT_TIMEOUT_MS: u64 = 60_000;
const DEFAULT_OUTPUT_BYTES: u64 = 1_048_576;

/// Replaces the draft's tools by those of `value`; tells what is wrong with each.
pub(crate) fn read(draft: &mut Draft, place: &str, value: &Value, problems: &mut Vec<Problem>) {
    let mut names: Vec<String> = Vec::new();
    let commands = written_entry::each(place, value, "tools", FIELDS, problems, |entry| {
        let command = command(draft, entry)?;
        if names.contains(&command.name) {
            entry.problem("name", "another tool has this name already");
        }
        names.push(command.name.clone());
        Some(command)
    });
    if let Some(commands) = commands {
        draft.commands = commands;
    }
}

fn command(draft: &Draft, entry: &mut Entry<'_>) -> Option<WrittenCommand> {
    let name = entry.required("name", 64).filter(|name| name_is_sound(name, entry));
    let description = entry.text("description", 500).unwrap_or_default();
    let timeout = entry.number("timeoutMs", 100..=MAX_MILLIS, DEFAULT_TIMEOUT_MS);
    let most = entry.number("maxOutputBytes", 1_024..=u64::from(u32::MAX), DEFAULT_OUTPUT_BYTES);
    let takes_action = entry.flag("takesAction");
    let (program, args) = entry.command("command")?;
    Some(WrittenCommand {
        name: name?,
        description,
        program: draft.program(program),
        args,
        timeout: Duration::from_millis(timeout),
        max_output_bytes: usize::try_from(most).unwrap_or(usize::MAX),
        takes_action,
    })
}

/// Names are compared with the deny list, which is in lower case.
fn name_is_sound(name: &str, entry: &mut Entry<'_>) -> bool {
    let sound = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
    if !sound {
        entry.problem("name", "must have only lower-case letters, digits, '-', '_' and '.'");
    }
    sound
}
