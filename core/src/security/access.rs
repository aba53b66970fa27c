//! The checks of who may come in: tokens, lockout, proxies, origins, switches.

use alloc::format;
use alloc::vec::Vec;

use super::facts::Facts;
use super::finding::{Finding, Severity};

/// Shorter tokens get a warning of their own, as the original's do.
const SHORT_TOKEN: usize = 24;

const fn worse_when(remote: bool) -> Severity {
    if remote { Severity::Critical } else { Severity::Warn }
}

pub(super) fn bind_no_auth(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    if facts.is_remote()
        && (!facts.requires_auth() || facts.token.source.is_none() && facts.settings.auth.proxy_identity.is_none())
    {
        found.push(
            Finding::new(
                "gateway.bind_no_auth",
                Severity::Critical,
                "Reachable by others without a shared secret",
                format!(
                    "The gateway listens on {} and asks nobody for a token.",
                    facts.exposure().name()
                ),
            )
            .fix("Set gateway.host to 127.0.0.1, or make a token: portcullis token rotate."),
        );
    }
}

pub(super) fn require_token_off(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    if !facts.requires_auth() {
        found.push(
            Finding::new(
                "gateway.require_token_off",
                worse_when(facts.is_remote()),
                "No token is asked for",
                "gateway.requireToken is false (or gateway.auth.mode is none): everybody who reaches the port is the operator.",
            )
            .fix("Set gateway.requireToken to true."),
        );
    }
}

pub(super) fn loopback_auth_missing(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    if !facts.is_remote() && !facts.requires_auth() {
        found.push(
            Finding::new(
                "gateway.loopback_auth_missing",
                Severity::Critical,
                "Programs and web pages on this machine come in without a token",
                "A loopback address is no proof of who is there: any local program can reach it.",
            )
            .fix("Set gateway.requireToken to true."),
        );
        found.push(
            Finding::new(
                "gateway.http.no_auth",
                Severity::Warn,
                "The HTTP endpoints ask for no token",
                "POST /tools/invoke and GET /metrics are open to whoever reaches the port.",
            )
            .fix("Set gateway.requireToken to true."),
        );
    }
}

pub(super) fn token_missing(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    // Where a proxy says who somebody is, a token is an extra.
    let asked_for = facts.settings.auth.tokens.is_some() && facts.settings.auth.proxy_identity.is_none();
    if asked_for && facts.token.source.is_none() {
        found.push(
            Finding::new(
                "gateway.token_missing",
                Severity::Critical,
                "There is no token",
                "A token is asked for, but neither the environment, the settings nor the token file holds one. A gateway makes one at its start.",
            )
            .fix("Start the gateway, or make one: portcullis token rotate."),
        );
    }
}

pub(super) fn token_placeholder(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    if facts.token.is_placeholder {
        found.push(
            Finding::new(
                "gateway.token_placeholder_value",
                Severity::Critical,
                "The token is an example that everybody knows",
                "It is blank, undefined, null, or a placeholder from published documentation.",
            )
            .fix("Make one: portcullis token rotate (or openssl rand -hex 32)."),
        );
    }
}

pub(super) fn token_weak(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let token = &facts.token;
    if token.source.is_some() && !token.is_strong && !token.is_placeholder {
        found.push(
            Finding::new(
                "gateway.token_weak",
                worse_when(facts.is_remote()),
                "The token is weak",
                format!(
                    "It has {} characters; a strong one has 32 or more hex digits, drawn at random.",
                    token.length
                ),
            )
            .fix("Make one: portcullis token rotate (or openssl rand -hex 32)."),
        );
    }
}

pub(super) fn token_too_short(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let token = &facts.token;
    if token.source.is_some() && !token.is_placeholder && token.length < SHORT_TOKEN {
        found.push(
            Finding::new(
                "gateway.token_too_short",
                Severity::Warn,
                "The token is short",
                format!("It has {} characters, fewer than {SHORT_TOKEN}.", token.length),
            )
            .fix("Make one: portcullis token rotate (or openssl rand -hex 32)."),
        );
    }
}

pub(super) fn token_in_config(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    if facts.token.literal_in_config {
        found.push(
            Finding::new(
                "config.secrets.gateway_token_in_config",
                Severity::Warn,
                "The token stands in the settings file",
                "gateway.auth.token is written out; backups and screenshots of the file carry it along.",
            )
            .fix("Move it to the token file or the environment: portcullis config unset gateway.auth.token, or write ${OPENCLAW_GATEWAY_TOKEN}."),
        );
    }
}

pub(super) fn password_in_config(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    if facts.token.password_in_config {
        found.push(
            Finding::new(
                "config.secrets.gateway_password_in_config",
                Severity::Warn,
                "The password stands in the settings file",
                "gateway.auth.password is written out.",
            )
            .fix("Set OPENCLAW_GATEWAY_PASSWORD in the environment instead."),
        );
    }
}

pub(super) fn env_overrides_config(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    if facts.token.env_overrides_config {
        found.push(
            Finding::new(
                "gateway.env_token_overrides_config",
                Severity::Warn,
                "Two different tokens are set",
                "The environment and the settings file name different tokens; the environment's counts.",
            )
            .fix("Remove one of them: portcullis config unset gateway.auth.token."),
        );
    }
}

pub(super) fn rate_limit(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    if facts.is_remote() && !facts.rate_limit_configured {
        found.push(
            Finding::new(
                "gateway.auth_no_rate_limit",
                Severity::Warn,
                "The limit on guesses is not written down",
                "The default holds (10 wrong tokens in 60 s lock an address out for 300 s), but nobody has chosen it for this exposure.",
            )
            .fix("Write gateway.auth.rateLimit.maxAttempts, windowMs and lockoutMs into the settings."),
        );
    }
}

pub(super) fn auto_approve(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    for key in &facts.auto_approve {
        found.push(
            Finding::new(
                "gateway.auto_approve_remote",
                Severity::Critical,
                "Remote devices are approved without asking",
                format!("{key} is on."),
            )
            .fix(format!("Set {key} to false.")),
        );
    }
}

pub(super) fn trusted_proxies(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let doors = &facts.settings.doors;
    if !facts.is_remote() && !facts.settings.gateway.allowed_origins.is_empty() && doors.trusted_proxies.is_empty() {
        found.push(
            Finding::new(
                "gateway.trusted_proxies_missing",
                Severity::Warn,
                "Browsers are let in, but no proxy is trusted",
                "Behind a reverse proxy every client would look like this machine.",
            )
            .fix("Name the proxy in gateway.trustedProxies, or ignore this when there is none."),
        );
    }
}

pub(super) fn proxy_identity(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let Some(identity) = &facts.settings.auth.proxy_identity else {
        return;
    };
    let mut add = |id, severity, title: &'static str, fix: &'static str| {
        let detail = format!(
            "gateway.auth.mode is trusted-proxy; users are named by the field {:?}.",
            identity.user_header
        );
        found.push(Finding::new(id, severity, title, detail).fix(fix));
    };
    add(
        "gateway.trusted_proxy_auth",
        Severity::Critical,
        "Whoever can speak as the proxy is any user",
        "Make sure that only the proxy can reach the port.",
    );
    if facts.settings.doors.trusted_proxies.is_empty() {
        add(
            "gateway.trusted_proxy_no_proxies",
            Severity::Critical,
            "No proxy is named",
            "Set gateway.trustedProxies.",
        );
    }
    if identity.user_header.is_empty() {
        add(
            "gateway.trusted_proxy_no_user_header",
            Severity::Critical,
            "No field names the user",
            "Set gateway.auth.trustedProxy.userHeader.",
        );
    }
    if identity.allow_users.is_empty() {
        add(
            "gateway.trusted_proxy_no_allowlist",
            Severity::Warn,
            "Every user whom the proxy names is let in",
            "Set gateway.auth.trustedProxy.allowUsers.",
        );
    }
    if identity.allow_loopback {
        add(
            "gateway.trusted_proxy_allow_loopback",
            Severity::Warn,
            "Any program on this machine can speak as the proxy",
            "Set gateway.auth.trustedProxy.allowLoopback to false.",
        );
    }
}

pub(super) fn origins(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let severity = worse_when(facts.is_remote());
    if facts
        .settings
        .gateway
        .allowed_origins
        .iter()
        .any(|origin| origin == "*")
    {
        found.push(
            Finding::new(
                "gateway.control_ui.allowed_origins_wildcard",
                severity,
                "Every web page may connect",
                "gateway.controlUi.allowedOrigins holds *.",
            )
            .fix("List the origins of your own pages."),
        );
    }
    if facts.settings.doors.host_header_origin_fallback {
        found.push(
            Finding::new(
                "gateway.control_ui.host_header_origin_fallback",
                severity,
                "Origins are compared with the Host field",
                "gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback is on: a page that rebinds its name gets in.",
            )
            .fix("Set it to false and list the origins."),
        );
    }
}

pub(super) fn real_ip_fallback(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    if facts.settings.doors.real_ip_fallback {
        found.push(
            Finding::new(
                "gateway.real_ip_fallback_enabled",
                worse_when(facts.is_remote()),
                "X-Real-IP is believed",
                "gateway.allowRealIpFallback is on: a proxy that passes the field through lets clients choose their address.",
            )
            .fix("Set gateway.allowRealIpFallback to false, or make the proxy overwrite the field."),
        );
    }
}

pub(super) fn dangerous_flags(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    for key in &facts.dangerous_flags {
        found.push(
            Finding::new(
                "config.insecure_or_dangerous_flags",
                Severity::Warn,
                "A dangerous switch is on",
                format!("{key} is on."),
            )
            .fix(format!("portcullis config unset {key}")),
        );
    }
}

pub(super) fn logging(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    if !facts.logs_connections {
        found.push(
            Finding::new(
                "logging.connections_off",
                Severity::Warn,
                "Connections are not recorded",
                "Nobody can tell afterwards who connected.",
            )
            .fix("Set audit.connections to true."),
        );
    }
    if !facts.redacts_logs {
        found.push(
            Finding::new(
                "logging.redact_off",
                Severity::Warn,
                "Secrets in logs are not masked",
                "logging.redactSensitive is off.",
            )
            .fix("portcullis config unset logging.redactSensitive"),
        );
    }
}
