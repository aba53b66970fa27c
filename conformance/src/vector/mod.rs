//! Vectors as data: reads the language-neutral JSON of `spec/vectors` into typed steps. Spec: `spec/vectors.md`.
//!
//! It knows the format only: nothing here opens a connection or compares anything.

mod action;
mod house;
mod parts;
mod program;
mod relay;
mod shelf;
mod sugar;
mod upstream;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

pub use action::{
    Action, Body, ClosePattern, DialAnswer, DialPattern, FilePattern, Frame, Framing, Jwt, Made, Mint, Payload,
    Request, RequestPattern, Respond, ResponsePattern, Signature, Upgrade,
};
pub use program::{OutputPattern, Run};
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
    /// Why it is played over sockets only; `None`: it is played in memory too.
    pub program_only: Option<String>,
    /// Why it is played only as it was sent; `None`: other splittings give the same.
    pub unsplit: Option<String>,
    /// What is started: the gateway or the control plane.
    pub surface: Surface,
    /// Settings by their dotted keys, as `--set` takes them. `${NAME.url}` and `${NAME.port}` stand for upstreams.
    pub settings: Map<String, Value>,
    /// Environment variables of the process, with the same placeholders.
    pub environment: Map<String, Value>,
    /// Servers that the gateway may dial, played by the vector; `false`: nobody listens there.
    pub upstreams: BTreeMap<String, bool>,
    /// What looking names up tells: a list of addresses, or `"notFound"` or `"hang"`, or a list of such for one lookup after
    /// the other.
    pub names: Map<String, Value>,
    /// Whether the gateway asks for [`TOKEN`].
    pub auth: bool,
    /// Whether the gateway makes its own token, in its token file, instead.
    pub own_token: bool,
    /// Further tokens that the gateway expects; such a vector is played in memory only.
    pub more_tokens: Vec<String>,
    /// Whether `tick` events are passed over where something else is expected.
    pub skip_ticks: bool,
    /// What a start that must fail says on standard error; then there are no steps.
    pub start_fails: Option<String>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// What a vector starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Surface {
    /// `portcullis gateway`.
    Gateway,
    /// `portcullis control`.
    Control,
    /// Nothing: its steps run the program.
    Nothing,
    /// `portcullis relay`.
    Relay,
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
        const KEYS: [&str; 15] = [
            "name",
            "proves",
            "why",
            "core",
            "unsplit",
            "surface",
            "settings",
            "environment",
            "upstreams",
            "names",
            "auth",
            "moreTokens",
            "skipTicks",
            "startFails",
            "steps",
        ];
        if let Some(unknown) = map.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("unknown key {unknown:?} (known: {})", KEYS.join(", ")));
        }
        let texts = |key: &str| match map.get(key) {
            Some(Value::Array(list)) => list.iter().filter_map(|item| item.as_str().map(String::from)).collect(),
            _ => Vec::new(),
        };
        let proves = texts("proves");
        if proves.is_empty() {
            return Err("\"proves\" must name at least one requirement".into());
        }
        let start_fails = map.get("startFails").and_then(Value::as_str).map(String::from);
        let steps = match map.get("steps").and_then(Value::as_array) {
            Some(steps) => steps.as_slice(),
            None if start_fails.is_some() => &[],
            None => return Err("\"steps\" must be an array".into()),
        };
        let word = |key: &str| map.get(key).and_then(Value::as_str).map(String::from);
        let flag = |key: &str, usual: bool| map.get(key).and_then(Value::as_bool).unwrap_or(usual);
        let mut vector = Self {
            name,
            proves,
            why: text(map, "why")?,
            core_only: word("core"),
            program_only: None,
            unsplit: word("unsplit"),
            surface: match map.get("surface").map(Value::as_str) {
                None | Some(Some("gateway")) => Surface::Gateway,
                Some(Some("control")) => Surface::Control,
                Some(Some("none")) => Surface::Nothing,
                Some(Some("relay")) => Surface::Relay,
                Some(_) => return Err("\"surface\" is \"gateway\", \"control\", \"relay\" or \"none\"".into()),
            },
            settings: object(map, "settings")?,
            environment: object(map, "environment")?,
            upstreams: upstreams(&object(map, "upstreams")?)?,
            names: object(map, "names")?,
            auth: flag("auth", true),
            own_token: match map.get("auth") {
                None | Some(Value::Bool(_)) => false,
                Some(Value::String(file)) if file == "file" => true,
                Some(_) => return Err("\"auth\" is true, false or \"file\"".into()),
            },
            more_tokens: texts("moreTokens"),
            skip_ticks: flag("skipTicks", false),
            start_fails,
            steps: sugar::steps(steps, "")?,
        };
        if vector.core_only.is_none() {
            vector.core_only = vector.why_core_only();
        }
        vector.program_only = vector.why_program_only();
        if let (Some(core), Some(program)) = (&vector.core_only, &vector.program_only) {
            return Err(format!("it can be played nowhere: {core}; {program}"));
        }
        Ok(vector)
    }

    /// Whether it needs a gateway that was started for it, so that it cannot be played against somebody else's.
    #[must_use]
    pub fn needs_own_gateway(&self) -> bool {
        !self.settings.is_empty()
            || !self.auth
            || self.own_token
            || self.surface != Surface::Gateway
            || !self.environment.is_empty()
            || any(&self.steps, &|action| {
                matches!(
                    action,
                    Action::Drain(_)
                        | Action::Restart
                        | Action::Reload(_)
                        | Action::ExpectExit(_)
                        | Action::ExpectFile(_)
                        | Action::ExpectLog { .. }
                        | Action::Append { .. }
                        | Action::Link { .. }
                )
            })
            || self.program_only.is_some()
    }

    /// The vector with `${NAME}` in its settings and environment replaced by these facts.
    #[must_use]
    pub fn expanded(&self, facts: &[(String, String)]) -> Self {
        let expand = |map: &Map<String, Value>| {
            let pairs = map.iter().map(|(key, value)| (key.clone(), expand(value, facts)));
            pairs.collect()
        };
        Self {
            settings: expand(&self.settings),
            environment: expand(&self.environment),
            ..self.clone()
        }
    }

    /// Whether it changes settings while the gateway runs.
    #[must_use]
    pub fn reloads(&self) -> bool {
        any(&self.steps, &|action| matches!(action, Action::Reload(_)))
    }

    /// Why it cannot be played in memory, if it cannot.
    fn why_program_only(&self) -> Option<String> {
        let of_the_program = |action: &Action| match action {
            Action::Run(_) | Action::Write { .. } | Action::Remove(_) | Action::Mode { .. } => true,
            Action::ExpectFile(file) => file.mode.is_some(),
            _ => false,
        };
        let runs = self.surface == Surface::Nothing || self.own_token || any(&self.steps, &of_the_program);
        runs.then(|| "it runs the program, or looks at what only a program has".to_owned())
    }

    /// Why it cannot be played over real sockets, if it cannot.
    fn why_core_only(&self) -> Option<String> {
        let real = real_wait(&self.steps);
        let reason = if !self.more_tokens.is_empty() {
            "settings files name one token"
        } else if !self.names.is_empty() {
            "it says what names resolve to"
        } else if real > LONGEST_REAL_WAIT {
            return Some(format!("it waits for {} ms", real.as_millis()));
        } else {
            let reasons = self
                .steps
                .iter()
                .filter_map(|step| self.why_step_is_core_only(&step.action));
            return reasons.into_iter().next().map(String::from);
        };
        Some(reason.to_owned())
    }

    fn why_step_is_core_only(&self, action: &Action) -> Option<&'static str> {
        match action {
            Action::Reading(_) => Some("it stops reading"),
            Action::ExpectReading(_) => Some("it looks whether the gateway reads"),
            Action::ExpectLookups(_) => Some("it counts lookups of names"),
            Action::ExpectDial(dial) if !self.upstreams.contains_key(&dial.to) => {
                Some("it plays a server that is not on this machine")
            }
            Action::ExpectDial(dial) if dial.answer != DialAnswer::Accept => Some("it answers a dial in its own way"),
            Action::Open { peer: Some(peer) } if !peer.ip().is_loopback() => Some("its peer is not on this machine"),
            Action::Open { peer: Some(peer) } if peer.is_ipv6() => Some("its peer has an IPv6 address"),
            Action::Repeat { steps, .. } => {
                let mut reasons = steps.iter().filter_map(|step| self.why_step_is_core_only(&step.action));
                reasons.next()
            }
            _ => None,
        }
    }
}

fn expand(value: &Value, facts: &[(String, String)]) -> Value {
    match value {
        Value::String(text) => Value::String(facts.iter().fold(text.clone(), |text, (name, fact)| {
            text.replace(&format!("${{{name}}}"), fact)
        })),
        Value::Array(items) => items.iter().map(|item| expand(item, facts)).collect(),
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| (key.clone(), expand(value, facts)));
            Value::Object(pairs.collect())
        }
        other => other.clone(),
    }
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

fn object(map: &Map<String, Value>, key: &str) -> Result<Map<String, Value>, String> {
    match map.get(key) {
        None => Ok(Map::new()),
        Some(Value::Object(object)) => Ok(object.clone()),
        Some(_) => Err(format!("{key:?} must be an object")),
    }
}

fn upstreams(map: &Map<String, Value>) -> Result<BTreeMap<String, bool>, String> {
    let listening = map.iter().map(|(name, value)| match value.as_str() {
        Some("listens") => Ok((name.clone(), true)),
        Some("closed") => Ok((name.clone(), false)),
        _ => Err(format!("upstream {name:?} is \"listens\" or \"closed\"")),
    });
    listening.collect()
}

fn text(map: &Map<String, Value>, key: &str) -> Result<String, String> {
    map.get(key)
        .and_then(Value::as_str)
        .map(String::from)
        .ok_or_else(|| format!("{key:?} must be a string"))
}
