//! What clients know: which runs they asked for, and what was acknowledged, exactly.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// One request for a run.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) key: String,
    pub(super) message: String,
    pub(super) session: Option<&'static str>,
    pub(super) force_new: bool,
    /// How many lives of the gateway were asked for it before.
    pub(super) lives: u32,
}

impl Job {
    /// Its params, with another message where one is given.
    pub(super) fn params(&self, message: Option<&str>) -> Value {
        let mut params = json!({"idempotencyKey": self.key, "message": message.unwrap_or(&self.message)});
        if let (Some(session), Some(map)) = (self.session, params.as_object_mut()) {
            map.insert("sessionRef".into(), json!(session));
        }
        if let (true, Some(map)) = (self.force_new, params.as_object_mut()) {
            map.insert("forceNewSession".into(), json!(true));
        }
        params
    }
}

/// A run whose response a client has received.
#[derive(Clone, Debug)]
pub(super) struct Acknowledged {
    pub(super) job: Job,
    pub(super) payload: Value,
}

impl Acknowledged {
    /// A text of the result.
    pub(super) fn text(&self, key: &str) -> &str {
        self.payload
            .get("result")
            .and_then(|result| result.get(key))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// Everything that was asked for in one house.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) acknowledged: BTreeMap<String, Acknowledged>,
    pub(super) interrupted: Vec<Job>,
}
