//! The machine inside the Portcullis gateway.
//!
//! ```text
//!             bytes in / bytes out                    start / completed
//! sockets  <------------------------>  +-----------+ <------------------>  processes, files, store,
//! (adapter)  Input::Received           |  machine  |   Output::Start       resolver, dialled links
//!            Output::Transmit          |  (core)   |   Input::Completed    (adapter)
//!                                      +-----------+
//!                    time, wall clock and a 32-byte seed come in as arguments
//! ```
//!
//! The core is pure: no sockets, files, threads, clock, environment or ambient randomness. The same inputs give the same
//! outputs, byte for byte. A program with an event loop of its own drives it so:
//!
//! ```text
//! loop {
//!     machine.handle(now, input);                       // one input
//!     loop {
//!         match machine.poll() {                        // then everything that it causes
//!             Output::Idle { wake_at } => break,        // sleep until then, or until the next input
//!             output => carry_out(output),
//!         }
//!     }
//! }
//! ```
//! `core/examples/event_loop.rs` is that loop over plain non-blocking sockets.
#![no_std]
#![forbid(unsafe_code)]
// What only an absent surface would use is compiled all the same.
#![cfg_attr(
    not(all(feature = "operator", feature = "control", feature = "relay", feature = "tools")),
    allow(dead_code)
)]

extern crate alloc;

pub mod audit;
pub mod auth;
pub mod calls;
pub mod effect;
pub mod fetch;
mod fields;
pub mod gateway;
pub mod http;
pub mod id;
pub mod json;
#[cfg(any(feature = "control", feature = "relay"))]
pub mod jws;
#[cfg(feature = "control")]
pub mod jwt;
pub mod limits;
pub mod machine;
pub mod metrics;
pub mod outbound;
pub mod outbox;
pub mod policy;
pub mod providers;
#[cfg(any(feature = "operator", feature = "tools"))]
mod queries;
pub mod random;
pub mod report;
pub mod secret;
pub mod security;
mod sessions;
pub mod settings;
pub mod store;
pub mod surfaces;
pub mod time;
pub mod url;
pub mod websocket;
