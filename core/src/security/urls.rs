//! The checks of what may be fetched and which tools may be called.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::facts::Facts;
use super::finding::{Finding, Severity};
use crate::policy::hosts::HostPattern;
use crate::policy::tools::{DENIED_BY_DEFAULT, normalise};
use crate::settings::SourceSettings;
use crate::url::Host;

pub(super) fn ssrf_weakened(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    for key in &facts.weakened_ssrf {
        found.push(
            Finding::new(
                "gateway.ssrf_policy_weakened",
                Severity::Critical,
                "URLs may lead into this network",
                format!("{key} is false."),
            )
            .fix(format!("portcullis config unset {key}")),
        );
    }
}

/// What each finding is called and says, the key it is about, and what that holds.
fn kinds<'a>(facts: &Facts<'a>) -> [(&'static str, &'static str, &'static str, &'a SourceSettings); 2] {
    let fetch = &facts.settings.fetch;
    [
        (
            "gateway.files.url_allowlist_missing",
            "Any public host may be asked for files",
            "gateway.files.urlAllowlist",
            &fetch.files,
        ),
        (
            "gateway.images.url_allowlist_missing",
            "Any public host may be asked for images",
            "gateway.images.urlAllowlist",
            &fetch.images,
        ),
    ]
}

pub(super) fn allowlists_missing(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    for (id, title, key, source) in kinds(facts) {
        // Warned about where it matters: on a gateway that others reach. On a loopback bind it is worth knowing.
        let severity = if facts.is_remote() {
            Severity::Warn
        } else {
            Severity::Info
        };
        if source.allow_url && source.max_url_parts > 0 && source.url_allowlist.is_none() {
            found.push(
                Finding::new(
                    id,
                    severity,
                    title,
                    format!("{key} is not set; private addresses are blocked all the same."),
                )
                .fix(format!("List the hosts that you trust in {key}; [] switches URLs off.")),
            );
        }
    }
}

pub(super) fn allowlists_broad(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let web = ("", "", "gateway.web.urlAllowlist", &facts.settings.fetch.web);
    for (_, _, key, source) in kinds(facts).into_iter().chain([web]) {
        let broad: Vec<String> = source
            .url_allowlist
            .iter()
            .flatten()
            .filter(|pattern| is_broad(pattern))
            .map(ToString::to_string)
            .collect();
        if !broad.is_empty() {
            found.push(
                Finding::new(
                    "gateway.url_allowlist_broad",
                    Severity::Warn,
                    "A list of trusted hosts is wide",
                    format!("{key}: {}", broad.join(", ")),
                )
                .fix("Name single hosts, and no internal ones."),
            );
        }
    }
}

/// All names below a domain that somebody registers, an address, or a name that only this network knows.
fn is_broad(pattern: &HostPattern) -> bool {
    const INTERNAL: [&str; 6] = [".internal", ".local", ".lan", ".corp", ".home.arpa", ".localhost"];
    match pattern {
        HostPattern::Below(parent) => parent.matches('.').count() <= 1,
        HostPattern::Exactly(Host::Address(_)) => true,
        HostPattern::Exactly(Host::Name(name)) => INTERNAL.iter().any(|suffix| name.ends_with(suffix)),
    }
}

pub(super) fn tools_allowed(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let allow = facts.settings.tools.allow.iter().map(|name| normalise(name));
    let allowed: Vec<String> = allow
        .filter(|name| DENIED_BY_DEFAULT.contains(&name.as_str()))
        .collect();
    if !allowed.is_empty() {
        let severity = if facts.is_remote() {
            Severity::Critical
        } else {
            Severity::Warn
        };
        found.push(
            Finding::new(
                "gateway.tools_invoke_http.dangerous_allow",
                severity,
                "Dangerous tools can be called over HTTP",
                format!("gateway.tools.allow lifts the default ban on: {}.", allowed.join(", ")),
            )
            .fix("Take them out of gateway.tools.allow."),
        );
    }
}
