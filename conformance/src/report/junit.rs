//! JUnit XML: one suite for each target and topic.

use super::{Counts, escaped, targets, topic, topics};
use crate::run::Outcome;
use crate::target::Verdict;

/// The XML document.
#[must_use]
pub fn junit(outcomes: &[Outcome]) -> String {
    let mut xml =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"portcullis-conformance\">\n".to_owned();
    for target in targets(outcomes) {
        for name in topics(outcomes) {
            let here = || {
                outcomes
                    .iter()
                    .filter(|outcome| outcome.target == target && topic(&outcome.vector) == name)
            };
            let counts = Counts::of(here());
            let seconds: f64 = here().map(|outcome| outcome.took.as_secs_f64()).sum();
            let suite = escaped(&format!("{target}.{name}"));
            xml += &format!(
                "  <testsuite name=\"{suite}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{seconds:.3}\">\n",
                here().count(),
                counts.failed,
                counts.skipped
            );
            here().for_each(|outcome| xml += &case(&suite, outcome));
            xml += "  </testsuite>\n";
        }
    }
    xml + "</testsuites>\n"
}

fn case(suite: &str, outcome: &Outcome) -> String {
    let name = outcome.vector.rsplit('/').next().unwrap_or_default();
    let open = format!(
        "    <testcase classname=\"{suite}\" name=\"{}\" time=\"{:.3}\"",
        escaped(name),
        outcome.took.as_secs_f64()
    );
    match &outcome.verdict {
        Verdict::Passed => format!("{open}/>\n"),
        Verdict::Skipped(why) => format!("{open}><skipped message=\"{}\"/></testcase>\n", escaped(why)),
        Verdict::Failed(failure) => {
            let head = escaped(&format!("{} ({})", outcome.why, outcome.proves.join(", ")));
            format!(
                "{open}><failure message=\"{head}\">{}</failure></testcase>\n",
                escaped(&failure.to_string())
            )
        }
    }
}
