//! What a gateway says on standard output when it takes connections: its URL, and how to come by the token. The token
//! itself is only ever shown to a person at a terminal.

use std::io::Write;
use std::path::PathBuf;

use portcullis_core::secret::Secret;

use crate::settings::{AuthMode, TokenSource};

/// One gateway's announcement.
pub(super) struct Announcement {
    pub(super) out: Box<dyn Write + Send>,
    pub(super) url: String,
    pub(super) auth: AuthMode,
    pub(super) source: Option<TokenSource>,
    /// The token file, where the token is in it.
    pub(super) token_file: Option<PathBuf>,
    /// The token, where it may be shown.
    pub(super) token: Option<Secret>,
    pub(super) json: bool,
    pub(super) state_dir: PathBuf,
}

impl Announcement {
    /// Says it. A standard output that nobody reads is no reason not to serve.
    pub(super) fn print(&mut self) {
        let text = if self.json { self.json() } else { self.lines() };
        let said = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        if let Err(error) = said {
            log::warn!(
                "standard output cannot be written: {error}; the gateway is at {}",
                self.url
            );
        }
    }

    fn lines(&self) -> String {
        format!("Gateway URL: {}\n{}\n", self.url, self.door())
    }

    fn door(&self) -> String {
        match (self.auth, &self.token, &self.token_file, self.source) {
            (AuthMode::None, ..) => String::from("Gateway auth: disabled (loopback only)"),
            (AuthMode::Password, Some(password), ..) => format!("Gateway password: {}", password.reveal()),
            (_, Some(token), ..) => format!("Gateway token: {}", token.reveal()),
            (_, None, Some(file), _) => format!("Gateway token file: {}", file.display()),
            (_, None, None, Some(source)) => format!("Gateway token source: {source}"),
            (mode, None, None, None) => format!("Gateway auth: {}", mode.name()),
        }
    }

    fn json(&self) -> String {
        let mut object = serde_json::json!({
            "url": self.url,
            "auth": self.auth != AuthMode::None,
            "authMode": self.auth.name(),
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "stateDir": self.state_dir.to_string_lossy(),
        });
        if let Some(fields) = object.as_object_mut() {
            if let Some(source) = self.source {
                fields.insert("tokenSource".into(), source.name().into());
            }
            if let Some(file) = &self.token_file {
                fields.insert("tokenFile".into(), file.to_string_lossy().into());
            }
            if let Some(token) = &self.token {
                fields.insert("token".into(), token.reveal().into());
            }
        }
        format!("{object}\n")
    }
}
