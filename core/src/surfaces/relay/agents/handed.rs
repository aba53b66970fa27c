//! Messages that an agent's connection was given and that the agent has not shown to have: a connection may break with
//! them in it. Whoever sent one is answered when the socket took it; it is forgotten when the agent answers it, or a later
//! one, or a ping that was sent after it. What is left when the connection ends is sent again on the next one.

use alloc::collections::VecDeque;
use alloc::string::String;
use core::time::Duration;

use bytes::Bytes;

use crate::id::ConnId;
use crate::surfaces::relay::http::Answer;
use crate::surfaces::relay::sessions::SessionKey;
use crate::time::Instant;

/// How long an agent may be silent about a message before it is asked by a ping.
pub(in crate::surfaces::relay) const ASK_AFTER: Duration = Duration::from_millis(500);
/// How long a socket may take nothing before who waits for it is answered from the disk.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most messages that an agent has not shown to have.
const MAX_MESSAGES: usize = 1_024;

/// One message.
#[derive(Debug)]
pub(in crate::surfaces::relay) struct Handed {
    pub(in crate::surfaces::relay) session: SessionKey,
    /// Its place among the messages of its session.
    pub(in crate::surfaces::relay) place: u64,
    pub(in crate::surfaces::relay) message_id: String,
    pub(in crate::surfaces::relay) frame: Bytes,
    /// Who waits for the socket to take it, and the answer then.
    pub(in crate::surfaces::relay) reply: Option<(ConnId, Answer)>,
    /// It is on disk.
    pub(in crate::surfaces::relay) is_kept: bool,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    at: Instant,
    /// The connection's bytes up to its end, once they were handed over.
    end: Option<u64>,
    handed: Handed,
}

/// The messages of one connection, and its bytes.
#[derive(Debug, Default)]
pub(in crate::surfaces::relay) struct InFlight {
    entries: VecDeque<Entry>,
    /// How many of them the socket took.
    taken_entries: usize,
    /// Bytes of their frames.
    held: usize,
    /// Messages so far.
    numbers: u64,
    /// The ping that is not answered: the last message before it.
    asked: Option<u64>,
    /// Bytes put into the outbox and not handed over yet.
    fresh: usize,
    given: u64,
    taken: u64,
}

impl InFlight {
    /// Bytes that the socket has not taken.
    pub(super) fn unsent(&self) -> usize {
        let waiting = self.given.saturating_sub(self.taken);
        self.fresh
            .saturating_add(usize::try_from(waiting).unwrap_or(usize::MAX))
    }

    /// Whether it may be given more messages.
    pub(super) fn has_room(&self, max_bytes: usize) -> bool {
        self.entries.len() < MAX_MESSAGES && self.held <= max_bytes
    }

    /// So many bytes were put into the outbox.
    pub(super) const fn wrote(&mut self, bytes: usize) {
        self.fresh += bytes;
    }

    pub(super) fn push(&mut self, at: Instant, handed: Handed) {
        self.numbers += 1;
        self.held += handed.frame.len();
        self.entries.push_back(Entry {
            number: self.numbers,
            at,
            end: None,
            handed,
        });
    }

    /// What was put into the outbox left it: so many bytes, framing and all.
    pub(in crate::surfaces::relay) fn handed_over(&mut self, bytes: usize) {
        self.fresh = 0;
        self.given += bytes as u64;
        let end = self.given;
        let fresh = self.entries.iter_mut().rev().take_while(|entry| entry.end.is_none());
        fresh.for_each(|entry| entry.end = Some(end));
    }

    /// The socket took so many bytes: the messages that it took with them, each once.
    pub(in crate::surfaces::relay) fn took(&mut self, bytes: usize) -> impl Iterator<Item = &mut Handed> {
        self.taken = (self.taken + bytes as u64).min(self.given);
        let (from, taken) = (self.taken_entries, self.taken);
        let rest = self.entries.range_mut(from.min(self.entries.len())..);
        let count = &mut self.taken_entries;
        rest.take_while(move |entry| entry.end.is_some_and(|end| end <= taken))
            .map(move |entry| {
                *count += 1;
                &mut entry.handed
            })
    }

    /// The agent answered a message: it has this one and all before it.
    pub(in crate::surfaces::relay) fn number_of(&self, session: &str, message_id: &str) -> Option<u64> {
        let found = self
            .entries
            .iter()
            .find(|entry| entry.handed.message_id == message_id && entry.handed.session.id.as_str() == session);
        found.map(|entry| entry.number)
    }

    /// The next message that the agent has, when it has those up to this number.
    pub(in crate::surfaces::relay) fn shown(&mut self, number: u64) -> Option<Handed> {
        if self.asked.is_some_and(|asked| asked <= number) {
            self.asked = None;
        }
        self.entries.front().filter(|entry| entry.number <= number)?;
        let entry = self.entries.pop_front()?;
        self.taken_entries = self.taken_entries.saturating_sub(1);
        self.held = self.held.saturating_sub(entry.handed.frame.len());
        Some(entry.handed)
    }

    /// Whether the agent is to be asked what it has: the number to ask with.
    pub(in crate::surfaces::relay) fn ask(&mut self, now: Instant) -> Option<u64> {
        let due = self
            .entries
            .front()
            .is_some_and(|entry| entry.at.plus(ASK_AFTER) <= now);
        if due { self.ask_now() } else { None }
    }

    /// The same, however short the agent has been silent.
    pub(in crate::surfaces::relay) fn ask_now(&mut self) -> Option<u64> {
        if self.asked.is_some() || self.entries.is_empty() {
            return None;
        }
        self.asked = Some(self.numbers);
        self.asked
    }

    /// Whether this number answers the question that is open: a pong that nobody asked for shows nothing (RFC 6455 section
    /// 5.5.3 allows them, and libraries put what they like into them).
    pub(in crate::surfaces::relay) fn asked_with(&self, number: u64) -> bool {
        self.asked == Some(number)
    }

    /// Messages that the socket did not take for long, with somebody who waits for that.
    pub(in crate::surfaces::relay) fn stuck(&mut self, now: Instant) -> impl Iterator<Item = &mut Handed> {
        self.entries
            .iter_mut()
            .filter(move |entry| entry.handed.reply.is_some() && entry.at.plus(PATIENCE) <= now)
            .map(|entry| &mut entry.handed)
    }

    /// Whether there is nothing that the agent has not shown to have.
    pub(in crate::surfaces::relay) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The connection ended: what is left, the newest first.
    pub(in crate::surfaces::relay) fn into_left(self) -> impl Iterator<Item = Handed> {
        self.entries.into_iter().rev().map(|entry| entry.handed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn handed(session: &str, place: u64) -> Handed {
        Handed {
            session: SessionKey::of_u(session),
            place,
            message_id: alloc::format!("m-{place}"),
            frame: Bytes::from_static(b"0123456789"),
            reply: None,
            is_kept: false,
        }
    }

    #[test]
    fn messages_are_taken_once_shown_in_order_and_left_newest_first() {
        let mut flight = InFlight::default();
        let at = Instant::from_millis;
        flight.wrote(20);
        flight.push(at(0), handed("s-01", 1));
        flight.push(at(0), handed("s-01", 2));
        assert_eq!(flight.took(100).count(), 0, "nothing left the outbox yet");
        flight.handed_over(24);
        flight.wrote(10);
        flight.push(at(100), handed("s-02", 1));
        assert_eq!(flight.unsent(), 34);
        assert_eq!(flight.took(23).count(), 0);
        assert_eq!(flight.took(1).map(|one| one.place).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(flight.took(1).count(), 0);
        flight.handed_over(12);
        assert_eq!(
            (flight.ask(at(499)), flight.ask(at(500)), flight.ask(at(9_000))),
            (None, Some(3), None)
        );
        assert!(flight.asked_with(3) && !flight.asked_with(2) && !flight.asked_with(u64::MAX));
        assert_eq!(flight.number_of("s-01", "m-2"), Some(2));
        assert_eq!(flight.number_of("s-02", "m-2"), None);
        assert_eq!(flight.shown(2).map(|one| one.place), Some(1));
        assert_eq!(flight.shown(2).map(|one| one.place), Some(2));
        assert!(flight.shown(2).is_none());
        assert_eq!(flight.took(12).count(), 1);
        flight.push(at(9_000), handed("s-02", 2));
        assert_eq!(flight.ask(at(9_500)), None, "one question at a time");
        assert!(flight.shown(3).is_some() && flight.shown(3).is_none());
        assert_eq!(flight.ask(at(9_500)), Some(4));
        let left: Vec<_> = flight.into_left().map(|one| one.place).collect();
        assert_eq!(left, [2]);
    }

    #[test]
    fn what_one_agent_holds_is_bounded() {
        let mut flight = InFlight::default();
        for place in 0..1_024 {
            assert!(flight.has_room(20_000));
            flight.push(Instant::ZERO, handed("s-01", place));
        }
        assert!(!flight.has_room(20_000) && !flight.has_room(10_239));
        flight.shown(1);
        assert!(flight.has_room(20_000) && !flight.has_room(10_000));
    }
}
