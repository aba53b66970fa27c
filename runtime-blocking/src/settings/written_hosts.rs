//! Texts that name hosts, networks, origins, paths and media types, as the core's types. They say which item is wrong and
//! what it should look like, without showing it. They know nothing of keys.

use std::net::Ipv6Addr;

use portcullis_core::policy::hosts::HostPattern;
use portcullis_core::policy::network::Network;
use portcullis_core::url::{Host, Scheme, Url};

/// Every item read, or which one is wrong and how it should be.
fn each<T>(list: &[String], should: &str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let read = list.iter().enumerate().map(|(index, item)| {
        read(item.trim()).ok_or_else(|| format!("item {} is wrong: {should}", index.saturating_add(1)))
    });
    read.collect()
}

pub(crate) fn networks(list: &[String]) -> Result<Vec<Network>, String> {
    let should = "it must be an address or a CIDR block without further bits, for example 192.0.2.7 or 100.64.0.0/10; names and * are not taken";
    each(list, should, |item| item.parse().ok())
}

pub(crate) fn hosts(list: &[String]) -> Result<Vec<HostPattern>, String> {
    let should = "it must be a host name, or *. and a domain, for example cdn.example.com or *.example.com; no scheme, port, path or other *";
    each(list, should, |item| item.parse().ok())
}

pub(crate) fn hosts_with_ports(list: &[String]) -> Result<Vec<(HostPattern, u16)>, String> {
    each(list, "it must be host:port, for example cdn.example.com:8443", |item| {
        let (host, port) = item.rsplit_once(':')?;
        let plain = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|port| plain && *port > 0)?;
        Some((host.parse().ok()?, port))
    })
}

pub(crate) fn mimes(list: &[String]) -> Result<Vec<String>, String> {
    let token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    each(
        list,
        "it must be a media type without parameters, for example text/plain",
        |item| {
            let (kind, rest) = item.split_once('/')?;
            (token(kind) && token(rest)).then(|| item.to_ascii_lowercase())
        },
    )
}

/// Names of header fields, in lower case.
pub(crate) fn fields(list: &[String]) -> Result<Vec<String>, String> {
    each(
        list,
        "it must be the name of a header field, for example x-auth-user",
        |item| field(item).ok(),
    )
}

/// The name of a header field, in lower case.
pub(crate) fn field(written: &str) -> Result<String, String> {
    let name = written.trim();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > 100 || !name.bytes().all(token) {
        return Err("must be the name of a header field, for example x-auth-user".into());
    }
    Ok(name.to_ascii_lowercase())
}

/// Values of `Host`: a name or an address, with or without a port, in lower case.
pub(crate) fn host_fields(list: &[String]) -> Result<Vec<String>, String> {
    each(
        list,
        "it must be a host, with or without a port, for example gateway.example.com",
        |item| {
            let url = Url::parse(&format!("http://{item}/")).ok()?;
            let is_bare = url.target == "/" && !item.contains(['/', '@', '?', '#']);
            is_bare.then(|| item.to_ascii_lowercase())
        },
    )
}

/// Origins as browsers send them; `*` alone stands for all.
pub(crate) fn origins(list: &[String]) -> Result<Vec<String>, String> {
    let should =
        "origins are scheme://host or scheme://host:port and nothing after it, for example https://app.example.com";
    each(list, should, |item| match item {
        "*" => Some("*".to_owned()),
        item => serialised_origin(item),
    })
}

/// Where a server's API is: `https`, or `http` on this machine.
pub(crate) fn base_url(written: &str) -> Result<Url, String> {
    let url = Url::parse(written.trim()).map_err(|fault| format!("is not a URL that can be used: {fault}"))?;
    let is_local = match &url.host {
        Host::Name(name) => name == "localhost",
        Host::Address(address) => address.to_canonical().is_loopback(),
    };
    if url.scheme == Scheme::Http && !is_local {
        return Err("must begin with https://; http:// would send the key unencrypted".into());
    }
    if url.target.contains('?') {
        return Err("must not have a query".into());
    }
    Ok(url)
}

/// Whether a text can be the path of a URL.
pub(crate) fn url_path(path: &str) -> Result<(), String> {
    let sound = path
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte));
    if sound && path.starts_with('/') {
        Ok(())
    } else {
        Err("must be a path of a URL: printable ASCII without blanks, ? and #".into())
    }
}

/// An origin in the form in which browsers send it: lower case, without the scheme's own port.
fn serialised_origin(written: &str) -> Option<String> {
    let origin = written.trim().to_ascii_lowercase();
    let (scheme, rest) = origin.split_once("://")?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse::<u16>().ok()?)),
        _ => (authority, None),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let host_is_sound = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(plain),
    };
    let scheme_is_sound = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !host_is_sound || !scheme_is_sound {
        return None;
    }
    Some(match (scheme, port) {
        (_, None) | ("http" | "ws", Some(80)) | ("https" | "wss", Some(443)) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_kept_as_browsers_send_them() {
        for (written, kept) in [
            ("https://App.Example.com/", Some("https://app.example.com")),
            ("https://app.example.com:443", Some("https://app.example.com")),
            ("http://localhost:5173", Some("http://localhost:5173")),
            ("http://[::1]:8080", Some("http://[::1]:8080")),
            ("http://[::1]", Some("http://[::1]")),
            ("tauri://localhost", Some("tauri://localhost")),
            ("https://app.example.com/path", None),
            ("https://user@app.example.com", None),
            ("app.example.com", None),
            ("https://", None),
            ("https://a:99999", None),
            ("*", None),
            ("null", None),
        ] {
            assert_eq!(serialised_origin(written).as_deref(), kept, "{written}");
        }
    }

    fn list(items: &[&str]) -> Vec<String> {
        items.iter().map(|&item| item.to_owned()).collect()
    }

    #[test]
    fn a_wrong_item_is_named_by_its_place_and_not_shown() {
        let told = networks(&list(&["10.0.0.0/8", "hunter22"])).unwrap_err();
        assert!(
            told.starts_with("item 2 is wrong") && !told.contains("hunter22"),
            "{told}"
        );
        for wrong in [
            "*",
            "*.",
            "*.com",
            "localhost/",
            "https://a.example",
            "a.example:80",
            "a.*.example",
        ] {
            assert!(hosts(&list(&[wrong])).is_err(), "{wrong}");
        }
        assert!(hosts(&list(&["CDN.example.com", "*.example.com"])).is_ok());
        assert!(hosts_with_ports(&list(&["cdn.example.com:8443"])).is_ok());
        for wrong in ["cdn.example.com", "cdn.example.com:0", "cdn.example.com:+1", "a:b"] {
            assert!(hosts_with_ports(&list(&[wrong])).is_err(), "{wrong}");
        }
        assert_eq!(mimes(&list(&["Text/Plain"])).unwrap(), ["text/plain"]);
        assert!(mimes(&list(&["text/plain; charset=utf-8"])).is_err());
        assert_eq!(
            host_fields(&list(&["Gate.example:8443"])).unwrap(),
            ["gate.example:8443"]
        );
        for wrong in ["http://gate.example", "gate.example/x", "u@gate.example", ""] {
            assert!(host_fields(&list(&[wrong])).is_err(), "{wrong}");
        }
        assert_eq!(field(" X-Auth-User "), Ok("x-auth-user".into()));
        assert!(field("x auth").is_err());
    }

    #[test]
    fn keys_leave_this_machine_only_encrypted() {
        for (url, taken) in [
            ("https://api.moonshot.ai/v1", true),
            ("http://127.0.0.1:9000/v1", true),
            ("http://localhost:9000", true),
            ("http://[::1]:9000", true),
            ("http://api.moonshot.ai/v1", false),
            ("https://api.example.com/?key=1", false),
            ("ftp://api.example.com", false),
        ] {
            assert_eq!(base_url(url).is_ok(), taken, "{url}");
        }
    }
}
