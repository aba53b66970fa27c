//! Vectors as data: reads the language-neutral JSON of `spec/vectors` into typed steps. Spec: `spec/vectors.md`.
//!
//! It knows the format only: nothing here opens a connection or compares anything.

mod action;
mod shelf;
mod sugar;

use std::time::Duration;

use serde_json::{Map, Value};

pub use action::{Action, ClosePattern, Frame, Payload, Request, ResponsePattern, Upgrade};
pub use shelf::{all, from_directory, from_text};

/// The token that every vector's gateway expects, unless the vector says `"auth": false`.
pub const TOKEN: &str = "conformance-token-1";

/// How long real sleeping may take altogether in a vector that is played over sockets.
pub const LONGEST_REAL_WAIT: Duration = Duration::from_millis(2_500);

/// One story with a gateway of its own: what is sent, what must come back.
#[derive(Clone, Debug)]
pub struct Vector {
    /// Folder, file and own name, for example `operator/handshake/wrong-token`.
    pub name: String,
    /// The requirements that it proves, for example `OP-12`.
    pub proves: Vec<String>,
    /// One sentence for people.
    pub why: String,
    /// Why it is played in memory only; `None`: it is played everywhere.
    pub core_only: Option<String>,
    /// Why it is played only as it was sent; `None`: other splittings give the same.
    pub unsplit: Option<String>,
    /// Settings by their dotted keys, as `--set` takes them.
    pub settings: Map<String, Value>,
    /// Whether the gateway asks for [`TOKEN`].
    pub auth: bool,
    /// Further tokens that the gateway expects; such a vector is played in memory only.
    pub more_tokens: Vec<String>,
    /// Whether `tick` events are passed over where something else is expected.
    pub skip_ticks: bool,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One step of a vector.
#[derive(Clone, Debug)]
pub struct Step {
    /// The connection it is about.
    pub on: String,
    /// How long what is expected may take to come.
    pub within: Option<Duration>,
    /// What to do or to expect.
    pub action: Action,
    /// Where it stands in the file: `3`, or `3.2` for the second part of a repeated or composite step.
    pub number: String,
    /// The step as it was written.
    pub source: String,
}

impl Vector {
    /// Reads one vector of the topic `topic`.
    ///
    /// # Errors
    /// Says which key of which step is wrong.
    pub fn parse(topic: &str, value: &Value) -> Result<Self, String> {
        let map = value.as_object().ok_or("a vector must be an object")?;
        let name = text(map, "name").map_err(|why| format!("{topic}: {why}"))?;
        let name = format!("{topic}/{name}");
        Self::parse_named(name.clone(), map).map_err(|why| format!("{name}: {why}"))
    }

    fn parse_named(name: String, map: &Map<String, Value>) -> Result<Self, String> {
        const KEYS: [&str; 10] = [
            "name",
            "proves",
            "why",
            "core",
            "unsplit",
            "settings",
            "auth",
            "moreTokens",
            "skipTicks",
            "steps",
        ];
        if let Some(unknown) = map.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("unknown key {unknown:?} (known: {})", KEYS.join(", ")));
        }
        let proves: Vec<String> = match map.get("proves") {
            Some(Value::Array(list)) => list.iter().filter_map(|item| item.as_str().map(String::from)).collect(),
            _ => Vec::new(),
        };
        if proves.is_empty() {
            return Err("\"proves\" must name at least one requirement".into());
        }
        let steps = map
            .get("steps")
            .and_then(Value::as_array)
            .ok_or("\"steps\" must be an array")?;
        let steps = sugar::steps(steps, "")?;
        let settings = match map.get("settings") {
            None => Map::new(),
            Some(Value::Object(settings)) => settings.clone(),
            Some(_) => return Err("\"settings\" must be an object of dotted keys".into()),
        };
        let more_tokens = match map.get("moreTokens") {
            Some(Value::Array(list)) => list.iter().filter_map(|item| item.as_str().map(String::from)).collect(),
            _ => Vec::new(),
        };
        let mut vector = Self {
            name,
            proves,
            why: text(map, "why")?,
            core_only: map.get("core").and_then(Value::as_str).map(String::from),
            unsplit: map.get("unsplit").and_then(Value::as_str).map(String::from),
            settings,
            auth: map.get("auth").and_then(Value::as_bool).unwrap_or(true),
            more_tokens,
            skip_ticks: map.get("skipTicks").and_then(Value::as_bool).unwrap_or(false),
            steps,
        };
        if vector.core_only.is_none() {
            vector.core_only = if vector.more_tokens.is_empty() {
                why_core_only(&vector.steps)
            } else {
                Some("settings files name one token".to_owned())
            };
        }
        Ok(vector)
    }

    /// Whether it needs a gateway that was started for it, so that it cannot be played against somebody else's.
    #[must_use]
    pub fn needs_own_gateway(&self) -> bool {
        !self.settings.is_empty()
            || !self.auth
            || self.steps.iter().any(|step| {
                matches!(
                    step.action,
                    Action::Drain | Action::Restart | Action::Append { .. } | Action::Link { .. }
                )
            })
    }
}

/// Why steps cannot be played over real sockets, if they cannot.
fn why_core_only(steps: &[Step]) -> Option<String> {
    let real = real_wait(steps);
    if real > LONGEST_REAL_WAIT {
        return Some(format!("it waits for {} ms", real.as_millis()));
    }
    any(steps, &|action| matches!(action, Action::Reading(_)))
        .then(|| "it stops reading".to_owned())
        .or_else(|| {
            any(steps, &|action| matches!(action, Action::ExpectReading(_)))
                .then(|| "it looks whether the gateway reads".to_owned())
        })
        .or_else(|| {
            any(
                steps,
                &|action| matches!(action, Action::Open { peer: Some(peer) } if !peer.ip().is_loopback()),
            )
            .then(|| "its peer is not on this machine".to_owned())
        })
}

fn any(steps: &[Step], matches: &dyn Fn(&Action) -> bool) -> bool {
    steps.iter().any(|step| match &step.action {
        Action::Repeat { steps, .. } => any(steps, matches),
        action => matches(action),
    })
}

fn real_wait(steps: &[Step]) -> Duration {
    steps.iter().fold(Duration::ZERO, |sum, step| {
        sum + match &step.action {
            Action::Wait(time) | Action::Silence(time) => *time,
            Action::Repeat { times, steps } => real_wait(steps).saturating_mul(*times),
            _ => Duration::ZERO,
        }
    })
}

fn text(map: &Map<String, Value>, key: &str) -> Result<String, String> {
    map.get(key)
        .and_then(Value::as_str)
        .map(String::from)
        .ok_or_else(|| format!("{key:?} must be a string"))
}
