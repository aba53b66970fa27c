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
