//! A client that runs agents on one connection, with several requests in flight, until its work is done or the gateway is
//! gone; it remembers what it was told.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::ledger::{Acknowledged, Job};
use crate::client::frames::client_frame;
use crate::load::link;

/// Requests in flight on one connection.
const WINDOW: usize = 4;

/// What one connection's work came to.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) acknowledged: Vec<Acknowledged>,
    /// Asked for and not answered.
    pub(super) interrupted: Vec<Job>,
    /// Runs that were answered with an error.
    pub(super) refused: Vec<(Job, Value)>,
    /// Streamed output, by the id of the run.
    pub(super) streamed: BTreeMap<String, String>,
}

/// Asks for `jobs` (with `message` instead of their own, where given) and counts answers in `answered`.
pub(super) fn work(address: SocketAddr, jobs: Vec<Job>, message: Option<&str>, answered: &AtomicU64) -> Work {
    let mut work = Work::default();
    let mut jobs = jobs.into_iter();
    let mut open: BTreeMap<String, Job> = BTreeMap::new();
    let Ok(mut stream) = link::authenticated(address) else {
        return work;
    };
    let (mut buffer, mut alive) = (Vec::new(), true);
    while alive {
        while open.len() < WINDOW
            && let Some(job) = jobs.next()
        {
            let id = format!("{}#{}", job.key, job.lives);
            let frame = json!({"type": "req", "id": id, "method": "agent.run", "params": job.params(message)});
            alive &= stream.write_all(&client_frame(1, frame.to_string().as_bytes())).is_ok();
            // Even a failed write may have reached the gateway in part.
            open.insert(id, job);
        }
        if open.is_empty() {
            return work;
        }
        match link::next_frame(&mut stream, &mut buffer) {
            Ok((1, payload)) => note(&payload, &mut open, &mut work, answered),
            Ok((8, _)) | Err(_) => alive = false,
            Ok(_) => {}
        }
    }
    work.interrupted.extend(open.into_values());
    work
}

fn note(payload: &[u8], open: &mut BTreeMap<String, Job>, work: &mut Work, answered: &AtomicU64) {
    let Ok(mut frame) = serde_json::from_slice::<Value>(payload) else {
        return;
    };
    if frame.get("event").and_then(Value::as_str) == Some("agent.stream") {
        let text = |key: &str| frame.pointer(&format!("/payload/{key}")).and_then(Value::as_str);
        if let (Some(run), Some(chunk)) = (text("runId"), text("chunk")) {
            work.streamed.entry(run.to_owned()).or_default().push_str(chunk);
        }
        return;
    }
    let Some(job) = frame.get("id").and_then(Value::as_str).and_then(|id| open.remove(id)) else {
        return;
    };
    answered.fetch_add(1, Ordering::Relaxed);
    if frame.get("ok") == Some(&Value::Bool(true)) {
        let payload = frame.get_mut("payload").map(Value::take).unwrap_or_default();
        work.acknowledged.push(Acknowledged { job, payload });
    } else {
        work.refused.push((job, frame));
    }
}

/// One request and its answer's payload.
///
/// # Errors
/// When the connection ends or the answer is an error.
pub(super) fn ask(stream: &mut TcpStream, method: &str, params: &Value) -> Result<Value, String> {
    let frame = json!({"type": "req", "id": "ask", "method": method, "params": params});
    stream
        .write_all(&client_frame(1, frame.to_string().as_bytes()))
        .map_err(|error| format!("{method}: {error}"))?;
    let mut buffer = Vec::new();
    loop {
        let (opcode, payload) = link::next_frame(stream, &mut buffer)?;
        if opcode != 1 {
            continue;
        }
        let mut answer: Value = serde_json::from_slice(&payload).map_err(|why| format!("{method}: {why}"))?;
        if answer.get("id") == Some(&json!("ask")) {
            return match answer.get_mut("payload") {
                Some(payload) => Ok(payload.take()),
                None => Err(format!("{method} is answered {answer}")),
            };
        }
    }
}
