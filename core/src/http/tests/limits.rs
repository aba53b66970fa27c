//! Every limit, one below it, at it and one above it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::drive::{Drive, Plan, run, run_bytewise};
use crate::http::chunked::{MAX_EXTENSION_BYTES, MAX_TRAILER_BYTES};
use crate::http::{Limits, MAX_DRAINED, PeerFault};

/// The first sizes `at - 1` and `at` pass and `at + 1` does not, however the bytes are cut.
fn check(limits: Limits, at: usize, fault: PeerFault, request: impl Fn(usize) -> String) {
    for (size, expected) in [(at - 1, None), (at, None), (at + 1, Some(fault))] {
        let request = request(size).into_bytes();
        let whole = run(limits, Plan::WhenRead, &request);
        assert_eq!(whole.fault(), expected, "{fault:?} at {size}");
        assert_eq!(
            run_bytewise(limits, Plan::WhenRead, &request),
            whole,
            "{fault:?} at {size}"
        );
    }
}

fn chunked(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

#[test]
fn request_line() {
    for max in [40, 8_192] {
        let limits = Limits {
            max_request_line: max,
            ..Limits::default()
        };
        let around = "GET / HTTP/1.1".len();
        check(limits, max, PeerFault::RequestLineTooLong, |size| {
            format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(size - around))
        });
    }
}

#[test]
fn an_endless_request_line_is_refused_as_soon_as_it_is_too_long() {
    let mut drive = Drive::new(Limits::default(), Plan::WhenRead);
    drive.feed("x".repeat(8_194).as_bytes());
    assert!(!drive.connection.must_close());
    drive.feed(b"x");
    assert!(drive.connection.must_close());
}

#[test]
fn head() {
    for max in [100, 16_384, 65_535] {
        let limits = Limits {
            max_head_bytes: max,
            ..Limits::default()
        };
        let around = "GET / HTTP/1.1\r\nHost: h\r\nA: \r\n\r\n".len();
        check(limits, max, PeerFault::HeadTooLarge, |size| {
            format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "x".repeat(size - around))
        });
    }
}

#[test]
fn a_head_limit_below_the_request_line_limit_counts_first() {
    let limits = Limits {
        max_head_bytes: 60,
        ..Limits::default()
    };
    let run = run(limits, Plan::WhenRead, "x".repeat(61).as_bytes());
    assert_eq!(run.fault(), Some(PeerFault::HeadTooLarge));
}

#[test]
fn limits_beyond_what_the_layer_can_hold_are_lowered() {
    let limits = Limits {
        max_head_bytes: usize::MAX,
        max_headers: usize::MAX,
        ..Limits::default()
    };
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "x".repeat(70_000));
    assert_eq!(
        run(limits, Plan::WhenRead, long.as_bytes()).fault(),
        Some(PeerFault::HeadTooLarge)
    );
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(128));
    assert_eq!(
        run(limits, Plan::WhenRead, many.as_bytes()).fault(),
        Some(PeerFault::TooManyHeaders)
    );
}

#[test]
fn header_count() {
    for max in [3, 100, 128] {
        let limits = Limits {
            max_headers: max,
            ..Limits::default()
        };
        check(limits, max, PeerFault::TooManyHeaders, |size| {
            format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(size - 1))
        });
    }
}

#[test]
fn body_with_a_length() {
    let limits = Limits {
        max_body_bytes: 10,
        ..Limits::default()
    };
    check(limits, 10, PeerFault::BodyTooLarge, |size| {
        format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n{}",
            "x".repeat(size)
        )
    });
}

#[test]
fn body_in_chunks() {
    let limits = Limits {
        max_body_bytes: 10,
        ..Limits::default()
    };
    check(limits, 10, PeerFault::BodyTooLarge, |size| {
        chunked(&format!("{size:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(size)))
    });
    check(limits, 10, PeerFault::BodyTooLarge, |size| {
        chunked(&format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(size)))
    });
}

#[test]
fn chunk_size_digits() {
    check(Limits::default(), 16, PeerFault::ChunkSize, |digits| {
        chunked(&format!("{:0>digits$}\r\nx\r\n0\r\n\r\n", 1))
    });
    let largest = chunked("ffffffffffffffff\r\n");
    assert_eq!(
        run(Limits::default(), Plan::WhenRead, largest.as_bytes()).fault(),
        Some(PeerFault::BodyTooLarge)
    );
}

#[test]
fn chunk_extensions_of_a_body_together() {
    let max = MAX_EXTENSION_BYTES as usize;
    check(Limits::default(), max, PeerFault::ChunkExtension, |size| {
        chunked(&format!(
            "1;{}\r\nx\r\n0;{}\r\n\r\n",
            "a".repeat(size - 100),
            "b".repeat(100)
        ))
    });
}

#[test]
fn trailers_of_a_body_together() {
    let max = MAX_TRAILER_BYTES as usize;
    check(Limits::default(), max, PeerFault::TrailersTooLarge, |size| {
        chunked(&format!("0\r\nA: b\r\nC: {}\r\n\r\n", "x".repeat(size - 11)))
    });
}

#[test]
fn an_unread_body_is_drained_up_to_a_bound() {
    let limits = Limits {
        max_body_bytes: 1 << 20,
        ..Limits::default()
    };
    let next = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
    let max = MAX_DRAINED as usize;
    for (size, requests) in [(max - 1, 2), (max, 2), (max + 1, 1)] {
        let body = "x".repeat(size);
        let with_length = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n{body}{next}");
        let answered = run(limits, Plan::AtOnce, with_length.as_bytes());
        assert_eq!(answered.requests(), requests, "{size}");
        assert_eq!(answered.text().contains("Connection: close"), requests == 1, "{size}");
        let in_chunks = chunked(&format!(
            "8\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n{next}",
            &body[..8],
            size - 8,
            &body[8..]
        ));
        let answered = run(limits, Plan::AtOnce, in_chunks.as_bytes());
        assert_eq!((answered.requests(), answered.must_close), (requests, true), "{size}");
        assert_eq!(
            run_bytewise(limits, Plan::AtOnce, in_chunks.as_bytes()),
            answered,
            "{size}"
        );
    }
}

#[test]
fn a_connection_holds_no_more_than_a_head_however_much_is_sent() {
    let limits = Limits {
        max_head_bytes: 1_000,
        ..Limits::default()
    };
    for piece in [b"A: b\r\n".as_slice(), b"x", b"GET / HTTP/1.1\r\n", b"\r\n"] {
        let mut drive = Drive::new(limits, Plan::WhenRead);
        for bytes in core::iter::repeat_n(piece, 5_000).collect::<Vec<_>>() {
            drive.feed(bytes);
        }
        assert!(drive.most_buffered <= 1_000, "{}", drive.most_buffered);
    }
}
