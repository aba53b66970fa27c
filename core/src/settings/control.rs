//! The control plane: commands with a JWT in every message. Spec: `spec/control.md`.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::policy::network::Network;
use crate::secret::Secret;

/// The control plane's own settings. [`Settings::control`](super::Settings::control) is `None` where it is off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlSettings {
    /// The paths on which it is served; the original serves every path, which an empty list means.
    pub paths: Vec<String>,
    /// At least 32 bytes; `None`: one is drawn once, at the start.
    pub jwt_secret: Option<Secret>,
    /// How long a token is good for.
    pub session_ttl: Duration,
    /// Who may connect.
    pub trusted_clients: Vec<Network>,
    /// A stranger is refused with 403 before the upgrade, instead of being closed after it.
    pub refuse_before_upgrade: bool,
    /// Connections are closed (4001) when the token is rotated.
    pub close_on_rotate: bool,
    /// Where the current token is written; `None`: nowhere.
    pub token_file: Option<String>,
    /// The token is in the report of its issue, for an embedding program that shows it on a terminal.
    pub hand_out_token: bool,
    /// What `status` tells as `nodeEnv`.
    pub node_env: String,
    /// Messages in a row with a bad token before the connection is closed.
    pub max_unauthorised: u32,
    /// The largest message before and after the first good token.
    pub max_message_bytes: (usize, usize),
    /// Every request but an upgrade is answered 426, as the original does, instead of being served by the gateway.
    pub standalone: bool,
}

impl Default for ControlSettings {
    fn default() -> Self {
        let loopback = [[127, 0, 0, 1].into(), core::net::Ipv6Addr::LOCALHOST.into()];
        Self {
            paths: ["/", "/control"].map(String::from).into(),
            jwt_secret: None,
            session_ttl: Duration::from_secs(24 * 3_600),
            trusted_clients: loopback.map(Network::host).into(),
            refuse_before_upgrade: false,
            close_on_rotate: false,
            token_file: None,
            hand_out_token: false,
            node_env: String::from("development"),
            max_unauthorised: 10,
            max_message_bytes: (65_536, 1_048_576),
            standalone: false,
        }
    }
}
