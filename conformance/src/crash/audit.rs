//! What a gateway says and what its transcripts hold, against what its clients know.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::client::ask;
use super::house::NEVER;
use super::ledger::{Acknowledged, Ledger};
use crate::load::link;

/// What the checks counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) extra_turns: u64,
    pub(super) torn_lines: u64,
}

/// A transcript file.
#[derive(Debug, Default)]
struct Transcript {
    /// The lines that are JSON.
    lines: Vec<Value>,
    torn: u64,
}

/// Checks transcripts, the program's own file, `session.list` and `session.history`.
pub(super) fn audit(
    address: SocketAddr,
    ledger: &Ledger,
    outside: Option<&BTreeMap<String, u64>>,
) -> Result<Found, String> {
    let transcripts = transcripts(ledger)?;
    let mut found = Found {
        extra_turns: 0,
        torn_lines: transcripts.values().map(|one| one.torn).sum(),
    };
    let turns = turns(&transcripts)?;
    for one in ledger.acknowledged.values() {
        found.extra_turns += turn_is_there(one, &turns)?;
        if let Some(outside) = outside {
            ran_as_often_as_asked(one, outside)?;
        }
    }
    sessions_are_told(address, ledger, &transcripts)?;
    Ok(found)
}

fn transcripts(ledger: &Ledger) -> Result<BTreeMap<String, Transcript>, String> {
    let mut all = BTreeMap::new();
    for one in ledger.acknowledged.values() {
        let path = one.text("transcriptPath");
        if all.contains_key(path) {
            continue;
        }
        let bytes = std::fs::read(path).map_err(|error| format!("{}: transcript {path}: {error}", one.job.key))?;
        let mut transcript = Transcript::default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(value) => transcript.lines.push(value),
                Err(_) => transcript.torn += 1,
            }
        }
        all.insert(path.to_owned(), transcript);
    }
    Ok(all)
}

/// Where a message was answered: its transcript and the answer.
type Turns<'a> = BTreeMap<&'a str, Vec<(&'a str, Option<&'a str>)>>;

fn turns(transcripts: &BTreeMap<String, Transcript>) -> Result<Turns<'_>, String> {
    let mut turns = Turns::new();
    for (path, transcript) in transcripts {
        for (index, line) in transcript.lines.iter().enumerate() {
            let text = |line: &'_ Value, key: &str| line.get(key).and_then(Value::as_str).map(String::from);
            if text(line, "role").as_deref() != Some("user") {
                continue;
            }
            let Some(message) = line.get("content").and_then(Value::as_str) else {
                return Err(format!("{path}: a line without content: {line}"));
            };
            if message == NEVER {
                return Err(format!("{path} holds a turn of a replayed request"));
            }
            let next = transcript.lines.get(index + 1);
            let answer = next.filter(|line| text(line, "role").as_deref() == Some("assistant"));
            let answer = answer.and_then(|line| line.get("content")).and_then(Value::as_str);
            turns.entry(message).or_default().push((path, answer));
        }
    }
    Ok(turns)
}

/// Exactly one turn for a run that no kill interrupted; returns how many more an interrupted one has.
fn turn_is_there(one: &Acknowledged, turns: &Turns<'_>) -> Result<u64, String> {
    let key = &one.job.key;
    let mine = turns
        .get(one.job.message.as_str())
        .map(Vec::as_slice)
        .unwrap_or_default();
    let told = (one.text("transcriptPath"), Some(one.text("stdout")));
    let whole = mine.iter().filter(|turn| **turn == told).count();
    if whole == 0 {
        return Err(format!(
            "{key} was acknowledged, but its turn is not in {}; found: {mine:?}",
            told.0
        ));
    }
    if mine.len() > 1 + one.job.lives as usize {
        return Err(format!(
            "{key} was asked for in {} lives and has {} turns",
            one.job.lives + 1,
            mine.len()
        ));
    }
    Ok(mine.len() as u64 - 1)
}

fn ran_as_often_as_asked(one: &Acknowledged, outside: &BTreeMap<String, u64>) -> Result<(), String> {
    let times = outside.get(&one.job.key).copied().unwrap_or(0);
    if times == 0 || times > 1 + u64::from(one.job.lives) {
        return Err(format!(
            "{} was asked for in {} lives, and its program ran {times} times",
            one.job.key,
            one.job.lives + 1
        ));
    }
    match outside.get("NEVER") {
        Some(_) => Err("a program was given the message of a replayed request".into()),
        None => Ok(()),
    }
}

fn sessions_are_told(
    address: SocketAddr,
    ledger: &Ledger,
    transcripts: &BTreeMap<String, Transcript>,
) -> Result<(), String> {
    let mut stream = link::authenticated(address)?;
    let list = ask(&mut stream, "session.list", &Value::Null)?;
    let list = list
        .get("sessions")
        .and_then(Value::as_array)
        .ok_or("no sessions in session.list")?;
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    for one in ledger.acknowledged.values() {
        if !list
            .iter()
            .any(|session| text(session, "sessionKey") == one.text("sessionKey"))
        {
            return Err(format!(
                "{} was acknowledged, but session.list lacks {:?}",
                one.job.key,
                one.text("sessionKey")
            ));
        }
    }
    for session in list {
        let (key, id) = (text(session, "sessionKey"), text(session, "sessionId"));
        let Some(transcript) = transcripts.get(&text(session, "transcriptPath")) else {
            // A kill came between the opening of a session and its first answer.
            continue;
        };
        let history = ask(&mut stream, "session.history", &json!({"sessionRef": key}))?;
        let messages = history.pointer("/history/messages").and_then(Value::as_array);
        let messages = messages.ok_or_else(|| format!("no messages in the history of {key}: {history}"))?;
        if !transcript.lines.ends_with(messages) || messages.is_empty() {
            return Err(format!("the history of {key} is not what its transcript holds"));
        }
        let chars = |one: &Acknowledged| one.job.message.chars().count() as u64;
        let acknowledged: u64 = ledger
            .acknowledged
            .values()
            .filter(|one| one.text("sessionId") == id)
            .map(chars)
            .sum();
        let counted = session.get("inputChars").and_then(Value::as_u64).unwrap_or(0);
        if counted < acknowledged {
            return Err(format!(
                "session {key}: {acknowledged} characters were acknowledged, inputChars is {counted}"
            ));
        }
    }
    Ok(())
}
