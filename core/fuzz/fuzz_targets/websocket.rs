//! Any bytes as a client's WebSocket stream: no panic, the same messages and answers however they are cut, nothing more
//! after the end. The first byte chooses the largest message, the second the cut.
#![no_main]

use bytes::BytesMut;
use portcullis_core::websocket::{CloseCode, Event, WebSocket};

/// Every message and the end, as texts; control frames do not show but in what is written.
fn read(max: usize, close: bool, pieces: &[&[u8]]) -> (Vec<String>, Vec<u8>, bool) {
    let mut socket = WebSocket::new(max);
    let (mut seen, mut out) = (Vec::new(), BytesMut::new());
    if close {
        socket.close(CloseCode::GOING_AWAY, "bye", &mut out);
    }
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut rest = &mut bytes[..];
        while let Some(event) = socket.next(&mut rest, &mut out) {
            match event {
                Event::Text(text) => assert!(text.len() <= max && !close, "a message that may not come"),
                Event::Binary(bytes) => assert!(bytes.len() <= max && !close, "a message that may not come"),
                Event::Alive | Event::Pong(_) | Event::Closed | Event::Failed(_) => {}
            }
            let ended = seen.last().is_some_and(|last: &String| last == "Closed" || last.starts_with("Failed"));
            assert!(!ended, "an event after the end");
            seen.push(format!("{event:?}"));
        }
        assert!(rest.is_empty(), "bytes are left");
    }
    (seen, out.to_vec(), socket.is_open())
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [choice, step, bytes @ ..] = input else { return };
    let max = usize::from(choice >> 1) * 4;
    let close = choice & 1 == 1;
    let whole = read(max, close, &[bytes]);
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(*step).max(1)).collect();
    assert_eq!(read(max, close, &pieces), whole, "cut every {step} bytes");
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(max, close, &single), whole, "byte by byte");
});
