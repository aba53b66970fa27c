//! The suite's own small clients for HTTP/1.1 and WebSocket, on bytes alone, and its signer of tokens.

pub mod device;
pub mod frames;
pub mod gzip;
pub mod jwt;
pub mod requests;
pub mod responses;
pub mod sse;
pub mod talk;
