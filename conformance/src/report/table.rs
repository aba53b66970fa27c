//! The report for a terminal: a table of topics by targets, then every failure.

use super::{Counts, targets, topic, topics};
use crate::run::Outcome;
use crate::target::Verdict;

/// The table, with failures below it.
#[must_use]
pub fn table(outcomes: &[Outcome]) -> String {
    let (topics, targets) = (topics(outcomes), targets(outcomes));
    let width = topics
        .iter()
        .map(|topic| topic.len())
        .max()
        .unwrap_or(0)
        .max("total".len());
    let mut text = format!("{:width$}", "");
    for target in &targets {
        text += &format!("  {target:>20}");
    }
    text.push('\n');
    for name in topics.iter().copied().chain(["total"]) {
        text += &format!("{name:width$}");
        for target in &targets {
            let fitting = outcomes
                .iter()
                .filter(|outcome| outcome.target == *target && (name == "total" || topic(&outcome.vector) == name));
            text += &format!("  {:>20}", cell(Counts::of(fitting)));
        }
        text.push('\n');
    }
    for outcome in outcomes {
        if let (Verdict::Passed, Some(first)) = (&outcome.verdict, &outcome.disturbed) {
            text += &format!(
                "\ndisturbed: {} on {} passed when it was played alone; at first: {first}\n",
                outcome.vector, outcome.target
            );
        }
        if let Verdict::Failed(failure) = &outcome.verdict {
            text += &format!(
                "\nFAILED {} on {} ({})\n  {}\n  {failure}\n",
                outcome.vector,
                outcome.target,
                outcome.proves.join(", "),
                outcome.why
            );
        }
    }
    text
}

fn cell(counts: Counts) -> String {
    let mut text = format!("{} ok", counts.passed);
    if counts.failed > 0 {
        text += &format!(", {} FAILED", counts.failed);
    }
    if counts.skipped > 0 {
        text += &format!(", {} -", counts.skipped);
    }
    text
}
