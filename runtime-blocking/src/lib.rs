//! portcullis-blocking
#![forbid(unsafe_code)]

pub mod client;
pub mod settings;
