//! Responses, good and bad, whole and in pieces.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use miniz_oxide::deflate::compress_to_vec;
use proptest::prelude::*;

use super::{Head, MAX_PIECE, ResponseEvent, ResponseFault, ResponseReader};

/// How the connection ends after the last byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    Open,
    Closed,
    Broken,
}

/// What a reader told, pieces of body joined.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Told {
    head: Option<Head>,
    body: Vec<u8>,
    end: Option<Result<(), ResponseFault>>,
}

impl Told {
    fn fault(&self) -> Option<ResponseFault> {
        self.end.and_then(Result::err)
    }

    fn is_whole(&self) -> bool {
        self.end == Some(Ok(()))
    }

    fn drain(&mut self, reader: &mut ResponseReader) {
        loop {
            assert!(
                self.end.is_none() || reader.poll() == ResponseEvent::NeedInput,
                "something follows the end"
            );
            match reader.poll() {
                ResponseEvent::NeedInput => return,
                ResponseEvent::Head(head) => assert_eq!(self.head.replace(head), None, "a second head"),
                ResponseEvent::Body(piece) => {
                    assert!(self.head.is_some() && !piece.is_empty() && piece.len() <= MAX_PIECE);
                    self.body.extend_from_slice(&piece);
                }
                ResponseEvent::End => self.end = Some(Ok(())),
                ResponseEvent::Failed(fault) => self.end = Some(Err(fault)),
            }
        }
    }
}

fn read(pieces: &[&[u8]], then: Then, to_head: bool, max: u64) -> Told {
    let mut reader = ResponseReader::new(to_head, max);
    let mut told = Told::default();
    for piece in pieces {
        reader.received(piece);
        told.drain(&mut reader);
    }
    match then {
        Then::Open => {}
        Then::Closed => reader.read_closed(),
        Then::Broken => reader.broken(),
    }
    told.drain(&mut reader);
    told
}

fn whole(bytes: impl AsRef<[u8]>, then: Then) -> Told {
    read(&[bytes.as_ref()], then, false, 1_000)
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::from([0x1f, 0x8b, 8, 0, 1, 2, 3, 4, 0, 3]);
    out.extend(compress_to_vec(plain, 6));
    out.extend(crc32fast::hash(plain).to_le_bytes());
    out.extend((plain.len() as u32).to_le_bytes());
    out
}

fn encoded(body: &[u8]) -> Vec<u8> {
    let mut all = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    all.extend_from_slice(body);
    all
}

#[test]
fn each_kind_of_framing_ends_where_it_says() {
    for (response, then, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokMORE", Then::Open, "ok"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Then::Open, ""),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n1\r\n!\r\n0\r\nT: u\r\n\r\n",
            Then::Open,
            "ok!",
        ),
        ("HTTP/1.1 200\r\n\r\nuntil the end", Then::Closed, "until the end"),
        ("HTTP/1.0 200 OK\r\n\r\nuntil the end", Then::Closed, "until the end"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", Then::Open, "ok"),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", Then::Open, ""),
        (
            "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
            Then::Open,
            "",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
            Then::Open,
            "a",
        ),
    ] {
        let told = whole(response, then);
        assert!(told.is_whole(), "{response:?}: {told:?}");
        assert_eq!(told.body, body.as_bytes(), "{response:?}");
    }
    let told = read(
        &[b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n"],
        Then::Open,
        true,
        10,
    );
    assert!(told.is_whole(), "a response to HEAD has no body: {told:?}");
}

#[test]
fn the_head_is_told_as_it_came_with_names_in_lower_case() {
    let told = whole(
        "HTTP/1.1 429 Slow  down\r\nRetry-After:  2 \r\nX: a\r\nx: b\r\nContent-Length: 0\r\n\r\n",
        Then::Open,
    );
    let head = told.head.unwrap();
    assert_eq!((head.status, head.reason.as_str()), (429, "Slow  down"));
    let fields: Vec<(&str, &str)> = head.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(fields[..3], [("retry-after", "2"), ("x", "a"), ("x", "b")]);
}

#[test]
fn what_two_readers_could_take_in_two_ways_is_refused() {
    for (head, rule) in [
        (
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Content-Length together with Transfer-Encoding",
        ),
        ("Content-Length: 1\r\nContent-Length: 1", "more than one Content-Length"),
        ("Content-Length: +1", "Content-Length is not a number"),
        ("Content-Length: 1, 1", "Content-Length is not a number"),
        ("Content-Length: 99999999999999999999", "Content-Length is not a number"),
        (
            "Transfer-Encoding: gzip, chunked",
            "a transfer coding other than chunked",
        ),
        (
            "Transfer-Encoding: chunked, gzip",
            "the last transfer coding is not chunked",
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "the last transfer coding is not chunked",
        ),
        ("Transfer-Encoding: identity", "the last transfer coding is not chunked"),
        ("A: b\r\n c", "a header field continues on a second line"),
        ("A : b", "white space between a field name and its colon"),
        (": b", "a header line without a valid field name"),
        ("A: \0", "a control character in the head or in a chunk line"),
        ("A: b\n", "a line feed without a carriage return before it"),
    ] {
        let told = whole(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"), Then::Open);
        assert_eq!(told.fault(), Some(ResponseFault::Malformed(rule)), "{head:?}");
        assert_eq!(told.head, None, "{head:?}");
    }
    for line in [
        "HTTP/2 200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 600 X",
        "HTTP/1.1 2000",
        "hello",
        "",
        "HTTP/1.1 099 X",
    ] {
        let told = whole(format!("{line}\r\n\r\n"), Then::Open);
        assert!(
            matches!(told.fault(), Some(ResponseFault::Malformed(_))),
            "{line:?}: {told:?}"
        );
    }
    assert!(
        whole("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Then::Open)
            .fault()
            .is_some()
    );
    assert!(
        whole("HTTP/1.1 101 Switching Protocols\r\n\r\n", Then::Open)
            .fault()
            .is_some()
    );
    assert!(
        whole("HTTP/1.1 100 Continue\r\n\r\n".repeat(9), Then::Open)
            .fault()
            .is_some()
    );
}

#[test]
fn heads_have_limits() {
    for head in [
        format!("HTTP/1.1 200 {}\r\n\r\n", "x".repeat(9_000)),
        format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(40_000)),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(101)),
    ] {
        let told = whole(&head, Then::Open);
        assert!(matches!(told.fault(), Some(ResponseFault::Malformed(_))), "{told:?}");
        let bytes: Vec<&[u8]> = head.as_bytes().chunks(1).collect();
        assert_eq!(read(&bytes, Then::Open, false, 10), told);
    }
}

#[test]
fn bodies_have_a_limit_and_what_is_allowed_is_handed_out() {
    let limited = |response: &str, then| read(&[response.as_bytes()], then, false, 4);
    let told = limited("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Then::Open);
    assert_eq!(told.fault(), Some(ResponseFault::TooLarge { announced: Some(5) }));
    assert!(
        told.head.is_some() && told.body.is_empty(),
        "the head comes first: it may be a redirect"
    );
    let told = limited("HTTP/1.1 200 OK\r\n\r\nhello", Then::Closed);
    assert_eq!(
        (told.fault(), &told.body[..]),
        (Some(ResponseFault::TooLarge { announced: None }), &b"hell"[..])
    );
    let told = limited(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        Then::Open,
    );
    assert_eq!(told.fault(), Some(ResponseFault::TooLarge { announced: None }));
    let told = limited("HTTP/1.1 200 OK\r\n\r\nhell", Then::Closed);
    assert!(told.is_whole());
}

#[test]
fn a_connection_that_ends_too_early_is_no_end_of_the_body() {
    for (response, then, before_head) in [
        ("", Then::Closed, true),
        ("", Then::Broken, true),
        ("HTTP/1.1 2", Then::Closed, false),
        ("HTTP/1.1 100 Continue\r\n\r\n", Then::Closed, false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", Then::Closed, false),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            Then::Closed,
            false,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nhello", Then::Broken, false),
    ] {
        let told = whole(response, then);
        assert_eq!(told.fault(), Some(ResponseFault::Cut { before_head }), "{response:?}");
    }
}

#[test]
fn gzip_is_decoded_and_checked() {
    let plain = b"hello hello hello hello".repeat(20);
    let good = gzip(&plain);
    assert_eq!(whole(encoded(&good), Then::Open).body, plain);
    let two = [gzip(b"one "), gzip(b"two")].concat();
    assert_eq!(whole(encoded(&two), Then::Open).body, b"one two");
    let mut named = Vec::from([0x1f, 0x8b, 8, 4 | 8 | 16 | 2, 0, 0, 0, 0, 0, 3, 2, 0, 7, 7]);
    named.extend(b"name\0comment\0\x01\x02");
    named.extend(&good[10..]);
    assert_eq!(whole(encoded(&named), Then::Open).body, plain);
    let empty = whole(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
        Then::Open,
    );
    assert!(empty.is_whole(), "servers say gzip of what is not there: {empty:?}");
    let bad = |at: usize, what: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= what;
        whole(encoded(&bytes), Then::Open)
    };
    for (at, what) in [
        (0, 1),
        (1, 1),
        (2, 1),
        (3, 0x80),
        (good.len() - 1, 1),
        (good.len() - 8, 1),
        (10, 0x07),
    ] {
        let told = bad(at, what);
        assert!(
            matches!(told.fault(), Some(ResponseFault::Malformed(_))),
            "{at}: {told:?}"
        );
    }
    for cut in 1..good.len() {
        let told = whole(encoded(&good[..cut]), Then::Open);
        assert!(
            matches!(told.fault(), Some(ResponseFault::Malformed(_))),
            "{cut}: {told:?}"
        );
    }
    for coding in ["br", "deflate", "gzip, gzip", "zstd"] {
        let told = whole(
            format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: 1\r\n\r\na"),
            Then::Open,
        );
        let rule = "a content coding that was not asked for";
        assert_eq!(told.fault(), Some(ResponseFault::Malformed(rule)), "{coding}");
    }
}

#[test]
fn a_gzip_bomb_stops_at_the_limit_and_takes_no_memory_beyond_a_piece() {
    let bomb = gzip(&alloc::vec![0; 30_000_000]);
    assert!(bomb.len() < 40_000);
    let mut reader = ResponseReader::new(false, 100_000);
    reader.received(&encoded(&bomb));
    let mut body = 0;
    let fault = loop {
        match reader.poll() {
            ResponseEvent::Head(_) => {}
            ResponseEvent::Body(piece) => {
                assert!(piece.len() <= MAX_PIECE);
                body += piece.len();
            }
            ResponseEvent::Failed(fault) => break fault,
            event => panic!("{event:?}"),
        }
    };
    assert_eq!((fault, body), (ResponseFault::TooLarge { announced: None }, 100_000));
}

#[test]
fn what_a_server_sent_is_not_shown_by_debug() {
    let mut reader = ResponseReader::new(false, 10);
    reader.received(b"HTTP/1.1 200 OK\r\nSet-Cookie: hunter2");
    assert!(!format!("{reader:?}").contains("hunter2"));
}

fn responses() -> impl Strategy<Value = Vec<u8>> {
    let plain: Vec<u8> = (0..2_000_u32)
        .map(|number| (number.wrapping_mul(number) >> 7) as u8)
        .collect();
    let mut chunked = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for piece in gzip(&plain).chunks(100) {
        chunked.extend(format!("{:x}\r\n", piece.len()).bytes());
        chunked.extend(piece);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    let texts = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\n\r\nhello",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: u\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\nrest",
        "HTTP/1.1 200 OK\r\nA: b\tc\r\nContent-Encoding: br\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
    ];
    let mut all: Vec<Vec<u8>> = texts.iter().map(|text| String::from(*text).into_bytes()).collect();
    all.extend([
        chunked,
        encoded(&gzip(&plain)),
        encoded(&[gzip(b"a"), gzip(b"b")].concat()),
    ]);
    prop::sample::select(all)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cuts_change_nothing(
        bytes in responses(),
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        then in prop::sample::select(Vec::from([Then::Open, Then::Closed, Then::Broken])),
        max in prop::sample::select(Vec::from([0_u64, 3, 1_999, 2_000, 1_000_000])),
        to_head in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if let Some((at, value)) = change {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let whole = read(&[&bytes], then, to_head, max);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        prop_assert_eq!(&read(&pieces, then, to_head, max), &whole);
        let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&read(&bytewise, then, to_head, max), &whole);
        prop_assert!(whole.body.len() as u64 <= max);
    }
}
