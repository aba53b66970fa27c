//! Worlds: where a vector is played. Each has one gateway and any number of client connections, named by the vector.

pub mod core;
mod host;
mod programs;
pub mod socket;
mod store;

use std::net::SocketAddr;
use std::time::Duration;

/// What has come on a connection since it was last asked.
#[derive(Debug, Default)]
pub struct Taken {
    /// Bytes from the gateway.
    pub bytes: Vec<u8>,
    /// Whether the stream has ended: nothing further will come.
    pub ended: bool,
}

/// A gateway and the connections to it. Errors are for people: what could not be done.
pub trait World {
    /// Opens a connection.
    ///
    /// # Errors
    /// When the gateway cannot be reached.
    fn open(&mut self, name: &str, peer: Option<SocketAddr>) -> Result<(), String>;

    /// Sends bytes. A connection that the gateway has closed swallows them.
    ///
    /// # Errors
    /// When the connection is not open.
    fn send(&mut self, name: &str, bytes: &[u8]) -> Result<(), String>;

    /// Ends the client's sending direction.
    fn half_close(&mut self, name: &str);

    /// Drops the connection.
    fn drop_connection(&mut self, name: &str);

    /// Whether the client reads.
    fn set_reading(&mut self, name: &str, reads: bool);

    /// Whether the gateway reads from this connection; `None`: it cannot be seen from here.
    fn is_read(&mut self, name: &str) -> Option<bool>;

    /// Appends to a file on the gateway's machine.
    ///
    /// # Errors
    /// When the file cannot be reached.
    fn append(&mut self, path: &str, bytes: &[u8]) -> Result<(), String>;

    /// Makes a symbolic link on the gateway's machine.
    ///
    /// # Errors
    /// When it cannot be made.
    fn link(&mut self, path: &str, to: &str) -> Result<(), String>;

    /// What has come so far, without waiting.
    fn take(&mut self, name: &str) -> Taken;

    /// Lets time pass: at most so long, less when something happened. Returns how long.
    fn pass(&mut self, at_most: Duration) -> Duration;

    /// Whether time is virtual: exact, and free.
    fn is_virtual(&self) -> bool;

    /// Asks the gateway to finish, as SIGTERM does.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn drain(&mut self) -> Result<(), String>;

    /// Kills the gateway and starts another with the same settings on the same state.
    ///
    /// # Errors
    /// When it cannot be started.
    fn restart(&mut self) -> Result<(), String>;
}
