//! Event streams: what waits for each listener, bounded, and how many listeners a user has. It knows nothing about what
//! the events say, nor how HTTP frames them: the gateway takes the bytes out and tells what the socket took.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;

use super::ids::Uid;
use crate::id::ConnId;

/// All open streams.
#[derive(Debug, Default)]
pub struct Streams {
    open: BTreeMap<ConnId, Box<Stream>>,
    owners: BTreeMap<Uid, u32>,
    /// Streams with something to take out, each once.
    ready: VecDeque<ConnId>,
}

#[derive(Debug)]
struct Stream {
    owner: Uid,
    waiting: BytesMut,
    /// The head and what went out with it, as far as the socket has not taken it: what a listener missed does not count
    /// against it.
    ahead: usize,
    /// Taken out, but not yet by the socket.
    unsent: usize,
    limit: usize,
    is_ready: bool,
    is_ending: bool,
}

/// What a stream's connection has to do.
#[derive(Debug)]
pub enum StreamOutput {
    /// Send these bytes.
    Bytes(BytesMut),
    /// Finish the response; nothing follows.
    End,
}

impl Streams {
    /// How many streams this user has.
    #[must_use]
    pub fn count(&self, owner: &Uid) -> u32 {
        self.owners.get(owner).copied().unwrap_or(0)
    }

    /// A stream begins; at most `limit` bytes wait for it.
    pub fn open(&mut self, conn: ConnId, owner: Uid, limit: u32) {
        self.closed(conn);
        *self.owners.entry(owner.clone()).or_default() += 1;
        let stream = Stream {
            owner,
            waiting: BytesMut::new(),
            ahead: 0,
            unsent: 0,
            limit: limit as usize,
            is_ready: false,
            is_ending: false,
        };
        self.open.insert(conn, Box::new(stream));
    }

    /// Appends to a stream; `false`: it is not open, is ending, or its listener is too slow and it ends now, after the
    /// bytes that wait already.
    pub fn push(&mut self, conn: ConnId, bytes: &[u8]) -> bool {
        let Some(stream) = self.open.get_mut(&conn).filter(|stream| !stream.is_ending) else {
            return false;
        };
        let fits = stream.waiting.len() + stream.unsent + bytes.len() <= stream.limit;
        if fits {
            stream.waiting.extend_from_slice(bytes);
        } else {
            stream.is_ending = true;
        }
        Self::ready(&mut self.ready, conn, stream);
        fits
    }

    /// Appends to a stream that took most of what it was given, however long this is; `false`: it is not open, or is ending.
    pub fn append(&mut self, conn: ConnId, bytes: &[u8]) -> bool {
        let Some(stream) = self.open.get_mut(&conn).filter(|stream| !stream.is_ending) else {
            return false;
        };
        stream.waiting.extend_from_slice(bytes);
        Self::ready(&mut self.ready, conn, stream);
        true
    }

    /// Ends a stream after what waits for it.
    pub fn end(&mut self, conn: ConnId) {
        if let Some(stream) = self.open.get_mut(&conn) {
            stream.is_ending = true;
            Self::ready(&mut self.ready, conn, stream);
        }
    }

    /// The next thing to do for a stream.
    pub fn take_output(&mut self) -> Option<(ConnId, StreamOutput)> {
        while let Some(&conn) = self.ready.front() {
            if let Some(stream) = self.open.get_mut(&conn) {
                if !stream.waiting.is_empty() {
                    let bytes = core::mem::take(&mut stream.waiting);
                    stream.unsent += bytes.len();
                    return Some((conn, StreamOutput::Bytes(bytes)));
                }
                stream.is_ready = false;
                if stream.is_ending {
                    self.ready.pop_front();
                    self.closed(conn);
                    return Some((conn, StreamOutput::End));
                }
            }
            self.ready.pop_front();
        }
        None
    }

    /// A stream's head and what goes with it were handed over: so many bytes, which come before all others.
    pub fn began(&mut self, conn: ConnId, bytes: usize) {
        if let Some(stream) = self.open.get_mut(&conn) {
            stream.ahead = bytes;
        }
    }

    /// So many bytes of framing were handed over with those that were taken out.
    pub fn framed(&mut self, conn: ConnId, bytes: usize) {
        if let Some(stream) = self.open.get_mut(&conn) {
            stream.unsent += bytes;
        }
    }

    /// The socket took so many bytes of a stream, framing and all.
    pub fn sent(&mut self, conn: ConnId, bytes: usize) {
        if let Some(stream) = self.open.get_mut(&conn) {
            let of_head = bytes.min(stream.ahead);
            stream.ahead -= of_head;
            stream.unsent = stream.unsent.saturating_sub(bytes - of_head);
        }
    }

    /// Bytes that the socket has still to take of a stream, those with the head included.
    #[must_use]
    pub fn load(&self, conn: ConnId) -> usize {
        let stream = self.open.get(&conn);
        stream.map_or(0, |stream| stream.ahead + stream.unsent + stream.waiting.len())
    }

    /// Whether a stream is open on this connection.
    #[must_use]
    pub fn is_open(&self, conn: ConnId) -> bool {
        self.open.contains_key(&conn)
    }

    /// Whether there is something to take out.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The listener is gone.
    pub fn closed(&mut self, conn: ConnId) {
        let Some(stream) = self.open.remove(&conn) else { return };
        if let Some(count) = self.owners.get_mut(&stream.owner) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.owners.remove(&stream.owner);
            }
        }
    }

    fn ready(ready: &mut VecDeque<ConnId>, conn: ConnId, stream: &mut Stream) {
        if !core::mem::replace(&mut stream.is_ready, true) {
            ready.push_back(conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid() -> Uid {
        Uid("u".into())
    }

    #[test]
    fn a_listener_that_takes_nothing_loses_its_stream_after_what_fitted() {
        let mut streams = Streams::default();
        let conn = ConnId::FIRST;
        assert!(!streams.push(conn, b"x"));
        streams.open(conn, uid(), 10);
        assert!(streams.push(conn, b"12345") && streams.push(conn, b"678"));
        assert!(matches!(streams.take_output(), Some((_, StreamOutput::Bytes(bytes))) if bytes[..] == *b"12345678"));
        assert!(streams.take_output().is_none());
        streams.sent(conn, 5);
        assert!(streams.push(conn, b"1234567") && !streams.push(conn, b"8") && !streams.push(conn, b""));
        assert!(matches!(streams.take_output(), Some((_, StreamOutput::Bytes(bytes))) if bytes.len() == 7));
        assert!(matches!(streams.take_output(), Some((_, StreamOutput::End))));
        assert_eq!(streams.count(&uid()), 0);
    }

    #[test]
    fn what_went_out_with_the_head_is_not_held_against_a_listener() {
        let mut streams = Streams::default();
        let conn = ConnId::FIRST;
        streams.open(conn, uid(), 10);
        streams.began(conn, 1_000);
        assert!(streams.push(conn, b"12345678"));
        assert!(streams.has_output() && streams.take_output().is_some() && streams.take_output().is_none());
        streams.framed(conn, 2);
        assert!(!streams.has_output() && streams.is_open(conn));
        streams.sent(conn, 1_001);
        assert!(streams.push(conn, b"1") && !streams.push(conn, b"2"));
    }

    #[test]
    fn streams_are_counted_per_owner() {
        let mut streams = Streams::default();
        let [one, two] = [1, 2].map(|n| ConnId::new(n).unwrap());
        streams.open(one, uid(), 10);
        streams.open(two, uid(), 10);
        assert_eq!(streams.count(&uid()), 2);
        streams.closed(one);
        streams.end(two);
        assert!(matches!(streams.take_output(), Some((_, StreamOutput::End))));
        assert_eq!(streams.count(&uid()), 0);
        assert!(streams.take_output().is_none());
    }
}
