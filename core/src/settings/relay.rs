//! The relay: OAuth, devices, sessions, shares. Every field but the few that say otherwise is a variable of the original's
//! environment. Spec: `spec/relay.md`.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::secret::Secret;

/// The relay's own settings. [`Settings::relay`](super::Settings::relay) is `None` where it is off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelaySettings {
    /// `PUBLIC_BASE_URL` (or from `RAILWAY_PUBLIC_DOMAIN`, or `http://localhost:<port>`), without trailing slashes.
    pub public_base_url: String,
    /// `ALLOW_ORIGINS`.
    pub allow_origins: AllowedOrigins,
    /// `REDIRECT_ALLOWLIST`, with `<base>/console` appended.
    pub redirect_allowlist: Vec<String>,
    /// `OAUTH_REDIRECT_URIS`: what `/register` echoes.
    pub oauth_redirect_uris: Vec<String>,
    /// Public clients: `OAUTH_DEFAULT_CLIENT_ID` first, then the names that published clients use. Never empty.
    pub client_ids: Vec<String>,
    /// `OAUTH_CLIENT_NAME`.
    pub client_name: String,
    /// `FRONTEND_URL`, unless it is the placeholder.
    pub frontend_url: Option<String>,
    /// `JWT_SIGNING_KEY`, trimmed: the root of all keys, at least 32 bytes.
    pub signing_key: Secret,
    /// `JWT_AUDIENCE`.
    pub audience: String,
    /// `ACCESS_TOKEN_TTL_SECONDS`.
    pub access_token_ttl: Duration,
    /// Ours: the same for agents, which cannot renew theirs while they run (`RELAY_AGENT_TOKEN_TTL_SECONDS`); never less.
    pub agent_token_ttl: Duration,
    /// `AUTH_CODE_TTL_SECONDS`.
    pub auth_code_ttl: Duration,
    /// `REFRESH_TOKEN_TTL_SECONDS`: restarted by every rotation.
    pub refresh_token_ttl: Duration,
    /// Ours: a login ends then, however often it was refreshed.
    pub refresh_absolute_ttl: Duration,
    /// What `STATE_BACKEND` is shown as in health answers.
    pub state_backend: String,
    /// `AUTH_MODE` and what goes with it.
    pub auth: RelayAuth,
    /// Ours: there is no other surface beside the relay.
    pub standalone: bool,
    /// Ours: the relay listens on loopback only, so that its identity provider may be on loopback, too, and over plain HTTP.
    pub loopback_only: bool,
    /// `INGRESS_RATE_WINDOW_SECONDS`: the window of the OAuth limit too.
    pub rate_window: Duration,
    /// OAuth calls of one address in that window.
    pub oauth_limit: u32,
    /// `IDEMPOTENCY_TTL_SECONDS`.
    pub idempotency_ttl: Duration,
    /// `REQUIRE_ENCRYPTED_FRAMES`.
    pub require_encrypted_frames: bool,
    /// `TRANSPORT_TOKEN_SECRET`; `None`: derived from the signing key.
    pub transport_token_secret: Option<Secret>,
    /// `TRANSPORT_TOKEN_TTL_SECONDS`.
    pub transport_token_ttl: Duration,
    /// Ours: agents that never showed a transport token are refused (`RELAY_STRICT_TRANSPORT`).
    pub strict_transport: bool,
    /// Ours: limits, each a variable `RELAY_MAX_...`.
    pub limits: RelayLimits,
}

/// `ALLOW_ORIGINS`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AllowedOrigins {
    /// `*`.
    Any,
    /// These, serialised, in lower case.
    These(Vec<String>),
}

/// Who tells who a user is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RelayAuth {
    /// Nobody: users say it themselves. On loopback only, unless it is allowed.
    Demo,
    /// An OpenID provider.
    Oidc {
        /// `OIDC_ISSUER_URL`.
        issuer: String,
        /// `OIDC_CLIENT_ID`.
        client_id: String,
    },
    /// Google's Firebase.
    Firebase {
        /// `FIREBASE_PROJECT_ID`.
        project_id: String,
        /// `FIREBASE_API_KEY`: for the login page.
        api_key: Option<String>,
    },
}

impl RelayAuth {
    /// Its name in answers.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Oidc { .. } => "oidc",
            Self::Firebase { .. } => "firebase",
        }
    }
}

/// How much of everything there may be. Spec: `spec/relay.md` RL-7.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelayLimits {
    /// Devices of one owner.
    pub devices_per_owner: u32,
    /// Agent connections of one owner.
    pub agents_per_owner: u32,
    /// Sessions of one user that are not over.
    pub sessions_per_user: u32,
    /// Grants and invites of one device.
    pub grants_per_device: u32,
    /// Event streams of one user.
    pub streams_per_user: u32,
    /// Events kept of one session.
    pub events_per_session: u32,
    /// Bytes of the events kept of one session.
    pub event_bytes_per_session: u32,
    /// Bytes of the events kept of all sessions.
    pub event_bytes: u32,
    /// Bytes of all messages that wait for agents.
    pub queued_bytes: u32,
    /// Bytes that wait for one event stream.
    pub stream_buffer_bytes: u32,
    /// The largest request body.
    pub body_bytes: u32,
    /// The largest frame of an agent, relayed or not.
    pub frame_bytes: u32,
    /// Messages that wait for one agent that is away.
    pub undelivered_per_session: u32,
    /// Idempotency keys kept of one session.
    pub idempotency_per_session: u32,
    /// Logins (families of refresh tokens) of one user.
    pub logins_per_user: u32,
    /// Logins of all users.
    pub logins: u32,
    /// Authorization codes that wait to be used.
    pub auth_codes: u32,
    /// Sessions without a change for so long are forgotten.
    pub session_idle: Duration,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            devices_per_owner: 200,
            agents_per_owner: 50,
            sessions_per_user: 1_000,
            grants_per_device: 200,
            streams_per_user: 64,
            events_per_session: 1_000,
            event_bytes_per_session: 4_194_304,
            event_bytes: 1_073_741_824,
            queued_bytes: 268_435_456,
            stream_buffer_bytes: 1_048_576,
            body_bytes: 4_194_304,
            frame_bytes: 393_216,
            undelivered_per_session: 64,
            idempotency_per_session: 1_000,
            logins_per_user: 100,
            logins: 100_000,
            auth_codes: 10_000,
            session_idle: Duration::from_secs(24 * 3_600),
        }
    }
}
