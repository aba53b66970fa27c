//! The checks of the bind address, the network around it and the audit itself, and the list of all checks.

use alloc::format;
use alloc::vec::Vec;

use super::access;
use super::facts::{Facts, Firewall, TailnetPublishing};
use super::files;
use super::finding::{Finding, Severity};
use super::urls;
use crate::policy::bind::Class;

/// One check: adds what it finds.
pub(super) type Check = fn(&Facts<'_>, &mut Vec<Finding>);

/// All of them.
pub(super) const ALL: [Check; 33] = [
    bind_wildcard,
    bind_unexpected,
    firewall,
    tailnet,
    tls_missing,
    probe,
    access::bind_no_auth,
    access::require_token_off,
    access::loopback_auth_missing,
    access::token_missing,
    access::token_placeholder,
    access::token_weak,
    access::token_too_short,
    access::token_in_config,
    access::password_in_config,
    access::env_overrides_config,
    access::rate_limit,
    access::auto_approve,
    access::trusted_proxies,
    access::proxy_identity,
    access::origins,
    access::real_ip_fallback,
    access::dangerous_flags,
    access::logging,
    urls::ssrf_weakened,
    urls::allowlists_missing,
    urls::allowlists_broad,
    urls::tools_allowed,
    files::permissions,
    files::links,
    files::secrets,
    files::synced,
    attack_surface,
];

fn bind_wildcard(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let addresses = [Some(facts.bind.configured), facts.bind.live];
    if let Some(address) = addresses
        .into_iter()
        .flatten()
        .find(|address| Class::of(address.ip()) == Class::Wildcard)
    {
        let detail = format!("The gateway listens on {address}: every network that this machine is in can reach it.");
        found.push(
            Finding::new(
                "gateway.bind_wildcard",
                Severity::Critical,
                "Bound to every address",
                detail,
            )
            .fix("Set gateway.host to 127.0.0.1, or to the tailnet address of this machine."),
        );
    }
}

fn bind_unexpected(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    if let Some(live) = facts.bind.live
        && live.ip().to_canonical() != facts.bind.configured.ip().to_canonical()
    {
        let detail = format!(
            "The settings say {}, the running gateway listens on {live}.",
            facts.bind.configured
        );
        found.push(
            Finding::new(
                "gateway.bind_unexpected",
                Severity::Critical,
                "Bound to another address than configured",
                detail,
            )
            .fix("Restart the gateway, and find out who changed the settings or started it."),
        );
    }
}

fn firewall(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    if !facts.is_remote() || facts.firewall == Firewall::Active {
        return;
    }
    let severity = match facts.exposure() {
        Class::Public | Class::Wildcard => Severity::Critical,
        _ => Severity::Warn,
    };
    let port = facts.bind.configured.port();
    let detail = match facts.firewall {
        Firewall::Unknown => format!("Whether a firewall closes port {port} to others cannot be told here."),
        _ => format!("No rule of ufw, nftables or iptables closes port {port} to others."),
    };
    found.push(
        Finding::new("gateway.firewall_inactive", severity, "No firewall in front of the gateway", detail).fix(format!(
            "Allow the networks that need it first, then deny the rest: ufw allow from 100.64.0.0/10 to any port {port}; ufw deny {port}. Rules are looked at in their order."
        )),
    );
}

fn tailnet(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    match facts.tailnet_publishing {
        TailnetPublishing::Off => {}
        TailnetPublishing::Serve => found.push(Finding::new(
            "gateway.tailscale_serve",
            Severity::Info,
            "Published inside the tailnet",
            "gateway.tailscale.mode is serve: every device of the tailnet that its rules let through can reach the gateway.",
        )),
        TailnetPublishing::Funnel => found.push(
            Finding::new(
                "gateway.tailscale_funnel",
                Severity::Critical,
                "Published to the whole internet",
                "gateway.tailscale.mode is funnel.",
            )
            .fix("Set gateway.tailscale.mode to off or serve."),
        ),
    }
    if facts.exposure() == Class::Tailnet && !facts.tailnet_acl_attested {
        found.push(
            Finding::new(
                "gateway.tailnet_acl_unverified",
                Severity::Info,
                "The tailnet's access rules are not confirmed",
                "Any device of the tailnet may reach the gateway unless the tailnet's access rules say otherwise.",
            )
            .fix("Restrict the port to tagged devices in the tailnet's access rules, then set security.attest.tailnetAcl to true."),
        );
    }
}

fn tls_missing(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let exposed = !matches!(facts.exposure(), Class::Loopback | Class::Tailnet);
    if exposed && !facts.tls && facts.settings.doors.trusted_proxies.is_empty() {
        found.push(
            Finding::new(
                "gateway.tls_missing",
                Severity::Warn,
                "Tokens travel in the clear",
                "Other machines reach the gateway without TLS, and no trusted proxy is named that could add it.",
            )
            .fix("Start with --tls-cert and --tls-key, or put a reverse proxy in front and name it in gateway.trustedProxies."),
        );
    }
}

fn probe(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    if let Some(probe) = &facts.probe
        && !probe.ok
    {
        let why = probe.error.as_deref().unwrap_or("no answer");
        found.push(
            Finding::new(
                "gateway.probe_failed",
                Severity::Warn,
                "The running gateway did not answer",
                format!("{}: {why}", probe.url),
            )
            .fix("Start the gateway, or leave --deep out."),
        );
    }
}

fn attack_surface(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let settings = facts.settings;
    let detail = format!(
        "bind: {} ({}), auth: {}, TLS: {}, trusted proxies: {}, command tools: {}, agents: {}, control plane: {}",
        facts.bind.live.unwrap_or(facts.bind.configured),
        facts.exposure().name(),
        if facts.requires_auth() { "on" } else { "off" },
        if facts.tls { "on" } else { "off" },
        settings.doors.trusted_proxies.len(),
        settings.tools.commands.len(),
        settings.agents.agents.len(),
        if settings.control.is_some() { "on" } else { "off" },
    );
    found.push(Finding::new(
        "summary.attack_surface",
        Severity::Info,
        "What can be reached",
        detail,
    ));
}
