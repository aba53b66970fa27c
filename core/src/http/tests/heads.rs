//! What a request head says, and that `httparse` says the same.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::BytesMut;
use proptest::prelude::*;

use crate::http::{BodyKind, Event, Limits, Method, Repeated, Request, ServerConnection, TargetForm, Version};

fn parse(bytes: &[u8]) -> Option<Request> {
    let mut connection = ServerConnection::new(Limits::default());
    connection.received(bytes);
    match connection.poll(&mut BytesMut::new()) {
        Event::Request(request) => Some(request),
        _ => None,
    }
}

fn get(line: &str, fields: &str) -> Request {
    parse(format!("{line}\r\nHost: h\r\n{fields}\r\n").as_bytes()).expect(line)
}

#[test]
fn methods() {
    for (name, method) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("DELETE", Method::Delete),
        ("OPTIONS", Method::Options),
        ("PATCH", Method::Patch),
        ("TRACE", Method::Other),
        ("get", Method::Other),
        ("!#$%&'*+-.^_`|~x", Method::Other),
    ] {
        let request = get(&format!("{name} / HTTP/1.1"), "");
        assert_eq!((request.method(), request.method_name()), (method, name));
    }
}

#[test]
fn targets_are_kept_raw_and_split_at_the_first_question_mark() {
    for (target, path, query) in [
        ("/", "/", None),
        ("/a/../b%2f//c;d", "/a/../b%2f//c;d", None),
        ("//h/a", "//h/a", None),
        ("/a?", "/a", Some("")),
        ("/a?b?c=/d", "/a", Some("b?c=/d")),
        ("/{|}\"<>\\^`", "/{|}\"<>\\^`", None),
    ] {
        let request = get(&format!("GET {target} HTTP/1.1"), "");
        let target = request.target();
        assert_eq!(
            (target.form(), target.path(), target.query()),
            (TargetForm::Origin, path, query)
        );
        assert_eq!(request.host(), Some("h"));
    }
    for (target, path, query) in [
        ("http://h", "/", None),
        ("HTTPS://H/", "/", None),
        ("http://h?a", "/", Some("a")),
        ("http://h/a?b://c", "/a", Some("b://c")),
    ] {
        let request = get(&format!("GET {target} HTTP/1.1"), "");
        let target = request.target();
        assert_eq!(
            (target.form(), target.path(), target.query()),
            (TargetForm::Absolute, path, query)
        );
    }
    let request = get("OPTIONS * HTTP/1.1", "");
    assert_eq!(
        (request.target().form(), request.target().path()),
        (TargetForm::Asterisk, "*")
    );
}

#[test]
fn the_host_of_an_http_1_0_request_may_come_from_its_target_or_be_missing() {
    assert_eq!(parse(b"GET / HTTP/1.0\r\n\r\n").expect("a request").host(), None);
    assert_eq!(
        parse(b"GET http://h:1/ HTTP/1.0\r\n\r\n").expect("a request").host(),
        Some("h:1")
    );
}

#[test]
fn fields_are_found_in_any_case_and_trimmed() {
    let request = get("GET / HTTP/1.1", "ACCEPT: \t a b \t\r\naccept:c\r\nX-Empty:\r\n");
    let headers = request.headers();
    assert_eq!(headers.get("accept"), Some("a b"));
    assert_eq!(headers.get_all("Accept").collect::<Vec<_>>(), ["a b", "c"]);
    assert_eq!(headers.get_only("accept"), Err(Repeated));
    assert_eq!(headers.get_only("x-empty"), Ok(Some("")));
    assert_eq!((headers.get_only("x"), headers.get("x")), (Ok(None), None));
    assert_eq!(headers.iter().next(), Some(("Host", "h")));
    assert_eq!((headers.len(), headers.is_empty()), (4, false));
}

#[test]
fn debug_output_shows_no_field_values() {
    let shown = format!("{:?}", get("GET / HTTP/1.1", "Authorization: Bearer secret\r\n"));
    assert!(shown.contains("Authorization") && !shown.contains("secret"), "{shown}");
}

#[test]
fn bodies() {
    for (fields, body) in [
        ("", BodyKind::None),
        ("Content-Length: 0\r\n", BodyKind::None),
        ("Content-Length: 7\r\n", BodyKind::Length(7)),
        ("Content-Length: 0007\r\n", BodyKind::Length(7)),
        ("Transfer-Encoding: chunked\r\n", BodyKind::Chunked),
    ] {
        let request = get("GET / HTTP/1.1", fields);
        assert_eq!((request.body(), request.has_body()), (body, body != BodyKind::None));
    }
}

#[test]
fn keep_alive_depends_on_version_and_connection_options() {
    for (version, connection, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x, CLOSE\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let request = get(&format!("GET / HTTP/{version}"), connection);
        assert_eq!(request.keep_alive(), expected, "{version} {connection:?}");
        assert_eq!(request.version() == Version::Http11, version == "1.1");
    }
}

#[test]
fn an_upgrade_is_wanted_in_1_1_with_both_fields() {
    for (version, fields, expected) in [
        ("1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", true),
        (
            "1.1",
            "Connection: keep-alive, upgrade\r\nUpgrade: h2c, WebSocket\r\n",
            true,
        ),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
            true,
        ),
        ("1.1", "Upgrade: websocket\r\n", false),
        ("1.1", "Connection: upgrade\r\n", false),
        ("1.1", "Connection: upgrade\r\nUpgrade: websocket2\r\n", false),
        ("1.0", "Connection: upgrade\r\nUpgrade: websocket\r\n", false),
    ] {
        assert_eq!(
            get(&format!("GET / HTTP/{version}"), fields).wants_upgrade("websocket"),
            expected,
            "{fields:?}"
        );
    }
}

#[test]
fn continue_is_expected_in_1_1_with_a_body() {
    for (version, fields, expected) in [
        ("1.1", "Expect: 100-continue\r\nContent-Length: 1\r\n", true),
        ("1.1", "Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n", true),
        ("1.1", "Expect: 100-continue\r\n", false),
        ("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n", false),
        ("1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n", false),
    ] {
        assert_eq!(
            get(&format!("PUT / HTTP/{version}"), fields).expects_continue(),
            expected,
            "{fields:?}"
        );
    }
}

/// Parts that make heads which are nearly right.
fn near_heads() -> impl Strategy<Value = String> {
    let part = prop::sample::select(Vec::from([
        "GET ",
        "POST ",
        "/",
        "a",
        "?b",
        " HTTP/1.1\r\n",
        " HTTP/1.0\r\n",
        "Host: h\r\n",
        "A: b\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        ":",
        "B:c \r\n",
        "D : e\r\n",
        "F:\r\n",
        "\u{e9}",
        "\0",
        "Content-Length: 3\r\n",
        "http://h/",
        "*",
        "@",
        "\r\n",
    ]));
    let tail = prop::collection::vec(part, 0..8);
    (
        prop::sample::select(Vec::from(["", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: h\r\n"])),
        tail,
    )
        .prop_map(|(start, parts)| format!("{start}{}", parts.concat()))
}

proptest! {
    #[test]
    fn what_is_accepted_is_what_httparse_reads(head in near_heads()) {
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut oracle = httparse::Request::new(&mut fields);
        let verdict = oracle.parse(head.as_bytes());
        let Some(request) = parse(head.as_bytes()) else { return Ok(()) };
        let skipped = if head.starts_with("\r\n") { 2 } else { 0 };
        prop_assert!(matches!(verdict, Ok(httparse::Status::Complete(_))), "only we accept {:?}", head);
        prop_assert_eq!(Some(request.method_name()), oracle.method);
        prop_assert_eq!(Some(u8::from(request.version() == Version::Http11)), oracle.version);
        let target = oracle.path.unwrap_or_default();
        let target = target.strip_prefix("http://h").unwrap_or(target);
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        prop_assert_eq!((request.target().path(), request.target().query()), (path, query));
        let theirs: Vec<(&str, &[u8])> = oracle.headers.iter().map(|field| (field.name, field.value)).collect();
        let ours: Vec<(&str, &[u8])> = request.headers().iter().map(|(n, v)| (n, v.as_bytes())).collect();
        prop_assert_eq!(ours, theirs);
        // Line by line, without any parser: nothing was folded, joined or left out.
        let lines = head[skipped..].split("\r\n").skip(1).take_while(|line| !line.is_empty());
        let plain: Vec<(&str, &str)> =
            lines.map(|line| line.split_once(':').expect("a colon")).map(|(n, v)| (n, v.trim_matches([' ', '\t']))).collect();
        prop_assert_eq!(request.headers().iter().collect::<Vec<_>>(), plain);
    }
}
