//! Any bytes as a server's response: no panic, never more than the limit, the same however they are cut. The first byte
//! chooses the cuts, the second the limit and the kind of request.
#![no_main]

use portcullis_core::http::client::{ResponseEvent, ResponseReader};

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, to_head: bool, max: u64) -> (Vec<String>, Vec<u8>) {
    let mut reader = ResponseReader::new(to_head, max);
    let (mut told, mut body) = (Vec::new(), Vec::new());
    let mut drain = |reader: &mut ResponseReader| loop {
        match reader.poll() {
            ResponseEvent::NeedInput => return,
            ResponseEvent::Body(piece) => body.extend_from_slice(&piece),
            other => told.push(format!("{other:?}")),
        }
    };
    for piece in pieces {
        reader.received(piece);
        drain(&mut reader);
    }
    reader.read_closed();
    drain(&mut reader);
    (told, body)
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [step, choice, bytes @ ..] = input else { return };
    let max = u64::from(choice >> 1) * 100;
    let to_head = choice & 1 == 1;
    let whole = read(std::iter::once(bytes), to_head, max);
    assert!(whole.1.len() as u64 <= max, "more than the limit");
    assert!(whole.0.len() <= 2, "a head and an end at most");
    for step in [usize::from(*step).max(1), 1] {
        assert_eq!(read(bytes.chunks(step), to_head, max), whole, "cut every {step} bytes");
    }
});
