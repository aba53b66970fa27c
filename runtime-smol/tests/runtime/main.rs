//! The smol runtime over real sockets, programs and files, with machines as small as the sentence that each test proves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod connections;
mod dialling;
mod effects;
mod programs;
mod script;
