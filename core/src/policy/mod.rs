//! Pure decisions without a state of their own: who counts as local, which networks, hosts and browser origins are meant.

pub mod address;
pub mod hosts;
pub mod network;
pub mod origin;
pub mod tools;
