//! The keys of what may be fetched from URLs that clients name: the same for each kind of source.

use super::{Key, Kind, Unit, also, count, flag, key, texts};
use crate::settings::written_hosts::{hosts, hosts_with_ports, mimes};

#[rustfmt::skip] // one line each: it is a table
pub(super) static SHARED: &[Key] = &[
    also(&["gateway.http.endpoints.responses.maxUrlParts"], key("gateway.fetch.maxUrlParts", count(0, |d| &mut d.core.fetch.max_url_parts), "the most URL sources in one request, files and images together")),
    key("gateway.fetch.maxConcurrent", count(1, |d| &mut d.core.fetch.max_concurrent), "fetches at the same time; further ones wait"),
    key("gateway.fetch.answerForbidden", flag(false, |d, on| { d.core.fetch.answer_forbidden = on; Ok(()) }), "answer a blocked URL with 403 over HTTP instead of 400"),
];

macro_rules! source {
    ($table:ident, $field:ident, $path:literal, [$($alias:literal)?], $mimes:literal) => {
        #[rustfmt::skip] // one line each: it is a table
        pub(super) static $table: &[Key] = &[
            also(&[$(concat!($alias, ".allowUrl"))?], key(concat!($path, ".allowUrl"), flag(true, |d, on| { d.core.fetch.$field.allow_url = on; Ok(()) }), "whether URLs are taken at all")),
            also(&[$(concat!($alias, ".urlAllowlist"))?], key(concat!($path, ".urlAllowlist"), Kind::Texts { takes: "list of host names", default: "none", set: |d, list| { d.core.fetch.$field.url_allowlist = Some(hosts(list)?); Ok(()) } }, "the hosts that may be asked, `*.example.com` for all below one; left out: every public host; empty: none")),
            key(concat!($path, ".urlPorts"), texts("list of host:port pairs", |d, pairs| { d.core.fetch.$field.ports = hosts_with_ports(pairs)?; Ok(()) }), "ports besides 80 and 443, each for one host"),
            also(&[$(concat!($alias, ".allowedMimes"))?], key(concat!($path, ".allowedMimes"), Kind::Texts { takes: "list of media types", default: $mimes, set: |d, list| { d.core.fetch.$field.allowed_mimes = mimes(list)?; Ok(()) } }, "media types that are taken; empty: any")),
            also(&[$(concat!($alias, ".maxBytes"))?], key(concat!($path, ".maxBytes"), Kind::Size { floor: 1, field: |d| &mut d.core.fetch.$field.max_bytes }, "the largest body, decoded")),
            also(&[$(concat!($alias, ".maxChars"))?], key(concat!($path, ".maxChars"), count(1, |d| &mut d.core.fetch.$field.max_chars), "the most characters of text that are taken over")),
            also(&[$(concat!($alias, ".maxRedirects"))?], key(concat!($path, ".maxRedirects"), count(0, |d| &mut d.core.fetch.$field.max_redirects), "how many redirects are followed")),
            also(&[$(concat!($alias, ".timeoutMs"))?], key(concat!($path, ".timeoutMs"), Kind::Time { unit: Unit::Millis, floor: 100, field: |d| &mut d.core.fetch.$field.timeout }, "for the whole fetch, redirects included")),
            also(&[$(concat!($alias, ".maxUrlParts"))?], key(concat!($path, ".maxUrlParts"), count(0, |d| &mut d.core.fetch.$field.max_url_parts), "the most sources of this kind in one request; 0: none")),
            key(concat!($path, ".maxPathSegments"), Kind::Number { takes: "whole number", most: 2_048, default: "none", set: |d, most| { d.core.fetch.$field.max_path_segments = u32::try_from(most).ok(); Ok(()) } }, "the most segments in a URL's path; left out: any number"),
        ];
    };
}

source!(
    FILES,
    files,
    "gateway.files",
    ["gateway.http.endpoints.responses.files"],
    "text, HTML, CSV, JSON, PDF"
);
source!(
    IMAGES,
    images,
    "gateway.images",
    ["gateway.http.endpoints.responses.images"],
    "JPEG, PNG, GIF, WebP, HEIC"
);
source!(WEB, web, "gateway.web", [], "as for files");
