//! What the relay's variables mean, and what a start fails with. Proves `spec/relay.md` section 1.

use super::*;

const KEY: (&str, &str) = ("JWT_SIGNING_KEY", " reference-signing-key-0123456789abcdef ");

fn read(variables: &[(&str, &str)]) -> Result<RelayChoices, String> {
    let always = [("HOME", "/home/nobody"), ("DOTENV_PATH", "-")];
    let environment = always.iter().chain(variables).copied().collect();
    read_relay(&environment, &RelayFlags::default(), Path::new("/"))
}

fn settings(variables: &[(&str, &str)]) -> RelaySettings {
    let variables = [&[KEY], variables].concat();
    let address = "127.0.0.1:8080".parse().unwrap();
    read(&variables).unwrap().settings(address).relay.unwrap()
}

#[test]
fn the_defaults_are_the_originals() {
    let choices = read(&[KEY]).unwrap();
    assert_eq!(
        (choices.bind.as_str(), choices.port, choices.allow_remote),
        ("127.0.0.1", 8080, false)
    );
    assert_eq!(
        choices.state_dir,
        Path::new("/home/nobody/.local/state/portcullis/relay")
    );
    assert!(choices.is_demo() && choices.warnings.is_empty() && choices.tls.is_none());
    let relay = settings(&[]);
    assert_eq!(relay.public_base_url, "http://localhost:8080");
    assert_eq!(relay.allow_origins, AllowedOrigins::Any);
    assert_eq!(relay.oauth_redirect_uris, REDIRECTS);
    assert_eq!(relay.redirect_allowlist[..3], REDIRECTS);
    assert_eq!(relay.redirect_allowlist[3..], ["http://localhost:8080/console"]);
    assert_eq!(relay.client_ids, CLIENTS);
    assert_eq!(relay.client_name, "Commands.com Gateway");
    assert_eq!(relay.frontend_url, None);
    assert_eq!(relay.signing_key.reveal(), "reference-signing-key-0123456789abcdef");
    assert_eq!(relay.audience, "commands-gateway");
    let seconds = [
        relay.access_token_ttl,
        relay.auth_code_ttl,
        relay.refresh_token_ttl,
        relay.idempotency_ttl,
        relay.transport_token_ttl,
        relay.rate_window,
    ];
    assert_eq!(
        seconds.map(|time| time.as_secs()),
        [3_600, 300, 2_592_000, 300, 3_600, 60]
    );
    assert_eq!((relay.oauth_limit, relay.require_encrypted_frames), (30, true));
    assert!(relay.standalone && relay.loopback_only && !relay.strict_transport);
    assert_eq!(relay.limits, portcullis_core::settings::RelayLimits::default());
}

#[test]
fn a_start_fails_in_the_words_of_the_original() {
    for (variables, text) in [
        (&[][..], "JWT_SIGNING_KEY is required"),
        (&[("JWT_SIGNING_KEY", "  ")], "JWT_SIGNING_KEY is required"),
        (
            &[("JWT_SIGNING_KEY", " 0123456789012345678901234567890  ")],
            "JWT_SIGNING_KEY must be at least 32 bytes",
        ),
        (
            &[KEY, ("STATE_BACKEND", "redis")],
            "unsupported STATE_BACKEND=\"redis\" (only \"memory\" is supported)",
        ),
        (
            &[KEY, ("TRANSPORT_TOKEN_TTL_SECONDS", "29")],
            "TRANSPORT_TOKEN_TTL_SECONDS must be >= 30 (renewal happens at TTL/2)",
        ),
        (
            &[KEY, ("AUTH_MODE", "Demo"), ("DEMO_AUTH_DISABLED", "T")],
            "AUTH_MODE=demo but DEMO_AUTH_DISABLED=true",
        ),
        (
            &[KEY, ("AUTH_MODE", "FIREBASE")],
            "FIREBASE_PROJECT_ID is required when AUTH_MODE=firebase",
        ),
        (
            &[KEY, ("AUTH_MODE", "oidc"), ("OIDC_CLIENT_ID", "x")],
            "OIDC_ISSUER_URL and OIDC_CLIENT_ID are required when AUTH_MODE=oidc",
        ),
        (
            &[
                KEY,
                ("AUTH_MODE", "oidc"),
                ("OIDC_CLIENT_ID", "x"),
                ("OIDC_ISSUER_URL", "http://id.example"),
            ],
            "OIDC_ISSUER_URL=\"http://id.example\" is not https; only a provider on this machine may do without",
        ),
        (&[KEY, ("AUTH_MODE", "none")], "unsupported AUTH_MODE=\"none\""),
        (&[KEY, ("PORT", "80a")], "PORT=\"80a\" is not a port (0 to 65535)"),
        (
            &[KEY, ("ALLOW_ORIGINS", "https://a.example, nonsense")],
            "ALLOW_ORIGINS: \"nonsense\" is not an origin (a scheme and a host, for example https://app.example.com)",
        ),
        (
            &[KEY, ("RELAY_TLS_CERT", "cert.pem")],
            "TLS needs a certificate and a key: --tls-cert and --tls-key, or RELAY_TLS_CERT and RELAY_TLS_KEY",
        ),
    ] {
        let told = read(variables).unwrap_err();
        // What to do about it may follow in brackets.
        assert_eq!(told.split(" (").next(), text.split(" (").next());
    }
    for (name, value) in [
        ("PUBLIC_BASE_URL", "relay.example"),
        ("PUBLIC_BASE_URL", "https://relay.example/?x"),
        ("RELAY_TRUSTED_PROXIES", "10.0.0.0/99"),
        ("RELAY_ALLOWED_NETWORKS", "here"),
        ("RELAY_IDENTITY_NETWORKS", "inside"),
    ] {
        let text = read(&[KEY, (name, value)]).unwrap_err();
        assert!(text.starts_with(name), "{text}");
    }
}

#[test]
fn what_is_chosen_is_taken() {
    let relay = settings(&[
        ("PUBLIC_BASE_URL", "https://relay.example/base//"),
        ("RAILWAY_PUBLIC_DOMAIN", "not.this"),
        ("ALLOW_ORIGINS", "https://A.example, http://localhost:3000/"),
        ("REDIRECT_ALLOWLIST", "https://app.example/cb"),
        ("OAUTH_DEFAULT_CLIENT_ID", "commands-desktop-public"),
        ("RELAY_CLIENT_IDS", "mine,commands-agent"),
        ("FRONTEND_URL", "https://app.example/"),
        ("AUTH_MODE", "OIDC"),
        ("OIDC_ISSUER_URL", "https://id.example"),
        ("OIDC_CLIENT_ID", "portcullis"),
        ("IDEMPOTENCY_TTL_SECONDS", "1"),
        ("ACCESS_TOKEN_TTL_SECONDS", "-1"),
        ("REQUIRE_ENCRYPTED_FRAMES", "False"),
        ("TRANSPORT_TOKEN_SECRET", "secret"),
        ("RELAY_MAX_FRAME_BYTES", "9999999"),
    ]);
    assert_eq!(relay.public_base_url, "https://relay.example/base");
    let listed = ["https://a.example", "http://localhost:3000"]
        .map(String::from)
        .to_vec();
    assert_eq!(relay.allow_origins, AllowedOrigins::These(listed));
    assert_eq!(
        relay.redirect_allowlist,
        ["https://app.example/cb", "https://relay.example/base/console"]
    );
    assert_eq!(relay.oauth_redirect_uris, ["https://app.example/cb"]);
    assert_eq!(relay.client_ids, ["commands-desktop-public", "commands-agent", "mine"]);
    assert_eq!(relay.frontend_url.as_deref(), Some("https://app.example"));
    assert!(matches!(&relay.auth, RelayAuth::Oidc { issuer, .. } if issuer == "https://id.example"));
    assert_eq!(
        (relay.idempotency_ttl.as_secs(), relay.access_token_ttl.as_secs()),
        (30, 3_600)
    );
    assert!(!relay.require_encrypted_frames && relay.transport_token_secret.is_some());
    assert_eq!(relay.limits.frame_bytes, 491_520);
    let platform = settings(&[("RAILWAY_PUBLIC_DOMAIN", "x.up.example")]);
    assert_eq!(platform.public_base_url, "https://x.up.example");
}

#[test]
fn the_doors_are_those_of_the_address() {
    let choices = read(&[
        KEY,
        ("PUBLIC_BASE_URL", "https://Relay.example"),
        ("RELAY_ALLOWED_HOSTS", "Other.example:81"),
        ("RELAY_TRUSTED_PROXIES", "10.0.0.0/8"),
        ("RELAY_METRICS_TOKEN", "figures"),
        ("RELAY_AUDIT", "0"),
        ("PROXY_HEADER", "X-Forwarded-For"),
    ])
    .unwrap();
    let local = choices.settings("127.0.0.1:1".parse().unwrap());
    assert!(local.doors.check_host && local.audit.is_none());
    assert_eq!(local.doors.allowed_hosts, ["other.example:81", "relay.example"]);
    assert_eq!(local.doors.trusted_proxies.len(), 1);
    assert_eq!(local.auth.tokens.as_ref().map(Vec::len), Some(1));
    assert_eq!(choices.secrets().count(), 2);
    assert_eq!(choices.warnings.len(), 1);
    let remote = choices.settings("0.0.0.0:1".parse().unwrap());
    assert!(!remote.doors.check_host && !remote.relay.unwrap().loopback_only);
    assert_eq!(
        read(&[KEY])
            .unwrap()
            .settings("127.0.0.1:1".parse().unwrap())
            .auth
            .tokens,
        None
    );
}

#[test]
fn slips_are_told() {
    let warnings = read(&[
        KEY,
        ("RELAY_STRICT_TRANSPORT", "yes"),
        ("RELAY_MAX_FRAME_BYTES", "9999999"),
        ("RELAY_MAX_SESSION_PER_USER", "5"),
        ("RELAY_BIND", "127.0.0.2"),
        ("RELAY_METRICS_TOKEN", "figures"),
    ])
    .unwrap()
    .warnings;
    assert_eq!(
        warnings,
        [
            "RELAY_MAX_FRAME_BYTES=\"9999999\" is not from 1024 to 491520: it is taken as 491520",
            "RELAY_STRICT_TRANSPORT=\"yes\" is neither true nor false: it is taken as false",
            "RELAY_MAX_SESSION_PER_USER has no effect: no setting has that name",
        ]
    );
    // Each variable of our own in the spec is one that is read.
    let spec = include_str!("../../../../spec/relay.md");
    let names = spec
        .split('`')
        .filter(|word| word.len() > OURS.len() && word.starts_with(OURS))
        .filter(|word| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'));
    for name in names {
        let value = if name.ends_with("NETWORKS") || name.ends_with("PROXIES") {
            "10.0.0.0/8"
        } else {
            "64"
        };
        let warnings = read(&[
            KEY,
            ("RELAY_TLS_CERT", "cert.pem"),
            ("RELAY_TLS_KEY", "key.pem"),
            (name, value),
        ])
        .unwrap()
        .warnings;
        assert!(
            !warnings.iter().any(|warning| warning.contains("no setting")),
            "{name}: {warnings:?}"
        );
    }
}
