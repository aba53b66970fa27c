//! A page of HTML that needs nothing else: every vector with what it proves, failures first.

use super::{Counts, escaped, targets, topic, topics};
use crate::run::Outcome;
use crate::target::Verdict;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}\
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.3em .6em;text-align:left;vertical-align:top}\
.passed{color:#176f2c}.failed{color:#b3261e;font-weight:600}.skipped{color:#777}pre{white-space:pre-wrap;background:#f6f6f6;padding:.6em}";

/// The page.
#[must_use]
pub fn html(outcomes: &[Outcome]) -> String {
    let targets = targets(outcomes);
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Portcullis conformance</title><style>{STYLE}</style>\
         <h1>Portcullis conformance</h1><table><tr><th>target<th>passed<th>failed<th>skipped</tr>"
    );
    for target in &targets {
        let counts = Counts::of(outcomes.iter().filter(|outcome| outcome.target == *target));
        page += &format!(
            "<tr><td>{}<td class=passed>{}<td class=failed>{}<td class=skipped>{}</tr>",
            escaped(target),
            counts.passed,
            counts.failed,
            counts.skipped
        );
    }
    page += "</table>\n";
    for outcome in outcomes {
        if let Verdict::Failed(failure) = &outcome.verdict {
            let title = escaped(&format!("{} on {}", outcome.vector, outcome.target));
            page += &format!(
                "<h3 class=failed>{title}</h3><pre>{}</pre>\n",
                escaped(&failure.to_string())
            );
        }
    }
    for name in topics(outcomes) {
        page += &format!("<h2>{}</h2><table><tr><th>vector<th>proves", escaped(name));
        targets
            .iter()
            .for_each(|target| page += &format!("<th>{}", escaped(target)));
        page += "</tr>\n";
        let first = targets.first().copied().unwrap_or_default();
        for outcome in outcomes
            .iter()
            .filter(|outcome| outcome.target == first && topic(&outcome.vector) == name)
        {
            page += &row(outcome, outcomes, &targets);
        }
        page += "</table>\n";
    }
    page
}

fn row(vector: &Outcome, outcomes: &[Outcome], targets: &[&str]) -> String {
    let name = vector.vector.rsplit('/').next().unwrap_or_default();
    let mut row = format!(
        "<tr><td><b>{}</b><br>{}<td>{}",
        escaped(name),
        escaped(&vector.why),
        escaped(&vector.proves.join(", "))
    );
    for target in targets {
        let here = outcomes
            .iter()
            .find(|outcome| outcome.target == *target && outcome.vector == vector.vector);
        row += &match here.map(|outcome| &outcome.verdict) {
            Some(Verdict::Passed) => "<td class=passed>passed".to_owned(),
            Some(Verdict::Failed(_)) => "<td class=failed>failed".to_owned(),
            Some(Verdict::Skipped(why)) => format!("<td class=skipped title=\"{}\">skipped", escaped(why)),
            None => "<td>".to_owned(),
        };
    }
    row + "</tr>\n"
}
