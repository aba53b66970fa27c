//! The settings while the layers are read one over the other: typed values, but paths and agents not yet checked against
//! the system. It has no names of keys (`keys`) and looks at nothing outside (`finish`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::secret::Secret;
use portcullis_core::settings::{GatewaySettings, Settings};

use super::{paths, token};

/// Everything that can be chosen, with the defaults to begin with.
pub(crate) struct Draft {
    pub(crate) core: Settings,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) auth_on: bool,
    /// What the layer being read said about [`Self::auth_on`] so far.
    auth_said: Option<bool>,
    pub(crate) token: Option<Secret>,
    pub(crate) session_mode: SessionMode,
    pub(crate) session_idle: Duration,
    pub(crate) agents: Vec<WrittenAgent>,
    pub(crate) workspace_roots: Vec<PathBuf>,
    /// Where relative paths of the layer being read begin.
    base: PathBuf,
    home: Option<PathBuf>,
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
    /// A path, or a name to be found on `PATH`.
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
    pub(crate) workspace_dir: Option<PathBuf>,
}

impl Draft {
    pub(crate) fn new(home: Option<PathBuf>) -> Self {
        Self {
            core: Settings::default(),
            host: String::from("127.0.0.1"),
            port: 18_789,
            auth_on: true,
            auth_said: None,
            token: None,
            session_mode: SessionMode::Daily,
            session_idle: Duration::from_secs(3_600),
            agents: Vec::new(),
            workspace_roots: Vec::new(),
            base: PathBuf::new(),
            home,
        }
    }

    /// A new layer begins; its relative paths start at `base`.
    pub(crate) fn begin_layer(&mut self, base: &Path) {
        self.base = base.to_path_buf();
        self.auth_said = None;
    }

    pub(crate) fn absolute(&self, written: &str) -> PathBuf {
        paths::absolute(written, &self.base, self.home.as_deref())
    }

    pub(crate) fn set_host(&mut self, written: &str) -> Result<(), String> {
        let host = written.trim();
        let host = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_' | '%');
        if host.is_empty() || !host.chars().all(sound) {
            return Err("must be an address or a host name, for example 127.0.0.1, ::1 or localhost".into());
        }
        self.host = host.to_owned();
        Ok(())
    }

    pub(crate) fn set_path(&mut self, written: &str) -> Result<(), String> {
        let path = GatewaySettings::normalise_path(written);
        if !path
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&b))
        {
            return Err("must be a path of a URL: printable ASCII without blanks, ? and #".into());
        }
        if path == "/health" {
            return Err("/health answers GET requests already; choose another path".into());
        }
        self.core.gateway.path = path;
        Ok(())
    }

    pub(crate) fn set_auth_mode(&mut self, written: &str) -> Result<(), String> {
        match written {
            "token" => self.set_auth(true),
            "none" => self.set_auth(false),
            _ => Err("must be \"token\" or \"none\"".into()),
        }
    }

    pub(crate) fn set_auth(&mut self, on: bool) -> Result<(), String> {
        if self.auth_said.is_some_and(|said| said != on) {
            return Err("gateway.auth.mode and gateway.requireToken contradict each other; keep one of them".into());
        }
        self.auth_said = Some(on);
        self.auth_on = on;
        Ok(())
    }

    pub(crate) fn set_token(&mut self, written: &str) -> Result<(), String> {
        self.token = Some(token::read(written)?);
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

    pub(crate) fn set_origins(&mut self, written: &[String]) -> Result<(), String> {
        let origins = written.iter().map(|origin| serialised_origin(origin));
        self.core.gateway.allowed_origins = origins.collect::<Option<_>>().ok_or(
            "must be origins: scheme://host or scheme://host:port and nothing after it, for example https://app.example.com",
        )?;
        Ok(())
    }

    pub(crate) fn set_workspace_roots(&mut self, written: &[String]) -> Result<(), String> {
        self.workspace_roots = written.iter().map(|root| self.absolute(root)).collect();
        Ok(())
    }
}

/// An origin in the form in which browsers send it: lower case, without the scheme's own port.
fn serialised_origin(written: &str) -> Option<String> {
    let origin = written.trim().to_ascii_lowercase();
    let (scheme, rest) = origin.split_once("://")?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse::<u16>().ok()?)),
        _ => (authority, None),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let host_is_sound = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(plain),
    };
    let scheme_is_sound = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !host_is_sound || !scheme_is_sound {
        return None;
    }
    Some(match (scheme, port) {
        (_, None) | ("http" | "ws", Some(80)) | ("https" | "wss", Some(443)) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_kept_as_browsers_send_them() {
        for (written, kept) in [
            ("https://App.Example.com/", Some("https://app.example.com")),
            ("https://app.example.com:443", Some("https://app.example.com")),
            ("http://localhost:5173", Some("http://localhost:5173")),
            ("http://[::1]:8080", Some("http://[::1]:8080")),
            ("http://[::1]", Some("http://[::1]")),
            ("tauri://localhost", Some("tauri://localhost")),
            ("https://app.example.com/path", None),
            ("https://user@app.example.com", None),
            ("app.example.com", None),
            ("https://", None),
            ("https://a:99999", None),
            ("*", None),
            ("null", None),
        ] {
            assert_eq!(serialised_origin(written).as_deref(), kept, "{written}");
        }
    }

    #[test]
    fn hosts_and_paths() {
        let mut draft = Draft::new(None);
        draft.set_host(" [::1] ").unwrap();
        assert_eq!(draft.host, "::1");
        assert!(draft.set_host("").is_err());
        assert!(draft.set_host("a b").is_err());
        draft.set_path("ws").unwrap();
        assert_eq!(draft.core.gateway.path, "/ws");
        for wrong in ["/a b", "/a?b", "/a#b", "/ä", "/health"] {
            assert!(draft.set_path(wrong).is_err(), "{wrong}");
        }
    }
}
