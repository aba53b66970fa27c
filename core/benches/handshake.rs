//! What a client costs before its first request: upgrade, challenge, connect, hello, and its end.
//! `cargo bench -p portcullis-core`.

use divan::Bencher;

#[path = "support/client.rs"]
mod client;

fn main() {
    divan::main();
}

/// From the accepted connection to its end, as the machine sees it, with this many other clients connected.
#[divan::bench(args = [0, 1_000], sample_size = 16)]
fn connect_and_leave(bencher: Bencher<'_, '_>, others: usize) {
    let mut bench = client::Bench::new();
    for _ in 0..others {
        bench.client();
    }
    let connect = client::connect();
    bencher.bench_local(|| {
        let conn = bench.open();
        assert!(bench.send(conn, client::UPGRADE.as_bytes()) > 0);
        assert!(bench.send(conn, &connect) > 0);
        bench.gone(conn);
    });
}
