//! Many connections at once: nothing is lost, mixed up or told twice.

use std::io::{Read, Write};

use super::*;

#[test]
fn every_connection_gets_its_own_bytes_in_order() {
    let served = serve_script(|seen, _| echo(seen));
    thread::scope(|scope| {
        for number in 0..32_u8 {
            let mut client = served.connect();
            scope.spawn(move || {
                for round in 0..50_usize {
                    let message = vec![number; 1 + round * 97];
                    client.write_all(&message).unwrap();
                    let mut answer = vec![0; message.len()];
                    client.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, message);
                }
            });
        }
    });
    let mut gone = std::collections::BTreeSet::new();
    while gone.len() < 32 {
        let conn = served.find(|seen| {
            if let Seen::Gone(conn, _) = seen {
                Some(conn)
            } else {
                None
            }
        });
        assert!(gone.insert(conn), "told twice");
    }
    served.finish();
}

/// What a connection says, in four steps, each a chance for threads to meet in another order.
fn short_life(mut client: std::net::TcpStream, number: usize) {
    client.write_all(b"hello").unwrap();
    if number.is_multiple_of(3) {
        thread::yield_now();
    }
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    client.write_all(b"bye").unwrap();
    let mut last = Vec::new();
    client.read_to_end(&mut last).unwrap();
    assert_eq!(
        last, b"bye",
        "connection {number}: what was handed over before the close comes before it"
    );
}

fn farewell(conn: ConnId) -> [Output; 2] {
    let how = portcullis_core::machine::CloseHow::Flush;
    [transmit(conn, "bye"), Output::Close { conn, how }]
}

#[test]
fn short_lives_lose_nothing_while_other_threads_write_to_them() {
    // Every input also has the machine write to whoever is ending, so that other threads than its own carry that out.
    let mut ending = None;
    let served = serve_script(move |seen, _| match seen {
        Seen::Received(conn, bytes) if bytes == b"bye" => {
            // The last words are written on the next input, whoever brings it; a tick comes at once.
            let previous = ending.replace(*conn);
            let mut out: Vec<_> = previous.into_iter().flat_map(farewell).collect();
            out.push(Output::Idle {
                wake_at: Some(Instant::from_micros(0)),
            });
            out
        }
        Seen::Drain => Vec::new(),
        seen => {
            let mut out: Vec<_> = ending.take().into_iter().flat_map(farewell).collect();
            out.push(Output::Idle { wake_at: None });
            if let Seen::Received(conn, bytes) = seen {
                out.push(transmit(*conn, bytes.clone()));
            }
            out
        }
    });
    let address = served.address;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || (0..500).for_each(|number| short_life(connect_to(address), number)));
        }
    });
    served.finish();
}
