//! The conformance suite of Portcullis: plays the vectors of `spec/vectors` against a core in memory, both runtimes and any
//! URL, and says where a gateway differs. Its clients are its own, so that no codec is only tested against itself.
#![forbid(unsafe_code)]

mod answering;
pub mod child;
pub mod client;
pub mod crash;
mod crypto;
pub mod echo;
pub mod folder;
mod line;
pub mod load;
pub mod pattern;
pub mod play;
pub mod program;
pub mod report;
pub mod run;
mod seen;
pub mod serve;
pub mod split;
pub mod target;
pub mod vector;
pub mod world;
