//! What a tool call is aimed at: the agent and the session that its body names, and the id that the call goes by.
//! Spec: `spec/hardening.md`, HD-104 to HD-107.

use alloc::string::String;
use core::fmt::Write;

use super::body::{BodyFault, ToolRequest};
use crate::queries::{HistoryParams, ListParams, Refused};
use crate::random::Random;
use crate::secret::digest;
use crate::settings::{Agent, AgentSettings};

/// The agent and the session of a call.
#[derive(Debug)]
pub(super) struct Target<'a> {
    /// `None`: the body names none, and there is none to mean by that.
    pub(super) agent: Option<&'a Agent>,
    pub(super) session_key: String,
    /// The body itself names an agent, alone or in the session key.
    names_agent: bool,
    /// The body itself names another session than the main one.
    names_session: bool,
}

impl<'a> Target<'a> {
    /// Reads the target; the agent that the body names must be the session's.
    pub(super) fn of(request: &ToolRequest, agents: &'a AgentSettings) -> Result<Self, BodyFault> {
        let session = request.session_key.as_deref().filter(|key| *key != "main");
        let in_key = session.and_then(agent_of);
        let wanted = request.agent_id.as_deref();
        if let (Some(wanted), Some(in_key)) = (wanted, in_key)
            && wanted != in_key
        {
            let text = alloc::format!("agentId {wanted:?} does not agree with the agent {in_key:?} of sessionKey");
            return Err(BodyFault::Invalid(text.into()));
        }
        let named = in_key.or(wanted);
        let agent = agents.find(named);
        if agent.is_none()
            && let (Some(_), Refused::NoAgent(text)) = (wanted, Refused::no_agent(wanted))
        {
            return Err(BodyFault::Invalid(text.into()));
        }
        let session_key = session.map_or_else(
            || alloc::format!("agent:{}:main", agent.map_or("", |agent| agent.id.as_str())),
            String::from,
        );
        Ok(Self {
            agent,
            session_key,
            names_agent: named.is_some(),
            names_session: session.is_some(),
        })
    }

    /// The agent that the body names, if there is none of that name: a program has no place to run then.
    pub(super) const fn is_nobody(&self) -> bool {
        self.names_agent && self.agent.is_none()
    }

    /// The id of the call: stable where the body has an idempotency key, unguessable where it has none.
    pub(super) fn call_id(&self, request: &ToolRequest, random: &mut Random) -> String {
        let Some(key) = &request.idempotency_key else {
            return random.uuid();
        };
        let parts = [&request.name, &self.session_key, key].map(|part| part.as_bytes());
        let digest = digest(&parts);
        digest.iter().take(16).fold(String::with_capacity(32), |mut id, byte| {
            // Writing to a String cannot fail.
            let _ = write!(id, "{byte:02x}");
            id
        })
    }

    /// A list without an agent of its own is that of the body's agent.
    pub(super) fn aim_list(&self, params: &mut ListParams) {
        if self.names_agent && params.agent_id.is_none() {
            params.agent_id = self.agent.map(|agent| agent.id.clone());
        }
    }

    /// A history without an agent and a session of its own is that of the body's session.
    pub(super) fn aim_history(&self, params: &mut HistoryParams) {
        if params.agent_id.is_some() || params.session_ref.is_some() {
            return;
        }
        if self.names_agent {
            params.agent_id = self.agent.map(|agent| agent.id.clone());
        }
        if self.names_session {
            params.session_ref = Some(self.session_key.clone());
        }
    }
}

/// The agent in a session key: `agent:<id>:...`.
fn agent_of(session_key: &str) -> Option<&str> {
    let (agent, _) = session_key.strip_prefix("agent:")?.split_once(':')?;
    Some(agent)
}
