//! The two ends of a connection in memory: what the gateway has handed over and not sent, what its peer has not read.

/// The gateway's end of a connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) name: String,
    /// Handed over by the machine, not taken by the socket.
    pub(super) outbound: Vec<u8>,
    /// Sent by the client while the machine has paused reading.
    pub(super) held: Vec<u8>,
    pub(super) held_end: bool,
    pub(super) paused: bool,
    pub(super) client_reads: bool,
    pub(super) client_gone: bool,
    pub(super) client_ended: bool,
    pub(super) closing: bool,
    pub(super) aborted: bool,
}

/// The client's end of a connection.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) arrived: Vec<u8>,
    pub(super) ended: bool,
}

impl Conn {
    /// A connection that was just opened.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            outbound: Vec::new(),
            held: Vec::new(),
            held_end: false,
            paused: false,
            client_reads: true,
            client_gone: false,
            client_ended: false,
            closing: false,
            aborted: false,
        }
    }
}
