//! Where the documents of an identity provider may be fetched from. The address table that holds for what strangers name
//! holds for the issuer, too: a provider that names a key set inside this network reads nothing there. It connects to nothing.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::policy::address::is_loopback_host;
use crate::policy::hosts::HostPattern;
use crate::policy::ssrf;
use crate::settings::{FetchSettings, SourceSettings};
use crate::url::{Host, Scheme, Url};

/// What to do before the server is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// These addresses and no others.
    Known(Vec<SocketAddr>),
    /// Look this name up, then [`judge_answers`](ssrf::judge_answers).
    Name(String),
}

/// Judges a URL. `issuer`: the provider as the settings name it, whose own port is as good as 443.
///
/// # Errors
/// Why it is not asked.
pub(super) fn judge(url: &Url, issuer: &Url, loopback_only: bool) -> Result<Place, String> {
    let host = url.host.to_string();
    if loopback_only && is_loopback_host(&host) {
        return Ok(Place::Known(match &url.host {
            Host::Address(address) => alloc::vec![SocketAddr::new(*address, url.port)],
            Host::Name(_) => [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
                .map(|address| SocketAddr::new(address, url.port))
                .to_vec(),
        }));
    }
    if url.scheme != Scheme::Https {
        return Err(alloc::format!("{} is not https", url.origin()));
    }
    let source = SourceSettings {
        url_allowlist: None,
        ports: alloc::vec![(HostPattern::Exactly(issuer.host.clone()), issuer.port)],
        max_path_segments: None,
        ..FetchSettings::default().files
    };
    ssrf::judge_url(url, &source).map_err(|denial| alloc::format!("{}: {denial}", url.origin()))?;
    Ok(match (ssrf::literal(url), &url.host) {
        (None, Host::Name(name)) => Place::Name(name.clone()),
        (literal, _) => Place::Known(literal.into_iter().collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str, loopback_only: bool) -> Result<Place, String> {
        let issuer = Url::parse("https://id.example:8443").unwrap();
        judge(&Url::parse(url).unwrap(), &issuer, loopback_only)
    }

    #[test]
    fn where_documents_come_from() {
        for url in ["https://id.example:8443/x", "https://other.example/x"] {
            assert!(matches!(place(url, false), Ok(Place::Name(_))), "{url}");
        }
        assert!(matches!(place("https://8.8.8.8/x", false), Ok(Place::Known(to)) if to.len() == 1));
        for url in [
            "http://id.example:8443/x",
            "https://other.example:8443/x",
            "https://10.0.0.1/x",
            "https://169.254.169.254/x",
            "https://localhost/x",
            "https://127.0.0.1/x",
        ] {
            assert!(place(url, false).is_err(), "{url}");
        }
        for url in ["http://127.0.0.1:9/x", "https://localhost:9/x", "http://[::1]:9/x"] {
            assert!(matches!(place(url, true), Ok(Place::Known(_))), "{url}");
        }
        assert!(place("http://10.0.0.1/x", true).is_err());
        assert!(place("http://id.example/x", true).is_err());
    }
}
