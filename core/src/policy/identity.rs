//! Users whom a proxy has authenticated: whose header fields are believed, and whom they let in. It reads a name and
//! decides; it never makes up for a proxy that is not trusted. Spec: `spec/hardening.md`.

use alloc::string::String;
use core::fmt;

use super::forwarded::{Client, is_trusted};
use crate::machine::Peer;
use crate::settings::{DoorSettings, ProxyIdentity};

/// The longest user name in bytes.
const MAX_USER_BYTES: usize = 256;

/// Why nobody is let in on a proxy's word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IdentityFault {
    /// The peer is not a trusted proxy.
    UntrustedSource,
    /// The proxy is on this machine, and the settings do not believe such ones.
    LoopbackSource,
    /// A field that must be there is missing: its name.
    MissingHeader(String),
    /// The proxy names no user, or more than one, or one that is no name.
    UserMissing,
    /// The user is not in the list of those who are let in.
    UserNotAllowed,
}

impl IdentityFault {
    /// The reason in logs and details.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::UntrustedSource => "trusted_proxy_untrusted_source",
            Self::LoopbackSource => "trusted_proxy_loopback_source",
            Self::MissingHeader(_) => "trusted_proxy_missing_header",
            Self::UserMissing => "trusted_proxy_user_missing",
            Self::UserNotAllowed => "trusted_proxy_user_not_allowed",
        }
    }
}

impl fmt::Display for IdentityFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingHeader(name) => write!(f, "{}_{name}", self.reason()),
            _ => f.write_str(self.reason()),
        }
    }
}

impl core::error::Error for IdentityFault {}

/// The user whom a trusted proxy names and the settings let in. `fields`: the names and values of the request's header,
/// from its start each time.
///
/// # Errors
/// Why there is none.
pub fn user<'a, Fields>(
    peer: Peer,
    fields: impl Fn() -> Fields,
    doors: &DoorSettings,
    identity: &ProxyIdentity,
) -> Result<&'a str, IdentityFault>
where
    Fields: Iterator<Item = (&'a str, &'a str)>,
{
    let field = |name: &str| {
        let name = String::from(name);
        fields().filter_map(move |(of, value)| of.eq_ignore_ascii_case(&name).then_some(value))
    };
    let source = Client::of_peer(peer);
    if !source.address().is_some_and(|address| is_trusted(address, doors)) {
        return Err(IdentityFault::UntrustedSource);
    }
    if source.is_local() && !identity.allow_loopback {
        return Err(IdentityFault::LoopbackSource);
    }
    for name in &identity.required_headers {
        if field(name).all(|value| value.trim().is_empty()) {
            return Err(IdentityFault::MissingHeader(name.clone()));
        }
    }
    let mut users = field(&identity.user_header).map(str::trim);
    let (Some(user), None) = (users.next(), users.next()) else {
        return Err(IdentityFault::UserMissing);
    };
    if user.is_empty() || user.len() > MAX_USER_BYTES || user.chars().any(char::is_control) {
        return Err(IdentityFault::UserMissing);
    }
    if identity.allow_users.is_empty() || identity.allow_users.iter().any(|allowed| allowed == user) {
        Ok(user)
    } else {
        Err(IdentityFault::UserNotAllowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn told(peer: &str, fields: &[(&str, &str)], allow_loopback: bool, users: &[&str]) -> String {
        let doors = DoorSettings {
            trusted_proxies: ["10.0.0.1", "127.0.0.1"]
                .iter()
                .map(|text| text.parse().unwrap())
                .collect(),
            ..DoorSettings::default()
        };
        let identity = ProxyIdentity {
            user_header: "x-user".to_string(),
            required_headers: alloc::vec!["x-verified".to_string()],
            allow_users: users.iter().map(ToString::to_string).collect(),
            allow_loopback,
        };
        match user(
            Peer::Tcp(peer.parse().unwrap()),
            || fields.iter().copied(),
            &doors,
            &identity,
        ) {
            Ok(user) => user.to_string(),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn only_a_trusted_proxy_names_users() {
        let good = [("x-user", " ann "), ("x-verified", "1")];
        assert_eq!(told("10.0.0.1:1", &good, false, &[]), "ann");
        assert_eq!(told("10.0.0.1:1", &good, false, &["ann"]), "ann");
        assert_eq!(
            told("10.0.0.1:1", &good, false, &["Ann", "bob"]),
            "trusted_proxy_user_not_allowed"
        );
        assert_eq!(told("10.0.0.2:1", &good, true, &[]), "trusted_proxy_untrusted_source");
        assert_eq!(told("127.0.0.1:1", &good, false, &[]), "trusted_proxy_loopback_source");
        assert_eq!(told("127.0.0.1:1", &good, true, &[]), "ann");
        assert_eq!(
            told("10.0.0.1:1", &[("x-user", "ann"), ("x-verified", " ")], false, &[]),
            "trusted_proxy_missing_header_x-verified"
        );
        for fields in [
            &[("x-verified", "1")][..],
            &[("x-verified", "1"), ("x-user", "  ")],
            &[("x-verified", "1"), ("x-user", "ann"), ("x-user", "root")],
        ] {
            assert_eq!(told("10.0.0.1:1", fields, false, &[]), "trusted_proxy_user_missing");
        }
    }
}
