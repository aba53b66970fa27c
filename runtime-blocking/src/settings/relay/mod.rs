//! The relay's settings: environment variables with the names, rules and texts of its original, and a file of variables below
//! them. Variables of our own begin with `RELAY_`. It opens no socket. Spec: `spec/relay.md` section 1.

mod dotenv;
mod limits;
mod values;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use portcullis_core::policy::address::is_loopback_host;
use portcullis_core::policy::network::Network;
use portcullis_core::policy::origin;
use portcullis_core::secret::Secret;
use portcullis_core::settings::{AllowedOrigins, AuditSettings, RelayAuth, RelaySettings, Settings};
use portcullis_core::url::{Scheme, Url};

use super::environment::Environment;
use super::paths;
use crate::tls::CertificateFiles;
use values::Values;

/// What a fresh `FRONTEND_URL` of the sample file says.
const PLACEHOLDER: &str = "https://example.com";
/// Client ids of published clients.
const CLIENTS: [&str; 2] = ["commands-agent", "commands-desktop-public"];
const REDIRECTS: [&str; 3] = [
    "http://localhost:61696/callback",
    "http://localhost:3000/callback",
    "urn:ietf:wg:oauth:2.0:oob",
];
/// Texts of the original, and what to do about them.
const NO_KEY: &str =
    "JWT_SIGNING_KEY is required (at least 32 bytes, in the environment or in .env; `openssl rand -hex 32` makes one)";
const SHORT_KEY: &str = "JWT_SIGNING_KEY must be at least 32 bytes (`openssl rand -hex 32` makes one)";
const DEMO_DISABLED: &str = "AUTH_MODE=demo but DEMO_AUTH_DISABLED=true (set AUTH_MODE to oidc or firebase)";
/// What variables of our own begin with.
const OURS: &str = "RELAY_";
/// How long work may take to end when the process is asked to.
const GRACE: Duration = Duration::from_secs(10);

/// The command line's own choices, as written.
#[derive(Clone, Debug, Default)]
pub struct RelayFlags {
    /// `--bind`.
    pub bind: Option<String>,
    /// `--port`.
    pub port: Option<String>,
    /// `--allow-remote`.
    pub allow_remote: bool,
    /// `--state-dir`.
    pub state_dir: Option<String>,
    /// `--tls-cert`.
    pub tls_cert: Option<String>,
    /// `--tls-key`.
    pub tls_key: Option<String>,
}

/// What was chosen for a relay, before it listens.
#[derive(Clone, Debug)]
pub struct RelayChoices {
    /// Where to listen.
    pub bind: String,
    /// The port; 0 for a free one.
    pub port: u16,
    /// Other machines may reach it.
    pub allow_remote: bool,
    /// The state folder.
    pub state_dir: PathBuf,
    /// The certificate and key of the listener; `None`: it has no TLS.
    pub tls: Option<CertificateFiles>,
    /// What a person should know and may be meant so.
    pub warnings: Vec<String>,
    base: Option<String>,
    core: Settings,
    relay: RelaySettings,
}

/// Reads what there is.
///
/// # Errors
/// The first mistake, in the words of the original where it has some.
pub fn read_relay(environment: &Environment, flags: &RelayFlags, working_dir: &Path) -> Result<RelayChoices, String> {
    let environment = dotenv::read(environment, working_dir)?;
    let values = Values::of(&environment);
    let relay = relay(&values)?;
    let state_dir = paths::state_dir(flags.state_dir.as_deref(), &environment, working_dir)
        .ok_or("there is no state folder: set HOME, or name one with --state-dir")?
        .join("relay");
    let port = port(&values, flags)?;
    let bind = values.text_or("RELAY_BIND", "127.0.0.1");
    let allow_remote = values.flag("RELAY_ALLOW_REMOTE", false);
    let tls = tls(&values, flags, working_dir)?;
    let base = base(&values)?;
    let core = core(&values, &state_dir)?;
    Ok(RelayChoices {
        bind: flags.bind.clone().unwrap_or(bind),
        port,
        allow_remote: flags.allow_remote || allow_remote,
        tls,
        // Last: by now every variable was asked for.
        warnings: warnings(&values),
        base,
        core,
        state_dir,
        relay,
    })
}

impl RelayChoices {
    /// Whether users say themselves who they are.
    #[must_use]
    pub fn is_demo(&self) -> bool {
        self.relay.auth == RelayAuth::Demo
    }

    /// What must not stand in the log.
    pub fn secrets(&self) -> impl Iterator<Item = Secret> {
        let relay = &self.relay;
        let metrics = self.core.auth.tokens.clone().unwrap_or_default();
        [Some(relay.signing_key.clone()), relay.transport_token_secret.clone()]
            .into_iter()
            .flatten()
            .chain(metrics)
    }

    /// The settings of a relay that listens there.
    #[must_use]
    pub fn settings(&self, address: SocketAddr) -> Settings {
        let mut core = self.core.clone();
        let mut relay = self.relay.clone();
        let is_loopback = address.ip().to_canonical().is_loopback();
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let usual = || format!("{scheme}://localhost:{}", address.port());
        relay.public_base_url = self.base.clone().unwrap_or_else(usual);
        relay
            .redirect_allowlist
            .push(format!("{}/console", relay.public_base_url));
        relay.loopback_only = is_loopback;
        core.doors.check_host = is_loopback;
        if let Ok(url) = Url::parse(&relay.public_base_url) {
            core.doors.allowed_hosts.push(url.authority().to_ascii_lowercase());
        }
        core.relay = Some(relay);
        core
    }
}

fn relay(values: &Values<'_>) -> Result<RelaySettings, String> {
    let signing_key = values.text("JWT_SIGNING_KEY").ok_or(NO_KEY)?;
    if signing_key.len() < 32 {
        return Err(SHORT_KEY.into());
    }
    let state_backend = values.text_or("STATE_BACKEND", "memory");
    if state_backend != "memory" {
        return Err(format!(
            "unsupported STATE_BACKEND={state_backend:?} (only \"memory\" is supported)"
        ));
    }
    let transport_token_ttl = values.seconds("TRANSPORT_TOKEN_TTL_SECONDS", 3_600);
    if transport_token_ttl < Duration::from_secs(30) {
        return Err("TRANSPORT_TOKEN_TTL_SECONDS must be >= 30 (renewal happens at TTL/2)".into());
    }
    let redirect_allowlist = values
        .list("REDIRECT_ALLOWLIST")
        .unwrap_or_else(|| REDIRECTS.map(String::from).to_vec());
    Ok(RelaySettings {
        public_base_url: String::new(),
        allow_origins: origins(values)?,
        oauth_redirect_uris: values
            .list("OAUTH_REDIRECT_URIS")
            .unwrap_or_else(|| redirect_allowlist.clone()),
        redirect_allowlist,
        client_ids: client_ids(values),
        client_name: values.text_or("OAUTH_CLIENT_NAME", "Commands.com Gateway"),
        frontend_url: values
            .text("FRONTEND_URL")
            .map(|url| url.trim_end_matches('/').to_owned())
            .filter(|url| !url.is_empty() && url != PLACEHOLDER),
        signing_key: Secret::new(signing_key.to_owned()),
        audience: values.text_or("JWT_AUDIENCE", "commands-gateway"),
        access_token_ttl: values.seconds("ACCESS_TOKEN_TTL_SECONDS", 3_600),
        agent_token_ttl: values.seconds("RELAY_AGENT_TOKEN_TTL_SECONDS", 2_592_000),
        auth_code_ttl: values.seconds("AUTH_CODE_TTL_SECONDS", 300),
        refresh_token_ttl: values.seconds("REFRESH_TOKEN_TTL_SECONDS", 2_592_000),
        refresh_absolute_ttl: values.seconds("RELAY_REFRESH_ABSOLUTE_TTL_SECONDS", 31_536_000),
        state_backend,
        auth: auth(values)?,
        standalone: true,
        loopback_only: false,
        identity_networks: parsed(values, "RELAY_IDENTITY_NETWORKS")?.unwrap_or_default(),
        rate_window: Duration::from_secs(values.number("INGRESS_RATE_WINDOW_SECONDS", 60, (1, 3_600)).into()),
        oauth_limit: values.number("RELAY_OAUTH_LIMIT_PER_WINDOW", 30, (1, 100_000)),
        idempotency_ttl: Duration::from_secs(values.number("IDEMPOTENCY_TTL_SECONDS", 300, (30, 86_400)).into()),
        require_encrypted_frames: values.flag("REQUIRE_ENCRYPTED_FRAMES", true),
        transport_token_secret: values
            .text("TRANSPORT_TOKEN_SECRET")
            .map(|secret| Secret::new(secret.to_owned())),
        transport_token_ttl,
        strict_transport: values.flag("RELAY_STRICT_TRANSPORT", false),
        limits: limits::read(values),
    })
}

fn auth(values: &Values<'_>) -> Result<RelayAuth, String> {
    let mode = values.text_or("AUTH_MODE", "demo");
    match mode.to_ascii_lowercase().as_str() {
        "demo" if values.flag("DEMO_AUTH_DISABLED", false) => Err(DEMO_DISABLED.into()),
        "demo" => Ok(RelayAuth::Demo),
        "firebase" => Ok(RelayAuth::Firebase {
            project_id: values
                .text("FIREBASE_PROJECT_ID")
                .ok_or("FIREBASE_PROJECT_ID is required when AUTH_MODE=firebase")?
                .to_owned(),
            api_key: values.text("FIREBASE_API_KEY").map(String::from),
        }),
        "oidc" => match (values.text("OIDC_ISSUER_URL"), values.text("OIDC_CLIENT_ID")) {
            (Some(issuer), Some(client_id)) => {
                let url = Url::parse(issuer).map_err(|fault| format!("OIDC_ISSUER_URL={issuer:?}: {fault}"))?;
                if url.scheme == Scheme::Http && !is_loopback_host(&url.host.to_string()) {
                    return Err(format!(
                        "OIDC_ISSUER_URL={issuer:?} is not https; only a provider on this machine may do without"
                    ));
                }
                Ok(RelayAuth::Oidc {
                    issuer: issuer.to_owned(),
                    client_id: client_id.to_owned(),
                })
            }
            _ => Err("OIDC_ISSUER_URL and OIDC_CLIENT_ID are required when AUTH_MODE=oidc".into()),
        },
        _ => Err(format!("unsupported AUTH_MODE={mode:?} (demo, oidc or firebase)")),
    }
}

/// The configured id first, then those of published clients, then further ones; each once.
fn client_ids(values: &Values<'_>) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    let first = values.text_or("OAUTH_DEFAULT_CLIENT_ID", "commands-agent");
    let further = values.list("RELAY_CLIENT_IDS").unwrap_or_default();
    for id in [first].into_iter().chain(CLIENTS.map(String::from)).chain(further) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

fn origins(values: &Values<'_>) -> Result<AllowedOrigins, String> {
    let written = values.list("ALLOW_ORIGINS").unwrap_or_else(|| vec!["*".into()]);
    if written.iter().any(|origin| origin == "*") {
        return Ok(AllowedOrigins::Any);
    }
    let read = |written: &String| {
        origin::serialised(written).ok_or_else(|| {
            format!(
                "ALLOW_ORIGINS: {written:?} is not an origin (a scheme and a host, for example https://app.example.com)"
            )
        })
    };
    written
        .iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map(AllowedOrigins::These)
}

fn port(values: &Values<'_>, flags: &RelayFlags) -> Result<u16, String> {
    let variable = values.text("PORT");
    let (name, written) = match &flags.port {
        Some(written) => ("--port ", written.as_str()),
        None => ("PORT=", variable.unwrap_or("8080")),
    };
    written
        .parse()
        .map_err(|_| format!("{name}{written:?} is not a port (0 to 65535)"))
}

/// `PUBLIC_BASE_URL`, without slashes at its end.
fn base(values: &Values<'_>) -> Result<Option<String>, String> {
    let written = values
        .text("PUBLIC_BASE_URL")
        .map(|url| url.trim_end_matches('/').to_owned());
    let platform = || {
        values
            .text("RAILWAY_PUBLIC_DOMAIN")
            .map(|domain| format!("https://{domain}"))
    };
    let Some(base) = written.filter(|url| !url.is_empty()).or_else(platform) else {
        return Ok(None);
    };
    match Url::parse(&base) {
        Ok(_) if !base.contains(['?', '#']) => Ok(Some(base)),
        Ok(_) => Err(format!("PUBLIC_BASE_URL={base:?} must have neither query nor fragment")),
        Err(fault) => Err(format!("PUBLIC_BASE_URL={base:?}: {fault}")),
    }
}

fn parsed<T: FromStr<Err: Display>>(values: &Values<'_>, name: &str) -> Result<Option<Vec<T>>, String> {
    let Some(written) = values.list(name) else {
        return Ok(None);
    };
    let read = |element: &String| element.parse().map_err(|fault| format!("{name}: {fault}"));
    written.iter().map(read).collect::<Result<_, _>>().map(Some)
}

/// The doors and the rest of the gateway around the relay.
fn core(values: &Values<'_>, state_dir: &Path) -> Result<Settings, String> {
    let mut core = Settings::default();
    let doors = &mut core.doors;
    doors.trusted_proxies = parsed::<Network>(values, "RELAY_TRUSTED_PROXIES")?.unwrap_or_default();
    doors.allowed_networks = parsed(values, "RELAY_ALLOWED_NETWORKS")?;
    doors.allowed_hosts = values.list("RELAY_ALLOWED_HOSTS").unwrap_or_default();
    doors
        .allowed_hosts
        .iter_mut()
        .for_each(|host| host.make_ascii_lowercase());
    let gateway = &mut core.gateway;
    gateway.max_connections = values.number("RELAY_MAX_CONNECTIONS", 20_000, (16, 1_000_000));
    gateway.max_connections_per_address = values.number("RELAY_MAX_CONNECTIONS_PER_ADDRESS", 1_024, (1, 1_000_000));
    gateway.max_pending_handshakes_per_address = 64;
    gateway.drain_grace = GRACE;
    // Nothing but the figures is behind this token; without one they are not there.
    core.auth.tokens = values
        .text("RELAY_METRICS_TOKEN")
        .map(|token| vec![Secret::new(token.to_owned())]);
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    core.operator.home_dir = text(state_dir.to_path_buf());
    core.operator.sessions_dir = text(state_dir.join("sessions"));
    if values.flag("RELAY_AUDIT", true) {
        core.audit = Some(AuditSettings::at(text(state_dir.join("logs").join("audit.jsonl"))));
    }
    Ok(core)
}

fn tls(values: &Values<'_>, flags: &RelayFlags, working_dir: &Path) -> Result<Option<CertificateFiles>, String> {
    let of = |flag: &Option<String>, name| {
        let variable = values.text(name);
        flag.as_deref()
            .or(variable)
            .map(|file| paths::absolute(file, working_dir, None))
    };
    match (
        of(&flags.tls_cert, "RELAY_TLS_CERT"),
        of(&flags.tls_key, "RELAY_TLS_KEY"),
    ) {
        (Some(cert), Some(key)) => Ok(Some(CertificateFiles {
            cert,
            key,
            allow_tls12: true,
        })),
        (None, None) => Ok(None),
        _ => Err(
            "TLS needs a certificate and a key: --tls-cert and --tls-key, or RELAY_TLS_CERT and RELAY_TLS_KEY".into(),
        ),
    }
}

fn warnings(values: &Values<'_>) -> Vec<String> {
    [
        (
            "PROXY_HEADER",
            "has no effect: name the proxies that are believed in RELAY_TRUSTED_PROXIES",
        ),
        (
            "FIREBASE_CREDENTIALS_PATH",
            "has no effect: no service account is needed",
        ),
        (
            "DEMO_TOKEN_TTL_SECONDS",
            "has no effect: ACCESS_TOKEN_TTL_SECONDS holds in every mode",
        ),
        ("NODE_ID", "has no effect: there is one node"),
    ]
    .into_iter()
    .filter(|(name, _)| values.text(name).is_some())
    .map(|(name, what)| format!("{name} {what}"))
    .chain(values.doubts())
    .chain(values.unasked(OURS))
    .collect()
}

#[cfg(test)]
mod tests;
