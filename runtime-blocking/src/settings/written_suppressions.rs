//! The list of findings of the audit that are accepted, as a person writes it.

use serde_json::Value;

use super::draft::{Draft, Suppression};
use super::problem::Problem;
use super::written_entry;

const FIELDS: &[&str] = &["checkId", "titleIncludes", "detailIncludes", "reason"];

/// Replaces the draft's suppressions by those of `value`; tells what is wrong with each.
pub(crate) fn read(draft: &mut Draft, place: &str, value: &Value, problems: &mut Vec<Problem>) {
    let suppressions = written_entry::each(place, value, "suppressions", FIELDS, problems, |entry| {
        Some(Suppression {
            check_id: entry.required("checkId", 120)?,
            title_includes: entry.text("titleIncludes", 200),
            detail_includes: entry.text("detailIncludes", 200),
            reason: entry.text("reason", 500),
        })
    });
    if let Some(suppressions) = suppressions {
        draft.suppressions = suppressions;
    }
}
