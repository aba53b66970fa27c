//! However the bytes are cut, the owner sees the same and the peer is told the same.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::drive::{Plan, run, run_bytewise, run_cut};
use crate::http::Limits;

/// Messages, good and bad, and scraps of them.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(Vec::from([
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "HEAD /a?b HTTP/1.1\r\nHost: h\r\nA: b\tc\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x\r\n!\r\n0\r\nT: u\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 40\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\n",
        "Host: h\r\n",
        "Connection: close\r\n",
        "Content-Length: 3\r\n",
        "X : y\r\n",
        "\r\n",
        "\r",
        "\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "a",
        "\u{e9}",
        "\0",
        "PRI * HTTP/2.0\r\n\r\n",
        "XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX",
    ]));
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat().into_bytes())
}

fn plans() -> impl Strategy<Value = Plan> {
    prop::sample::select(Vec::from([Plan::AtOnce, Plan::WhenRead, Plan::Stream]))
}

/// Small limits, so that they are met.
fn limits() -> impl Strategy<Value = Limits> {
    (15_usize..70, 40_usize..200, 1_usize..5, 1_usize..50).prop_map(|(line, head, headers, body)| Limits {
        max_request_line: line,
        max_head_bytes: head,
        max_headers: headers,
        max_body_bytes: body,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn cuts_change_nothing(
        bytes in streams(),
        plan in plans(),
        small in prop::option::of(limits()),
        cuts in prop::collection::vec(0_usize..500, 0..8),
    ) {
        let limits = small.unwrap_or_default();
        let whole = run(limits, plan, &bytes);
        prop_assert_eq!(&run_bytewise(limits, plan, &bytes), &whole);
        prop_assert_eq!(&run_cut(limits, plan, &bytes, &cuts), &whole);
    }

    #[test]
    fn one_changed_byte_changes_nothing_about_that(
        bytes in streams(),
        plan in plans(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in 0_usize..300,
    ) {
        let mut bytes = bytes;
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = run(Limits::default(), plan, &bytes);
        prop_assert_eq!(&run_bytewise(Limits::default(), plan, &bytes), &whole);
        prop_assert_eq!(&run_cut(Limits::default(), plan, &bytes, &[cut]), &whole);
    }
}

#[test]
fn every_single_cut_of_a_busy_stream() {
    let stream: String = [
        "\r\nGET /1?a HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n",
        "POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
        "PUT /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: u\r\n\r\n",
        "GET /4 HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\u{1}\u{2}\r\n",
    ]
    .concat();
    for plan in [Plan::WhenRead, Plan::Stream] {
        let whole = run(Limits::default(), plan, stream.as_bytes());
        assert_eq!(
            (whole.requests(), whole.fault()),
            (4 - 2 * usize::from(plan == Plan::Stream), None)
        );
        for cut in 0..stream.len() {
            let message = format!("{plan:?} cut at {cut}");
            assert_eq!(
                run_cut(Limits::default(), plan, stream.as_bytes(), &[cut]),
                whole,
                "{message}"
            );
        }
    }
}
