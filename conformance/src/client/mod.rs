//! The suite's own small clients for HTTP/1.1 and WebSocket, on bytes alone.

pub mod frames;
pub mod responses;
