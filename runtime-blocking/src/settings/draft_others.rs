//! More setters of the draft: who is near (networks, proxies, origins), the log, the AI providers and the control plane.

use std::time::Duration;

use log::LevelFilter;
use portcullis_core::providers::is_model;
use portcullis_core::secret::Secret;
use portcullis_core::settings::{HealthProbe, Provider, ProviderKey};

use super::draft::{Draft, TailscaleMode};
use super::written_hosts;

/// What the original's template has in the place of a secret.
const JWT_PLACEHOLDER: &str = "your-jwt-secret-key-here";

impl Draft {
    pub(crate) fn set_allowed_networks(&mut self, written: &[String]) -> Result<(), String> {
        self.core.doors.allowed_networks = Some(written_hosts::networks(written)?);
        Ok(())
    }

    pub(crate) fn set_trusted_proxies(&mut self, written: &[String]) -> Result<(), String> {
        self.core.doors.trusted_proxies = written_hosts::networks(written)?;
        Ok(())
    }

    pub(crate) fn set_allowed_hosts(&mut self, written: &[String]) -> Result<(), String> {
        self.core.doors.allowed_hosts = written_hosts::host_fields(written)?;
        Ok(())
    }

    pub(crate) fn set_origins(&mut self, written: &[String]) -> Result<(), String> {
        self.core.gateway.allowed_origins = written_hosts::origins(written)?;
        Ok(())
    }

    pub(crate) fn set_user_header(&mut self, written: &str) -> Result<(), String> {
        self.proxy.user_header = Some(written_hosts::field(written)?);
        Ok(())
    }

    pub(crate) fn set_required_headers(&mut self, written: &[String]) -> Result<(), String> {
        self.proxy.required_headers = written_hosts::fields(written)?;
        Ok(())
    }

    pub(crate) fn set_transport_security(&mut self, written: &str) -> Result<(), String> {
        let value = written.trim();
        if value.is_empty() || value.len() > 200 || !value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Err("must be a header value, for example max-age=31536000".into());
        }
        self.core.doors.strict_transport_security = Some(value.to_owned());
        Ok(())
    }

    pub(crate) fn set_tailscale(&mut self, written: &str) -> Result<(), String> {
        self.tailscale = match written {
            "off" => TailscaleMode::Off,
            "serve" => TailscaleMode::Serve,
            "funnel" => TailscaleMode::Funnel,
            _ => return Err("must be \"off\", \"serve\" or \"funnel\"".into()),
        };
        Ok(())
    }

    pub(crate) fn set_log_level(&mut self, written: &str) -> Result<(), String> {
        self.log_level = Some(match written {
            "error" => LevelFilter::Error,
            "warn" => LevelFilter::Warn,
            "info" => LevelFilter::Info,
            "debug" => LevelFilter::Debug,
            _ => return Err("must be \"error\", \"warn\", \"info\" or \"debug\"".into()),
        });
        Ok(())
    }

    pub(crate) fn set_redaction(&mut self, written: &str) -> Result<(), String> {
        match written {
            "on" | "tools" => Ok(()),
            _ => Err("must be \"on\"; secrets are masked in the log in any case".into()),
        }
    }

    pub(crate) fn set_active_provider(&mut self, written: &str) -> Result<(), String> {
        self.core.providers.active = ProviderKey::parse(written).ok_or("must be \"kimi\" or \"gemini\"")?;
        Ok(())
    }

    pub(crate) fn set_health_probe(&mut self, written: &str) -> Result<(), String> {
        self.core.providers.health = match written {
            "completion" => HealthProbe::Completion,
            "models" => HealthProbe::Models,
            _ => return Err("must be \"completion\" or \"models\"".into()),
        };
        Ok(())
    }

    pub(crate) fn set_api_key(provider: &mut Provider, written: &str) -> Result<(), String> {
        let key = written.trim();
        if key.is_empty() || key.len() > 512 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must be 1 to 512 characters of printable ASCII without blanks".into());
        }
        provider.api_key = Some(Secret::new(key.to_owned()));
        Ok(())
    }

    pub(crate) fn set_base_url(provider: &mut Provider, written: &str) -> Result<(), String> {
        provider.base_url = written_hosts::base_url(written)?;
        Ok(())
    }

    pub(crate) fn set_model(provider: &mut Provider, written: &str) -> Result<(), String> {
        provider.model = model(written)?;
        Ok(())
    }

    pub(crate) fn set_control_paths(&mut self, written: &[String]) -> Result<(), String> {
        for path in written {
            written_hosts::url_path(path)?;
        }
        self.control.paths = written.to_vec();
        Ok(())
    }

    pub(crate) fn set_jwt_secret(&mut self, written: &str) -> Result<(), String> {
        if written == JWT_PLACEHOLDER {
            return Err("is the placeholder of a template; write a secret of your own (openssl rand -hex 32)".into());
        }
        if written.len() < 32 {
            return Err("must be at least 32 bytes long (openssl rand -hex 32)".into());
        }
        self.control.jwt_secret = Some(Secret::new(written.to_owned()));
        Ok(())
    }

    pub(crate) fn set_session_ttl(&mut self, hours: u64) -> Result<(), String> {
        if hours == 0 {
            return Err("must be a whole number of hours from 1 to 8760".into());
        }
        self.control.session_ttl = Duration::from_secs(hours.saturating_mul(3_600));
        Ok(())
    }

    pub(crate) fn set_trusted_clients(&mut self, written: &[String]) -> Result<(), String> {
        let networks = written_hosts::networks(written)?;
        if networks.is_empty() {
            return Err("must not be empty: nobody could connect".into());
        }
        self.control.trusted_clients = networks;
        Ok(())
    }

    /// Mistakes that more than one key makes together.
    pub(crate) fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.control_on && self.control.paths.contains(&self.core.gateway.path) {
            found.push((
                "control.paths",
                "has the path of the gateway itself (gateway.path)".to_owned(),
            ));
        }
        found
    }
}

/// The name of a model: it becomes a part of URLs and messages.
pub(crate) fn model(written: &str) -> Result<String, String> {
    let name = written.trim();
    if !is_model(name) {
        return Err("must be the name of a model: 1 to 128 letters, digits and - . _ ~ : @ + /".into());
    }
    Ok(name.to_owned())
}
