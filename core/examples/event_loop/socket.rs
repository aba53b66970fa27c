//! One connection of the example: the socket, which directions are open, and what the socket did not take yet.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};

use bytes::{Buf, Bytes};
use rustix::event::PollFlags;

pub(crate) struct Socket {
    pub(crate) stream: TcpStream,
    pub(crate) waiting: VecDeque<Bytes>,
    pub(crate) paused: bool,
    pub(crate) closing: bool,
    pub(crate) read_ended: bool,
    write_ended: bool,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            waiting: VecDeque::new(),
            paused: false,
            closing: false,
            read_ended: false,
            write_ended: false,
        }
    }

    pub(crate) fn interest(&self) -> PollFlags {
        let mut interest = PollFlags::empty();
        // While it closes in order, the peer's end is waited for, whatever was paused before.
        interest.set(PollFlags::IN, !self.read_ended && (!self.paused || self.closing));
        interest.set(PollFlags::OUT, !self.waiting.is_empty());
        interest
    }

    /// Writes as much as the socket takes, and ends our direction when that is asked for and nothing waits.
    /// How many bytes it took, and whether it still works.
    pub(crate) fn flush(&mut self) -> (usize, io::Result<()>) {
        let mut sent = 0;
        while let Some(first) = self.waiting.front_mut() {
            match self.stream.write(first) {
                Ok(count) => {
                    sent += count;
                    first.advance(count);
                    if first.is_empty() {
                        self.waiting.pop_front();
                    }
                }
                Err(error) if is_harmless(&error) => break,
                Err(error) => return (sent, Err(error)),
            }
        }
        if self.closing && !self.write_ended && self.waiting.is_empty() {
            // It fails only when the connection is gone already, which the next read tells.
            let _ = self.stream.shutdown(Shutdown::Write);
            self.write_ended = true;
        }
        (sent, Ok(()))
    }

    /// Whether both directions have ended in order.
    pub(crate) fn is_over(&self) -> bool {
        self.read_ended && self.write_ended
    }
}

/// Nothing is wrong: the socket has nothing for us, or takes nothing, just now.
pub(crate) fn is_harmless(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
