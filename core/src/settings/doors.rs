//! Who may reach the gateway at all, and through which proxies. Spec: `spec/hardening.md`.

use alloc::string::String;
use alloc::vec::Vec;

use crate::policy::network::Network;

/// Addresses, proxies and hosts: judged before anything else is looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DoorSettings {
    /// Only peers in these networks are served; `None`: all.
    pub allowed_networks: Option<Vec<Network>>,
    /// Peers whose forwarding header fields are believed.
    pub trusted_proxies: Vec<Network>,
    /// Whether `X-Real-IP` of a trusted proxy counts when `X-Forwarded-For` tells nothing.
    pub real_ip_fallback: bool,
    /// Whether `Host` must be a loopback name or one of [`Self::allowed_hosts`]: set by runtimes that listen on loopback.
    pub check_host: bool,
    /// Further values of `Host` (lower case, with or without a port).
    pub allowed_hosts: Vec<String>,
    /// A browser origin whose host equals `Host` is let in even where that host is a public name. Dangerous: DNS rebinding.
    pub host_header_origin_fallback: bool,
    /// The value of `Strict-Transport-Security`, if it is sent.
    pub strict_transport_security: Option<String>,
    /// The OpenClaw dialect of the WebSocket handshake is understood besides ours.
    pub openclaw_compat: bool,
}

/// Identity by a proxy that authenticated the user. Spec: `spec/hardening.md`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProxyIdentity {
    /// The header field with the user's name (lower case).
    pub user_header: String,
    /// Fields that must be there besides (lower case).
    pub required_headers: Vec<String>,
    /// The users that are let in; empty: all that the proxy names.
    pub allow_users: Vec<String>,
    /// Whether a proxy on this machine is believed.
    pub allow_loopback: bool,
}
