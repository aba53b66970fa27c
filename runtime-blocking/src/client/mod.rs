//! A client of the operator protocol, for the command line: one connection, one request at a time, events as they come.
//! It speaks through tungstenite and not through the core's codec, so that the core is never only tested against itself.

mod error;
mod link;
mod session;
mod url;

pub use error::{ClientError, printable};
pub use link::trust;
pub use session::{Client, ConnectOptions, Scope};
pub use url::GatewayUrl;
