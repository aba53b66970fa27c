//! Sessions of agents: how a reference becomes a key, when a session is stale, and the record that the store keeps. It reads
//! and writes nothing itself. Spec: `spec/operator.md` section 6.

pub(crate) mod transcript;

use alloc::string::String;

use bytes::Bytes;

use crate::settings::{OperatorSettings, SessionReset};
use crate::store::{Key, Record};
use crate::time::UnixMillis;

const SESSIONS: &str = "operator.sessions";
const SESSION_IDS: &str = "operator.session-ids";
/// Separates an agent's id from what follows in a store key: neither may contain it.
const SEPARATOR: char = '\u{1f}';

/// What a client means by a session reference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reference {
    /// A session key.
    Key(String),
    /// The id of a session if there is one, else the key.
    IdOrKey { id: String, key: String },
}

impl Reference {
    /// Reads a reference: none or `main` is the main session; anything with a colon is a key; the rest may be an id, and is
    /// otherwise made into a key.
    pub(crate) fn read(agent: &str, reference: Option<&str>) -> Self {
        match reference {
            None | Some("main") => Self::Key(alloc::format!("agent:{agent}:main")),
            Some(key) if key.contains(':') => Self::Key(key.into()),
            Some(name) => Self::IdOrKey {
                id: name.into(),
                key: alloc::format!("agent:{agent}:{}", slug(name)),
            },
        }
    }
}

/// Lower case; runs of other characters than a-z 0-9 - become one "-"; none at the ends. A name without any such
/// character means the main session.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' {
            slug.push(c);
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    match slug.trim_matches('-') {
        "" => "main".into(),
        slug => slug.into(),
    }
}

/// A session as the store keeps it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    /// The version of this layout.
    v: u8,
    pub(crate) session_key: String,
    pub(crate) session_id: String,
    pub(crate) title: String,
    pub(crate) updated_at: UnixMillis,
    pub(crate) transcript_path: String,
    pub(crate) workspace_path: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) working_path: Option<String>,
    pub(crate) input_chars: u64,
    pub(crate) output_chars: u64,
    pub(crate) compaction_count: u64,
}

impl Session {
    /// A session that starts now.
    pub(crate) fn start(
        key: &str,
        id: String,
        agent: &crate::settings::Agent,
        sessions_dir: &str,
        now: UnixMillis,
    ) -> Self {
        let transcript_path = alloc::format!("{sessions_dir}/{}/{id}.jsonl", file_name(&agent.id));
        Self {
            v: 1,
            session_key: key.into(),
            session_id: id,
            title: String::new(),
            updated_at: now,
            transcript_path,
            workspace_path: agent.workspace_dir.clone(),
            working_path: None,
            input_chars: 0,
            output_chars: 0,
            compaction_count: 0,
        }
    }

    /// Reads a record; one that cannot be read is as good as none.
    pub(crate) fn read(record: &Record) -> Option<Self> {
        serde_json::from_slice(&record.value)
            .ok()
            .filter(|session: &Self| session.v == 1)
    }

    pub(crate) fn to_value(&self) -> Bytes {
        serde_json::to_vec(self).map(Bytes::from).unwrap_or_default()
    }

    /// Counts one turn.
    pub(crate) fn add_turn(&mut self, message: &str, answer: &str, working_path: Option<&str>, now: UnixMillis) {
        if self.title.is_empty() {
            self.title = message.lines().next().unwrap_or_default().chars().take(80).collect();
        }
        self.input_chars += message.chars().count() as u64;
        self.output_chars += answer.chars().count() as u64;
        self.updated_at = self.updated_at.max(now);
        if let Some(path) = working_path {
            self.working_path = Some(path.into());
        }
    }

    /// Whether the next run starts a new session under the same key.
    pub(crate) fn is_stale(&self, settings: &OperatorSettings, now: UnixMillis) -> bool {
        match settings.session_reset {
            SessionReset::Never => false,
            SessionReset::Idle(idle) => now.0.saturating_sub(self.updated_at.0) >= idle.as_millis() as u64,
            SessionReset::Daily => {
                day_from_four(self.updated_at, settings.utc_offset_minutes)
                    < day_from_four(now, settings.utc_offset_minutes)
            }
        }
    }
}

/// The number of the day that began at the last 04:00 local time.
fn day_from_four(time: UnixMillis, utc_offset_minutes: i32) -> i64 {
    const MINUTE: i64 = 60_000;
    let local = i64::try_from(time.0).unwrap_or(i64::MAX / 2) + i64::from(utc_offset_minutes) * MINUTE;
    (local - 4 * 60 * MINUTE).div_euclid(24 * 60 * MINUTE)
}

/// A folder name for an agent: its id with everything else than letters, digits, `-` and `_` written as %XX.
fn file_name(id: &str) -> String {
    let mut name = String::new();
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            name.push(char::from(byte));
        } else {
            name.push_str(&alloc::format!("%{byte:02X}"));
        }
    }
    name
}

/// Where an agent's session is kept.
pub(crate) fn session_key(agent: &str, key: &str) -> Key {
    Key {
        table: SESSIONS,
        id: alloc::format!("{agent}{SEPARATOR}{key}"),
    }
}

/// Where the key of a session id is kept.
pub(crate) fn id_key(agent: &str, id: &str) -> Key {
    Key {
        table: SESSION_IDS,
        id: alloc::format!("{agent}{SEPARATOR}{id}"),
    }
}

/// The table of sessions and what an agent's ids in it start with.
pub(crate) fn all_of(agent: &str) -> (&'static str, String) {
    (SESSIONS, alloc::format!("{agent}{SEPARATOR}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn references() {
        let key = |key: &str| Reference::Key(key.into());
        assert_eq!(Reference::read("goat", None), key("agent:goat:main"));
        assert_eq!(Reference::read("goat", Some("main")), key("agent:goat:main"));
        assert_eq!(Reference::read("goat", Some("agent:x:y")), key("agent:x:y"));
        for (name, slug) in [
            ("My  Plan!", "my-plan"),
            ("--a_b--", "a-b"),
            ("\u{c4}", "main"),
            ("x-1", "x-1"),
        ] {
            let key = alloc::format!("agent:goat:{slug}");
            assert_eq!(
                Reference::read("goat", Some(name)),
                Reference::IdOrKey { id: name.into(), key },
                "{name}"
            );
        }
    }

    #[test]
    fn staleness() {
        let agent = crate::settings::Agent::built_in("/w");
        let mut settings = OperatorSettings::default();
        let noon = UnixMillis(1_795_262_400_000); // 2026-11-21T12:00Z
        let session = Session::start("agent:goat:main", "id".into(), &agent, "/s", noon);
        let hours = |hours: u64| noon.plus(Duration::from_secs(hours * 3_600));
        assert!(!session.is_stale(&settings, hours(15)), "03:00 the next day");
        assert!(session.is_stale(&settings, hours(16)), "04:00 the next day");
        settings.utc_offset_minutes = 60;
        assert!(session.is_stale(&settings, hours(15)), "04:00 local time");
        settings.session_reset = SessionReset::Idle(Duration::from_secs(3_600));
        assert!(session.is_stale(&settings, hours(1)) && !session.is_stale(&settings, noon));
        settings.session_reset = SessionReset::Never;
        assert!(!session.is_stale(&settings, hours(1_000)));
        assert_eq!(day_from_four(UnixMillis(0), 0), -1);
    }

    #[test]
    fn an_agents_folder_cannot_leave_the_sessions() {
        assert_eq!(file_name("../a b"), "%2E%2E%2Fa%20b");
    }

    #[test]
    fn records_read_back() {
        let agent = crate::settings::Agent::built_in("/w");
        let mut session = Session::start("k", "id".into(), &agent, "/s", UnixMillis(5));
        session.add_turn("first line\nsecond", "answer", Some("/tmp"), UnixMillis(9));
        assert_eq!(
            (session.title.as_str(), session.updated_at),
            ("first line", UnixMillis(9))
        );
        let record = Record {
            id: "x".into(),
            version: crate::store::Version(1),
            value: session.to_value(),
        };
        assert_eq!(Session::read(&record), Some(session));
    }
}
