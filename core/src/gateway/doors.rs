//! The doors: what is judged before anybody looks at what a connection or a request wants. Each says which setting would
//! open it. Spec: `spec/hardening.md`.

use super::Gateway;
use crate::machine::Peer;

impl Gateway {
    /// Whether the peer's network is served at all. File permissions decide about a Unix socket.
    pub(super) fn is_admitted(&self, peer: Peer) -> bool {
        match (&self.settings.doors.allowed_networks, peer) {
            (Some(networks), Peer::Tcp(address)) => networks.iter().any(|network| network.contains(address.ip())),
            _ => true,
        }
    }
}
