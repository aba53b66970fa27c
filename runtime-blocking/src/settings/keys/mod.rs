//! The one table of every key: its name, what it takes, its floor, what it means. Reading, suggestions and the table in
//! `spec/settings.md` come from it. It reads nothing itself.

mod control;
mod fetch;
mod gateway;
mod others;

use std::time::Duration;

use super::draft::Draft;

/// One key of the settings.
pub(crate) struct Key {
    /// Its path from the root.
    pub(crate) path: &'static str,
    /// Other names for it.
    pub(crate) aliases: &'static [&'static str],
    pub(crate) kind: Kind,
    pub(crate) meaning: &'static str,
    /// Its value is never shown and never written into a file by us.
    pub(crate) secret: bool,
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
    /// A size that may be larger than memory.
    Size {
        floor: u64,
        field: fn(&mut Draft) -> &mut u64,
    },
    Port {
        field: fn(&mut Draft) -> &mut u16,
    },
    /// A number that its setter judges.
    Number {
        takes: &'static str,
        most: u64,
        default: &'static str,
        set: fn(&mut Draft, u64) -> Result<(), String>,
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
        default: &'static str,
        set: fn(&mut Draft, &[String]) -> Result<(), String>,
    },
    Agents,
    /// Programs behind `POST /tools/invoke`.
    Commands,
    /// Findings of the audit that are known and accepted.
    Suppressions,
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
    all().find(|key| key.path == path || key.aliases.contains(&path))
}

/// Whether keys lie below `path`.
pub(crate) fn is_section(path: &str) -> bool {
    names().any(|name| name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// Every name that can be written, for suggestions.
pub(crate) fn names() -> impl Iterator<Item = &'static str> + Clone {
    all().flat_map(|key| std::iter::once(key.path).chain(key.aliases.iter().copied()))
}

/// Every section, inner ones too: `gateway`, `gateway.auth`, ...
pub(crate) fn sections() -> impl Iterator<Item = &'static str> + Clone {
    names().flat_map(|name| name.match_indices('.').filter_map(move |(dot, _)| name.get(..dot)))
}

const fn key(path: &'static str, kind: Kind, meaning: &'static str) -> Key {
    Key {
        path,
        aliases: &[],
        kind,
        meaning,
        secret: false,
    }
}

const fn also(aliases: &'static [&'static str], key: Key) -> Key {
    Key { aliases, ..key }
}

const fn secret(key: Key) -> Key {
    Key { secret: true, ..key }
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

const fn flag(default: bool, set: fn(&mut Draft, bool) -> Result<(), String>) -> Kind {
    Kind::Flag { default, set }
}

const fn text(takes: &'static str, default: &'static str, set: fn(&mut Draft, &str) -> Result<(), String>) -> Kind {
    Kind::Text { takes, default, set }
}

const fn texts(takes: &'static str, set: fn(&mut Draft, &[String]) -> Result<(), String>) -> Kind {
    Kind::Texts {
        takes,
        default: "[]",
        set,
    }
}

const fn bytes(floor: u32, field: fn(&mut Draft) -> &mut usize) -> Kind {
    Kind::Bytes { floor, field }
}

/// Every key there is, in the order of the table.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> + Clone {
    [
        gateway::KEYS,
        fetch::SHARED,
        fetch::FILES,
        fetch::IMAGES,
        fetch::WEB,
        others::KEYS,
        control::KEYS,
    ]
    .into_iter()
    .flatten()
}

impl Kind {
    /// What it takes, for people.
    pub(crate) fn takes(&self) -> &'static str {
        match self {
            Self::Time { unit, .. } => unit.name(),
            Self::Count { .. } => "whole number",
            Self::Bytes { .. } | Self::Size { .. } => "bytes",
            Self::Port { .. } => "0 to 65535",
            Self::Flag { .. } => "true or false",
            Self::Text { takes, .. } | Self::Texts { takes, .. } | Self::Number { takes, .. } => takes,
            Self::Agents => "list of agents",
            Self::Commands => "list of tools",
            Self::Suppressions => "list of suppressions",
        }
    }

    fn default(&self) -> String {
        let mut draft = Draft::new(None);
        match self {
            Self::Time { unit, field, .. } => (field(&mut draft).as_millis() / u128::from(unit.millis())).to_string(),
            Self::Count { field, .. } => field(&mut draft).to_string(),
            Self::Bytes { field, .. } => field(&mut draft).to_string(),
            Self::Size { field, .. } => field(&mut draft).to_string(),
            Self::Port { field } => field(&mut draft).to_string(),
            Self::Flag { default, .. } => default.to_string(),
            Self::Text { default, .. } | Self::Texts { default, .. } | Self::Number { default, .. } => {
                (*default).to_owned()
            }
            Self::Agents => "the built-in `goat`".to_owned(),
            Self::Commands | Self::Suppressions => "[]".to_owned(),
        }
    }

    fn floor(&self) -> String {
        match self {
            Self::Time { floor, .. } if *floor > 0 => floor.to_string(),
            Self::Count { floor, .. } | Self::Bytes { floor, .. } if *floor > 0 => floor.to_string(),
            Self::Size { floor, .. } if *floor > 0 => floor.to_string(),
            _ => String::new(),
        }
    }
}

/// The table of `spec/settings.md`.
#[must_use]
pub fn table() -> String {
    let mut table =
        String::from("| key | also | takes | default | floor | meaning |\n| --- | --- | --- | --- | --- | --- |\n");
    for key in all() {
        let aliases: Vec<String> = key.aliases.iter().map(|alias| format!("`{alias}`")).collect();
        let alias = aliases.join(", ");
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
        let page = include_str!("../../../../spec/settings.md");
        assert!(
            page.contains(&table()),
            "put this table into spec/settings.md:\n{}",
            table()
        );
    }
}
