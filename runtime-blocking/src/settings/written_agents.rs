//! The list of agents as a person writes it. Whether programs and folders exist is looked at later (`finish`).

use portcullis_core::settings::{AgentKind, ProviderKey};
use serde_json::Value;

use super::draft::{Draft, WrittenAgent, WrittenKind};
use super::draft_others::model;
use super::problem::Problem;
use super::written_entry::{self, Entry};

const FIELDS: &[&str] = &[
    "id",
    "displayName",
    "command",
    "provider",
    "model",
    "systemPrompt",
    "maxHistoryBytes",
    "workspaceDir",
];
/// A longer one would be most of a request.
const MAX_PROMPT_CHARS: usize = 32_768;
const DEFAULT_HISTORY_BYTES: u64 = 65_536;

/// Replaces the draft's agents by those of `value`; tells what is wrong with each.
pub(crate) fn read(draft: &mut Draft, place: &str, value: &Value, problems: &mut Vec<Problem>) {
    let mut ids: Vec<String> = Vec::new();
    let agents = written_entry::each(place, value, "agents", FIELDS, problems, |entry| {
        let agent = agent(draft, entry)?;
        if !agent.id.is_empty() && ids.contains(&agent.id) {
            entry.problem("id", "another agent has this id already");
        }
        ids.push(agent.id.clone());
        Some(agent)
    });
    if let Some(agents) = agents {
        draft.agents = agents;
    }
}

fn agent(draft: &Draft, entry: &mut Entry<'_>) -> Option<WrittenAgent> {
    let id = entry.required("id", 120);
    if let Some(id) = &id {
        id_is_sound(id, entry);
    }
    let display_name = entry.text("displayName", 120);
    let workspace_dir = entry
        .text("workspaceDir", 4_096)
        .map(|written| draft.absolute(&written));
    let answers = kind(draft, entry)?;
    Some(WrittenAgent {
        // Without a good one the settings are refused; its program and folder are looked at all the same.
        id: id.unwrap_or_default(),
        display_name,
        answers,
        workspace_dir,
    })
}

fn kind(draft: &Draft, entry: &mut Entry<'_>) -> Option<WrittenKind> {
    if !entry.has("provider") {
        for name in ["model", "systemPrompt", "maxHistoryBytes"] {
            if entry.has(name) {
                entry.problem(name, "goes with provider only");
            }
        }
        let (program, args) = entry.command("command")?;
        let program = draft.program(program);
        return Some(WrittenKind::Command { program, args });
    }
    if entry.has("command") {
        entry.problem("command", "does not go with provider; keep one of them");
    }
    let model = entry.text("model", 120).filter(|written| match model(written) {
        Ok(_) => true,
        Err(what) => {
            entry.problem("model", what);
            false
        }
    });
    let system_prompt = entry.text("systemPrompt", MAX_PROMPT_CHARS);
    let history = entry.number("maxHistoryBytes", 0..=16_777_216, DEFAULT_HISTORY_BYTES);
    let provider = match entry.text("provider", 40)?.as_str() {
        "active" => None,
        name => match ProviderKey::parse(name) {
            Some(key) => Some(key),
            None => {
                entry.problem("provider", "must be \"active\", \"kimi\" or \"gemini\"");
                return None;
            }
        },
    };
    Some(WrittenKind::Provider(AgentKind::Provider {
        provider,
        model,
        system_prompt,
        max_history_bytes: usize::try_from(history).unwrap_or(usize::MAX),
    }))
}

/// Ids become names of folders and parts of session keys.
fn id_is_sound(id: &str, entry: &mut Entry<'_>) {
    let sound = id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !sound {
        entry.problem(
            "id",
            "must begin with a letter or digit and have only letters, digits, '-', '_' and '.'",
        );
    }
}
