//! The audit journal from outside: verified line by line, and its events counted. Archives are read before the current
//! file, oldest first; lines are read one at a time, so that a large journal needs little memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use portcullis_core::audit::{Flaw, Verified, Verifier};
use serde::Deserialize;

/// No record is longer. A longer line is none.
const MAX_LINE: u64 = 1 << 20;
/// Archives that are looked for.
const MAX_ARCHIVES: u32 = 10_000;

/// A journal cannot be read, or it was tampered with.
#[derive(Debug)]
pub enum JournalFault {
    /// The system's refusal.
    Unreadable(PathBuf, io::Error),
    /// What is wrong, in which file.
    Flawed(PathBuf, Flaw),
}

impl std::fmt::Display for JournalFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Flawed(path, flaw) => write!(f, "{}: {flaw}", path.display()),
        }
    }
}

impl std::error::Error for JournalFault {}

/// The files of a journal, oldest first; empty when there is none.
#[must_use]
pub fn files(path: &Path) -> Vec<PathBuf> {
    let archive = |number: &u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    let mut files: Vec<_> = (1..=MAX_ARCHIVES)
        .map(|number| archive(&number))
        .take_while(|file| file.exists())
        .collect();
    files.reverse();
    files.extend(path.exists().then(|| path.to_owned()));
    files
}

/// Checks the chain over all files of a journal.
///
/// # Errors
/// The first flaw, or why a file cannot be read.
pub fn verify(path: &Path) -> Result<Verified, JournalFault> {
    let mut verifier = Verifier::default();
    for file in files(path) {
        let before = verifier.lines();
        each_line(&file, |line| {
            verifier.line(line).map_err(|mut flaw| {
                flaw.line = flaw.line.saturating_sub(before);
                JournalFault::Flawed(file.clone(), flaw)
            })
        })?;
    }
    Ok(verifier.verified().clone())
}

/// How often each event happened at or after `since` (RFC 3339, as the journal writes it).
///
/// # Errors
/// Why a file cannot be read.
pub fn count_since(path: &Path, since: &str) -> Result<BTreeMap<String, u64>, JournalFault> {
    #[derive(Deserialize)]
    struct Line {
        ts: String,
        event: String,
        #[serde(default)]
        count: Option<u64>,
    }
    let mut counts = BTreeMap::new();
    for file in files(path) {
        each_line(&file, |line| {
            if let Ok(line) = serde_json::from_slice::<Line>(line)
                && line.ts.as_str() >= since
            {
                // A sampled record stands for those that were left out before it too.
                *counts.entry(line.event).or_default() += 1 + line.count.unwrap_or(0);
            }
            Ok(())
        })?;
    }
    Ok(counts)
}

/// How often fetches of each host were blocked at or after `since`.
///
/// # Errors
/// Why a file cannot be read.
pub fn blocked_since(path: &Path, since: &str) -> Result<BTreeMap<String, u64>, JournalFault> {
    #[derive(Deserialize)]
    struct Line {
        ts: String,
        event: String,
        target: Option<String>,
    }
    const BLOCKED: [&str; 3] = ["ssrf_blocked", "url_denied", "fetch_rejected"];
    let mut hosts: BTreeMap<String, u64> = BTreeMap::new();
    for file in files(path) {
        each_line(&file, |line| {
            if let Ok(line) = serde_json::from_slice::<Line>(line)
                && line.ts.as_str() >= since
                && BLOCKED.contains(&line.event.as_str())
                && let Some(target) = line.target
            {
                let host = target.split_once("://").map_or(target.as_str(), |(_, host)| host);
                *hosts.entry(host.to_owned()).or_default() += 1;
            }
            Ok(())
        })?;
    }
    Ok(hosts)
}

fn each_line(file: &Path, mut take: impl FnMut(&[u8]) -> Result<(), JournalFault>) -> Result<(), JournalFault> {
    let unreadable = |error| JournalFault::Unreadable(file.to_owned(), error);
    let mut reader = BufReader::new(File::open(file).map_err(unreadable)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(unreadable)?;
        if read == 0 {
            return Ok(());
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        if !line.is_empty() {
            take(line)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_come_first_and_events_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        assert!(files(&path).is_empty());
        assert_eq!(verify(&path).unwrap().records, 0);
        let line = |ts: &str, event: &str| format!("{{\"ts\":\"{ts}\",\"event\":\"{event}\"}}\n");
        std::fs::write(
            folder.path().join("audit.jsonl.1"),
            line("2026-11-20T00:00:00.000Z", "auth_failed"),
        )
        .unwrap();
        let now = line("2026-11-21T00:00:00.000Z", "auth_failed") + &line("2026-11-21T00:00:01.000Z", "start") + "torn";
        std::fs::write(&path, now).unwrap();
        let names: Vec<_> = files(&path)
            .iter()
            .map(|file| file.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["audit.jsonl.1", "audit.jsonl"]);
        let counts = count_since(&path, "2026-11-20T12:00:00.000Z").unwrap();
        assert_eq!(counts.get("auth_failed"), Some(&1));
        let flaw = verify(&path).unwrap_err().to_string();
        assert!(
            flaw.contains("audit.jsonl.1: line 1: this is not an audit record"),
            "{flaw}"
        );
    }
}
