//! The report for programs.

use serde_json::{Value, json};

use crate::run::Outcome;
use crate::target::Verdict;

/// One object for each outcome.
#[must_use]
pub fn json(outcomes: &[Outcome]) -> Value {
    let item = |outcome: &Outcome| {
        let (verdict, detail) = match &outcome.verdict {
            Verdict::Passed => ("passed", None),
            Verdict::Failed(failure) => ("failed", Some(failure.to_string())),
            Verdict::Skipped(why) => ("skipped", Some(why.clone())),
        };
        json!({
            "target": outcome.target, "vector": outcome.vector, "proves": outcome.proves, "verdict": verdict,
            "detail": detail, "millis": u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX)
        })
    };
    outcomes.iter().map(item).collect()
}
