//! Every rule of a head that a peer can break, and what it is answered.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::drive::{Plan, run, run_bytewise};
use crate::http::{Limits, PeerFault};

fn check(bytes: &[u8], fault: PeerFault) {
    let shown = String::from_utf8_lossy(bytes);
    let whole = run(Limits::default(), Plan::WhenRead, bytes);
    assert_eq!(whole.fault(), Some(fault), "{shown:?}");
    assert!(whole.must_close, "{shown:?}");
    assert!(
        whole.text().contains(&format!("HTTP/1.1 {} ", fault.status().code())),
        "{shown:?}"
    );
    assert!(whole.text().contains("\r\nConnection: close\r\n"), "{shown:?}");
    assert_eq!(
        run_bytewise(Limits::default(), Plan::WhenRead, bytes),
        whole,
        "{shown:?}"
    );
}

fn accepted(bytes: &[u8]) {
    let run = run(Limits::default(), Plan::WhenRead, bytes);
    assert_eq!(
        (run.fault(), run.requests()),
        (None, 1),
        "{:?}",
        String::from_utf8_lossy(bytes)
    );
}

/// A GET with these field lines besides `Host`.
fn with(fields: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n").into_bytes()
}

#[test]
fn lines_end_with_carriage_return_and_line_feed_only() {
    check(b"GET / HTTP/1.1\nHost: h\r\n\r\n", PeerFault::BareLf);
    check(b"GET / HTTP/1.1\r\nHost: h\n\r\n", PeerFault::BareLf);
    check(b"GET / HTTP/1.1\r\nHost: h\r\n\n", PeerFault::BareLf);
    check(b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", PeerFault::BareLf);
    check(b"GET / HTTP/1.1\rHost: h\r\n\r\n", PeerFault::BareCr);
    check(b"GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", PeerFault::BareCr);
    check(b"GET / HTTP/1.1\r\nHost: h\r\n\rX", PeerFault::BareCr);
    check(b"\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", PeerFault::BareCr);
}

#[test]
fn one_empty_line_before_a_request_is_passed_over_and_a_second_is_not() {
    accepted(b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    check(b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", PeerFault::EmptyLines);
}

#[test]
fn control_characters_are_refused_wherever_they_are() {
    for control in (0..0x20_u8).chain([0x7f]).filter(|byte| !b"\t\r\n".contains(byte)) {
        for place in [
            "GE?T / HTTP/1.1\r\nHost: h",
            "GET /? HTTP/1.1\r\nHost: h",
            "GET / HTTP/1.1\r\nHo?st: h",
        ]
        .into_iter()
        .chain(["GET / HTTP/1.1\r\nHost: h\r\nA: b?c", "?GET / HTTP/1.1\r\nHost: h"])
        {
            let bytes: Vec<u8> = place
                .bytes()
                .map(|byte| if byte == b'?' { control } else { byte })
                .collect();
            check(&[&bytes, b"\r\n\r\n".as_slice()].concat(), PeerFault::ControlCharacter);
        }
    }
    accepted(&with("A: b\tc"));
    check(b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", PeerFault::RequestLine);
    check(b"GET /\t HTTP/1.1\r\nHost: h\r\n\r\n", PeerFault::Target);
}

#[test]
fn a_control_character_is_refused_before_the_line_ends() {
    check(b"\x16\x03\x01", PeerFault::ControlCharacter);
}

#[test]
fn the_request_line_is_three_parts_with_one_space_between() {
    for line in [
        "GET /",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET",
        "GET / x HTTP/1.1",
    ] {
        check(format!("{line}\r\nHost: h\r\n\r\n").as_bytes(), PeerFault::RequestLine);
    }
    check(b" / HTTP/1.1\r\nHost: h\r\n\r\n", PeerFault::Method);
    check(b"GET  HTTP/1.1\r\nHost: h\r\n\r\n", PeerFault::Target);
    check(b"G@T / HTTP/1.1\r\nHost: h\r\n\r\n", PeerFault::Method);
    check(b"G\xc3\xa9T / HTTP/1.1\r\nHost: h\r\n\r\n", PeerFault::Method);
}

#[test]
fn targets_have_one_of_the_forms_of_rfc_9112() {
    for target in [
        "path",
        "http:/h/",
        "ftp://h/",
        "://h/",
        "/a#b",
        "h:80",
        "?a",
        "*a",
        "/caf\u{e9}",
        "**",
    ] {
        check(
            format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(),
            PeerFault::Target,
        );
    }
    check(b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", PeerFault::Target);
    check(b"GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n", PeerFault::HostInvalid);
    check(
        b"GET http://user@h/x HTTP/1.1\r\nHost: h\r\n\r\n",
        PeerFault::HostInvalid,
    );
    check(b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", PeerFault::Connect);
}

#[test]
fn versions_other_than_1_0_and_1_1_are_refused_with_505() {
    check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", PeerFault::VersionUnsupported);
    for version in ["HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/3.0"] {
        check(
            format!("GET / {version}\r\nHost: h\r\n\r\n").as_bytes(),
            PeerFault::VersionUnsupported,
        );
    }
    for version in [
        "http/1.1",
        "HTTP/1.1x",
        "HTTP/11",
        "HTTP/1",
        "HTTP/01.1",
        "HTTP/2",
        "HTTP 1.1",
        "ICY/1.1",
    ] {
        let fault = if version.contains(' ') {
            PeerFault::RequestLine
        } else {
            PeerFault::VersionSyntax
        };
        check(format!("GET / {version}\r\nHost: h\r\n\r\n").as_bytes(), fault);
    }
}

#[test]
fn field_lines_are_a_token_a_colon_and_text() {
    check(&with("A: b\r\n c"), PeerFault::ObsFold);
    check(&with("A: b\r\n\tc"), PeerFault::ObsFold);
    check(b"GET / HTTP/1.1\r\n Host: h\r\n\r\n", PeerFault::ObsFold);
    check(&with("A : b"), PeerFault::SpaceBeforeColon);
    check(&with("A\t: b"), PeerFault::SpaceBeforeColon);
    check(b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", PeerFault::SpaceBeforeColon);
    for line in ["A b: c", ": b", "A", "A b", "(A): b", "A@: b", "\u{e9}: b", "A\"B: c"] {
        check(&with(line), PeerFault::FieldName);
    }
    check(b"GET / HTTP/1.1\r\nHost: h\r\nA: \xff\r\n\r\n", PeerFault::FieldValue);
    accepted(&with("A:"));
    accepted(&with("A: \u{e9}"));
    accepted(&with("A: b:c"));
}

#[test]
fn host_comes_exactly_once_and_is_a_host() {
    check(b"GET / HTTP/1.1\r\n\r\n", PeerFault::HostMissing);
    check(b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", PeerFault::HostRepeated);
    check(b"GET / HTTP/1.1\r\nHost: h\r\nhOST: i\r\n\r\n", PeerFault::HostRepeated);
    check(b"GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", PeerFault::HostRepeated);
    accepted(b"GET / HTTP/1.0\r\n\r\n");
    for host in [
        "",
        "a b",
        "a/b",
        "user@h",
        "h:80x",
        "h:65536",
        "h:-1",
        "h:+1",
        "h:1:2",
        "[::1",
        "::1",
        "[::g]",
        "[::1]x",
        "[]",
        "h%zz",
        "h%4",
        ":80",
        "h\u{e9}",
        "a\\b",
        "a?b",
        "[127.0.0.1]",
        "h, i",
    ] {
        check(
            format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(),
            PeerFault::HostInvalid,
        );
    }
    for host in [
        "h",
        "a-b.c_d~",
        "127.0.0.1:18789",
        "[::1]",
        "[::1]:80",
        "[::ffff:1.2.3.4]:1",
        "h:",
        "h:65535",
        "h%41",
    ] {
        accepted(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    }
    check(b"GET http://h/ HTTP/1.1\r\nHost: i\r\n\r\n", PeerFault::HostMismatch);
    check(b"GET http://h/ HTTP/1.1\r\n\r\n", PeerFault::HostMissing);
    accepted(b"GET http://h:80/ HTTP/1.1\r\nHost: H:80\r\n\r\n");
}

#[test]
fn content_length_is_one_plain_number() {
    for length in [
        "",
        "+1",
        "-1",
        "1 1",
        "0x1",
        "1.0",
        "1,1",
        "1, 1",
        "a",
        "1;",
        "18446744073709551616",
        "\u{b2}",
        "1 ,",
        "\t+0",
    ] {
        check(
            &with(&format!("Content-Length: {length}")),
            PeerFault::ContentLengthInvalid,
        );
    }
    check(
        &with("Content-Length: 0\r\nContent-Length: 0"),
        PeerFault::ContentLengthRepeated,
    );
    check(
        &with("Content-Length: 3\r\ncontent-length: 3"),
        PeerFault::ContentLengthRepeated,
    );
    check(&with("Content-Length: 18446744073709551615"), PeerFault::BodyTooLarge);
    accepted(&with("Content-Length: \t 0 \t"));
    accepted(&with("Content-Length: 00"));
}

#[test]
fn transfer_encoding_is_chunked_alone() {
    check(
        &with("Content-Length: 0\r\nTransfer-Encoding: chunked"),
        PeerFault::LengthAndCoding,
    );
    check(
        &with("Transfer-Encoding: chunked\r\nContent-Length: 3"),
        PeerFault::LengthAndCoding,
    );
    check(
        &with("Transfer-Encoding: \r\nContent-Length: 3"),
        PeerFault::LengthAndCoding,
    );
    check(
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        PeerFault::CodingInHttp10,
    );
    for coding in [
        "",
        "gzip",
        "identity",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: gzip",
        "chunked chunked",
    ] {
        check(
            &with(&format!("Transfer-Encoding: {coding}")),
            PeerFault::CodingNotChunked,
        );
    }
    for coding in [
        "gzip, chunked",
        "gzip\r\nTransfer-Encoding: chunked",
        ", chunked",
        "identity, chunked",
    ] {
        check(&with(&format!("Transfer-Encoding: {coding}")), PeerFault::CodingUnknown);
    }
    for coding in ["chunked", "Chunked", "CHUNKED", "\tchunked "] {
        accepted(format!("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n").as_bytes());
    }
}

#[test]
fn the_only_expectation_is_100_continue() {
    check(&with("Expect: 200-ok"), PeerFault::Expectation);
    check(&with("Expect: 100-continue, x"), PeerFault::Expectation);
    check(&with("Expect: 100-continue\r\nExpect: x"), PeerFault::Expectation);
    accepted(&with("Expect: 100-Continue"));
}

#[test]
fn a_peer_that_closes_inside_a_message_is_refused_and_one_that_closes_between_is_not() {
    check(b"GET / HT", PeerFault::IncompleteHead);
    check(b"G", PeerFault::IncompleteHead);
    check(b"GET / HTTP/1.1\r\nHost: h\r\n\r", PeerFault::IncompleteHead);
    check(
        b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na",
        PeerFault::IncompleteBody,
    );
    check(
        b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r",
        PeerFault::IncompleteBody,
    );
    for bytes in [b"".as_slice(), b"\r\n"] {
        assert_eq!(
            run(Limits::default(), Plan::WhenRead, bytes).seen,
            [super::drive::Seen::Ended]
        );
    }
}
