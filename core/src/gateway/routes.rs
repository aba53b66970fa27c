//! Which path leads where. The table is made of the settings once; a request is looked up without an allocation.
//! Spec: `spec/operator.md` section 1, `spec/hardening.md`.

use alloc::string::String;
use alloc::vec::Vec;

use crate::http::Limits;
use crate::settings::Settings;

/// Where a request leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// The operator endpoint: a WebSocket.
    Operator,
    /// The control plane: a WebSocket.
    Control,
    /// `GET /health`: the gateway lives, and a few facts besides.
    Health,
    /// The gateway lives.
    Live,
    /// The gateway takes new work.
    Ready,
    /// The gateway has started.
    Startup,
    /// Figures for monitoring.
    Metrics,
    /// `POST /tools/invoke`.
    Tools,
    /// The relay.
    Relay,
    /// Nothing is there.
    Unknown,
}

/// The table.
#[derive(Debug)]
pub(super) struct Routes {
    operator: String,
    /// The OpenClaw dialect's clients ask for `/`.
    root_is_operator: bool,
    control: ControlPaths,
    /// Everything but the probes belongs to the control plane.
    control_alone: bool,
    /// What nobody else wants goes to the relay.
    has_relay: bool,
    /// Everything belongs to the relay but the figures, if they are behind a token.
    relay_alone: Option<RelayAlone>,
}

/// A relay without anything beside it.
#[derive(Clone, Copy, Debug)]
struct RelayAlone {
    has_figures: bool,
}

#[derive(Debug)]
enum ControlPaths {
    Off,
    /// Every path that is not the operator's.
    All,
    These(Vec<String>),
}

impl Routes {
    pub(super) fn new(settings: &Settings) -> Self {
        let control = match &settings.control {
            _ if !cfg!(feature = "control") => ControlPaths::Off,
            None => ControlPaths::Off,
            Some(control) if control.paths.is_empty() => ControlPaths::All,
            Some(control) => ControlPaths::These(control.paths.clone()),
        };
        Self {
            operator: settings.gateway.path.clone(),
            root_is_operator: settings.doors.openclaw_compat,
            control,
            control_alone: cfg!(feature = "control")
                && settings.control.as_ref().is_some_and(|control| control.standalone),
            has_relay: cfg!(feature = "relay") && settings.relay.is_some(),
            relay_alone: settings
                .relay
                .as_ref()
                .filter(|relay| relay.standalone)
                .map(|_| RelayAlone {
                    has_figures: settings.auth.tokens.is_some(),
                }),
        }
    }

    /// Where a request for this path leads; `upgrade`: it asks for a WebSocket.
    pub(super) fn find(&self, path: &str, upgrade: bool) -> Route {
        if let Some(alone) = self.relay_alone {
            return if path == "/metrics" && !upgrade && alone.has_figures {
                Route::Metrics
            } else {
                Route::Relay
            };
        }
        if upgrade {
            return match path {
                _ if self.is_operator(path) && !self.control_alone => Route::Operator,
                _ if self.is_control(path) => Route::Control,
                _ => self.rest(),
            };
        }
        match path {
            "/health" => Route::Health,
            "/healthz" => Route::Live,
            "/ready" | "/readyz" => Route::Ready,
            "/startup" | "/startupz" => Route::Startup,
            _ if self.control_alone => Route::Control,
            "/metrics" => Route::Metrics,
            "/tools/invoke" if cfg!(feature = "tools") => Route::Tools,
            _ if self.is_operator(path) => Route::Operator,
            _ if self.is_control(path) => Route::Control,
            _ => self.rest(),
        }
    }

    const fn rest(&self) -> Route {
        if self.has_relay { Route::Relay } else { Route::Unknown }
    }

    /// Whether there is a relay and nothing else.
    pub(super) const fn is_relay_alone(&self) -> bool {
        self.relay_alone.is_some()
    }

    /// How large a request's head may be: the relay's clients send long tokens and long queries.
    pub(super) fn head_limits(&self) -> Limits {
        let usual = Limits::default();
        if self.has_relay {
            Limits {
                max_request_line: 16_384,
                max_head_bytes: 32_768,
                ..usual
            }
        } else {
            usual
        }
    }

    fn is_operator(&self, path: &str) -> bool {
        cfg!(feature = "operator") && (path == self.operator || (self.root_is_operator && path == "/"))
    }

    fn is_control(&self, path: &str) -> bool {
        match &self.control {
            ControlPaths::Off => false,
            ControlPaths::All => true,
            ControlPaths::These(paths) => paths.iter().any(|known| known == path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ControlSettings;

    #[test]
    fn paths_lead_where_the_settings_say() {
        let mut settings = Settings::default();
        let plain = Routes::new(&settings);
        assert_eq!(plain.find("/gateway", true), Route::Operator);
        assert_eq!(plain.find("/gateway", false), Route::Operator);
        for (path, upgrade, route) in [
            ("/", true, Route::Unknown),
            ("/health", true, Route::Unknown),
            ("/health", false, Route::Health),
            ("/tools/invoke", false, Route::Tools),
            ("/Health", false, Route::Unknown),
            ("/control", true, Route::Unknown),
        ] {
            assert_eq!(plain.find(path, upgrade), route, "{path} {upgrade}");
        }
        settings.control = Some(ControlSettings::default());
        let both = Routes::new(&settings);
        assert_eq!(both.find("/", true), Route::Control);
        assert_eq!(both.find("/control", false), Route::Control);
        assert_eq!(both.find("/gateway", true), Route::Operator);
        settings.doors.openclaw_compat = true;
        let dialect = Routes::new(&settings);
        assert_eq!(dialect.find("/", true), Route::Operator);
        assert_eq!(dialect.find("/control", true), Route::Control);
        settings.control = Some(ControlSettings {
            paths: Vec::new(),
            standalone: true,
            ..ControlSettings::default()
        });
        let alone = Routes::new(&settings);
        assert_eq!(alone.find("/anything", true), Route::Control);
        assert_eq!(alone.find("/metrics", false), Route::Control);
        assert_eq!(alone.find("/gateway", true), Route::Control);
        assert_eq!(alone.find("/health", false), Route::Health);
    }
}
