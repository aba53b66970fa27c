//! Tests of the layer through its public face. `drive.rs` is the owner that they all share.

mod bodies;
mod drive;
mod exchanges;
mod faults;
mod heads;
mod invariance;
mod limits;
