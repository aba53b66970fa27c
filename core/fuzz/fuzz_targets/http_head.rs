//! Any bytes as a stream of requests: no panic, no unbounded buffer, and the same events and answers however they are cut.
//! The first byte chooses the plan and the limits, the second and third a cut.
#![no_main]

extern crate alloc;

use portcullis_core::{http, time};

#[allow(dead_code)]
#[path = "../../src/http/tests/drive.rs"]
mod drive;

use drive::{Drive, Plan};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [choice, high, low, bytes @ ..] = input else { return };
    let plan = [Plan::AtOnce, Plan::WhenRead, Plan::Stream][usize::from(choice & 0x7f) % 3];
    let limits = if choice & 0x80 == 0 {
        http::Limits::default()
    } else {
        http::Limits {
            max_request_line: 40,
            max_head_bytes: 100,
            max_headers: 3,
            max_body_bytes: 20,
        }
    };
    let whole = drive::run(limits, plan, bytes);
    let cut = usize::from(u16::from_be_bytes([*high, *low]));
    assert_eq!(drive::run_cut(limits, plan, bytes, &[cut]), whole, "cut at {cut}");
    let mut slow = Drive::new(limits, plan);
    for byte in bytes {
        slow.feed(core::slice::from_ref(byte));
    }
    assert!(
        slow.most_buffered <= limits.max_head_bytes,
        "{} bytes held",
        slow.most_buffered
    );
    assert_eq!(slow.end(), whole, "byte by byte");
});
