//! Worlds: where a vector is played. Each has one gateway and any number of client connections, named by the vector.

pub mod core;
mod ends;
mod host;
pub(crate) mod network;
mod programs;
pub mod socket;
mod store;
mod surroundings;
pub mod upstreams;

use std::net::SocketAddr;
use std::time::Duration;

use portcullis_core::machine::DrainHow;
use serde_json::{Map, Value};

use crate::program::{Ended, Job};
use crate::vector::DialPattern;

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

    /// Breaks the connection with a reset.
    fn reset(&mut self, name: &str);

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

    /// Asks the gateway to finish, as a signal does.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn drain(&mut self, how: DrainHow) -> Result<(), String>;

    /// Kills the gateway and starts another with the same settings on the same state.
    ///
    /// # Errors
    /// When it cannot be started.
    fn restart(&mut self) -> Result<(), String>;

    /// What vectors can refer to: `state` (the state folder), `NAME.url` and `NAME.port` of upstreams and the like.
    fn facts(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The wall clock, in milliseconds since 1970.
    fn wall(&self) -> u64;

    /// Answers the next dial that fits; the connection has this name from then on. `None`: nothing was dialled yet. The other
    /// value is the TLS server name.
    fn dialled(&mut self, name: &str, pattern: &DialPattern) -> Option<Result<Option<String>, String>>;

    /// Dials that no step has expected, in words.
    fn unexpected_dials(&mut self) -> Vec<String>;

    /// How often each name was looked up.
    fn lookups(&self) -> Map<String, Value> {
        Map::new()
    }

    /// A file of the gateway's machine; `None`: there is none.
    fn file(&self, path: &str) -> Option<Vec<u8>>;

    /// The permission bits of a file; `None`: there is none, or this world has no such thing.
    fn mode(&self, _path: &str) -> Option<u32> {
        None
    }

    /// Writes a file on the gateway's machine, its owner's alone.
    ///
    /// # Errors
    /// When it cannot be written.
    fn write(&mut self, path: &str, _bytes: &[u8]) -> Result<(), String> {
        Err(format!("{path} cannot be written in this world"))
    }

    /// Removes a file from the gateway's machine.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove(&mut self, path: &str) -> Result<(), String> {
        Err(format!("{path} cannot be removed in this world"))
    }

    /// Gives a file permission bits.
    ///
    /// # Errors
    /// When it cannot be done.
    fn set_mode(&mut self, path: &str, _mode: u32) -> Result<(), String> {
        Err(format!("{path} has no mode in this world"))
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// When it cannot be started, or has not ended in time.
    fn run(&mut self, _job: Job) -> Result<Ended, String> {
        Err("there is no program in this world".into())
    }

    /// What the gateway has logged, as text.
    fn log(&self) -> String;

    /// Gives the gateway other settings.
    ///
    /// # Errors
    /// When they are wrong.
    fn reload(&mut self, changes: &Map<String, Value>) -> Result<(), String>;

    /// The exit code, once the gateway has ended. In memory there is no process, and an end is 0.
    fn exit_code(&mut self) -> Option<i32>;
}
