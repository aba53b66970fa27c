//! The std-threads runtime of Portcullis, and the host pieces that every runtime shares: the clock, entropy, signals, the
//! store, TLS for dialled links, and the effects on files and names. It moves bytes and carries out effects; it decides
//! nothing.
#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
pub mod clock;
pub mod effects;
pub mod entropy;
pub mod inspect;
pub mod redaction;
pub mod remote;
pub mod reporting;
pub mod server;
pub mod settings;
pub mod shortage;
pub mod signals;
pub mod store;
pub mod supervisor;
pub mod tls;
