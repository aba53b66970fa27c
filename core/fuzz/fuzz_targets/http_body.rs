//! Any bytes as a chunked body: no panic, nothing held back, never more than the limit, the same however they are cut;
//! and what is encoded from the same bytes is decoded to them. The first byte chooses the cuts.
#![no_main]

extern crate alloc;

use portcullis_core::{http, time};

#[allow(dead_code)]
#[path = "../../src/http/tests/drive.rs"]
mod drive;

use drive::{Drive, Plan};

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [choice, bytes @ ..] = input else { return };
    let limits = http::Limits {
        max_body_bytes: 1_000,
        ..http::Limits::default()
    };
    let stream = [HEAD, bytes].concat();
    let whole = drive::run(limits, Plan::WhenRead, &stream);
    let step = usize::from(*choice).max(1);
    let cuts: Vec<usize> = (0..stream.len()).step_by(step).collect();
    assert_eq!(
        drive::run_cut(limits, Plan::WhenRead, &stream, &cuts),
        whole,
        "cut every {step} bytes"
    );
    if whole.requests() == 1 {
        assert!(whole.body().len() <= limits.max_body_bytes, "more than the limit");
    }
    let mut slow = Drive::new(limits, Plan::WhenRead);
    for byte in &stream {
        slow.feed(core::slice::from_ref(byte));
    }
    assert!(
        slow.most_buffered <= limits.max_head_bytes,
        "{} bytes held",
        slow.most_buffered
    );
    assert_eq!(slow.end(), whole, "byte by byte");

    let mut encoded = HEAD.to_vec();
    for piece in bytes.chunks(step) {
        encoded.extend_from_slice(format!("{:X};x\r\n", piece.len()).as_bytes());
        encoded.extend_from_slice(piece);
        encoded.extend_from_slice(b"\r\n");
    }
    encoded.extend_from_slice(b"0\r\nT: u\r\n\r\n");
    let generous = http::Limits {
        max_body_bytes: bytes.len(),
        ..limits
    };
    let decoded = drive::run_cut(generous, Plan::WhenRead, &encoded, &cuts);
    if bytes.len() / step < 4_000 {
        assert_eq!(
            (decoded.fault(), decoded.body().as_slice()),
            (None, bytes),
            "decoded differently"
        );
    }
});
