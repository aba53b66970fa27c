//! What a sealed message costs on its way through the relay: the client's request to the agent's socket, the agent's
//! frame to the listener. Sockets, HTTP and TLS are not in it. `cargo bench -p portcullis-core --bench relay`.

use divan::Bencher;
use portcullis_core::http::Method;
use portcullis_core::surfaces::relay::envelope::Direction;

#[path = "support/relay.rs"]
mod relay;

fn main() {
    divan::main();
}

#[divan::bench]
fn message_to_agent(bencher: Bencher<'_, '_>) {
    let (mut bench, mut seq) = (relay::Bench::new(true), 0);
    bencher
        .with_inputs(|| {
            seq += 1;
            relay::sealed(Direction::ClientToAgent, seq)
        })
        .bench_local_values(|body| {
            let reply = bench.ask(Method::Post, relay::MESSAGES, &body);
            (reply, bench.agent_bytes())
        });
}

#[divan::bench]
fn frame_to_listener(bencher: Bencher<'_, '_>) {
    let (mut bench, mut seq) = (relay::Bench::new(true), 0);
    bencher
        .with_inputs(|| {
            seq += 1;
            relay::sealed(Direction::AgentToClient, seq)
        })
        .bench_local_values(|frame| {
            bench.agent_says(&frame);
            bench.listener_bytes()
        });
}
