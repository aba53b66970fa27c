//! The tools that there are: the built-in ones, and the programs that the settings name. Whether one may be called is not
//! decided here. Spec: `spec/hardening.md`, HD-130 to HD-139.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;

use crate::policy::tools::normalise;
use crate::settings::{CommandTool, ToolSettings};

/// A tool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Tool {
    SessionList,
    SessionHistory,
    AgentList,
    Health,
    WebFetch,
    Command(Arc<CommandTool>),
}

/// The names of the built-in tools; a program in the settings cannot take one of them.
pub const BUILT_IN: [&str; 5] = ["agent.list", "health", "session.history", "session.list", "web_fetch"];

/// Every tool by its name.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    commands: BTreeMap<String, Arc<CommandTool>>,
}

impl Catalogue {
    pub(super) fn new(settings: &ToolSettings) -> Self {
        let commands = settings.commands.iter();
        Self {
            commands: commands
                .map(|command| (normalise(&command.name), Arc::new(command.clone())))
                .collect(),
        }
    }

    /// The tool of this (normalised) name.
    pub(super) fn find(&self, name: &str) -> Option<Tool> {
        match name {
            "session.list" => Some(Tool::SessionList),
            "session.history" => Some(Tool::SessionHistory),
            "agent.list" => Some(Tool::AgentList),
            "health" => Some(Tool::Health),
            "web_fetch" => Some(Tool::WebFetch),
            name => self.commands.get(name).cloned().map(Tool::Command),
        }
    }
}

impl Tool {
    /// Whether a request's `action` belongs into the arguments.
    pub(super) fn takes_action(&self) -> bool {
        matches!(self, Self::Command(command) if command.takes_action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_tool_is_found_and_no_program_hides_it() {
        let command = |name: &str| CommandTool {
            name: name.into(),
            description: String::new(),
            program: "p".into(),
            args: alloc::vec![],
            timeout: core::time::Duration::from_secs(1),
            max_output_bytes: 1,
            takes_action: true,
        };
        let settings = ToolSettings {
            commands: alloc::vec![command("Health"), command(" Mine ")],
            ..ToolSettings::default()
        };
        let catalogue = Catalogue::new(&settings);
        for name in BUILT_IN {
            let tool = catalogue.find(name).unwrap();
            assert!(!matches!(tool, Tool::Command(_)) && !tool.takes_action(), "{name}");
        }
        assert!(catalogue.find("mine").unwrap().takes_action());
        assert_eq!(catalogue.find("exec"), None);
    }
}
