//! What the audit found, and its report as JSON. Exit codes and colours are the business of the command.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

use super::facts::{Facts, Suppression};

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Somebody can get in, or nearly.
    Critical,
    /// It should be mended.
    Warn,
    /// It should be known.
    Info,
}

/// One thing that was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The check.
    pub check_id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// In a few words.
    pub title: Cow<'static, str>,
    /// What was seen.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remediation: Option<Cow<'static, str>>,
}

impl Finding {
    /// A finding without advice.
    pub(super) fn new(
        check_id: &'static str,
        severity: Severity,
        title: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            check_id,
            severity,
            title: title.into(),
            detail: detail.into(),
            remediation: None,
        }
    }

    /// The same with advice.
    pub(super) fn fix(mut self, remediation: impl Into<Cow<'static, str>>) -> Self {
        self.remediation = Some(remediation.into());
        self
    }
}

/// How many there are of each severity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Summary {
    /// Critical ones.
    pub critical: usize,
    /// Warnings.
    pub warn: usize,
    /// Things to know.
    pub info: usize,
}

/// The whole report; its JSON is the one that the original writes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditReport {
    /// Milliseconds since 1970.
    pub ts: u64,
    /// How many findings.
    pub summary: Summary,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What was found and accepted by the operator.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suppressed_findings: Vec<Finding>,
    /// How the running gateway answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deep: Option<Deep>,
}

/// The part of the report about the running gateway.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Deep {
    /// How it answered.
    pub gateway: DeepGateway,
}

/// How the running gateway answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DeepGateway {
    /// It was asked.
    pub attempted: bool,
    /// Where.
    pub url: String,
    /// Whether it answered well.
    pub ok: bool,
    /// Why not.
    pub error: Option<String>,
    /// The close frame, which this probe does not wait for.
    pub close: Option<String>,
}

impl AuditReport {
    pub(super) fn new(facts: &Facts<'_>, findings: Vec<Finding>) -> Self {
        let (mut suppressed, mut findings): (Vec<_>, Vec<_>) = findings
            .into_iter()
            .partition(|finding| facts.suppressions.iter().any(|accepted| accepted.covers(finding)));
        if !facts.suppressions.is_empty() {
            let detail = alloc::format!(
                "{} of {} suppressions matched a finding.",
                facts
                    .suppressions
                    .iter()
                    .filter(|accepted| suppressed.iter().any(|found| accepted.covers(found)))
                    .count(),
                facts.suppressions.len()
            );
            findings.push(Finding::new(
                "security.audit.suppressions.active",
                Severity::Info,
                "Findings are suppressed",
                detail,
            ));
        }
        findings.sort_by_key(|finding| finding.severity);
        suppressed.sort_by_key(|finding| finding.severity);
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        Self {
            ts: facts.at.0,
            summary: Summary {
                critical: count(Severity::Critical),
                warn: count(Severity::Warn),
                info: count(Severity::Info),
            },
            findings,
            suppressed_findings: suppressed,
            deep: facts.probe.as_ref().map(|probe| Deep {
                gateway: DeepGateway {
                    attempted: true,
                    url: probe.url.clone(),
                    ok: probe.ok,
                    error: probe.error.clone(),
                    close: None,
                },
            }),
        }
    }
}

impl Suppression {
    fn covers(&self, finding: &Finding) -> bool {
        let includes = |part: &Option<String>, text: &str| part.as_deref().is_none_or(|part| text.contains(part));
        self.check_id == finding.check_id
            && includes(&self.title_includes, &finding.title)
            && includes(&self.detail_includes, &finding.detail)
    }
}
