//! The one table of every key: its name, what it takes, its floor, what it means. Reading, suggestions and the table in
//! `spec/settings.md` come from it. It reads nothing itself.

use std::time::Duration;

use super::draft::Draft;

/// One key of the settings.
pub(crate) struct Key {
    /// Its path from the root.
    pub(crate) path: &'static str,
    /// Another name for it.
    pub(crate) alias: Option<&'static str>,
    pub(crate) kind: Kind,
    pub(crate) meaning: &'static str,
}

/// What a key takes, and where the value goes. A number below its floor is raised to it.
pub(crate) enum Kind {
    Time {
        unit: Unit,
        floor: u64,
        field: fn(&mut Draft) -> &mut Duration,
    },
    Count {
        floor: u32,
        field: fn(&mut Draft) -> &mut u32,
    },
    Bytes {
        floor: u32,
        field: fn(&mut Draft) -> &mut usize,
    },
    Port {
        field: fn(&mut Draft) -> &mut u16,
    },
    Flag {
        default: bool,
        set: fn(&mut Draft, bool) -> Result<(), String>,
    },
    Text {
        takes: &'static str,
        default: &'static str,
        set: fn(&mut Draft, &str) -> Result<(), String>,
    },
    Texts {
        takes: &'static str,
        set: fn(&mut Draft, &[String]) -> Result<(), String>,
    },
    Agents,
}

/// What one step of a [`Kind::Time`] is.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Millis,
    Minutes,
}

impl Unit {
    pub(crate) const fn millis(self) -> u64 {
        match self {
            Self::Millis => 1,
            Self::Minutes => 60_000,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Millis => "milliseconds",
            Self::Minutes => "minutes",
        }
    }
}

/// No time limit can be longer than a year.
pub(crate) const MAX_MILLIS: u64 = 365 * 86_400_000;

/// The key with this name or alias.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path || key.alias == Some(path))
}

/// Whether keys lie below `path`.
pub(crate) fn is_section(path: &str) -> bool {
    names().any(|name| name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// Every name that can be written, for suggestions.
pub(crate) fn names() -> impl Iterator<Item = &'static str> + Clone {
    KEYS.iter().flat_map(|key| [Some(key.path), key.alias]).flatten()
}

/// Every section, inner ones too: `gateway`, `gateway.auth`, ...
pub(crate) fn sections() -> impl Iterator<Item = &'static str> + Clone {
    names().flat_map(|name| name.match_indices('.').filter_map(move |(dot, _)| name.get(..dot)))
}

const fn key(path: &'static str, kind: Kind, meaning: &'static str) -> Key {
    Key {
        path,
        alias: None,
        kind,
        meaning,
    }
}

const fn also(alias: &'static str, key: Key) -> Key {
    Key {
        alias: Some(alias),
        ..key
    }
}

const fn millis(floor: u64, field: fn(&mut Draft) -> &mut Duration) -> Kind {
    Kind::Time {
        unit: Unit::Millis,
        floor,
        field,
    }
}

const fn count(floor: u32, field: fn(&mut Draft) -> &mut u32) -> Kind {
    Kind::Count { floor, field }
}

const fn bytes(floor: u32, field: fn(&mut Draft) -> &mut usize) -> Kind {
    Kind::Bytes { floor, field }
}

/// Every key there is.
#[rustfmt::skip] // one line each: it is a table
pub(crate) static KEYS: &[Key] = &[
    key("gateway.host", Kind::Text { takes: "address or host name", default: "\"127.0.0.1\"", set: Draft::set_host }, "where to listen; another than a loopback address needs `--allow-remote`"),
    key("gateway.port", Kind::Port { field: |d| &mut d.port }, "the port; 0 picks a free one"),
    key("gateway.path", Kind::Text { takes: "path", default: "\"/gateway\"", set: Draft::set_path }, "the WebSocket endpoint; a missing leading `/` is added, empty or `/` means the default"),
    key("gateway.requireToken", Kind::Flag { default: true, set: Draft::set_auth }, "false is the same as `gateway.auth.mode` \"none\""),
    key("gateway.auth.mode", Kind::Text { takes: "\"token\" or \"none\"", default: "\"token\"", set: Draft::set_auth_mode }, "\"none\" opens the door to everybody who reaches the port; loopback only"),
    key("gateway.auth.token", Kind::Text { takes: "text, 8 to 512 characters", default: "a fresh one at each start", set: Draft::set_token }, "the token that clients must send"),
    key("gateway.auth.rateLimit.maxAttempts", count(1, |d| &mut d.core.auth.max_attempts), "wrong tokens of one address within the window before it is locked out"),
    key("gateway.auth.rateLimit.windowMs", millis(1_000, |d| &mut d.core.auth.window), "the window in which wrong tokens are counted"),
    key("gateway.auth.rateLimit.lockoutMs", millis(1_000, |d| &mut d.core.auth.lockout), "how long a lockout lasts"),
    key("gateway.auth.rateLimit.maxTracked", count(1, |d| &mut d.core.auth.max_tracked), "the most addresses with wrong tokens that are remembered"),
    also("gateway.allowedOrigins", key("gateway.controlUi.allowedOrigins", Kind::Texts { takes: "list of origins", set: Draft::set_origins }, "browser origins that may connect besides those of this host")),
    key("gateway.handshakeTimeoutMs", millis(1_000, |d| &mut d.core.gateway.handshake_timeout), "from the upgrade to a finished handshake"),
    key("gateway.maxPayloadBytes", bytes(1_024, |d| &mut d.core.gateway.max_payload_bytes), "the largest message from a client"),
    key("gateway.maxBufferedBytes", bytes(1_024, |d| &mut d.core.gateway.max_buffered_bytes), "the most unsent bytes that wait for one client"),
    key("gateway.tickIntervalMs", millis(1_000, |d| &mut d.core.gateway.tick_interval), "between two `tick` events, and two pings"),
    key("gateway.rateLimitPerMinute", count(1, |d| &mut d.core.gateway.rate_limit_per_minute), "requests of one connection in 60 s"),
    also("idempotency.ttlMs", key("gateway.idempotencyTtlMs", millis(1_000, |d| &mut d.core.operator.idempotency_ttl), "how long the result of a run is replayed")),
    also("idempotency.maxEntries", key("gateway.idempotencyMaxEntries", count(1, |d| &mut d.core.operator.idempotency_max_entries), "how many results are kept")),
    key("gateway.maxConnections", count(1, |d| &mut d.core.gateway.max_connections), "connections altogether"),
    key("gateway.maxConnectionsPerAddress", count(1, |d| &mut d.core.gateway.max_connections_per_address), "connections of one address"),
    key("gateway.maxPendingHandshakes", count(1, |d| &mut d.core.gateway.max_pending_handshakes), "connections that have not finished the handshake"),
    key("gateway.maxPendingHandshakesPerAddress", count(1, |d| &mut d.core.gateway.max_pending_handshakes_per_address), "the same of one address"),
    key("gateway.maxInFlight", count(1, |d| &mut d.core.gateway.max_in_flight), "requests of one connection that wait for an answer"),
    key("gateway.maxRefusedPerMinute", count(1, |d| &mut d.core.gateway.max_refused_per_minute), "refused requests of one connection in 60 s before it is closed"),
    key("gateway.refusalBurst", count(1, |d| &mut d.core.gateway.refusal_burst), "refusals that are answered at once"),
    key("gateway.refusalsPerSecond", count(1, |d| &mut d.core.gateway.refusals_per_second), "refusals answered per second after the burst"),
    key("gateway.drainGraceMs", millis(0, |d| &mut d.core.gateway.drain_grace), "how long work may go on after a request to stop"),
    key("gateway.http.headerTimeoutMs", millis(100, |d| &mut d.core.gateway.http.header_timeout), "for the head of a request"),
    key("gateway.http.bodyTimeoutMs", millis(100, |d| &mut d.core.gateway.http.body_timeout), "for the body of a request"),
    key("gateway.http.idleTimeoutMs", millis(100, |d| &mut d.core.gateway.http.idle_timeout), "between two requests of a connection"),
    key("gateway.http.maxBodyBytes", bytes(1_024, |d| &mut d.core.gateway.http.max_body_bytes), "the largest request body"),
    key("idempotency.strictParams", Kind::Flag { default: false, set: |d, on| { d.core.operator.idempotency_strict_params = on; Ok(()) } }, "refuse a known idempotencyKey with other params"),
    key("session.mode", Kind::Text { takes: "\"daily\", \"idle\" or \"never\"", default: "\"daily\"", set: Draft::set_session_mode }, "when a session is stale: at 04:00 local time, after an idle time, never"),
    key("session.idleMinutes", Kind::Time { unit: Unit::Minutes, floor: 1, field: |d| &mut d.session_idle }, "the idle time of mode \"idle\""),
    key("session.maxPerAgent", count(1, |d| &mut d.core.operator.max_sessions_per_agent), "the most sessions kept for one agent"),
    key("agents.list", Kind::Agents, "the agents, see below; `agents` itself may be the list"),
    key("agents.workspaceRoots", Kind::Texts { takes: "list of folders", set: Draft::set_workspace_roots }, "where the `cwd` of a run may lie, besides the agent's own workspace"),
    key("agents.runTimeoutMs", millis(100, |d| &mut d.core.agents.run_timeout), "how long one run may take"),
    key("agents.maxOutputBytes", bytes(1_024, |d| &mut d.core.agents.max_output_bytes), "the most output of one run, both streams together"),
    key("agents.maxConcurrentRuns", count(1, |d| &mut d.core.agents.max_concurrent_runs), "runs at the same time"),
    key("agents.maxQueuedRuns", count(0, |d| &mut d.core.agents.max_queued_runs), "runs that wait for their turn; further ones are refused"),
];

impl Kind {
    /// What it takes, for people.
    pub(crate) fn takes(&self) -> &'static str {
        match self {
            Self::Time { unit, .. } => unit.name(),
            Self::Count { .. } => "whole number",
            Self::Bytes { .. } => "bytes",
            Self::Port { .. } => "0 to 65535",
            Self::Flag { .. } => "true or false",
            Self::Text { takes, .. } | Self::Texts { takes, .. } => takes,
            Self::Agents => "list of agents",
        }
    }

    fn default(&self) -> String {
        let mut draft = Draft::new(None);
        match self {
            Self::Time { unit, field, .. } => (field(&mut draft).as_millis() / u128::from(unit.millis())).to_string(),
            Self::Count { field, .. } => field(&mut draft).to_string(),
            Self::Bytes { field, .. } => field(&mut draft).to_string(),
            Self::Port { field } => field(&mut draft).to_string(),
            Self::Flag { default, .. } => default.to_string(),
            Self::Text { default, .. } => (*default).to_owned(),
            Self::Texts { .. } => "[]".to_owned(),
            Self::Agents => "the built-in `goat`".to_owned(),
        }
    }

    fn floor(&self) -> String {
        match self {
            Self::Time { floor, .. } if *floor > 0 => floor.to_string(),
            Self::Count { floor, .. } | Self::Bytes { floor, .. } if *floor > 0 => floor.to_string(),
            _ => String::new(),
        }
    }
}

/// The table of `spec/settings.md`.
#[must_use]
pub fn table() -> String {
    let mut table =
        String::from("| key | also | takes | default | floor | meaning |\n| --- | --- | --- | --- | --- | --- |\n");
    for key in KEYS {
        let alias = key.alias.map(|alias| format!("`{alias}`")).unwrap_or_default();
        let (takes, default, floor) = (key.kind.takes(), key.kind.default(), key.kind.floor());
        table.push_str(&format!(
            "| `{}` | {alias} | {takes} | {default} | {floor} | {} |\n",
            key.path, key.meaning
        ));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_taken_twice_and_none_is_a_section_too() {
        let mut seen = std::collections::BTreeSet::new();
        for name in names() {
            assert!(seen.insert(name), "{name}");
            assert!(!is_section(name), "{name}");
        }
    }

    #[test]
    fn the_page_has_this_table() {
        let page = include_str!("../../../spec/settings.md");
        assert!(
            page.contains(&table()),
            "put this table into spec/settings.md:\n{}",
            table()
        );
    }
}
