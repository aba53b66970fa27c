//! What happens to the sockets of connections, told to the machine: opened, ready, ended. One read is one turn.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use portcullis_core::id::{ConnId, ListenerId};
use portcullis_core::machine::{GoneReason, Input, Machine, Peer};

use super::{Driver, READ_MAX};
use crate::link::{Decrypted, Link};
use crate::secure::Secure;
use crate::watch::Interest;

impl<M: Machine + 'static> Driver<M> {
    /// A new connection over a connected non-blocking socket. It is in the table, but nobody serves it yet.
    pub(crate) fn adopt(&self, socket: OwnedFd, tls: Option<Secure>) -> Rc<Link> {
        let conn = self.next_conn.get();
        self.next_conn.set(conn.next());
        let link = Rc::new(Link::new(conn, socket, tls));
        self.links.borrow_mut().insert(conn, link.clone());
        link
    }

    /// Has a connection served from now on, and for what it is wanted for now.
    pub(crate) fn serve(self: &Rc<Self>, link: &Rc<Link>) {
        if !link.is_gone() && link.watch(&self.watch).is_err() {
            self.lost(link, GoneReason::Failed);
        }
    }

    /// A watched connection is ready: at most one write and one read, so that a peer that floods us gets no more than
    /// everybody else.
    pub(crate) fn ready(self: &Rc<Self>, conn: ConnId, ready: Interest) {
        let Some(link) = self.links.borrow().get(&conn).cloned() else {
            return;
        };
        if ready.write && link.wants_write() {
            self.write(&link);
        }
        if ready.read && link.wants_read() {
            self.read(&link);
        }
        self.serve(&link);
    }

    /// Takes an accepted socket over.
    pub(crate) fn open(self: &Rc<Self>, socket: OwnedFd, listener: ListenerId, peer: Peer) -> io::Result<()> {
        let tls = match self.listener_tls.get().and_then(Option::as_ref) {
            Some(tls) => Some(Secure::new(
                tls.session().map_err(|fault| io::Error::other(fault.detail))?,
            )),
            None => None,
        };
        let link = self.adopt(socket, tls);
        self.turn(
            None,
            Input::Opened {
                conn: link.conn(),
                listener,
                peer,
            },
        );
        self.serve(&link);
        Ok(())
    }

    /// The socket may be read: one read, one turn.
    pub(crate) fn read(self: &Rc<Self>, link: &Rc<Link>) {
        let mut buffer = self.buffer.borrow_mut();
        match link.receive(&mut buffer) {
            // TLS ends in order before the stream does; without that, somebody may have cut it short.
            Ok(0) if link.is_secure() => self.lost(link, GoneReason::Failed),
            Ok(0) => self.read_ended(link),
            Ok(count) => {
                let Some(bytes) = buffer.get_mut(..count) else { return };
                if link.is_secure() {
                    self.read_secure(link, bytes);
                } else {
                    self.turn(
                        Some(link),
                        Input::Received {
                            conn: link.conn(),
                            bytes,
                        },
                    );
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.lost(link, GoneReason::Failed),
        }
    }

    fn read_secure(self: &Rc<Self>, link: &Rc<Link>, bytes: &[u8]) {
        match link.decrypt(bytes) {
            Ok(said) => self.hear(link, said),
            Err(_) => self.lost(link, GoneReason::Failed),
        }
    }

    /// Hands decrypted bytes to the machine.
    pub(crate) fn hear(self: &Rc<Self>, link: &Rc<Link>, mut said: Decrypted) {
        for bytes in said.plain.chunks_mut(READ_MAX) {
            if link.is_gone() {
                return;
            }
            self.turn(
                Some(link),
                Input::Received {
                    conn: link.conn(),
                    bytes,
                },
            );
        }
        if said.ended {
            self.read_ended(link);
        }
    }

    fn read_ended(self: &Rc<Self>, link: &Rc<Link>) {
        if link.is_gone() {
            return;
        }
        link.set_read_ended();
        // After our own goodbye the peer's is the end.
        if link.finish() {
            return self.lost(link, GoneReason::Closed);
        }
        self.turn(Some(link), Input::ReadClosed { conn: link.conn() });
    }

    /// The socket may take more: sends what waits and tells what it took.
    pub(crate) fn write(self: &Rc<Self>, link: &Rc<Link>) {
        match link.flush() {
            Ok(0) => {}
            Ok(bytes) => self.turn(
                Some(link),
                Input::Sent {
                    conn: link.conn(),
                    bytes,
                },
            ),
            Err(_) => return self.lost(link, GoneReason::Failed),
        }
        if link.finish() {
            self.lost(link, GoneReason::Closed);
        }
    }

    /// A connection ended outside a turn.
    pub(crate) fn lost(self: &Rc<Self>, link: &Rc<Link>, why: GoneReason) {
        if link.set_gone() {
            self.links.borrow_mut().remove(&link.conn());
            self.turn(None, Input::Gone { conn: link.conn(), why });
        }
    }
}
