//! Five bad configurations, each fault named; and the default one, clean.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::*;
use crate::settings::{ProxyIdentity, Settings};
use crate::time::UnixMillis;

fn good(settings: &Settings) -> Facts<'_> {
    Facts {
        at: UnixMillis(1_795_264_496_007),
        settings,
        bind: Bind {
            configured: "127.0.0.1:18789".parse().unwrap(),
            live: None,
        },
        token: TokenFacts {
            source: Some("file"),
            length: 64,
            is_strong: true,
            ..TokenFacts::default()
        },
        rate_limit_configured: false,
        tls: false,
        logs_connections: true,
        redacts_logs: true,
        dangerous_flags: Vec::new(),
        weakened_ssrf: Vec::new(),
        tailnet_publishing: TailnetPublishing::Off,
        tailnet_acl_attested: false,
        auto_approve: Vec::new(),
        firewall: Firewall::Unknown,
        files: alloc::vec![
            file(FileRole::StateDir, "/home/u/.openclaw", 0o700),
            file(FileRole::Config, "/home/u/.openclaw/openclaw.json", 0o600),
            file(FileRole::Secret, "/home/u/.openclaw/gateway-token", 0o600),
        ],
        suppressions: Vec::new(),
        probe: None,
    }
}

fn file(role: FileRole, path: &str, mode: u32) -> FileFact {
    FileFact {
        role,
        path: path.into(),
        mode,
        is_own: true,
        is_symlink: false,
        is_regular: !matches!(role, FileRole::StateDir | FileRole::CredentialsDir),
    }
}

fn ids(facts: &Facts<'_>, severity: Severity) -> Vec<&'static str> {
    let report = audit(facts);
    let of = report
        .findings
        .into_iter()
        .filter(|finding| finding.severity == severity);
    let mut ids: Vec<_> = of.map(|finding| finding.check_id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn the_default_configuration_is_clean() {
    let settings = Settings::default();
    let report = audit(&good(&settings));
    assert_eq!(
        (report.summary.critical, report.summary.warn),
        (0, 0),
        "{:?}",
        report.findings
    );
    assert_eq!(
        ids(&good(&settings), Severity::Info),
        [
            "gateway.files.url_allowlist_missing",
            "gateway.images.url_allowlist_missing",
            "summary.attack_surface"
        ]
    );
}

#[test]
fn open_to_the_internet_without_a_token() {
    let mut settings = Settings::default();
    settings.auth.tokens = None;
    let mut facts = good(&settings);
    facts.bind.configured = "0.0.0.0:18789".parse().unwrap();
    facts.token = TokenFacts::default();
    facts.firewall = Firewall::Inactive;
    assert_eq!(
        ids(&facts, Severity::Critical),
        [
            "gateway.bind_no_auth",
            "gateway.bind_wildcard",
            "gateway.firewall_inactive",
            "gateway.require_token_off"
        ]
    );
}

#[test]
fn secrets_that_others_can_read() {
    let settings = Settings::default();
    let mut facts = good(&settings);
    facts.token.literal_in_config = true;
    facts.token.env_overrides_config = true;
    facts.files = alloc::vec![
        file(FileRole::StateDir, "/home/u/Dropbox/.openclaw", 0o777),
        file(FileRole::Config, "/c", 0o644),
        file(FileRole::Secret, "/t", 0o640),
        file(FileRole::Log, "/l", 0o644),
        file(FileRole::SessionsStore, "/s", 0o640),
        file(FileRole::CredentialsDir, "/d", 0o770),
    ];
    assert_eq!(
        ids(&facts, Severity::Critical),
        [
            "fs.config.perms_world_readable",
            "fs.credentials_dir.perms_writable",
            "fs.state_dir.perms_world_writable",
            "fs.token_file.perms"
        ]
    );
    assert_eq!(
        ids(&facts, Severity::Warn),
        [
            "config.secrets.gateway_token_in_config",
            "fs.log_file.perms_readable",
            "fs.sessions_store.perms_readable",
            "fs.synced_dir",
            "gateway.env_token_overrides_config"
        ]
    );
}

#[test]
fn a_proxy_that_anybody_can_be() {
    let mut settings = Settings::default();
    settings.auth.proxy_identity = Some(ProxyIdentity {
        user_header: String::new(),
        required_headers: Vec::new(),
        allow_users: Vec::new(),
        allow_loopback: true,
    });
    settings.doors.real_ip_fallback = true;
    let mut facts = good(&settings);
    facts.bind.configured = "192.168.1.5:18789".parse().unwrap();
    assert_eq!(
        ids(&facts, Severity::Critical),
        [
            "gateway.real_ip_fallback_enabled",
            "gateway.trusted_proxy_auth",
            "gateway.trusted_proxy_no_proxies",
            "gateway.trusted_proxy_no_user_header"
        ]
    );
    assert_eq!(
        ids(&facts, Severity::Warn),
        [
            "gateway.auth_no_rate_limit",
            "gateway.files.url_allowlist_missing",
            "gateway.firewall_inactive",
            "gateway.images.url_allowlist_missing",
            "gateway.tls_missing",
            "gateway.trusted_proxy_allow_loopback",
            "gateway.trusted_proxy_no_allowlist"
        ]
    );
}

#[test]
fn tools_pages_and_urls_without_limits() {
    let mut settings = Settings::default();
    settings.tools.allow = ["exec", " Shell", "session.list"].map(String::from).into();
    settings.gateway.allowed_origins = alloc::vec!["*".into()];
    settings.doors.host_header_origin_fallback = true;
    settings.fetch.files.url_allowlist = Some(alloc::vec!["*.example.com".parse().unwrap()]);
    let mut facts = good(&settings);
    facts.bind.live = Some("100.64.0.9:18789".parse().unwrap());
    facts.weakened_ssrf = alloc::vec!["gateway.security.resolveBeforeFetch".to_string()];
    facts.dangerous_flags = alloc::vec!["gateway.dangerouslyAllowWildcardBind".to_string()];
    facts.tailnet_publishing = TailnetPublishing::Funnel;
    facts.firewall = Firewall::Active;
    assert_eq!(
        ids(&facts, Severity::Critical),
        [
            "gateway.bind_unexpected",
            "gateway.control_ui.allowed_origins_wildcard",
            "gateway.control_ui.host_header_origin_fallback",
            "gateway.ssrf_policy_weakened",
            "gateway.tailscale_funnel",
            "gateway.tools_invoke_http.dangerous_allow"
        ]
    );
    assert_eq!(
        ids(&facts, Severity::Warn),
        [
            "config.insecure_or_dangerous_flags",
            "gateway.auth_no_rate_limit",
            "gateway.images.url_allowlist_missing",
            "gateway.url_allowlist_broad"
        ]
    );
}

#[test]
fn weak_tokens() {
    let settings = Settings::default();
    let mut facts = good(&settings);
    facts.token = TokenFacts {
        source: Some("env"),
        length: 8,
        ..TokenFacts::default()
    };
    assert_eq!(
        ids(&facts, Severity::Warn),
        ["gateway.token_too_short", "gateway.token_weak"]
    );
    facts.token.is_placeholder = true;
    assert_eq!(ids(&facts, Severity::Critical), ["gateway.token_placeholder_value"]);
    facts.token = TokenFacts::default();
    assert_eq!(ids(&facts, Severity::Critical), ["gateway.token_missing"]);
}

#[test]
fn what_is_accepted_is_set_aside_and_told() {
    let settings = Settings::default();
    let mut facts = good(&settings);
    facts.token.literal_in_config = true;
    facts.suppressions = alloc::vec![
        Suppression {
            check_id: "config.secrets.gateway_token_in_config".into(),
            title_includes: Some("settings file".into()),
            ..Suppression::default()
        },
        Suppression {
            check_id: "summary.attack_surface".into(),
            detail_includes: Some("no such words".into()),
            ..Suppression::default()
        },
    ];
    let report = audit(&facts);
    assert_eq!(report.summary.warn, 0);
    assert_eq!(report.suppressed_findings.len(), 1);
    let told = report
        .findings
        .iter()
        .find(|finding| finding.check_id == "security.audit.suppressions.active");
    assert_eq!(told.unwrap().detail, "1 of 2 suppressions matched a finding.");
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.check_id == "summary.attack_surface")
    );
}
