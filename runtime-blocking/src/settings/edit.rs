//! The settings file as `config get`, `set` and `unset` see it: raw values under paths with dots and brackets, so that what
//! nobody touches stays as it was written, `${NAME}` included. Secrets are taken out of what is shown, and none is written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use portcullis_core::secret::Secret;
use serde_json::{Map, Value};

use super::problem::{Problem, Problems};
use super::reader::describe;
use super::{Sources, document, keys, private_file, read_text, substitute};

/// What stands in the place of a secret.
pub const REDACTED: &str = "__REDACTED__";
/// Settings are not nested deeper than the reader allows.
const MAX_SEGMENTS: usize = 16;

/// A path into the settings: `a.b[0]`, `a[b].c`; a backslash takes the next character as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigPath {
    written: String,
    segments: Vec<String>,
}

impl ConfigPath {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it, as it is told.
    pub fn parse(written: &str) -> Result<Self, String> {
        let written = written.trim();
        let mut segments: Vec<String> = Vec::new();
        let mut current = String::new();
        let mut rest = written.chars();
        while let Some(c) = rest.next() {
            match c {
                '\\' => current.extend(rest.next()),
                '.' => segments.push(std::mem::take(&mut current)),
                '[' => {
                    segments.push(std::mem::take(&mut current));
                    let text = rest.as_str();
                    let Some((inner, after)) = text.split_once(']') else {
                        return Err(format!("Invalid path (missing \"]\"): {written}"));
                    };
                    segments.push(inner.trim().to_owned());
                    rest = after.chars();
                }
                c => current.push(c),
            }
        }
        segments.push(current);
        segments.retain(|segment| !segment.is_empty());
        if segments.is_empty() {
            return Err(String::from("Path is empty."));
        }
        if segments.len() > MAX_SEGMENTS {
            return Err(format!("Invalid path (more than {MAX_SEGMENTS} levels)."));
        }
        Ok(Self {
            written: written.to_owned(),
            segments,
        })
    }

    /// As a person wrote it.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    /// The key's name, with dots.
    #[must_use]
    pub fn key(&self) -> String {
        self.segments.join(".")
    }

    fn not_found(&self) -> String {
        format!("Config path not found: {}", self.written)
    }
}

/// The settings file, raw.
#[derive(Clone, Debug)]
pub struct SettingsFile {
    path: PathBuf,
    value: Value,
    /// The text that was read; `None` when there is no file yet.
    text: Option<String>,
}

impl SettingsFile {
    /// Reads the file; one that is not there is empty.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn open(path: PathBuf) -> Result<Self, String> {
        let about = |what: String| format!("{}: {what}", path.display());
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    path,
                    value: Value::Object(Map::new()),
                    text: None,
                });
            }
            _ => {}
        }
        let text = read_text(&path).map_err(about)?;
        let value = document::parse(text.trim_start_matches('\u{feff}'));
        let value = value.map_err(|what| about(format!("is not JSON5: {what}")))?;
        if !value.is_object() {
            return Err(about(format!("must be an object in braces, is {}", describe(&value))));
        }
        Ok(Self {
            path,
            value,
            text: Some(text),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A value as it is written, with secrets taken out.
    ///
    /// # Errors
    /// It is not there.
    pub fn get(&self, path: &ConfigPath) -> Result<Value, String> {
        let mut value = &self.value;
        for segment in &path.segments {
            value = match value {
                Value::Object(entries) => entries.get(segment),
                Value::Array(items) => index(segment).and_then(|index| items.get(index)),
                _ => None,
            }
            .ok_or_else(|| path.not_found())?;
        }
        let mut shown = value.clone();
        redact(&mut shown, &path.key());
        Ok(shown)
    }

    /// Whether another text than `text` stands at a path, written out: not as the name of a variable.
    #[must_use]
    pub fn has_other_text(&self, path: &ConfigPath, text: &str) -> bool {
        let written = path
            .segments
            .iter()
            .try_fold(&self.value, |value, segment| value.get(segment));
        written
            .and_then(Value::as_str)
            .is_some_and(|written| !written.contains("${") && written.trim() != text)
    }

    /// Puts a value at a path; objects and lists on the way are made.
    ///
    /// # Errors
    /// A secret that would be written down, or a path that leads through something else.
    pub fn set(&mut self, path: &ConfigPath, value: Value) -> Result<(), String> {
        if let Some(key) = literal_secret(&value, &path.key()) {
            let variable = match key.as_str() {
                "gateway.auth.token" => "OPENCLAW_GATEWAY_TOKEN",
                "gateway.auth.password" => "OPENCLAW_GATEWAY_PASSWORD",
                _ => "NAME",
            };
            return Err(format!(
                "{key}: a secret is not written into the settings file. Put it into the environment (or ~/.openclaw/env, mode 600) \
                 and set the key to '${{{variable}}}', or leave the key out."
            ));
        }
        let (last, before) = path.segments.split_last().ok_or("Path is empty.")?;
        let mut here = &mut self.value;
        let mut nexts = path.segments.iter().skip(1);
        for segment in before {
            let next_is_index = nexts.next().is_some_and(|next| index(next).is_some());
            let slot = slot(here, segment).ok_or_else(|| path.not_found())?;
            if slot.is_null() {
                *slot = if next_is_index {
                    Value::Array(Vec::new())
                } else {
                    Value::Object(Map::new())
                };
            }
            here = slot;
        }
        *slot(here, last).ok_or_else(|| path.not_found())? = value;
        Ok(())
    }

    /// Takes a value out.
    ///
    /// # Errors
    /// It is not there.
    pub fn unset(&mut self, path: &ConfigPath) -> Result<(), String> {
        let (last, before) = path.segments.split_last().ok_or("Path is empty.")?;
        let mut here = &mut self.value;
        for segment in before {
            here = match here {
                Value::Object(entries) => entries.get_mut(segment),
                Value::Array(items) => index(segment).and_then(|index| items.get_mut(index)),
                _ => None,
            }
            .ok_or_else(|| path.not_found())?;
        }
        let removed = match here {
            Value::Object(entries) => entries.remove(last).is_some(),
            Value::Array(items) => {
                let found = index(last).filter(|index| *index < items.len());
                found.map(|index| items.remove(index)).is_some()
            }
            _ => false,
        };
        removed.then_some(()).ok_or_else(|| path.not_found())
    }

    /// The mistakes that these contents have and the file on the disk has not.
    ///
    /// # Errors
    /// Those mistakes.
    pub fn check(&self, sources: &Sources<'_>) -> Result<(), Problems> {
        let any = || Secret::new("0123456789abcdef".repeat(4));
        let found = |text| match super::load_text(sources, any(), text) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.0,
        };
        let after = found(Some(&self.value));
        if after.is_empty() {
            return Ok(());
        }
        let before = found(None);
        let new: Vec<Problem> = after.into_iter().filter(|problem| !before.contains(problem)).collect();
        if new.is_empty() { Ok(()) } else { Err(Problems(new)) }
    }

    /// Writes the file as plain JSON, whole or not at all, for the owner alone; what it replaces is kept as `.bak`.
    ///
    /// # Errors
    /// What the system refuses, or that there is a link in its place.
    pub fn save(&self) -> Result<(), String> {
        let failed = |error: io::Error| format!("{} cannot be written: {error}", self.path.display());
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| !meta.is_file()) {
            return Err(format!(
                "{} is a link or no file at all; writing would put a file in its place",
                self.path.display()
            ));
        }
        if let Some(text) = &self.text {
            let mut name = self.path.file_name().unwrap_or_default().to_owned();
            name.push(".bak");
            private_file::replace(&self.path.with_file_name(name), text).map_err(failed)?;
        }
        private_file::replace(&self.path, &format!("{:#}\n", self.value)).map_err(failed)
    }
}

/// A segment that counts entries of a list.
fn index(segment: &str) -> Option<usize> {
    let plain = segment.bytes().all(|byte| byte.is_ascii_digit());
    segment.parse().ok().filter(|_| plain)
}

/// Where a segment leads: made when it is not there. A list grows by one at most.
fn slot<'v>(value: &'v mut Value, segment: &str) -> Option<&'v mut Value> {
    match value {
        Value::Object(entries) => Some(entries.entry(segment).or_insert(Value::Null)),
        Value::Array(items) => {
            let index = index(segment)?;
            if index == items.len() {
                items.push(Value::Null);
            }
            items.get_mut(index)
        }
        _ => None,
    }
}

fn is_secret(path: &str) -> bool {
    match keys::find(path) {
        Some(key) => key.secret,
        None => {
            let name = path.rsplit('.').next().unwrap_or(path).to_ascii_lowercase();
            ["token", "password", "secret", "apikey"]
                .iter()
                .any(|word| name.ends_with(word))
        }
    }
}

/// The value is nothing but one `${NAME}`.
fn is_reference(text: &str) -> bool {
    let whole = text.starts_with("${") && text.find('}').is_some_and(|end| end.saturating_add(1) == text.len());
    whole && substitute::refers(text)
}

fn redact(value: &mut Value, path: &str) {
    match value {
        Value::Object(entries) => {
            for (name, inner) in entries {
                redact(inner, &format!("{path}.{name}"));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redact(item, path)),
        Value::String(text) if is_secret(path) && !is_reference(text) => {
            *text = format!("{REDACTED} ({} chars, source=config)", text.trim().chars().count());
        }
        Value::Number(_) if is_secret(path) => *value = REDACTED.into(),
        _ => {}
    }
}

/// The key of a secret that stands in `value` itself.
fn literal_secret(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Object(entries) => {
            let mut entries = entries.iter();
            entries.find_map(|(name, inner)| literal_secret(inner, &format!("{path}.{name}")))
        }
        Value::Array(items) => items.iter().find_map(|item| literal_secret(item, path)),
        Value::String(text) if !is_reference(text) && !text.trim().is_empty() => {
            is_secret(path).then(|| path.to_owned())
        }
        Value::Number(_) => is_secret(path).then(|| path.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt;

    fn path(written: &str) -> ConfigPath {
        ConfigPath::parse(written).unwrap()
    }

    #[test]
    fn paths() {
        for (written, segments) in [
            ("a.b[0]", ["a", "b", "0"].as_slice()),
            ("a[b].c", &["a", "b", "c"]),
            ("a[\"b\"]", &["a", "\"b\""]),
            ("a\\.b.c", &["a.b", "c"]),
            (" a..b ", &["a", "b"]),
            ("[0]", &["0"]),
        ] {
            assert_eq!(path(written).segments, segments, "{written}");
        }
        for (written, told) in [
            ("", "Path is empty."),
            (" . ", "Path is empty."),
            ("a[b", "Invalid path (missing \"]\"): a[b"),
        ] {
            assert_eq!(ConfigPath::parse(written), Err(told.into()), "{written}");
        }
        assert!(ConfigPath::parse(&"a.".repeat(17)).is_err());
    }

    fn file(value: Value) -> SettingsFile {
        SettingsFile {
            path: PathBuf::new(),
            value,
            text: None,
        }
    }

    #[test]
    fn values_are_found_put_and_taken_out() {
        let mut file = file(json!({"a": {"list": [1, {"b": 2}]}, "n": 3}));
        assert_eq!(file.get(&path("a.list[1].b")), Ok(json!(2)));
        for missing in ["x", "a.x", "a.list[2]", "a.list[-1]", "a.list.b", "n.x"] {
            let told = Err(format!("Config path not found: {missing}"));
            assert_eq!(file.get(&path(missing)), told);
            assert!(file.unset(&path(missing)).is_err(), "{missing}");
        }
        file.set(&path("x.y[0].z"), json!(true)).unwrap();
        file.set(&path("a.list[2]"), json!(5)).unwrap();
        file.set(&path("n"), json!("four")).unwrap();
        assert!(file.set(&path("a.list[7]"), json!(5)).is_err());
        assert!(file.set(&path("n.x"), json!(5)).is_err());
        file.unset(&path("a.list[0]")).unwrap();
        assert_eq!(
            file.value,
            json!({"a": {"list": [{"b": 2}, 5]}, "n": "four", "x": {"y": [{"z": true}]}})
        );
    }

    #[test]
    fn secrets_are_not_shown_and_not_written() {
        let mut file = file(json!({
            "gateway": {"auth": {"token": "hunter22hunter22", "password": "${MY_PASSWORD}"}},
            "providers": {"kimi": {"apiKey": 7, "model": "m"}}, "other": {"apiToken": ["hunter22"]},
        }));
        let shown = file.get(&path("gateway")).unwrap().to_string();
        assert!(shown.contains("__REDACTED__ (16 chars, source=config)") && shown.contains("${MY_PASSWORD}"));
        for all in ["gateway", "providers", "other", "gateway.auth.token"] {
            assert!(!file.get(&path(all)).unwrap().to_string().contains("hunter22"));
        }
        assert_eq!(
            file.get(&path("providers.kimi")),
            Ok(json!({"apiKey": REDACTED, "model": "m"}))
        );
        for (at, value) in [
            ("gateway.auth.token", json!("hunter22hunter22")),
            ("gateway", json!({"auth": {"token": "hunter22hunter22"}})),
            ("gateway.auth.token", json!("hunter22${X}")),
            ("providers.kimi.apiKey", json!("hunter22")),
            ("control.jwtSecret", json!(12_345_678)),
        ] {
            let told = file.set(&path(at), value).unwrap_err();
            assert!(told.contains("is not written") && !told.contains("hunter22"), "{told}");
        }
        file.set(&path("gateway.auth.token"), json!("${OPENCLAW_GATEWAY_TOKEN}"))
            .unwrap();
    }

    #[test]
    fn a_file_is_written_whole_with_a_backup_and_untouched_texts_stay() {
        let scratch = tempfile::tempdir().unwrap();
        let at = scratch.path().join("openclaw.json");
        let old = "{ // mine\n gateway: { auth: { token: '${T}' }, path: '$${X}' } }";
        fs::write(&at, old).unwrap();
        let mut file = SettingsFile::open(at.clone()).unwrap();
        file.set(&path("gateway.port"), json!(5)).unwrap();
        file.save().unwrap();
        let written: Value = serde_json::from_str(&fs::read_to_string(&at).unwrap()).unwrap();
        assert_eq!(
            written,
            json!({"gateway": {"auth": {"token": "${T}"}, "path": "$${X}", "port": 5}})
        );
        assert_eq!(
            fs::read_to_string(scratch.path().join("openclaw.json.bak")).unwrap(),
            old
        );
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
        for name in ["openclaw.json", "openclaw.json.bak"] {
            let mode = fs::metadata(scratch.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let link = scratch.path().join("link.json");
        std::os::unix::fs::symlink(&at, &link).unwrap();
        assert!(
            SettingsFile::open(link)
                .unwrap()
                .save()
                .unwrap_err()
                .contains("is a link")
        );
    }
}
