//! TLS on a connection, dialled or accepted: keeps the ciphertext that the socket did not take, and encrypts no more of what waits
//! before it is gone, so that a slow peer slows the machine down and not the memory of this process up.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use bytes::{Buf, Bytes};
use portcullis_blocking::tls::TlsSession;
use portcullis_core::effect::Fault;
use rustix::net::SendFlags;

use crate::driver::READ_MAX;
use crate::link::Decrypted;

/// A TLS session and what it has for the socket.
pub(crate) struct Secure {
    session: TlsSession,
    wire: Vec<u8>,
    /// How much of `wire` the socket took.
    taken: usize,
    /// The machine's bytes in `wire`: done with when all of it is sent.
    carried: usize,
    said_goodbye: bool,
}

impl Secure {
    /// A session at its start; [`Self::flush`] sends the first flight, where there is one.
    pub(crate) fn new(session: TlsSession) -> Self {
        let mut secure = Self {
            session,
            wire: Vec::new(),
            taken: 0,
            carried: 0,
            said_goodbye: false,
        };
        secure.session.take_wire(&mut secure.wire);
        secure
    }

    /// Whether the handshake is still under way.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether something waits for the socket, or is done and not yet told.
    pub(crate) const fn wants_write(&self) -> bool {
        !self.wire.is_empty() || self.carried > 0
    }

    /// Takes bytes from the socket. What the session has to say about them waits for [`Self::flush`], after an error too.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<Decrypted, Fault> {
        let mut plain = Vec::new();
        let received = self.session.received(bytes, &mut plain);
        self.session.take_wire(&mut self.wire);
        received?;
        Ok(Decrypted {
            plain,
            ended: self.session.peer_has_closed(),
        })
    }

    /// Nothing more will be sent: queues the session's goodbye, once.
    pub(crate) fn close(&mut self) {
        if !std::mem::replace(&mut self.said_goodbye, true) {
            self.session.close();
            self.session.take_wire(&mut self.wire);
        }
    }

    /// Sends what waits as far as the socket takes it.
    pub(crate) fn flush(&mut self, socket: &OwnedFd) -> io::Result<()> {
        while let Some(rest) = self.wire.get(self.taken..).filter(|rest| !rest.is_empty()) {
            match rustix::net::send(socket, rest, SendFlags::NOSIGNAL) {
                Ok(count) => self.taken += count,
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        self.taken = 0;
        self.wire = Vec::new();
        Ok(())
    }

    /// Encrypts and sends what is in `queue`, one record after the other. Returns how many of its bytes are done with.
    pub(crate) fn send(&mut self, socket: &OwnedFd, queue: &mut VecDeque<Bytes>) -> io::Result<usize> {
        let mut done = 0;
        loop {
            self.flush(socket)?;
            if !self.wire.is_empty() {
                return Ok(done);
            }
            done += std::mem::take(&mut self.carried);
            let Some(first) = queue.front_mut() else {
                return Ok(done);
            };
            let record = first.get(..READ_MAX).unwrap_or(first);
            self.session.send(record);
            self.session.take_wire(&mut self.wire);
            self.carried = record.len();
            first.advance(self.carried);
            if first.is_empty() {
                queue.pop_front();
            }
        }
    }
}
