//! `security audit`: the report, as text or JSON.

use std::fmt::Write as _;

use portcullis_core::security::{AuditReport, Finding, Severity, audit};

use super::super::commands::SecurityCommand;
use super::super::{Process, Refusal, printed};
use super::facts::Ground;
use super::{CLEAN, FOUND};
use crate::clock::Clock;

pub(super) fn run(command: &SecurityCommand, process: &mut Process) -> Result<u8, Refusal> {
    let fail_on = match command.fail_on.as_deref() {
        None | Some("critical") => Severity::Critical,
        Some("warn") => Severity::Warn,
        Some(_) => return Err("--fail-on: must be critical or warn.".into()),
    };
    let ground = Ground::read(command, process)?;
    let report = audit(&ground.facts(Clock::start().now().wall, command.deep)?);
    let text = if command.json {
        let json = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        format!("{json}\n")
    } else {
        as_text(&report)
    };
    printed(process, &text)?;
    let failed = report.summary.critical > 0 || (fail_on == Severity::Warn && report.summary.warn > 0);
    Ok(if failed { FOUND } else { CLEAN })
}

fn as_text(report: &AuditReport) -> String {
    let summary = report.summary;
    let mut text = format!(
        "Security audit\nSummary: {} critical \u{b7} {} warn \u{b7} {} info\n",
        summary.critical, summary.warn, summary.info
    );
    for (severity, heading) in [
        (Severity::Critical, "CRITICAL"),
        (Severity::Warn, "WARN"),
        (Severity::Info, "INFO"),
    ] {
        let mut findings = report
            .findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .peekable();
        if findings.peek().is_some() {
            let _ = write!(text, "\n{heading}\n");
        }
        findings.for_each(|finding| text.push_str(&one(finding)));
    }
    if !report.suppressed_findings.is_empty() {
        let _ = writeln!(
            text,
            "\n{} accepted by security.audit.suppressions",
            report.suppressed_findings.len()
        );
    }
    text
}

fn one(finding: &Finding) -> String {
    let mut text = format!("{} {}\n  {}\n", finding.check_id, finding.title, finding.detail);
    if let Some(remediation) = &finding.remediation {
        let _ = writeln!(text, "  Fix: {remediation}");
    }
    text
}
