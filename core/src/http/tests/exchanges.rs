//! Requests and responses in turn: what is written, what stays open, what follows.

use alloc::format;
use alloc::string::{String, ToString};

use bytes::BytesMut;

use super::drive::{Drive, Plan, Seen, run, run_bytewise};
use crate::http::{Event, Fields, Limits, PeerFault, Phase, Response, ResponseHead, ServerConnection, Status};
use crate::time::UnixMillis;

const DATE: &str = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

/// A connection with a request for which a response is owed.
fn asked(request: &str) -> (ServerConnection, BytesMut) {
    let mut connection = ServerConnection::new(Limits::default());
    connection.received(request.as_bytes());
    assert!(matches!(connection.poll(&mut BytesMut::new()), Event::Request(_)));
    (connection, BytesMut::new())
}

fn response(status: Status, body: &[u8]) -> Response<'_> {
    Response {
        status,
        headers: Fields::of(&[("A", "b")]),
        body,
        date: UnixMillis(0),
    }
}

fn streaming(status: Status) -> ResponseHead<'static> {
    ResponseHead {
        status,
        headers: Fields::of(&[("A", "b")]),
        date: UnixMillis(0),
    }
}

fn text(out: &BytesMut) -> String {
    String::from_utf8_lossy(out).to_string()
}

#[test]
fn a_response_to_http_1_1() {
    let (mut connection, mut out) = asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(connection.phase(), Phase::Responding);
    connection.respond(&response(Status::OK, b"hello"), &mut out);
    assert_eq!(
        text(&out),
        format!("HTTP/1.1 200 OK\r\nA: b\r\n{DATE}Content-Length: 5\r\n\r\nhello")
    );
    assert_eq!((connection.phase(), connection.must_close()), (Phase::Idle, false));
}

#[test]
fn a_peer_that_asks_to_close_is_told_so() {
    let (mut connection, mut out) = asked("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    connection.respond(&response(Status::NOT_FOUND, b""), &mut out);
    let expected = format!("HTTP/1.1 404 Not Found\r\nA: b\r\n{DATE}Content-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(text(&out), expected);
    assert_eq!((connection.phase(), connection.must_close()), (Phase::Closing, true));
    connection.received(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((connection.poll(&mut out), connection.buffered()), (Event::Ended, 0));
}

#[test]
fn http_1_0_closes_unless_it_asks_to_stay() {
    let (mut connection, mut out) = asked("GET / HTTP/1.0\r\n\r\n");
    connection.respond(&response(Status::OK, b"x"), &mut out);
    assert!(text(&out).starts_with("HTTP/1.1 200") && text(&out).ends_with("\r\nConnection: close\r\n\r\nx"));
    assert!(connection.must_close());
    let (mut connection, mut out) = asked("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    connection.respond(&response(Status::OK, b"x"), &mut out);
    assert!(text(&out).ends_with("\r\nConnection: keep-alive\r\n\r\nx"));
    assert!(!connection.must_close());
}

#[test]
fn responses_to_head_have_the_fields_and_not_the_body() {
    let (mut connection, mut out) = asked("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    connection.respond(&response(Status::OK, b"hello"), &mut out);
    assert!(text(&out).ends_with("Content-Length: 5\r\n\r\n"));
    let (mut connection, mut out) = asked("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    connection.respond_streaming(&streaming(Status::OK), &mut out);
    connection.write(b"hello", &mut out);
    connection.finish(&mut out);
    assert!(text(&out).ends_with("Transfer-Encoding: chunked\r\n\r\n"));
    assert_eq!(connection.phase(), Phase::Idle);
}

#[test]
fn responses_204_and_304_have_neither_length_nor_body() {
    for status in [Status::NO_CONTENT, Status::NOT_MODIFIED] {
        let (mut connection, mut out) = asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        connection.respond(&response(status, b"hello"), &mut out);
        assert!(text(&out).ends_with(&format!("{DATE}\r\n")), "{}", text(&out));
        let (mut connection, mut out) = asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        connection.respond_streaming(&streaming(status), &mut out);
        connection.write(b"hello", &mut out);
        connection.finish(&mut out);
        assert!(text(&out).ends_with(&format!("{DATE}\r\n")), "{}", text(&out));
    }
}

#[test]
fn a_streaming_response_is_chunked_in_1_1() {
    let (mut connection, mut out) = asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    connection.respond_streaming(&streaming(Status::OK), &mut out);
    assert_eq!(
        text(&out),
        format!("HTTP/1.1 200 OK\r\nA: b\r\n{DATE}Transfer-Encoding: chunked\r\n\r\n")
    );
    assert_eq!(
        (connection.phase(), connection.poll(&mut out)),
        (Phase::Streaming, Event::Paused)
    );
    out.clear();
    connection.write(b"hello", &mut out);
    connection.write(b"", &mut out);
    connection.write(&[b'x'; 26], &mut out);
    assert_eq!(text(&out), format!("5\r\nhello\r\n1a\r\n{}\r\n", "x".repeat(26)));
    out.clear();
    connection.finish(&mut out);
    assert_eq!((text(&out).as_str(), connection.phase()), ("0\r\n\r\n", Phase::Idle));
}

#[test]
fn a_streaming_response_is_ended_by_closing_in_1_0() {
    let (mut connection, mut out) = asked("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    connection.respond_streaming(&streaming(Status::OK), &mut out);
    assert_eq!(
        text(&out),
        format!("HTTP/1.1 200 OK\r\nA: b\r\n{DATE}Connection: close\r\n\r\n")
    );
    out.clear();
    connection.write(b"hello", &mut out);
    assert!(!connection.must_close());
    connection.finish(&mut out);
    assert_eq!((text(&out).as_str(), connection.must_close()), ("hello", true));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let bytes: String = (0..20)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n"))
        .collect();
    let run = run(Limits::default(), Plan::WhenRead, bytes.as_bytes());
    assert_eq!(
        (run.requests(), run.text().matches("HTTP/1.1 200 OK").count()),
        (20, 20)
    );
}

#[test]
fn nothing_is_read_past_a_request_before_its_response_is_finished() {
    let (mut connection, mut out) = asked("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((connection.poll(&mut out), connection.buffered()), (Event::Paused, 28));
    connection.respond(&response(Status::OK, b""), &mut out);
    assert!(matches!(connection.poll(&mut out), Event::Request(request) if request.target().path() == "/2"));
}

#[test]
fn only_one_response_is_written_for_a_request() {
    let (mut connection, mut out) = asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    connection.respond(&response(Status::OK, b"1"), &mut out);
    let length = out.len();
    connection.respond(&response(Status::OK, b"2"), &mut out);
    connection.respond_streaming(&streaming(Status::OK), &mut out);
    connection.write(b"3", &mut out);
    connection.finish(&mut out);
    assert_eq!(out.len(), length);
}

#[test]
fn continue_is_written_when_the_body_is_wanted() {
    let head = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n";
    let (mut connection, mut out) = asked(head);
    assert_eq!(connection.poll(&mut out), Event::NeedInput);
    assert_eq!(text(&out), "HTTP/1.1 100 Continue\r\n\r\n");
    out.clear();
    connection.received(b"x");
    assert_eq!(connection.poll(&mut out), Event::Body("x".into()));
    assert_eq!((connection.poll(&mut out), out.len()), (Event::BodyEnd, 0));
    connection.respond(&response(Status::OK, b""), &mut out);
    assert!(!connection.must_close());
}

#[test]
fn a_final_response_instead_of_continue_closes_the_connection() {
    let head = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n";
    for head in [
        head,
        "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    ] {
        let (mut connection, mut out) = asked(head);
        connection.respond(&response(Status::UNAUTHORIZED, b""), &mut out);
        assert!(text(&out).contains("Connection: close") && !text(&out).contains("100 Continue"));
        assert!(connection.must_close());
    }
    let (mut connection, mut out) = asked(head);
    connection.respond_streaming(&streaming(Status::OK), &mut out);
    assert_eq!(connection.poll(&mut out), Event::NeedInput);
    connection.finish(&mut out);
    assert!(text(&out).contains("Connection: close") && !text(&out).contains("100 Continue"));
    assert!(connection.must_close());
}

#[test]
fn an_unread_body_is_dropped_and_the_next_request_served() {
    let bytes = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /next HTTP/1.1\r\nHost: h\r\n\r\n";
    let run = run(Limits::default(), Plan::AtOnce, bytes);
    assert_eq!((run.requests(), run.body().len()), (2, 0));
    let (mut connection, mut out) = asked("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n");
    connection.respond(&response(Status::OK, b""), &mut out);
    assert_eq!(
        (connection.phase(), connection.poll(&mut out)),
        (Phase::Draining, Event::NeedInput)
    );
    connection.received(b"abc");
    assert_eq!(
        (connection.poll(&mut out), connection.phase()),
        (Event::NeedInput, Phase::Idle)
    );
}

#[test]
fn a_peer_that_closes_inside_a_dropped_body_has_closed() {
    let (mut connection, mut out) = asked("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n");
    connection.respond(&response(Status::OK, b""), &mut out);
    connection.read_closed();
    assert_eq!(
        (connection.poll(&mut out), connection.must_close()),
        (Event::Ended, true)
    );
}

#[test]
fn a_fault_while_a_body_is_dropped_closes_without_a_word() {
    let bytes = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx";
    let run = run(Limits::default(), Plan::AtOnce, bytes);
    assert_eq!(
        (run.fault(), run.text().matches("HTTP/1.1").count(), run.must_close),
        (None, 1, true)
    );
}

#[test]
fn a_fault_during_a_streaming_response_writes_nothing_more() {
    let bytes = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx";
    let run = run(Limits::default(), Plan::Stream, bytes);
    assert_eq!((run.fault(), run.must_close), (Some(PeerFault::ChunkSize), true));
    assert!(run.text().ends_with("5\r\nbegun\r\n"), "{}", run.text());
}

#[test]
fn a_fault_stays() {
    let mut drive = Drive::new(Limits::default(), Plan::WhenRead);
    drive.feed(b"GET / HTTP/9.9\r\n");
    let length = drive.out.len();
    drive.feed(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    drive.respond(Status::OK);
    assert_eq!(
        (drive.connection.phase(), drive.connection.buffered()),
        (Phase::Closing, 0)
    );
    assert_eq!((drive.out.len(), drive.end().requests()), (length, 0));
}

#[test]
fn the_answer_to_a_fault_closes_and_respects_head() {
    let mut connection = ServerConnection::new(Limits::default());
    let mut out = BytesMut::new();
    connection.received(b"HEAD / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx");
    assert!(matches!(connection.poll(&mut out), Event::Request(_)));
    assert_eq!(connection.poll(&mut out), Event::Refused(PeerFault::ChunkSize));
    assert!(connection.owes_response() && connection.must_close());
    connection.respond(&response(Status::BAD_REQUEST, b"oh"), &mut out);
    assert!(text(&out).ends_with("Content-Length: 2\r\nConnection: close\r\n\r\n"));
    assert!(!connection.owes_response() && connection.must_close());
}

#[test]
fn a_time_out_is_answered_with_408_before_a_response_and_only_closes_during_one() {
    let mut drive = Drive::new(Limits::default(), Plan::WhenRead);
    drive.feed(b"GET /");
    assert_eq!(drive.connection.phase(), Phase::Head);
    drive.connection.raise(PeerFault::HeadTimeout);
    drive.respond(PeerFault::HeadTimeout.status());
    assert!(text(&drive.out).starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    assert!(drive.connection.must_close());

    for request in [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        let (mut connection, mut out) = asked(request);
        connection.respond_streaming(&streaming(Status::OK), &mut out);
        let length = out.len();
        connection.raise(PeerFault::BodyTimeout);
        connection.respond(&response(Status::REQUEST_TIMEOUT, b""), &mut out);
        assert_eq!((out.len(), connection.must_close()), (length, true));
    }
}

#[test]
fn an_owner_can_close_after_the_response() {
    let (mut connection, mut out) = asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    connection.close_after_response();
    connection.respond(&response(Status::SERVICE_UNAVAILABLE, b""), &mut out);
    assert!(text(&out).contains("Connection: close") && connection.must_close());
}

#[test]
fn bytes_after_an_upgrade_belong_to_the_new_protocol() {
    let bytes = b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x80\0\0\r\n\r\n";
    let whole = run(Limits::default(), Plan::WhenRead, bytes);
    assert_eq!(
        whole.seen.last(),
        Some(&Seen::Upgraded(b"\x81\x80\0\0\r\n\r\n".to_vec()))
    );
    let expected = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!((whole.text().as_str(), whole.must_close), (expected, false));
    assert_eq!(run_bytewise(Limits::default(), Plan::WhenRead, bytes), whole);
}

#[test]
fn protocols_are_not_switched_before_the_request_is_read_or_in_1_0() {
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n",
    ] {
        let (mut connection, mut out) = asked(request);
        assert_eq!(
            (
                connection.switch_protocols("websocket", Fields::NONE, &mut out),
                out.len()
            ),
            (None, 0)
        );
        connection.respond(&response(Status::BAD_REQUEST, b""), &mut out);
        assert!(text(&out).starts_with("HTTP/1.1 400"));
    }
}

#[test]
fn a_half_closed_peer_still_gets_its_response() {
    let (mut connection, mut out) = asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    connection.read_closed();
    assert_eq!(connection.poll(&mut out), Event::Paused);
    connection.respond(&response(Status::OK, b"x"), &mut out);
    assert_eq!(
        (connection.poll(&mut out), connection.must_close()),
        (Event::Ended, true)
    );
}

#[test]
fn phases_follow_the_messages() {
    let mut connection = ServerConnection::new(Limits::default());
    let out = &mut BytesMut::new();
    assert_eq!(connection.phase(), Phase::Idle);
    connection.received(b"P");
    assert_eq!(
        (connection.poll(out), connection.phase()),
        (Event::NeedInput, Phase::Head)
    );
    connection.received(b"UT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n");
    assert!(matches!(connection.poll(out), Event::Request(_)));
    assert_eq!(connection.phase(), Phase::Body);
    connection.received(b"x");
    assert_eq!(
        (connection.poll(out), connection.poll(out)),
        (Event::Body("x".into()), Event::BodyEnd)
    );
    assert_eq!(connection.phase(), Phase::Responding);
}

#[test]
fn statuses() {
    assert_eq!(Status::new(404), Some(Status::NOT_FOUND));
    assert_eq!([Status::new(101), Status::new(199), Status::new(600)], [None; 3]);
    assert_eq!(
        Status::new(599).map(|status| (status.code(), status.reason())),
        Some((599, ""))
    );
}
