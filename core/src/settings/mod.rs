//! What a person can choose, as typed values. No file format and no names of keys here: the runtimes read those
//! (`spec/settings.md` maps every key to its field). Values below a floor are raised to it where the protocol says so.

mod audit;
mod control;
mod doors;
mod fetch;
mod providers;
mod relay;
mod tools;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

pub use audit::AuditSettings;
pub use control::ControlSettings;
pub use doors::{DoorSettings, ProxyIdentity};
pub use fetch::{FetchSettings, SourceSettings};
pub use providers::{HealthProbe, Provider, ProviderKey, ProviderSettings};
pub use relay::{AllowedOrigins, RelayAuth, RelayLimits, RelaySettings};
pub use tools::{CommandTool, ToolSettings};

use crate::audit::AuditEvent;
use crate::secret::Secret;

/// The settings of a gateway.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// What every surface shares: the doors.
    pub gateway: GatewaySettings,
    /// Who may come in.
    pub auth: AuthSettings,
    /// The operator protocol.
    pub operator: OperatorSettings,
    /// The agents that `agent.run` can reach.
    pub agents: AgentSettings,
    /// Who may reach the gateway at all.
    pub doors: DoorSettings,
    /// What may be fetched from URLs that clients name.
    pub fetch: FetchSettings,
    /// The tools of `POST /tools/invoke`.
    pub tools: ToolSettings,
    /// The AI providers.
    pub providers: ProviderSettings,
    /// The control plane, where it is on.
    pub control: Option<ControlSettings>,
    /// The audit journal, where there is one.
    pub audit: Option<AuditSettings>,
    /// The relay, where it is on.
    pub relay: Option<RelaySettings>,
}

/// Admission, message and time limits. Spec: `spec/operator.md` section 2 and 8.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewaySettings {
    /// Path of the WebSocket endpoint; starts with `/`.
    pub path: String,
    /// From the upgrade to a finished handshake.
    pub handshake_timeout: Duration,
    /// The largest message from a client, in bytes.
    pub max_payload_bytes: usize,
    /// The most bytes that wait for one client.
    pub max_buffered_bytes: usize,
    /// Between two `tick` events, and two pings.
    pub tick_interval: Duration,
    /// Requests per connection in 60 s.
    pub rate_limit_per_minute: u32,
    /// Requests of one connection that wait for an answer.
    pub max_in_flight: u32,
    /// Refused requests per connection in 60 s before it is closed.
    pub max_refused_per_minute: u32,
    /// Refusals that are answered at once; the further ones at [`Self::refusals_per_second`].
    pub refusal_burst: u32,
    /// See [`Self::refusal_burst`].
    pub refusals_per_second: u32,
    /// Connections altogether.
    pub max_connections: u32,
    /// Connections of one address.
    pub max_connections_per_address: u32,
    /// Connections that have not finished a handshake.
    pub max_pending_handshakes: u32,
    /// The same of one address.
    pub max_pending_handshakes_per_address: u32,
    /// Serialised origins (lower case) that browsers may connect from.
    pub allowed_origins: Vec<String>,
    /// From [`Input::Drain`](crate::machine::Input::Drain) to the last connection's end.
    pub drain_grace: Duration,
    /// How HTTP requests are limited.
    pub http: HttpSettings,
}

/// Limits on HTTP/1.1 requests. Spec: `spec/http.md`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpSettings {
    /// From a connection's start, or the first byte of a further request, to the end of its head.
    pub header_timeout: Duration,
    /// From the end of a head to the end of its body.
    pub body_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// The largest request body.
    pub max_body_bytes: usize,
}

/// Who may come in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthSettings {
    /// Any of these tokens (or passwords) opens the door; `None`: the door is open.
    pub tokens: Option<Vec<Secret>>,
    /// Whether refusals speak of a password or of a token.
    pub credential: Credential,
    /// Users whom a trusted proxy has authenticated come in without a token; `None`: they do not.
    pub proxy_identity: Option<ProxyIdentity>,
    /// Guessers on this machine are never locked out, only slowed down.
    pub exempt_loopback: bool,
    /// Wrong tokens of one address within [`Self::window`] before it is locked out.
    pub max_attempts: u32,
    /// See [`Self::max_attempts`].
    pub window: Duration,
    /// How long a lockout lasts.
    pub lockout: Duration,
    /// The most addresses with failures that are remembered.
    pub max_tracked: u32,
}

/// What a shared secret is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Credential {
    /// A token.
    #[default]
    Token,
    /// A password.
    Password,
}

/// The operator protocol's own settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OperatorSettings {
    /// What `health` tells as `homeDir`.
    pub home_dir: String,
    /// Where transcripts are kept (absolute).
    pub sessions_dir: String,
    /// How long the result of a run is replayed.
    pub idempotency_ttl: Duration,
    /// How many results are kept.
    pub idempotency_max_entries: u32,
    /// Whether the same key with other params is refused.
    pub idempotency_strict_params: bool,
    /// When a session is stale.
    pub session_reset: SessionReset,
    /// Minutes east of UTC: what "local time" means for [`SessionReset::Daily`].
    pub utc_offset_minutes: i32,
    /// The most sessions kept for one agent.
    pub max_sessions_per_agent: u32,
}

/// When a session is stale, so that the next run starts a new one under the same key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionReset {
    /// Once a day at 04:00 local time.
    Daily,
    /// After it was idle for so long.
    Idle(Duration),
    /// Never.
    Never,
}

/// The agents and what they may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgentSettings {
    /// At least one; the built-in one when the settings name none.
    pub agents: Vec<Agent>,
    /// Roots that `cwd` must lie in, besides each agent's own workspace.
    pub workspace_roots: Vec<String>,
    /// How long one run may take.
    pub run_timeout: Duration,
    /// The most output (both streams) of one run, in bytes.
    pub max_output_bytes: usize,
    /// Runs at the same time; further ones wait.
    pub max_concurrent_runs: u32,
    /// Runs that wait; further ones are refused.
    pub max_queued_runs: u32,
}

/// One agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agent {
    /// What requests name it by.
    pub id: String,
    /// What people read.
    pub display_name: String,
    /// Where it works (absolute); its working directory unless a run names another.
    pub workspace_dir: String,
    /// Where its own files are, told by `agent.list`.
    pub internal_config_dir: String,
    /// What it is.
    pub kind: AgentKind,
}

/// What answers a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AgentKind {
    /// The built-in one: repeats the message.
    Echo,
    /// A program: the message goes to its standard input.
    Command {
        /// The program.
        program: String,
        /// Its arguments.
        args: Vec<String>,
    },
    /// An AI provider: the message and the session's earlier turns are its conversation.
    Provider {
        /// Which one; `None`: the one that is active when the run begins to work.
        provider: Option<ProviderKey>,
        /// Which of its models; `None`: the chosen one.
        model: Option<String>,
        /// How the model is told to behave.
        system_prompt: Option<String>,
        /// The most bytes of the session's transcript that are looked at for earlier turns.
        max_history_bytes: usize,
    },
}

/// The agent that a request means when it names none.
pub const DEFAULT_AGENT: &str = "goat";

impl AgentSettings {
    /// The agent with this id; for a request that names none the default one ([`DEFAULT_AGENT`], or the first when the
    /// settings name agents without it).
    #[must_use]
    pub fn find(&self, id: Option<&str>) -> Option<&Agent> {
        let named = self.agents.iter().find(|agent| agent.id == id.unwrap_or(DEFAULT_AGENT));
        named.or_else(|| self.agents.first().filter(|_| id.is_none()))
    }
}

impl Settings {
    /// These settings with every value that has a floor at or above it; the same ones when all are.
    #[must_use]
    pub fn raised_to_floors(self: Arc<Self>) -> Arc<Self> {
        let mut raised = Self::clone(&self);
        raised.gateway.raise_to_floors();
        raised.operator.raise_to_floors();
        if raised == *self { self } else { Arc::new(raised) }
    }

    /// Whether a journal is kept that records such events.
    #[must_use]
    pub fn records(&self, event: AuditEvent) -> bool {
        self.audit.as_ref().is_some_and(|audit| audit.wants(event))
    }
}

impl GatewaySettings {
    /// The endpoint path for what a person wrote: a missing leading `/` is added; empty or `/` means the default.
    #[must_use]
    pub fn normalise_path(written: &str) -> String {
        match written.trim() {
            "" | "/" => String::from("/gateway"),
            path if path.starts_with('/') => String::from(path),
            path => alloc::format!("/{path}"),
        }
    }

    /// Raises every value that has a floor to it.
    pub fn raise_to_floors(&mut self) {
        const SECOND: Duration = Duration::from_secs(1);
        self.handshake_timeout = self.handshake_timeout.max(SECOND);
        self.max_payload_bytes = self.max_payload_bytes.max(1_024);
        self.max_buffered_bytes = self.max_buffered_bytes.max(1_024);
        self.tick_interval = self.tick_interval.max(SECOND);
        for count in [
            &mut self.rate_limit_per_minute,
            &mut self.max_in_flight,
            &mut self.max_refused_per_minute,
            &mut self.refusal_burst,
            &mut self.refusals_per_second,
            &mut self.max_connections,
            &mut self.max_connections_per_address,
            &mut self.max_pending_handshakes,
            &mut self.max_pending_handshakes_per_address,
        ] {
            *count = (*count).max(1);
        }
    }
}

impl OperatorSettings {
    /// Raises every value that has a floor to it.
    pub fn raise_to_floors(&mut self) {
        self.idempotency_ttl = self.idempotency_ttl.max(Duration::from_secs(1));
        self.idempotency_max_entries = self.idempotency_max_entries.max(1);
    }
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            path: Self::normalise_path(""),
            handshake_timeout: Duration::from_secs(10),
            max_payload_bytes: 524_288,
            max_buffered_bytes: 1_572_864,
            tick_interval: Duration::from_secs(30),
            rate_limit_per_minute: 180,
            max_in_flight: 64,
            max_refused_per_minute: 500,
            refusal_burst: 100,
            refusals_per_second: 100,
            max_connections: 10_000,
            max_connections_per_address: 256,
            max_pending_handshakes: 1_024,
            max_pending_handshakes_per_address: 16,
            allowed_origins: Vec::new(),
            drain_grace: Duration::from_secs(30),
            http: HttpSettings::default(),
        }
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            max_body_bytes: 1_048_576,
        }
    }
}

/// The default is a locked door: without tokens nobody comes in.
impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            tokens: Some(Vec::new()),
            credential: Credential::Token,
            proxy_identity: None,
            exempt_loopback: true,
            max_attempts: 10,
            window: Duration::from_secs(60),
            lockout: Duration::from_secs(300),
            max_tracked: 10_000,
        }
    }
}

impl Default for OperatorSettings {
    fn default() -> Self {
        Self {
            home_dir: String::from("/"),
            sessions_dir: String::from("/sessions"),
            idempotency_ttl: Duration::from_secs(300),
            idempotency_max_entries: 1_000,
            idempotency_strict_params: false,
            session_reset: SessionReset::Daily,
            utc_offset_minutes: 0,
            max_sessions_per_agent: 1_000,
        }
    }
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            agents: alloc::vec![Agent::built_in("/")],
            workspace_roots: Vec::new(),
            run_timeout: Duration::from_secs(600),
            max_output_bytes: 1_048_576,
            max_concurrent_runs: 16,
            max_queued_runs: 256,
        }
    }
}

impl Agent {
    /// The agent that is there when the settings name none: it answers by repeating the message.
    #[must_use]
    pub fn built_in(workspace_dir: &str) -> Self {
        Self {
            id: String::from(DEFAULT_AGENT),
            display_name: String::from("Goat"),
            workspace_dir: String::from(workspace_dir),
            internal_config_dir: String::from(workspace_dir),
            kind: AgentKind::Echo,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_get_a_leading_slash_and_a_default() {
        for (written, path) in [("", "/gateway"), (" / ", "/gateway"), ("ws", "/ws"), ("/ws/x", "/ws/x")] {
            assert_eq!(GatewaySettings::normalise_path(written), path);
        }
    }

    #[test]
    fn floors_of_section_2() {
        let mut low = GatewaySettings {
            handshake_timeout: Duration::ZERO,
            max_payload_bytes: 0,
            max_buffered_bytes: 0,
            tick_interval: Duration::ZERO,
            rate_limit_per_minute: 0,
            ..GatewaySettings::default()
        };
        low.raise_to_floors();
        assert_eq!(low.handshake_timeout, Duration::from_secs(1));
        assert_eq!(low.max_payload_bytes, 1_024);
        assert_eq!(low.max_buffered_bytes, 1_024);
        assert_eq!(low.tick_interval, Duration::from_secs(1));
        assert_eq!(low.rate_limit_per_minute, 1);
        let mut default = GatewaySettings::default();
        default.raise_to_floors();
        assert_eq!(default, GatewaySettings::default());
    }
}
