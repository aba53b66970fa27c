//! Lays one layer of settings over a draft: every key is looked up in the table and its value checked; what is wrong is
//! collected and the rest is still read, so that all mistakes are told at once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::draft::Draft;
use super::keys::{self, Key, Kind, MAX_MILLIS};
use super::problem::{Problem, nearest};
use super::{written_agents, written_commands, written_suppressions};

/// Where a layer comes from: how its mistakes name their place.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// The settings file: the key alone.
    File,
    /// `--set`: the option and the key.
    Set,
    /// An option or an environment variable that stands for one key: its name alone.
    Named(&'static str),
}

impl Source {
    fn place(self, path: &str) -> String {
        match self {
            Self::File => path.to_owned(),
            Self::Set => format!("--set {path}"),
            Self::Named(name) => name.to_owned(),
        }
    }
}

/// No file grows larger than this.
const MAX_SIZE: u64 = 1 << 50;

/// One layer being read.
pub(crate) struct Reader<'a> {
    draft: &'a mut Draft,
    problems: &'a mut Vec<Problem>,
    source: Source,
    /// The keys of this layer so far, with the name they were written by.
    given: BTreeMap<&'static str, String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(draft: &'a mut Draft, problems: &'a mut Vec<Problem>, source: Source) -> Self {
        Self {
            draft,
            problems,
            source,
            given: BTreeMap::new(),
        }
    }

    /// Reads the whole of a settings file.
    pub(crate) fn root(&mut self, value: &Value) {
        match value {
            Value::Object(entries) => self.entries("", entries),
            other => self.problem(
                "the file",
                format!("must be an object in braces, is {}", describe(other)),
            ),
        }
    }

    /// Reads the value of one path.
    pub(crate) fn at(&mut self, path: &str, value: &Value) {
        match (path, value) {
            ("agents", Value::Array(_)) => self.at("agents.list", value),
            ("$schema", _) => {} // for editors
            ("gateway.remote", Value::Object(entries)) if entries.contains_key("token") => {
                self.unknown("gateway.remote.token");
            }
            _ => match (keys::find(path), value) {
                (Some(key), value) => self.key(key, path, value),
                (None, Value::Object(entries)) if keys::is_section(path) => self.entries(path, entries),
                (None, other) if keys::is_section(path) => {
                    self.problem(path, format!("must be an object in braces, is {}", describe(other)));
                }
                (None, _) => self.unknown(path),
            },
        }
    }

    fn entries(&mut self, path: &str, entries: &serde_json::Map<String, Value>) {
        for (name, value) in entries {
            let inner = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            if name.contains('.') {
                self.problem(
                    &inner,
                    "a key must not contain dots here; write one object inside the other".into(),
                );
            } else {
                self.at(&inner, value);
            }
        }
    }

    fn unknown(&mut self, path: &str) {
        let hint = match misplaced(path) {
            Some(hint) => hint.to_owned(),
            None => match nearest(path, keys::names().chain(keys::sections())).or_else(|| nearest_section(path)) {
                Some(meant) => format!("unknown key (did you mean {meant}?)"),
                None => "unknown key (spec/settings.md lists those there are)".to_owned(),
            },
        };
        self.problem(path, hint);
    }

    fn key(&mut self, key: &'static Key, path: &str, value: &Value) {
        if let Some(before) = self.given.insert(key.path, path.to_owned()) {
            let what = format!("the same setting is given as {before} too; keep one of them");
            self.problem(path, what);
            return;
        }
        if let Err(what) = self.read(&key.kind, path, value) {
            self.problem(path, what);
        }
    }

    fn read(&mut self, kind: &Kind, path: &str, value: &Value) -> Result<(), String> {
        let wrong = || format!("must be {}, is {}", article(kind.takes()), describe(value));
        match kind {
            Kind::Time { unit, floor, field } => {
                let steps = whole(value, MAX_MILLIS / unit.millis(), unit.name())?.max(*floor);
                *field(self.draft) = Duration::from_millis(steps.saturating_mul(unit.millis()));
            }
            Kind::Count { floor, field } => {
                let number = whole(value, u64::from(u32::MAX), "")?;
                *field(self.draft) = u32::try_from(number).unwrap_or(u32::MAX).max(*floor);
            }
            Kind::Bytes { floor, field } => {
                let number = whole(value, u64::from(u32::MAX), "bytes")?.max(u64::from(*floor));
                *field(self.draft) = usize::try_from(number).unwrap_or(usize::MAX);
            }
            Kind::Size { floor, field } => {
                *field(self.draft) = whole(value, MAX_SIZE, "bytes")?.max(*floor);
            }
            Kind::Number { most, set, .. } => set(self.draft, whole(value, *most, "")?)?,
            Kind::Port { field } => {
                *field(self.draft) = u16::try_from(whole(value, u64::from(u16::MAX), "")?).unwrap_or(u16::MAX);
            }
            Kind::Flag { set, .. } => set(self.draft, value.as_bool().ok_or_else(wrong)?)?,
            Kind::Text { set, .. } => set(self.draft, value.as_str().ok_or_else(wrong)?)?,
            Kind::Texts { takes, set, .. } => {
                let items = value.as_array().ok_or_else(wrong)?;
                let one = takes.strip_prefix("list of ").unwrap_or(takes).trim_end_matches('s');
                for (index, item) in items.iter().enumerate().filter(|(_, item)| !item.is_string()) {
                    let what = format!("must be {} (text), is {}", article(one), describe(item));
                    self.problem(&format!("{path}[{index}]"), what);
                }
                // The others are looked at all the same, so that all mistakes are told at once.
                let good: Vec<String> = items.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                set(self.draft, &good)?;
            }
            Kind::Agents => {
                let place = self.source.place(path);
                written_agents::read(self.draft, &place, value, self.problems);
            }
            Kind::Commands => {
                let place = self.source.place(path);
                written_commands::read(self.draft, &place, value, self.problems);
            }
            Kind::Suppressions => {
                let place = self.source.place(path);
                written_suppressions::read(self.draft, &place, value, self.problems);
            }
        }
        Ok(())
    }

    fn problem(&mut self, path: &str, what: String) {
        self.problems.push(Problem::new(self.source.place(path), what));
    }
}

/// What is said about keys that stand in other programs' files, or in the wrong place.
fn misplaced(path: &str) -> Option<&'static str> {
    Some(match path {
        "$include" => "files are not included by this version; write everything into one file",
        "gateway.token" => "unknown key: use gateway.auth.token or OPENCLAW_GATEWAY_TOKEN",
        "gateway.password" => "unknown key: use gateway.auth.password or OPENCLAW_GATEWAY_PASSWORD",
        "gateway.remote.token" => {
            "unknown key: it is a client-side credential and does not protect the local gateway; use gateway.auth.token or OPENCLAW_GATEWAY_TOKEN"
        }
        "gateway.tls.autoGenerate" => {
            "unknown key: certificates are not made by this program; name yours with gateway.tls.certPath and gateway.tls.keyPath"
        }
        "gateway.tls.caPath" => "unknown key: clients prove themselves with a token, not with a certificate",
        "gateway.files.pdf" | "gateway.http.endpoints.responses.files.pdf" => {
            "unknown key: pages of PDF files are not rendered by this version; leave it out"
        }
        "env" | "env.vars" => "unknown key: environment variables belong into ~/.openclaw/env (see spec/settings.md)",
        _ => return None,
    })
}

/// For a path whose first words are the misspelt ones.
fn nearest_section(path: &str) -> Option<&'static str> {
    let outer = path.match_indices('.').filter_map(|(dot, _)| path.get(..dot));
    outer
        .filter(|outer| !keys::is_section(outer))
        .find_map(|outer| nearest(outer, keys::sections()))
}

/// A whole number from 0 to `most`. JSON5 knows one kind of number: `1e3` and `1000.0` are whole numbers too.
fn whole(value: &Value, most: u64, unit: &str) -> Result<u64, String> {
    let range = || {
        let of = if unit.is_empty() {
            String::new()
        } else {
            format!(" of {unit}")
        };
        format!("must be a whole number{of} from 0 to {most}")
    };
    let number = value.as_u64().or_else(|| {
        let float = value
            .as_f64()
            .filter(|float| float.fract() == 0.0 && (0.0..9e15).contains(float))?;
        // Exact: a whole number below 2^53.
        Some(float as u64)
    });
    match (number, value) {
        (Some(number), _) if number <= most => Ok(number),
        (_, Value::Number(_)) => Err(range()),
        (_, other) => Err(format!("{}, is {}", range(), describe(other))),
    }
}

pub(crate) fn texts(value: &Value) -> Option<Vec<String>> {
    value
        .as_array()?
        .iter()
        .map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// The kind of a value, for people; never the value itself.
pub(crate) fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn article(takes: &str) -> String {
    match takes.split(' ').next().unwrap_or_default() {
        "list" | "path" | "folder" => format!("a {takes}"),
        "address" | "origin" => format!("an {takes}"),
        _ => takes.to_owned(),
    }
}
