//! The bytes and closes that one drain of outputs gathered: what belongs to one connection leaves in one system call.

use std::rc::Rc;

use bytes::Bytes;
use portcullis_core::machine::{GoneReason, Machine};

use super::{Driver, Engine, Event, Gather, Gathered};
use crate::link::{Link, More};

/// After so many bytes sent in one turn the rest waits for its connection's task, so that others have their turn.
const SENT_PER_TURN_MAX: usize = 256 * 1024;
/// Scratch space beyond this many entries is given back after the turn that needed it.
const SCRATCH_MAX: usize = 1024;

impl<M: Machine + 'static> Driver<M> {
    /// Carries out what a drain gathered: one system call for each connection.
    pub(super) fn send_gathered(&self, engine: &mut Engine<M>) {
        let mut gathered = std::mem::take(&mut engine.gathered);
        // Most drains touch one connection once. Otherwise what belongs together is brought together, in its order.
        gathered.sort_by_key(|gathered| gathered.link.conn());
        let mut rest = gathered.drain(..).peekable();
        while let Some(Gathered { link, what }) = rest.next() {
            let next = rest.peek().filter(|next| next.link.conn() == link.conn());
            match (what, next.map(|next| &next.what)) {
                (Gather::Bytes(bytes), None | Some(Gather::Close)) => self.send(engine, &link, bytes, next.is_none()),
                (Gather::Bytes(bytes), Some(Gather::Bytes(_))) => queue(&link, bytes),
                (Gather::Close, next) => {
                    link.set_closing();
                    self.push(engine, &link, next.is_none());
                }
            }
        }
        drop(rest);
        if gathered.capacity() <= SCRATCH_MAX {
            engine.gathered = gathered;
        }
    }

    /// The last bytes for a connection, at once if nothing waits before them. Unless `is_last`, only its close follows.
    fn send(&self, engine: &mut Engine<M>, link: &Rc<Link>, bytes: Bytes, is_last: bool) {
        let is_open = link.is_open_for_writing() && !bytes.is_empty();
        if is_open && link.is_direct() && engine.sent < SENT_PER_TURN_MAX {
            let more = if is_last { More::Nothing } else { More::End };
            return self.send_now(engine, link, &bytes, more);
        }
        queue(link, bytes);
        self.push(engine, link, is_last);
    }

    /// Has what waits sent once nothing more comes.
    fn push(&self, engine: &mut Engine<M>, link: &Rc<Link>, is_last: bool) {
        if !is_last {
            return;
        }
        // A close before which nothing waits costs no turn of anybody's, and no readiness would bring it about later.
        if engine.sent < SENT_PER_TURN_MAX || !link.is_waiting() {
            self.flush(engine, link);
        } else {
            self.rewatch(engine, link);
        }
    }

    /// The way of almost every response: nothing waits, and the socket takes all of it.
    fn send_now(&self, engine: &mut Engine<M>, link: &Rc<Link>, bytes: &Bytes, more: More) {
        match link.send(bytes, more) {
            Ok(count) => {
                if count < bytes.len() {
                    link.queue(bytes.slice(count..));
                    self.rewatch(engine, link);
                }
                Self::sent(engine, link, count);
            }
            Err(_) => self.end(engine, link, GoneReason::Failed),
        }
    }

    fn flush(&self, engine: &mut Engine<M>, link: &Rc<Link>) {
        match link.flush() {
            Ok(count) => {
                Self::sent(engine, link, count);
                if link.finish() {
                    self.end(engine, link, GoneReason::Closed);
                }
                self.rewatch(engine, link);
            }
            Err(_) => self.end(engine, link, GoneReason::Failed),
        }
    }

    fn sent(engine: &mut Engine<M>, link: &Link, bytes: usize) {
        if bytes > 0 {
            engine.sent += bytes;
            engine.events.push_back(Event::Sent {
                conn: link.conn(),
                bytes,
            });
        }
    }
}

/// Puts bytes behind those that wait, unless the connection takes none any more.
fn queue(link: &Link, bytes: Bytes) {
    if link.is_open_for_writing() && !bytes.is_empty() {
        link.queue(bytes);
    }
}
