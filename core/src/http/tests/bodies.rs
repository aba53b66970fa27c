//! Request bodies: what is handed out, and the rules of the chunked coding.

use alloc::format;
use alloc::vec::Vec;

use bytes::BytesMut;
use proptest::prelude::*;

use super::drive::{Plan, Seen, run, run_bytewise, run_cut};
use crate::http::{Event, Limits, PeerFault, ServerConnection, response};

fn chunked(body: &[u8]) -> Vec<u8> {
    [
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(),
        body,
    ]
    .concat()
}

fn decodes(body: &[u8], expected: &[u8]) {
    let run = run(Limits::default(), Plan::WhenRead, &chunked(body));
    assert_eq!(
        (run.fault(), run.body().as_slice()),
        (None, expected),
        "{:?}",
        core::str::from_utf8(body)
    );
    assert!(run.seen.contains(&Seen::BodyEnd));
    assert_eq!(run_bytewise(Limits::default(), Plan::WhenRead, &chunked(body)), run);
}

fn refused(body: &[u8], fault: PeerFault) {
    let run = run(Limits::default(), Plan::WhenRead, &chunked(body));
    assert_eq!(run.fault(), Some(fault), "{:?}", core::str::from_utf8(body));
    assert_eq!(run_bytewise(Limits::default(), Plan::WhenRead, &chunked(body)), run);
}

#[test]
fn chunks_make_a_body() {
    decodes(b"0\r\n\r\n", b"");
    decodes(b"3\r\nabc\r\n0\r\n\r\n", b"abc");
    decodes(b"3\r\nabc\r\nA\r\n0123456789\r\n00\r\n\r\n", b"abc0123456789");
    decodes(
        b"000000000000001a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n",
        b"abcdefghijklmnopqrstuvwxyz",
    );
    decodes(b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n");
}

#[test]
fn extensions_and_trailers_are_passed_over() {
    decodes(b"1;a\r\nx\r\n0\r\n\r\n", b"x");
    decodes(b"1;a=b;c=\"d e\";\tf\r\nx\r\n0;g\r\n\r\n", b"x");
    decodes(b"1;\r\nx\r\n0\r\n\r\n", b"x");
    decodes(b"0\r\nA: b\r\nContent-Length: 9\r\nC:\r\n\r\n", b"");
}

#[test]
fn chunk_sizes_are_digits_and_nothing_else() {
    for size in [
        "", "x", "-1", "+1", " 1", "1 ", "0x1", "1 ;a", ";a", "1\t", "1,", "g", "1_0", "\u{b2}", "\r\n", "1\0",
    ] {
        refused(format!("{size}\r\nx\r\n0\r\n\r\n").as_bytes(), PeerFault::ChunkSize);
    }
}

#[test]
fn line_ends_in_chunked_bodies_are_strict() {
    refused(b"1\nx\r\n0\r\n\r\n", PeerFault::BareLf);
    refused(b"1\rx\r\n0\r\n\r\n", PeerFault::BareCr);
    refused(b"1;a\nx\r\n0\r\n\r\n", PeerFault::BareLf);
    refused(b"1;a\rb\r\nx\r\n0\r\n\r\n", PeerFault::BareCr);
    for control in (0..0x20_u8).chain([0x7f]).filter(|byte| !b"\t\r\n".contains(byte)) {
        refused(
            &[b"1;", [control].as_slice(), b"\r\nx\r\n0\r\n\r\n"].concat(),
            PeerFault::ControlCharacter,
        );
    }
    refused(b"1\r\nxy\r\n0\r\n\r\n", PeerFault::ChunkEnd);
    refused(b"1\r\nx\n0\r\n\r\n", PeerFault::ChunkEnd);
    refused(b"1\r\nx\r0\r\n\r\n", PeerFault::ChunkEnd);
    refused(b"1\r\nx0\r\n\r\n", PeerFault::ChunkEnd);
    refused(b"0\r\n\rX", PeerFault::BareCr);
    refused(b"0\r\n\n", PeerFault::BareLf);
    refused(b"0\r\nA: b\n\r\n", PeerFault::BareLf);
    refused(b"0\r\nA: b\rc\r\n\r\n", PeerFault::BareCr);
}

#[test]
fn trailers_are_field_lines() {
    for line in [" A: b", "A : b", "A", ": b", "A b: c", "GET / HTTP/1.1"] {
        refused(format!("0\r\n{line}\r\n\r\n").as_bytes(), PeerFault::Trailer);
    }
    refused(b"0\r\nA: b\r\n c\r\n\r\n", PeerFault::Trailer);
    refused(b"0\r\nA: \x01\r\n\r\n", PeerFault::ControlCharacter);
}

#[test]
fn a_body_with_a_length_ends_there() {
    let bytes = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /next HTTP/1.1\r\nHost: h\r\n\r\n";
    let run = run(Limits::default(), Plan::WhenRead, bytes);
    assert_eq!((run.body().as_slice(), run.requests()), (b"abc".as_slice(), 2));
}

#[test]
fn a_body_of_length_zero_brings_no_events() {
    let run = run(
        Limits::default(),
        Plan::WhenRead,
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    );
    assert!(!run.seen.contains(&Seen::BodyEnd));
}

#[test]
fn body_bytes_are_handed_out_as_they_arrive() {
    let mut connection = ServerConnection::new(Limits::default());
    let out = &mut BytesMut::new();
    connection.received(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc");
    assert!(matches!(connection.poll(out), Event::Request(_)));
    assert_eq!(connection.poll(out), Event::Body("abc".into()));
    assert_eq!((connection.poll(out), connection.buffered()), (Event::NeedInput, 0));
    connection.received(b"defghi");
    assert_eq!(connection.poll(out), Event::Body("defghi".into()));
    assert_eq!(connection.poll(out), Event::BodyEnd);
    assert_eq!(connection.poll(out), Event::Paused);
}

proptest! {
    #[test]
    fn what_is_written_in_chunks_is_read_back(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
        cuts in prop::collection::vec(0_usize..400, 0..6),
    ) {
        let mut body = BytesMut::new();
        for piece in &pieces {
            response::write_chunk(piece, &mut body);
        }
        response::write_last_chunk(&mut body);
        let run = run_cut(Limits::default(), Plan::WhenRead, &chunked(&body), &cuts);
        prop_assert_eq!((run.fault(), run.body()), (None, pieces.concat()));
    }

    #[test]
    fn chunk_sizes_that_are_accepted_mean_what_httparse_reads(line in "[0-9a-gA-G;+ x]{0,18}\r\n") {
        let mut connection = ServerConnection::new(Limits { max_body_bytes: usize::MAX, ..Limits::default() });
        let out = &mut BytesMut::new();
        connection.received(&chunked(line.as_bytes()));
        prop_assert!(matches!(connection.poll(out), Event::Request(_)));
        if let Event::NeedInput = connection.poll(out) {
            let Ok(httparse::Status::Complete((_, size))) = httparse::parse_chunk_size(line.as_bytes()) else {
                return Err(TestCaseError::fail(format!("only we accept {line:?}")));
            };
            // After exactly so many bytes comes the end of the chunk.
            if size < 1 << 16 && size > 0 {
                connection.received(&alloc::vec![b'x'; size as usize]);
                prop_assert!(matches!(connection.poll(out), Event::Body(piece) if piece.len() as u64 == size));
                connection.received(b"\r\n0\r\n\r\n");
                prop_assert_eq!(connection.poll(out), Event::BodyEnd);
            }
        }
    }
}
