//! Whether a URL that a stranger named may be fetched: its scheme, host, port and path, and then the addresses that its
//! name has. It resolves nothing and connects to nothing; whoever fetches asks here before each step, and again on each
//! redirect. No setting opens the address table. Spec: `spec/hardening.md`.

pub mod addresses;
pub mod names;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

use crate::audit::AuditEvent;
use crate::settings::SourceSettings;
use crate::url::{Host, Scheme, Url, UrlFault};

/// The most addresses of one name that are tried; all that the resolver told are judged.
const MAX_ADDRESSES: usize = 8;

/// Why a URL is not fetched. The text of it may be told to whoever named the URL: it holds no resolved address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Denial {
    /// It breaks a rule of [`Url::parse`].
    Url(UrlFault),
    /// The host is not in the list of those that may be asked.
    NotListed(Host),
    /// The name means something inside.
    Name(String),
    /// The URL holds an address of the table.
    Address,
    /// The name has an address of the table.
    ResolvesInside,
    /// The port is neither 80 nor 443 nor listed for this host.
    Port(u16),
    /// The path has too many segments.
    Segments {
        /// How many it has.
        count: usize,
        /// How many it may have.
        limit: u32,
    },
    /// A redirect from `https` to `http`.
    Downgrade,
}

impl Denial {
    /// Which event of the audit journal it is.
    #[must_use]
    pub const fn record(&self) -> AuditEvent {
        match self {
            Self::Url(UrlFault::OddAddress) | Self::Name(_) | Self::Address | Self::ResolvesInside => {
                AuditEvent::SsrfBlocked
            }
            Self::Url(_) | Self::NotListed(_) | Self::Port(_) | Self::Segments { .. } | Self::Downgrade => {
                AuditEvent::UrlDenied
            }
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(fault) => fault.fmt(f),
            Self::NotListed(host) => write!(f, "Blocked hostname (not in allowlist): {host}"),
            Self::Name(name) => write!(f, "Blocked hostname: {name}"),
            Self::Address => f.write_str("Blocked hostname or private/internal/special-use IP address"),
            Self::ResolvesInside => f.write_str("Blocked: resolves to private/internal/special-use IP address"),
            Self::Port(port) => write!(f, "Blocked port: {port} (allowed: 80, 443)"),
            Self::Segments { count, limit } => write!(f, "Too many URL path segments: {count} (limit: {limit})"),
            Self::Downgrade => f.write_str("Blocked redirect from https to http"),
        }
    }
}

impl core::error::Error for Denial {}

/// Reads a URL that a client named and judges it.
///
/// # Errors
/// The first rule that it breaks.
pub fn judge(text: &str, settings: &SourceSettings) -> Result<Url, Denial> {
    let url = Url::parse(text).map_err(Denial::Url)?;
    judge_url(&url, settings)?;
    Ok(url)
}

/// Judges where a redirect leads, by all the rules that the first URL was judged by.
///
/// # Errors
/// The first rule that it breaks.
pub fn judge_redirect(from: &Url, location: &str, settings: &SourceSettings) -> Result<Url, Denial> {
    let url = from.join(location).map_err(Denial::Url)?;
    if from.scheme == Scheme::Https && url.scheme == Scheme::Http {
        return Err(Denial::Downgrade);
    }
    judge_url(&url, settings)?;
    Ok(url)
}

/// Judges a URL: the list of hosts, then what the host is, then the port and the path.
///
/// # Errors
/// The first rule that it breaks.
pub fn judge_url(url: &Url, settings: &SourceSettings) -> Result<(), Denial> {
    if let Some(list) = &settings.url_allowlist
        && !list.iter().any(|pattern| pattern.matches(&url.host))
    {
        return Err(Denial::NotListed(url.host.clone()));
    }
    match &url.host {
        Host::Address(address) if addresses::closed_by(*address).is_some() => return Err(Denial::Address),
        Host::Name(name) if names::is_internal(name) => return Err(Denial::Name(name.clone())),
        Host::Address(_) | Host::Name(_) => {}
    }
    let is_listed =
        |(pattern, port): &(crate::policy::hosts::HostPattern, u16)| *port == url.port && pattern.matches(&url.host);
    if !matches!(url.port, 80 | 443) && !settings.ports.iter().any(is_listed) {
        return Err(Denial::Port(url.port));
    }
    let count = url.path_segments();
    match settings.max_path_segments {
        Some(limit) if count > limit as usize => Err(Denial::Segments { count, limit }),
        _ => Ok(()),
    }
}

/// Judges all addresses that a name has: one that is closed closes the name. Those to connect to, IPv4 first, else in
/// the resolver's order, each once.
///
/// # Errors
/// [`Denial::ResolvesInside`], also when there is no address at all.
pub fn judge_answers(answers: &[IpAddr], port: u16) -> Result<Vec<SocketAddr>, Denial> {
    if answers.is_empty() || answers.iter().any(|answer| addresses::closed_by(*answer).is_some()) {
        return Err(Denial::ResolvesInside);
    }
    let mut pinned: Vec<SocketAddr> = Vec::new();
    let canonical = || answers.iter().map(IpAddr::to_canonical);
    let (v4, v6) = (canonical().filter(IpAddr::is_ipv4), canonical().filter(IpAddr::is_ipv6));
    for address in v4.chain(v6) {
        if pinned.len() < MAX_ADDRESSES && !pinned.iter().any(|known| known.ip() == address) {
            pinned.push(SocketAddr::new(address, port));
        }
    }
    Ok(pinned)
}

/// The address of a URL that holds one; `None` for one with a name, which must be resolved.
#[must_use]
pub fn literal(url: &Url) -> Option<SocketAddr> {
    match &url.host {
        Host::Address(address) => Some(SocketAddr::new(address.to_canonical(), url.port)),
        Host::Name(_) => None,
    }
}

#[cfg(test)]
mod tests;
