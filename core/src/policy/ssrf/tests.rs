//! Every vector of the fact sheet's section 8.10, and what must hold for all addresses.

use alloc::format;
use alloc::string::{String, ToString};
use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::settings::FetchSettings;

const BLOCKED: &str = "0.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1. 169.254.169.254 172.16.0.0 \
    172.31.255.255 192.0.0.255 192.0.2.0 192.88.99.255 192.168.0.0 198.18.0.0 198.19.255.255 198.51.100.255 203.0.113.0 \
    224.0.0.0 240.0.0.0 255.255.255.255 :: ::1 ::2 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:7f00:1 0:0:0:0:0:ffff:7f00:1 \
    ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b:1::8.8.8.8 100::1 2001::1 2001:0:0:0:0:0:80ff:fefe 2001:1::1 2001:2::1 \
    2001:20::1 2001:1ff::1 2001:db8::1 2002:7f00:1:: 3fff::1 fc00::1 fd00:ec2::254 fe80::1%eth0 febf::1 fec0::1 feff::1 \
    ff02::1 2001:4860:1234::5efe:127.0.0.1 2130706433 0x7f000001 0177.0.0.1 127.1 0x7f.1 08.0.0.1 256.1.1.1 ::gggg";

/// What OpenClaw lets through and we do not.
const OURS: &str = "168.63.129.16 192.31.196.1 192.52.193.1 192.175.48.1 ::8.8.8.8 ::ffff:0:8.8.8.8 64:ff9b:2::1 \
    100:0:0:1::1 2001:3::1 2001:4:112::1 2001:10::1 2001:30::1 2001:0:0:0:0:0:f7f7:f7f7 2002:808:808:: 2620:4f:8000::1 \
    5f00::1 fe00::1 1.2.3.4.5";

/// What an early release of it let through.
const EARLY: &str = "0:0:0:0:0:ffff:7f00:1 0:0:0:0:0:0:0:1 ::127.0.0.1 fe90::1 febf::1 fed0::1 ff02::1 224.0.0.1 \
    198.18.0.1 240.0.0.1 255.255.255.255 64:ff9b::7f00:1 2002:7f00:1:: 192.0.2.1 2130706433 0x7f000001 127.1 0177.0.0.1";

/// Further rows of the tables.
const ROWS: &str = "100.100.100.200 127.255.255.255 169.254.0.0 192.168.255.255 10.0.0.0 239.255.255.255 2001:5::1 \
    2001:4860:1234::200:5efe:10.0.0.1 64:ff9b::a9fe:a9fe fd7a:115c:a1e0::1 4000::1 e000::1 1::1 8.8.2056";

const OPEN: &str = "1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 \
    169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 \
    198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 2606:4700:4700::1111 \
    2001:4860:4860::8888 2001:200::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 example.com 1password.com 0x.example.com \
    168.63.129.15 168.63.129.17 2001:4860:1234::5efe:8.8.8.8 2620:4f:7fff::1 2620:4f:8001::1 3ffe::1";

fn settings() -> SourceSettings {
    FetchSettings::default().files
}

fn judge_host(host: &str, settings: &SourceSettings) -> Result<Url, Denial> {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_string()
    };
    judge(&format!("https://{host}/x"), settings)
}

#[test]
fn every_vector_of_the_sheet() {
    for host in [BLOCKED, OURS, EARLY, ROWS]
        .iter()
        .flat_map(|row| row.split_whitespace())
    {
        let denial = judge_host(host, &settings()).expect_err(host);
        assert_eq!(denial.record(), AuditEvent::SsrfBlocked, "{host}: {denial}");
        assert_eq!(
            denial.to_string(),
            "Blocked hostname or private/internal/special-use IP address",
            "{host}"
        );
    }
    for host in OPEN.split_whitespace() {
        assert!(judge_host(host, &settings()).is_ok(), "{host}");
    }
}

#[test]
fn the_table_is_judged_by_the_number() {
    for text in [BLOCKED, OURS, EARLY, ROWS]
        .iter()
        .flat_map(|row| row.split_whitespace())
    {
        if let Ok(address) = text.parse() {
            assert!(addresses::closed_by(address).is_some(), "{text}");
        }
    }
    for (address, block) in [
        ("::ffff:10.1.1.1", "10.0.0.0/8"),
        ("64:ff9b::10.1.1.1", "10.0.0.0/8"),
        ("2001:2::1", "2001:2::/48"),
        ("2001:5::1", "2001::/23"),
        ("4000::1", "outside 2000::/3"),
    ] {
        assert_eq!(addresses::closed_by(address.parse().unwrap()), Some(block), "{address}");
    }
}

#[test]
fn names_that_mean_something_inside() {
    for name in [
        "localhost",
        "LOCALHOST.",
        "localhost.localdomain",
        "metadata.google.internal",
        "metadata",
        "metadata.goog",
        "instance-data",
        "ip6-localhost",
        "ip6-loopback",
        "a.localhost",
        "printer.local",
        "x.internal",
        "x.localdomain",
        "x.home.arpa",
        "home.arpa",
        "x.lan",
        "x.intranet",
        "x.corp",
        "x.home",
        "x.test",
        "x.invalid",
        "x.onion",
        "intranet",
        "com",
    ] {
        let denial = judge_host(name, &settings()).expect_err(name);
        let plain = name.to_ascii_lowercase();
        assert_eq!(denial, Denial::Name(plain.trim_end_matches('.').to_string()));
        assert_eq!(denial.record(), AuditEvent::SsrfBlocked);
    }
    assert_eq!(
        judge_host("localhost", &settings()).unwrap_err().to_string(),
        "Blocked hostname: localhost"
    );
    for name in ["local.example", "mylan.example", "notlocalhost.com", "home.example.com"] {
        assert!(judge_host(name, &settings()).is_ok(), "{name}");
    }
}

fn listing(patterns: &[&str]) -> SourceSettings {
    SourceSettings {
        url_allowlist: Some(patterns.iter().map(|pattern| pattern.parse().unwrap()).collect()),
        ..settings()
    }
}

#[test]
fn the_list_of_hosts_narrows_and_never_opens() {
    let list = listing(&["cdn.example.com", "*.example.org", "10.0.0.1", "x.internal"]);
    for (host, text) in [
        ("cdn.example.com", ""),
        ("CDN.example.com.", ""),
        ("a.b.example.org", ""),
        ("example.org", "Blocked hostname (not in allowlist): example.org"),
        (
            "cdn.example.com.evil.net",
            "Blocked hostname (not in allowlist): cdn.example.com.evil.net",
        ),
        ("1.1.1.1", "Blocked hostname (not in allowlist): 1.1.1.1"),
        (
            "10.0.0.1",
            "Blocked hostname or private/internal/special-use IP address",
        ),
        ("x.internal", "Blocked hostname: x.internal"),
    ] {
        let told = judge_host(host, &list).map_or_else(|denial| denial.to_string(), |_| String::new());
        assert_eq!(told, text, "{host}");
    }
    assert_eq!(
        judge_host("example.com", &listing(&[])).unwrap_err().record(),
        AuditEvent::UrlDenied
    );
}

#[test]
fn schemes_credentials_ports_and_paths() {
    let mut settings = settings();
    settings.ports = alloc::vec![("cdn.example.com".parse().unwrap(), 8443)];
    settings.max_path_segments = Some(2);
    for (url, text) in [
        ("http://example.com/", ""),
        ("https://example.com:80/", ""),
        ("https://cdn.example.com:8443/a/b", ""),
        ("https://example.com:8443/", "Blocked port: 8443 (allowed: 80, 443)"),
        ("http://example.com:22/", "Blocked port: 22 (allowed: 80, 443)"),
        (
            "https://example.com/a/b/c?d/e",
            "Too many URL path segments: 3 (limit: 2)",
        ),
        ("ftp://example.com/", "Invalid URL: must be http or https"),
        ("file:///etc/passwd", "Invalid URL: must be http or https"),
        ("https://u:p@example.com/", "Invalid URL: must not contain credentials"),
        ("https:///x", "Invalid hostname"),
    ] {
        match judge(url, &settings) {
            Ok(_) => assert_eq!(text, "", "{url}"),
            Err(denial) => {
                assert_eq!(denial.to_string(), text, "{url}");
                assert_eq!(denial.record(), AuditEvent::UrlDenied, "{url}");
            }
        }
    }
}

#[test]
fn redirects_are_judged_like_first_urls() {
    let list = listing(&["a.example.com"]);
    let from = judge("https://a.example.com/x/y", &list).unwrap();
    for (location, text) in [
        ("z", ""),
        ("https://a.example.com/other", ""),
        ("http://a.example.com/x", "Blocked redirect from https to http"),
        (
            "https://b.example.com/",
            "Blocked hostname (not in allowlist): b.example.com",
        ),
        ("//127.0.0.1/", "Blocked hostname (not in allowlist): 127.0.0.1"),
        (
            "https://2130706433/",
            "Blocked hostname or private/internal/special-use IP address",
        ),
        ("javascript:alert(1)", "Invalid URL: must be http or https"),
    ] {
        let told = judge_redirect(&from, location, &list).map_or_else(|denial| denial.to_string(), |_| String::new());
        assert_eq!(told, text, "{location}");
    }
    let from = judge("http://a.example.com/", &settings()).unwrap();
    assert!(judge_redirect(&from, "https://b.example.com/", &settings()).is_ok());
    assert_eq!(
        judge_redirect(&from, "http://169.254.169.254/latest", &settings()),
        Err(Denial::Address)
    );
}

#[test]
fn one_bad_answer_closes_the_name() {
    let ips = |texts: &str| -> Vec<IpAddr> { texts.split_whitespace().map(|text| text.parse().unwrap()).collect() };
    let pinned = judge_answers(&ips("2606:4700::1 1.1.1.1 ::ffff:8.8.8.8 1.1.1.1"), 443).unwrap();
    let shown: Vec<String> = pinned.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["1.1.1.1:443", "8.8.8.8:443", "[2606:4700::1]:443"]);
    for bad in ["1.1.1.1 10.0.0.1", "::1", "1.1.1.1 64:ff9b::7f00:1", ""] {
        let denial = judge_answers(&ips(bad), 443).unwrap_err();
        assert_eq!(
            denial.to_string(),
            "Blocked: resolves to private/internal/special-use IP address"
        );
        assert_eq!(denial.record(), AuditEvent::SsrfBlocked);
    }
    let many: Vec<IpAddr> = (1..=200).map(|last| IpAddr::from([1, 1, 1, last])).collect();
    assert_eq!(judge_answers(&many, 80).unwrap().len(), MAX_ADDRESSES);
}

#[test]
fn what_the_defaults_are() {
    let defaults = FetchSettings::default();
    assert_eq!(defaults.files.max_redirects, 3);
    assert_eq!(defaults.files.timeout, Duration::from_secs(10));
    assert_eq!(
        (defaults.files.max_bytes, defaults.images.max_bytes),
        (5_242_880, 10_485_760)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever carries an IPv4 address to its end is judged as that address.
    #[test]
    fn an_embedded_ipv4_address_has_its_own_verdict(number: u32, near in 0_usize..19, offset in 0_u32..3) {
        const EDGES: [[u8; 4]; 19] = [
            [0, 0, 0, 0], [10, 0, 0, 0], [11, 0, 0, 0], [100, 64, 0, 0], [100, 128, 0, 0], [127, 0, 0, 0], [128, 0, 0, 0],
            [168, 63, 129, 16], [169, 254, 0, 0], [172, 16, 0, 0], [172, 32, 0, 0], [192, 0, 0, 0], [192, 0, 2, 0],
            [192, 168, 0, 0], [198, 18, 0, 0], [198, 51, 100, 0], [203, 0, 113, 0], [224, 0, 0, 0], [255, 255, 255, 255],
        ];
        for v4 in [Ipv4Addr::from(number), Ipv4Addr::from(u32::from_be_bytes(EDGES[near]).wrapping_add(offset).wrapping_sub(1))] {
            let verdict = addresses::closed_by(IpAddr::V4(v4));
            let [a, b, c, d] = v4.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            let mapped = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low);
            let nat64 = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low);
            let isatap = Ipv6Addr::new(0x2001, 0x4860, 0x1234, 7, 0, 0x5efe, high, low);
            let isatap_universal = Ipv6Addr::new(0x2001, 0x4860, 0x1234, 7, 0x200, 0x5efe, high, low);
            for v6 in [mapped, nat64, isatap, isatap_universal] {
                prop_assert_eq!(addresses::closed_by(IpAddr::V6(v6)), verdict, "{} in {}", v4, v6);
            }
            // And as text, in a URL.
            for host in [format!("{v4}"), format!("[{mapped}]"), format!("[{nat64}]"), format!("[::ffff:{high:x}:{low:x}]")] {
                prop_assert_eq!(judge(&format!("https://{host}/"), &settings()).is_err(), verdict.is_some(), "{}", host);
            }
        }
    }

    /// Nothing outside 2000::/3 is public but what embeds a public IPv4 address.
    #[test]
    fn only_global_unicast_is_public(number: u128) {
        let v6 = Ipv6Addr::from(number);
        if addresses::closed_by(IpAddr::V6(v6)).is_none() {
            let segments = v6.segments();
            prop_assert!(segments[0] >> 13 == 1 || v6.to_ipv4_mapped().is_some() || segments[..2] == [0x64, 0xff9b]);
        }
    }
}
