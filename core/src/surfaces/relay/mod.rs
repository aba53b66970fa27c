//! The relay: OAuth, devices, end-to-end-encrypted sessions, shares. Clients and agents meet here; what they say to each
//! other is sealed for it. This page is its front door and its table of routes. It never sees a socket: requests come in
//! whole, answers and events go out as values. Spec: `spec/relay.md`.

mod agents;
pub mod body;
pub mod context;
pub mod devices;
pub mod envelope;
pub mod http;
pub mod identity;
pub mod ids;
pub mod keys;
pub mod ledger;
pub mod loading;
pub mod oauth;
pub mod percent;
pub mod records;
pub mod sessions;
mod shares;
pub mod stamp;
pub mod streams;
pub mod tokens;
pub mod transcript;
pub mod transport;
#[cfg(test)]
mod world;
