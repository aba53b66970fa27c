//! Any text as a URL, and any two as a URL and a `Location`: no panic, what is read is read the same when it is written out,
//! a name is nothing that any reader could take for an address, and what the policy lets through is a public address.
#![no_main]

use std::net::IpAddr;

use portcullis_core::policy::ssrf;
use portcullis_core::settings::FetchSettings;
use portcullis_core::url::{Host, MAX_URL_BYTES, Url};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (first, location) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(url) = Url::parse(first) else { return };
    check(&url);
    if let Ok(next) = url.join(location) {
        check(&next);
    }
});

fn check(url: &Url) {
    let written = url.to_string();
    assert!(written.len() <= MAX_URL_BYTES);
    assert_eq!(Url::parse(&written).as_ref(), Ok(url), "{written}");
    assert!(url.target.starts_with('/') && !url.target.contains('#'));
    match &url.host {
        Host::Name(name) => {
            assert!(name.parse::<IpAddr>().is_err(), "{name}");
            // What the C library's inet_aton reads: one to four numbers, decimal, octal or hexadecimal.
            let is_number = |label: &str| {
                let digits = label.strip_prefix("0x").unwrap_or(label);
                let radix = if digits.len() < label.len() { 16 } else { 10 };
                digits.chars().all(|c| c.is_digit(radix))
            };
            assert!(!name.split('.').all(is_number), "{name}");
        }
        Host::Address(address) => {
            let verdict = ssrf::judge_url(url, &FetchSettings::default().files);
            assert!(verdict.is_err() || ssrf::addresses::closed_by(*address).is_none());
        }
    }
}
