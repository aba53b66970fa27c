//! The list of agents as a person writes it. Whether programs and folders exist is looked at later (`finish`).

use serde_json::Value;

use super::draft::{Draft, WrittenAgent};
use super::problem::Problem;
use super::written_entry::{self, Entry};

const FIELDS: &[&str] = &["id", "displayName", "command", "workspaceDir"];

/// Replaces the draft's agents by those of `value`; tells what is wrong with each.
pub(crate) fn read(draft: &mut Draft, place: &str, value: &Value, problems: &mut Vec<Problem>) {
    let mut ids: Vec<String> = Vec::new();
    let agents = written_entry::each(place, value, "agents", FIELDS, problems, |entry| {
        let agent = agent(draft, entry)?;
        if ids.contains(&agent.id) {
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
    let id = id.filter(|id| id_is_sound(id, entry));
    let display_name = entry.text("displayName", 120);
    let workspace_dir = entry
        .text("workspaceDir", 4_096)
        .map(|written| draft.absolute(&written));
    let (program, args) = entry.command("command")?;
    Some(WrittenAgent {
        id: id?,
        display_name,
        program: draft.program(program),
        args,
        workspace_dir,
    })
}

/// Ids become names of folders and parts of session keys.
fn id_is_sound(id: &str, entry: &mut Entry<'_>) -> bool {
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
    sound
}
