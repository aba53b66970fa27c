//! The settings while the layers are read one over the other: typed values, but paths and agents not yet checked against
//! the system. It has no names of keys (`keys`) and looks at nothing outside (`finish`).

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;
use portcullis_core::secret::Secret;
use portcullis_core::settings::{AgentKind, AuditSettings, ControlSettings, GatewaySettings, Settings};

use super::written_hosts;
use super::{paths, token};

/// Everything that can be chosen, with the defaults to begin with.
pub(crate) struct Draft {
    pub(crate) core: Settings,
    pub(crate) bind: Bind,
    pub(crate) custom_host: Option<String>,
    pub(crate) port: u16,
    pub(crate) allow_remote: bool,
    pub(crate) allow_wildcard: bool,
    pub(crate) auth_mode: AuthMode,
    /// What the layer being read said so far.
    said: Said,
    /// Every token that a layer gave, the strongest last.
    pub(crate) tokens: Vec<(TokenSource, Secret)>,
    pub(crate) password: Option<(TokenSource, Secret)>,
    pub(crate) proxy: WrittenProxy,
    pub(crate) tls: WrittenTls,
    pub(crate) session_mode: SessionMode,
    pub(crate) session_idle: Duration,
    pub(crate) agents: Vec<WrittenAgent>,
    pub(crate) commands: Vec<WrittenCommand>,
    pub(crate) workspace_roots: Vec<PathBuf>,
    pub(crate) control_on: bool,
    pub(crate) control: ControlSettings,
    pub(crate) audit_on: bool,
    /// Its path is empty while none is chosen.
    pub(crate) audit: AuditSettings,
    pub(crate) log_level: Option<LevelFilter>,
    pub(crate) suppressions: Vec<Suppression>,
    pub(crate) tailnet_acl_attested: bool,
    pub(crate) tailscale: TailscaleMode,
    /// Where relative paths of the layer being read begin.
    base: PathBuf,
    /// What a token of the layer being read comes from.
    source: TokenSource,
    home: Option<PathBuf>,
}

/// What one layer said about things that have more than one key.
#[derive(Default)]
struct Said {
    mode: Option<AuthMode>,
    required: Option<bool>,
    host: bool,
    bind: bool,
}

/// Where to listen, as chosen; a name is looked up when the socket is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bind {
    /// An address, or `localhost`.
    Host(String),
    /// Whatever address this machine has in its tailnet.
    Tailnet,
    /// `gateway.customBindHost`, while it is not known.
    #[doc(hidden)]
    Custom,
}

/// How clients prove themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthMode {
    /// With a token.
    Token,
    /// With a password.
    Password,
    /// A proxy has authenticated them; a token that is configured opens the door too.
    TrustedProxy,
    /// Not at all.
    None,
}

impl AuthMode {
    /// What the settings call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Password => "password",
            Self::TrustedProxy => "trusted-proxy",
            Self::None => "none",
        }
    }
}

/// Where the token in effect comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenSource {
    /// `--token-file`.
    TokenFileOption,
    /// `--token`.
    Option,
    /// `--set`.
    Set,
    /// This environment variable.
    Environment(&'static str),
    /// The settings file.
    Config,
    /// The token file in the state folder.
    File,
    /// It was made just now, and is to be written into the token file.
    Fresh,
}

impl TokenSource {
    /// One word for it: `file`, `flag`, `env` or `config`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TokenFileOption | Self::File | Self::Fresh => "file",
            Self::Option | Self::Set => "flag",
            Self::Environment(_) => "env",
            Self::Config => "config",
        }
    }
}

impl std::fmt::Display for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TokenFileOption => "--token-file",
            Self::Option => "--token",
            Self::Set => "--set gateway.auth.token",
            Self::Environment(name) => name,
            Self::Config => "gateway.auth.token in the settings file",
            Self::File | Self::Fresh => "the token file",
        })
    }
}

/// How the tailnet publishes this gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TailscaleMode {
    /// Not at all.
    #[default]
    Off,
    /// To the tailnet.
    Serve,
    /// To everybody.
    Funnel,
}

/// A finding of the audit that is accepted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Suppression {
    /// The finding's id.
    pub check_id: String,
    /// Only where the title contains this.
    pub title_includes: Option<String>,
    /// Only where the detail contains this.
    pub detail_includes: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// Identity by a proxy, as written.
#[derive(Default)]
pub(crate) struct WrittenProxy {
    pub(crate) user_header: Option<String>,
    pub(crate) required_headers: Vec<String>,
    pub(crate) allow_users: Vec<String>,
    pub(crate) allow_loopback: bool,
}

/// TLS on the listener, as written; its paths are absolute.
#[derive(Default)]
pub(crate) struct WrittenTls {
    pub(crate) enabled: Option<bool>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) allow_tls12: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SessionMode {
    Daily,
    Idle,
    Never,
}

/// An agent as a person wrote it; its paths are absolute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WrittenAgent {
    pub(crate) id: String,
    pub(crate) display_name: Option<String>,
    pub(crate) answers: WrittenKind,
    pub(crate) workspace_dir: Option<PathBuf>,
}

/// What answers an agent's messages, as a person wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum WrittenKind {
    Command {
        /// A path, or a name to be found on `PATH`.
        program: String,
        args: Vec<String>,
    },
    /// Complete as it is.
    Provider(AgentKind),
}

/// A tool that is a program, as a person wrote it; its path is absolute or a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WrittenCommand {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
    pub(crate) timeout: Duration,
    pub(crate) max_output_bytes: usize,
    pub(crate) takes_action: bool,
}

impl Draft {
    pub(crate) fn new(home: Option<PathBuf>) -> Self {
        Self {
            core: Settings::default(),
            bind: Bind::Host(String::from("127.0.0.1")),
            custom_host: None,
            port: 18_789,
            allow_remote: false,
            allow_wildcard: false,
            auth_mode: AuthMode::Token,
            said: Said::default(),
            tokens: Vec::new(),
            password: None,
            proxy: WrittenProxy::default(),
            tls: WrittenTls::default(),
            session_mode: SessionMode::Daily,
            session_idle: Duration::from_secs(3_600),
            agents: Vec::new(),
            commands: Vec::new(),
            workspace_roots: Vec::new(),
            control_on: false,
            control: ControlSettings::default(),
            audit_on: true,
            audit: AuditSettings::at(String::new()),
            log_level: None,
            suppressions: Vec::new(),
            tailnet_acl_attested: false,
            tailscale: TailscaleMode::Off,
            base: PathBuf::new(),
            source: TokenSource::Config,
            home,
        }
    }

    /// A new layer begins; its relative paths start at `base`, and a token in it comes from `source`.
    pub(crate) fn begin_layer(&mut self, base: &Path, source: TokenSource) {
        self.base = base.to_path_buf();
        self.source = source;
        self.said = Said::default();
    }

    pub(crate) fn absolute(&self, written: &str) -> PathBuf {
        paths::absolute(written, &self.base, self.home.as_deref())
    }

    /// A program as written: a path becomes absolute, a name is looked for later.
    pub(crate) fn program(&self, written: String) -> String {
        if written.contains('/') {
            self.absolute(&written).to_string_lossy().into_owned()
        } else {
            written
        }
    }

    pub(crate) fn set_host(&mut self, written: &str) -> Result<(), String> {
        if self.said.bind {
            return Err("gateway.host and gateway.bind say the same thing; keep one of them".into());
        }
        self.said.host = true;
        self.bind = Bind::Host(host(written)?);
        Ok(())
    }

    pub(crate) fn set_bind(&mut self, written: &str) -> Result<(), String> {
        if self.said.host {
            return Err("gateway.host and gateway.bind say the same thing; keep one of them".into());
        }
        self.said.bind = true;
        self.bind = match written {
            "loopback" | "auto" => Bind::Host("127.0.0.1".into()),
            "lan" => Bind::Host("0.0.0.0".into()),
            "tailnet" => Bind::Tailnet,
            "custom" => Bind::Custom,
            _ => return Err("must be \"loopback\", \"lan\", \"tailnet\", \"auto\" or \"custom\"".into()),
        };
        Ok(())
    }

    pub(crate) fn set_custom_host(&mut self, written: &str) -> Result<(), String> {
        self.custom_host = Some(host(written)?);
        Ok(())
    }

    pub(crate) fn set_gateway_mode(&mut self, written: &str) -> Result<(), String> {
        match written {
            "local" => Ok(()),
            _ => Err("must be \"local\"; to look at a remote gateway use portcullis gateway --url".into()),
        }
    }

    pub(crate) fn set_path(&mut self, written: &str) -> Result<(), String> {
        let path = GatewaySettings::normalise_path(written);
        written_hosts::url_path(&path)?;
        if TAKEN_PATHS.contains(&path.as_str()) {
            return Err(format!("{path} answers HTTP requests already; choose another path"));
        }
        self.core.gateway.path = path;
        Ok(())
    }

    pub(crate) fn set_tls_version(&mut self, written: &str) -> Result<(), String> {
        self.tls.allow_tls12 = match written {
            "1.3" | "TLSv1.3" => false,
            "1.2" | "TLSv1.2" => true,
            _ => return Err("must be \"1.3\" or \"1.2\"".into()),
        };
        Ok(())
    }

    pub(crate) fn set_auth_mode(&mut self, written: &str) -> Result<(), String> {
        let modes = [
            AuthMode::Token,
            AuthMode::Password,
            AuthMode::TrustedProxy,
            AuthMode::None,
        ];
        let mode = modes.into_iter().find(|mode| mode.name() == written);
        let mode = mode.ok_or("must be \"token\", \"password\", \"trusted-proxy\" or \"none\"")?;
        self.said.mode = Some(mode);
        self.agree()?;
        self.auth_mode = mode;
        Ok(())
    }

    pub(crate) fn set_require_token(&mut self, on: bool) -> Result<(), String> {
        self.said.required = Some(on);
        self.agree()?;
        self.auth_mode = match (on, self.auth_mode) {
            (true, AuthMode::None) => AuthMode::Token,
            (true, mode) => mode,
            (false, _) => AuthMode::None,
        };
        Ok(())
    }

    fn agree(&self) -> Result<(), String> {
        match (self.said.mode, self.said.required) {
            (Some(mode), Some(required)) if required == (mode == AuthMode::None) => {
                Err("gateway.auth.mode and gateway.requireToken contradict each other; keep one of them".into())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn set_token(&mut self, written: &str) -> Result<(), String> {
        self.tokens.push((self.source, token::read(written)?));
        Ok(())
    }

    pub(crate) fn set_password(&mut self, written: &str) -> Result<(), String> {
        self.password = Some((self.source, token::read(written)?));
        Ok(())
    }

    pub(crate) fn set_session_mode(&mut self, written: &str) -> Result<(), String> {
        self.session_mode = match written {
            "daily" => SessionMode::Daily,
            "idle" => SessionMode::Idle,
            "never" => SessionMode::Never,
            _ => return Err("must be \"daily\", \"idle\" or \"never\"".into()),
        };
        Ok(())
    }

    pub(crate) fn set_workspace_roots(&mut self, written: &[String]) -> Result<(), String> {
        self.workspace_roots = written.iter().map(|root| self.absolute(root)).collect();
        Ok(())
    }
}

/// What the gateway answers itself, whatever the settings say.
const TAKEN_PATHS: [&str; 9] = [
    "/health",
    "/healthz",
    "/ready",
    "/readyz",
    "/startup",
    "/startupz",
    "/metrics",
    "/tools/invoke",
    "/v1/responses",
];

/// An address, or `localhost`: what another name means can change after it was judged.
fn host(written: &str) -> Result<String, String> {
    let host = written.trim();
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok() {
        return Ok(bare.to_ascii_lowercase());
    }
    Err("must be an address or localhost, for example 127.0.0.1, ::1 or 100.64.0.7".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_paths() {
        let mut draft = Draft::new(None);
        draft.set_host(" [::1] ").unwrap();
        assert_eq!(draft.bind, Bind::Host("::1".into()));
        assert!(draft.set_host("").is_err());
        for wrong in ["a b", "gateway.example.com", "127.0.0.1:80", "127.1", "0x7f000001"] {
            assert!(draft.set_host(wrong).is_err(), "{wrong}");
        }
        draft.set_path("ws").unwrap();
        assert_eq!(draft.core.gateway.path, "/ws");
        for wrong in ["/a b", "/a?b", "/a#b", "/ä", "/health"] {
            assert!(draft.set_path(wrong).is_err(), "{wrong}");
        }
    }
}
