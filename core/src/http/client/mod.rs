//! HTTP/1.1, the client's side of one exchange over one connection: a request is written whole, the response is read as
//! strictly as the server's side reads requests, and its body is decoded. It knows nothing of connections, time or
//! redirects, and never sees more than one response. Spec: `spec/http.md`.

mod gzip;
mod head;
mod reader;
mod request;
#[cfg(test)]
mod tests;

pub use head::Head;
pub use reader::{ResponseEvent, ResponseFault, ResponseReader};
pub use request::{RequestParts, Unwritable, write_request};

use super::Limits;

/// The most bytes of a piece of body that is handed out.
pub const MAX_PIECE: usize = 65_536;
/// Interim responses before the final one.
pub const MAX_INTERIM: u8 = 8;

/// Bounds on a response's head.
const LIMITS: Limits = Limits {
    max_request_line: 8_192,
    max_head_bytes: 32_768,
    max_headers: 100,
    max_body_bytes: 0,
};
