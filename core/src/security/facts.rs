//! What the audit looks at, gathered by the command that runs it.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::policy::bind::Class;
use crate::settings::Settings;
use crate::time::UnixMillis;

/// Everything the audit looks at.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// When.
    pub at: UnixMillis,
    /// The settings in force.
    pub settings: &'a Settings,
    /// Where the gateway listens.
    pub bind: Bind,
    /// The shared secret.
    pub token: TokenFacts,
    /// Whether `gateway.auth.rateLimit` is written down.
    pub rate_limit_configured: bool,
    /// Whether TLS is on.
    pub tls: bool,
    /// Whether connections are logged.
    pub logs_connections: bool,
    /// Whether secrets in logs are masked.
    pub redacts_logs: bool,
    /// Switches named `dangerous...` that are on, by their keys.
    pub dangerous_flags: Vec<String>,
    /// `gateway.security.*` that is switched off, by key.
    pub weakened_ssrf: Vec<String>,
    /// `gateway.tailscale.mode`.
    pub tailnet_publishing: TailnetPublishing,
    /// The operator has confirmed that the tailnet's access rules restrict who reaches the port.
    pub tailnet_acl_attested: bool,
    /// Options that approve remote devices without asking, by key.
    pub auto_approve: Vec<String>,
    /// Whether the machine's firewall closes the port.
    pub firewall: Firewall,
    /// Files and folders.
    pub files: Vec<FileFact>,
    /// Findings that the operator has accepted.
    pub suppressions: Vec<Suppression>,
    /// The answer of the running gateway, when it was asked (`--deep`).
    pub probe: Option<Probe>,
}

/// Where the gateway listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bind {
    /// By the settings.
    pub configured: SocketAddr,
    /// By its sockets, when it runs.
    pub live: Option<SocketAddr>,
}

/// The shared secret, without the secret.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TokenFacts {
    /// Where it comes from: `flag`, `env`, `config`, `file`; `None`: there is none.
    pub source: Option<&'static str>,
    /// How many characters it has.
    pub length: usize,
    /// Whether it is strong.
    pub is_strong: bool,
    /// Whether it is blank, `null`, or an example that was published.
    pub is_placeholder: bool,
    /// Whether a token or password stands in the settings file itself.
    pub literal_in_config: bool,
    /// The same for the password.
    pub password_in_config: bool,
    /// Whether the environment and the settings file name different ones.
    pub env_overrides_config: bool,
}

/// Whether the firewall closes the port to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Firewall {
    /// It does.
    Active,
    /// It does not.
    Inactive,
    /// It cannot be told.
    Unknown,
}

/// How a tailnet daemon publishes the port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TailnetPublishing {
    /// Not.
    #[default]
    Off,
    /// Inside the tailnet.
    Serve,
    /// To everybody.
    Funnel,
}

/// A file or folder as it lies there, links not followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileFact {
    /// What it is for.
    pub role: FileRole,
    /// Where it is.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Whether it belongs to the user who runs the gateway.
    pub is_own: bool,
    /// Whether it is a symbolic link.
    pub is_symlink: bool,
    /// Whether it is a regular file.
    pub is_regular: bool,
}

/// What a file or folder is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileRole {
    /// The folder of everything.
    StateDir,
    /// The settings file.
    Config,
    /// The token file or an environment file.
    Secret,
    /// The private key of TLS.
    PrivateKey,
    /// The folder of credentials.
    CredentialsDir,
    /// Sessions and the store.
    SessionsStore,
    /// Logs and the audit journal.
    Log,
}

/// A finding that the operator has accepted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Suppression {
    /// Its check.
    pub check_id: String,
    /// Only when the title holds this.
    pub title_includes: Option<String>,
    /// Only when the detail holds this.
    pub detail_includes: Option<String>,
    /// Why, for people.
    pub reason: Option<String>,
}

/// How the running gateway answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Where it was asked.
    pub url: String,
    /// Whether it answered as a healthy one does.
    pub ok: bool,
    /// Why not.
    pub error: Option<String>,
}

impl Facts<'_> {
    /// How far the gateway reaches: by its sockets if it runs, by its settings otherwise.
    #[must_use]
    pub fn exposure(&self) -> Class {
        Class::of(self.bind.live.unwrap_or(self.bind.configured).ip())
    }

    /// Whether others than this machine can reach it.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.exposure() != Class::Loopback
    }

    /// Whether a credential is asked for.
    #[must_use]
    pub const fn requires_auth(&self) -> bool {
        self.settings.auth.tokens.is_some() || self.settings.auth.proxy_identity.is_some()
    }
}
