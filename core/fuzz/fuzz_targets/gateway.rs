//! Any bytes as a script of operations on a whole gateway with several clients: the contract holds after every step, nothing
//! is left at the end, and draining ends. The first byte chooses how it ends.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/world/mod.rs"]
mod world;

use world::{World, script, settings};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [choice, script @ ..] = input else { return };
    let mut world = World::new(settings());
    if choice & 1 == 0 {
        script::play(&mut world, script);
    } else {
        script::play_on(&mut world, script);
        if !world.stopped_accepting {
            world.drain();
        }
    }
});
