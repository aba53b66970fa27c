//! The list of agents as a person writes it. Whether programs and folders exist is looked at later (`finish`).

use serde_json::{Map, Value};

use super::draft::{Draft, WrittenAgent};
use super::problem::{Problem, nearest};
use super::reader::{describe, texts};

const FIELDS: [&str; 4] = ["id", "displayName", "command", "workspaceDir"];

/// Replaces the draft's agents by those of `value`; tells what is wrong with each.
pub(crate) fn read(draft: &mut Draft, place: &str, value: &Value, problems: &mut Vec<Problem>) {
    let Value::Array(items) = value else {
        problems.push(Problem::new(
            place,
            format!("must be a list of agents, is {}", describe(value)),
        ));
        return;
    };
    let mut agents: Vec<WrittenAgent> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let mut entry = Entry {
            draft,
            place: format!("{place}[{index}]"),
            problems,
        };
        let Some(agent) = entry.agent(item) else { continue };
        if agents.iter().any(|other| other.id == agent.id) {
            entry.problem("id", "another agent has this id already");
        }
        agents.push(agent);
    }
    draft.agents = agents;
}

struct Entry<'a> {
    draft: &'a Draft,
    place: String,
    problems: &'a mut Vec<Problem>,
}

impl Entry<'_> {
    fn agent(&mut self, item: &Value) -> Option<WrittenAgent> {
        let Value::Object(fields) = item else {
            let what = format!(
                "must be an object {{id, displayName, command, workspaceDir}}, is {}",
                describe(item)
            );
            self.problems.push(Problem::new(self.place.clone(), what));
            return None;
        };
        for name in fields.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
            match nearest(name, FIELDS.into_iter()) {
                Some(meant) => self.problem(name, format!("unknown key (did you mean {meant}?)")),
                None => self.problem(name, format!("unknown key (an agent has {})", FIELDS.join(", "))),
            }
        }
        let id = self.text(fields, "id", 120);
        if id.is_none() && !fields.contains_key("id") {
            self.problem("id", "is missing");
        }
        let id = id.filter(|id| self.id_is_sound(id));
        let display_name = self.text(fields, "displayName", 120);
        let workspace_dir = self
            .text(fields, "workspaceDir", 4_096)
            .map(|written| self.draft.absolute(&written));
        let (program, args) = self.command(fields)?;
        Some(WrittenAgent {
            id: id?,
            display_name,
            program,
            args,
            workspace_dir,
        })
    }

    /// Ids become names of folders and parts of session keys.
    fn id_is_sound(&mut self, id: &str) -> bool {
        let sound = id.starts_with(|c: char| c.is_ascii_alphanumeric())
            && id
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if !sound {
            self.problem(
                "id",
                "must begin with a letter or digit and have only letters, digits, '-', '_' and '.'",
            );
        }
        sound
    }

    fn command(&mut self, fields: &Map<String, Value>) -> Option<(String, Vec<String>)> {
        let command = fields.get("command").and_then(texts);
        let Some((program, args)) = command.as_deref().and_then(|words| words.split_first()) else {
            self.problem("command", "must be a list of texts: the program, then its arguments");
            return None;
        };
        if program.is_empty() || command.iter().flatten().any(|word| word.contains('\0')) {
            self.problem(
                "command",
                "must begin with a program and must not contain NUL characters",
            );
            return None;
        }
        let path = if program.contains('/') {
            self.draft.absolute(program).to_str()?.to_owned()
        } else {
            program.clone()
        };
        Some((path, args.to_vec()))
    }

    fn text(&mut self, fields: &Map<String, Value>, name: &str, most: usize) -> Option<String> {
        match fields.get(name)? {
            Value::String(text) if (1..=most).contains(&text.trim().chars().count()) && !text.contains('\0') => {
                Some(text.trim().to_owned())
            }
            Value::String(_) => {
                self.problem(name, format!("must have 1 to {most} characters"));
                None
            }
            other => {
                self.problem(name, format!("must be text, is {}", describe(other)));
                None
            }
        }
    }

    fn problem(&mut self, field: &str, what: impl Into<String>) {
        self.problems
            .push(Problem::new(format!("{}.{field}", self.place), what));
    }
}
