//! What came of a run, for people and for machines: a table on the terminal, JUnit for build servers, a page of HTML, JSON.

mod html;
mod json;
mod junit;
mod table;

pub use html::html;
pub use json::json;
pub use junit::junit;
pub use table::table;

use crate::run::Outcome;
use crate::target::Verdict;

/// How many passed, failed and were skipped.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Skipped.
    pub skipped: usize,
}

impl Counts {
    /// Counts outcomes.
    pub fn of<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            *match outcome.verdict {
                Verdict::Passed => &mut counts.passed,
                Verdict::Failed(_) => &mut counts.failed,
                Verdict::Skipped(_) => &mut counts.skipped,
            } += 1;
        }
        counts
    }
}

/// The targets in the order of their first outcome.
fn targets(outcomes: &[Outcome]) -> Vec<&str> {
    unique(outcomes.iter().map(|outcome| outcome.target.as_str()))
}

/// The topics in the order of their first outcome.
fn topics(outcomes: &[Outcome]) -> Vec<&str> {
    unique(outcomes.iter().map(|outcome| topic(&outcome.vector)))
}

fn topic(vector: &str) -> &str {
    vector.rsplit_once('/').map_or(vector, |(topic, _)| topic)
}

fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// Text for XML and HTML, in content and in attributes. Control characters that XML cannot carry become U+FFFD.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' | '\t' => safe.push(character),
            control if control.is_control() => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::play::Failure;
    use std::time::Duration;

    fn outcomes() -> Vec<Outcome> {
        let failure = Failure {
            step: "3".into(),
            source: "{\"end\":true}".into(),
            why: "expected <end> & came \"x\"\u{1}".into(),
        };
        let outcome = |vector: &str, verdict| Outcome {
            target: "core".into(),
            vector: vector.into(),
            proves: vec!["OP-1".into()],
            why: "Because.".into(),
            verdict,
            disturbed: None,
            took: Duration::from_millis(7),
        };
        vec![
            outcome("operator/a/one", Verdict::Passed),
            outcome("operator/a/two", Verdict::Failed(failure)),
            outcome("operator/b/three", Verdict::Skipped("slow".into())),
        ]
    }

    #[test]
    fn every_report_names_the_failure_and_its_step() {
        let outcomes = outcomes();
        for report in [
            table(&outcomes),
            junit(&outcomes),
            html(&outcomes),
            json(&outcomes).to_string(),
        ] {
            assert!(
                report.contains("operator/a/two") || report.contains("name=\"two\""),
                "{report}"
            );
            assert!(report.contains("expected"), "{report}");
        }
        assert_eq!(
            Counts::of(&outcomes),
            Counts {
                passed: 1,
                failed: 1,
                skipped: 1
            }
        );
    }

    #[test]
    fn markup_in_what_came_stays_text() {
        let outcomes = outcomes();
        for report in [junit(&outcomes), html(&outcomes)] {
            assert!(
                report.contains("&lt;end&gt; &amp;") && !report.contains("<end>") && !report.contains('\u{1}'),
                "{report}"
            );
        }
    }
}
