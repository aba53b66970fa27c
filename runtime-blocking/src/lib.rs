//! portcullis-blocking
#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
pub mod settings;
