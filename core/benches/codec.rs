//! What a WebSocket message costs: unmasked in place, checked, lent, out of one read. `cargo bench -p portcullis-core`.
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that meets its own broken input has nothing to measure"
)]

use divan::Bencher;
use divan::counter::BytesCount;
use portcullis_core::websocket::Receiver;

#[path = "support/client.rs"]
mod client;

fn main() {
    divan::main();
}

/// A `health` request; a long text; the same in characters of two and three bytes.
#[divan::bench(args = [("small", 62, "x"), ("64 KiB ASCII", 65_536, "x"), ("64 KiB Greek", 65_536, "ἀγορά ")])]
fn unmask_and_lend(bencher: Bencher<'_, '_>, (_, size, of): (&str, usize, &str)) {
    let text: String = of
        .chars()
        .cycle()
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= size).then_some(c)
        })
        .collect();
    let frame = client::masked(text.as_bytes());
    let mut receiver = Receiver::new(1 << 20);
    bencher
        .counter(BytesCount::new(text.len()))
        .with_inputs(|| frame.clone())
        .bench_local_refs(|frame| {
            let mut rest = &mut frame[..];
            let lent = receiver.next(&mut rest).unwrap().is_some();
            assert!(lent);
        });
}
