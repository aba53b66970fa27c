//! `agent.list`: which agents there are. Spec: `spec/operator.md` section 6.

use alloc::vec::Vec;

use crate::settings::AgentSettings;

/// The payload of `agent.list`.
#[derive(serde::Serialize)]
pub(crate) struct AgentList<'a> {
    agents: Vec<ListedAgent<'a>>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedAgent<'a> {
    id: &'a str,
    display_name: &'a str,
    workspace_dir: &'a str,
    internal_config_dir: &'a str,
}

impl<'a> AgentList<'a> {
    pub(crate) fn of(settings: &'a AgentSettings) -> Self {
        let agents = settings.agents.iter();
        Self {
            agents: agents
                .map(|agent| ListedAgent {
                    id: &agent.id,
                    display_name: &agent.display_name,
                    workspace_dir: &agent.workspace_dir,
                    internal_config_dir: &agent.internal_config_dir,
                })
                .collect(),
        }
    }
}
