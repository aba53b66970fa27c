//! What a request costs in the machine, sockets left out. `cargo bench -p portcullis-core`.

use divan::Bencher;
use divan::counter::ItemsCount;

#[path = "support/client.rs"]
mod client;

fn main() {
    divan::main();
}

/// This many `health` requests that arrive in one read, over a WebSocket.
#[divan::bench(args = [1, 16], sample_size = 64)]
fn health(bencher: Bencher<'_, '_>, at_once: usize) {
    let mut bench = client::Bench::new();
    let conn = bench.client();
    let read: Vec<u8> = (0..at_once)
        .flat_map(|number| client::masked(format!(r#"{{"type":"req","id":"{number}","method":"health"}}"#).as_bytes()))
        .collect();
    bencher
        .counter(ItemsCount::new(at_once))
        .with_inputs(|| read.clone())
        .bench_local_refs(|read| assert!(bench.receive(conn, read) > 0));
}

/// `GET /health` on a connection that stays open.
#[divan::bench(sample_size = 64)]
fn get_health(bencher: Bencher<'_, '_>) {
    let mut bench = client::Bench::new();
    let conn = bench.open();
    let request = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:18789\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
    bencher
        .counter(ItemsCount::new(1_usize))
        .with_inputs(|| request.to_vec())
        .bench_local_refs(|request| assert!(bench.receive(conn, request) > 0));
}
