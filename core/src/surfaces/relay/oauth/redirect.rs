//! Where a browser may be sent back to with a code, and the addresses that are written for it. A candidate is compared as
//! text; only for programs on the user's own machine (RFC 8252) may host spelling and port differ.

use alloc::string::String;
use core::fmt::Write as _;

use crate::surfaces::relay::percent::{decode_form, encode};

/// The longest redirect URI.
pub const MAX_REDIRECT_BYTES: usize = 2_048;

/// Whether a URI may be redirected to.
#[must_use]
pub fn is_allowed(candidate: &str, list: &[String]) -> bool {
    // What a header or a browser could read in two ways is no target.
    let is_plain = candidate.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if candidate.len() > MAX_REDIRECT_BYTES || !is_plain || has_user_info(candidate) {
        return false;
    }
    if list.iter().any(|entry| entry == candidate) {
        return true;
    }
    let Some(candidate) = Loopback::read(candidate).filter(|candidate| candidate.has_port) else {
        return false;
    };
    let mut local = list.iter().filter_map(|entry| Loopback::read(entry));
    local.any(|entry| (entry.path, entry.query) == (candidate.path, candidate.query))
}

/// `user@` before the host.
fn has_user_info(uri: &str) -> bool {
    let after = uri.split_once("://").map_or("", |(_, after)| after);
    authority(after).contains('@')
}

fn authority(after_scheme: &str) -> &str {
    after_scheme.split(['/', '?', '#']).next().unwrap_or_default()
}

/// A URI of a program on this machine, taken apart; the fragment is not looked at.
struct Loopback<'a> {
    has_port: bool,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Loopback<'a> {
    fn read(uri: &'a str) -> Option<Self> {
        let (scheme, after) = uri.split_once("://")?;
        if !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let authority = authority(after);
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, port) = bracketed.split_once(']')?;
                (
                    host,
                    if port.is_empty() {
                        None
                    } else {
                        Some(port.strip_prefix(':')?)
                    },
                )
            }
            None => authority
                .split_once(':')
                .map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let is_bracketed = authority.starts_with('[');
        let is_local = match host {
            "::1" => is_bracketed,
            "127.0.0.1" => !is_bracketed,
            name => !is_bracketed && name.eq_ignore_ascii_case("localhost"),
        };
        let has_port = match port {
            None => false,
            Some(port) => {
                let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
                port.parse::<u16>().ok().filter(|number| is_number && *number > 0)?;
                true
            }
        };
        let after = after.get(authority.len()..)?.split('#').next().unwrap_or_default();
        let (path, query) = after
            .split_once('?')
            .map_or((after, None), |(path, query)| (path, Some(query)));
        is_local.then_some(Self { has_port, path, query })
    }
}

/// The URI with these parameters in its query: those of the same names are replaced, others stay as they are, and so does
/// the fragment. Empty values are left out.
#[must_use]
pub fn with_query(uri: &str, parameters: &[(&str, &str)]) -> String {
    let (uri, fragment) = uri
        .split_once('#')
        .map_or((uri, None), |(uri, fragment)| (uri, Some(fragment)));
    let (base, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut target = String::from(base);
    let mut separator = '?';
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = decode_form(pair.split('=').next().unwrap_or_default());
        if parameters.iter().all(|(ours, _)| *ours != name) {
            let _ = write!(target, "{separator}{pair}");
            separator = '&';
        }
    }
    for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = write!(target, "{separator}{name}=");
        encode(&mut target, value);
        separator = '&';
    }
    if let Some(fragment) = fragment {
        let _ = write!(target, "#{fragment}");
    }
    target
}

/// The source expression (CSP) of a target: browsers apply `form-action` to where a form's answer redirects, too. `None`:
/// there is nowhere to redirect to.
#[must_use]
pub fn form_action(uri: &str) -> Option<String> {
    let (scheme, after) = uri.split_once(':')?;
    let is_scheme = scheme
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme || scheme.eq_ignore_ascii_case("urn") {
        return None;
    }
    let origin = after.strip_prefix("//").map(authority).unwrap_or_default();
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
    // An IPv6 literal is no source expression: the scheme must do.
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    if is_web && !origin.is_empty() && origin.bytes().all(is_host) {
        Some(alloc::format!("{scheme}://{origin}"))
    } else {
        Some(alloc::format!("{scheme}:"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn list() -> Vec<String> {
        [
            "http://localhost:61696/callback",
            "http://localhost:3000/cb?x=1",
            "https://app.example/cb",
            "urn:ietf:wg:oauth:2.0:oob",
            "myapp://cb",
        ]
        .map(String::from)
        .to_vec()
    }

    #[test]
    fn the_matrix() {
        for (uri, allowed) in [
            ("http://localhost:61696/callback", true),
            ("http://localhost:1/callback", true),
            ("http://127.0.0.1:50000/callback", true),
            ("http://[::1]:50000/callback", true),
            ("HTTP://LocalHost:50000/callback", true),
            ("http://localhost:1/callback#f", true),
            ("http://localhost:1/cb?x=1", true),
            ("https://app.example/cb", true),
            ("urn:ietf:wg:oauth:2.0:oob", true),
            ("myapp://cb", true),
            ("http://localhost/callback", false),
            ("http://localhost:/callback", false),
            ("http://localhost:0/callback", false),
            ("http://localhost:65536/callback", false),
            ("http://localhost:+1/callback", false),
            ("https://localhost:1/callback", false),
            ("http://localhost:1/callback/", false),
            ("http://localhost:1/callback?x=1", false),
            ("http://localhost:1/cb", false),
            ("http://localhost:1/cb?x=2", false),
            ("http://localhost:1/%63allback", false),
            ("http://user@localhost:1/callback", false),
            ("http://localhost:1@evil.example/callback", false),
            ("http://evil.example:1/callback", false),
            ("http://localhost.evil.example:1/callback", false),
            ("http://127.0.0.2:1/callback", false),
            ("http://127.1:1/callback", false),
            ("http://::1:1/callback", false),
            ("http://[localhost]:1/callback", false),
            ("http://[127.0.0.1]:1/callback", false),
            ("http://[::1:1/callback", false),
            ("http://localhost:1\\@evil.example/callback", false),
            ("http://localhost:1/callback\r\nX: y", false),
            ("http://localhost:1/call back", false),
            ("https://app.example/cb/", false),
            ("https://app.example/CB", false),
            ("javascript:alert(1)", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(uri, &list()), allowed, "{uri}");
        }
        let secret = ["https://u:p@app.example/".into()];
        assert!(
            !is_allowed("https://u:p@app.example/", &secret),
            "user info goes before the list"
        );
        let long = alloc::format!("https://app.example/{}", "x".repeat(MAX_REDIRECT_BYTES));
        assert!(!is_allowed(&long, core::slice::from_ref(&long)));
    }

    #[test]
    fn targets() {
        for (uri, target) in [
            ("http://a/b", "http://a/b?code=c%2B1&state=s%20t"),
            (
                "http://a/b?x=%20y&code=old&st%61te=o&z",
                "http://a/b?x=%20y&z&code=c%2B1&state=s%20t",
            ),
            ("http://a/b#f", "http://a/b?code=c%2B1&state=s%20t#f"),
            ("app:/b?", "app:/b?code=c%2B1&state=s%20t"),
        ] {
            assert_eq!(with_query(uri, &[("code", "c+1"), ("state", "s t")]), target);
        }
        assert_eq!(
            with_query("http://a/b", &[("code", "c"), ("state", "")]),
            "http://a/b?code=c"
        );
    }

    #[test]
    fn where_the_login_page_may_lead() {
        for (uri, source) in [
            ("http://localhost:3000/cb", Some("http://localhost:3000")),
            ("https://app.example/cb", Some("https://app.example")),
            ("http://[::1]:1/cb", Some("http:")),
            ("myapp://cb", Some("myapp:")),
            ("urn:ietf:wg:oauth:2.0:oob", None),
            ("x;y://cb", None),
        ] {
            assert_eq!(form_action(uri).as_deref(), source, "{uri}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics_and_what_is_written_is_plain(uri in "(http|://|localhost|:1|/|\\?|#|@|\\[|\\]|::1|a|\u{e4}){0,12}", state in any::<String>()) {
            let allowed = is_allowed(&uri, &list());
            let target = with_query(&uri, &[("code", "c"), ("state", &state)]);
            prop_assert!(!allowed || target.bytes().all(|byte| byte.is_ascii_graphic()));
            let _ = form_action(&uri);
        }
    }
}
