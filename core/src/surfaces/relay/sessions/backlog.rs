//! The events of one session: numbered, bounded in number and bytes, written in chunks, ready for the wire. The numbers
//! begin at the time of the session's life in this process, so none of them is ever used twice, and a cursor of an earlier
//! life is smaller than every new one.

use alloc::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::key::SessionKey;
use crate::json::write_number;
use crate::store::Durability;
use crate::surfaces::relay::ledger::{Change, Ledger};
use crate::time::UnixMillis;

/// Where events are kept, as many in a record as came between two flushes and fit.
pub(super) const EVENTS: &str = "relay.events";
/// Numbers for each millisecond of a life; all of them together stay below 2^53 for centuries.
const PER_MILLI: u64 = 1_024;
/// Bytes of a chunk: with its key and the store's own bytes it fills a page of the store, which reads and writes pages whole.
const CHUNK: usize = 32_000;
/// Bytes before each event of a chunk.
const LEAD: usize = 12;
/// The version of a chunk's form.
const VERSION: u8 = 1;

/// The events of a session.
#[derive(Debug)]
pub(super) struct Backlog {
    events: VecDeque<Event>,
    bytes: usize,
    next: u64,
    /// The first event that is not on disk.
    unflushed: u64,
    /// Records on disk, by their first event.
    chunks: VecDeque<u64>,
}

#[derive(Debug)]
struct Event {
    number: u64,
    /// As it goes to listeners.
    text: Bytes,
}

impl Event {
    /// In a chunk.
    fn size(&self) -> usize {
        LEAD + self.text.len()
    }
}

impl Backlog {
    /// An empty one in a life that begins now.
    pub(super) const fn new(now: UnixMillis) -> Self {
        let next = now.0.saturating_mul(PER_MILLI);
        Self {
            events: VecDeque::new(),
            bytes: 0,
            next,
            unflushed: next,
            chunks: VecDeque::new(),
        }
    }

    /// Appends an event whose content `write` writes on one line; what goes to listeners. Beyond the limits the oldest
    /// ones go. Tells how the number of bytes kept changed.
    pub(super) fn push(
        &mut self,
        scratch: &mut BytesMut,
        limits: Limits,
        write: impl FnOnce(&mut BytesMut),
    ) -> (Bytes, Delta) {
        let before = self.bytes;
        scratch.put_slice(b"id: ");
        write_number(scratch, self.next);
        scratch.put_slice(b"\nevent: session.event\ndata: ");
        write(scratch);
        scratch.put_slice(b"\n\n");
        let text = scratch.split().freeze();
        self.bytes += text.len();
        self.events.push_back(Event {
            number: self.next,
            text: text.clone(),
        });
        self.next += 1;
        // The newest one stays in any case.
        while self.events.len() > 1 && (self.events.len() > limits.events || self.bytes > limits.bytes) {
            self.drop_oldest();
        }
        (
            text,
            Delta {
                before,
                after: self.bytes,
            },
        )
    }

    fn drop_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes = self.bytes.saturating_sub(event.text.len());
        }
    }

    /// The last event that a listener with this cursor saw; none for a cursor that no event had.
    pub(super) fn cursor(&self, cursor: Option<&str>) -> u64 {
        let cursor = cursor.and_then(|cursor| cursor.parse::<u64>().ok());
        cursor.filter(|cursor| *cursor < self.next).unwrap_or(0)
    }

    /// Gives what came after this event, at least one event and about `most` bytes. The last one given, if there are more.
    pub(super) fn since(&self, last: u64, most: usize, mut give: impl FnMut(&Bytes)) -> Option<u64> {
        let from = self.events.partition_point(|event| event.number <= last);
        let (mut given, mut number) = (0, last);
        for event in self.events.range(from..) {
            if given > 0 && given + event.text.len() > most {
                return Some(number);
            }
            given += event.text.len();
            number = event.number;
            give(&event.text);
        }
        None
    }

    /// Bytes kept.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Writes what is not on disk, and removes from there what is gone.
    pub(super) fn flush(&mut self, session: &SessionKey, ledger: &mut Ledger) {
        let oldest = self.events.front().map_or(self.next, |event| event.number);
        while self.chunks.get(1).is_some_and(|second| *second <= oldest)
            && let Some(first) = self.chunks.pop_front()
        {
            ledger.change(EVENTS, session.record_of(first), Change::Delete, Durability::Lazy);
        }
        let unflushed = core::mem::replace(&mut self.unflushed, self.next);
        let at = self.events.partition_point(|event| event.number < unflushed);
        let mut left: usize = self.events.range(at..).map(Event::size).sum();
        let mut rest = self.events.range(at..).peekable();
        while let Some(first) = rest.peek().map(|event| event.number) {
            let mut value = BytesMut::with_capacity(CHUNK.min(left + 1));
            value.put_u8(VERSION);
            // A longer event has a record of its own.
            while let Some(event) = rest.next_if(|event| event.number == first || value.len() + event.size() <= CHUNK) {
                value.put_u64(event.number);
                value.put_u32(u32::try_from(event.text.len()).unwrap_or(u32::MAX));
                value.put_slice(&event.text);
                left = left.saturating_sub(event.size());
            }
            self.chunks.push_back(first);
            let change = Change::Put {
                value: value.freeze(),
                expires_at: None,
            };
            ledger.change(EVENTS, session.record_of(first), change, Durability::Lazy);
        }
    }

    /// Takes a record in, the oldest first; whether it is one.
    pub(super) fn load(&mut self, mut value: Bytes) -> bool {
        if value.is_empty() || value.get_u8() != VERSION {
            return false;
        }
        let mut is_first = true;
        while value.remaining() >= LEAD {
            let (number, length) = (value.get_u64(), value.get_u32() as usize);
            let follows = self.events.back().is_none_or(|event| event.number < number);
            if value.remaining() < length || !follows {
                return false;
            }
            let text = value.split_to(length);
            if core::mem::take(&mut is_first) {
                self.chunks.push_back(number);
            }
            self.bytes += length;
            self.events.push_back(Event { number, text });
            // A clock that was set back must not give a number out again.
            self.next = self.next.max(number + 1);
            self.unflushed = self.next;
        }
        !value.has_remaining()
    }

    /// The session is over.
    pub(super) fn forget(&self, session: &SessionKey, ledger: &mut Ledger) {
        for first in &self.chunks {
            ledger.change(EVENTS, session.record_of(*first), Change::Delete, Durability::Lazy);
        }
    }
}

/// How much may be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

/// Bytes kept before and after a change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delta {
    pub(super) before: usize,
    pub(super) after: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec::Vec;

    const WIDE: Limits = Limits {
        events: 10,
        bytes: 10_000,
    };

    const WIDER: Limits = Limits {
        events: 10,
        bytes: 1_000_000,
    };

    fn add(backlog: &mut Backlog, limits: Limits, text: &str) -> Bytes {
        backlog
            .push(&mut BytesMut::new(), limits, |out| out.put_slice(text.as_bytes()))
            .0
    }

    fn seen(backlog: &Backlog, cursor: Option<&str>) -> Vec<String> {
        let data = |text: &Bytes| {
            let text = core::str::from_utf8(text).unwrap();
            String::from(text.split("data: ").nth(1).unwrap().trim_end())
        };
        let (mut last, mut seen) = (Some(backlog.cursor(cursor)), Vec::new());
        // In pieces as small as they can be.
        while let Some(from) = last {
            last = backlog.since(from, 1, |text| seen.push(data(text)));
        }
        seen
    }

    #[test]
    fn events_are_numbered_and_read_from_a_cursor() {
        let mut backlog = Backlog::new(UnixMillis(1_795_187_180_000));
        let first = add(&mut backlog, WIDE, "{}");
        assert_eq!(first[..], *b"id: 1838271672320000\nevent: session.event\ndata: {}\n\n");
        add(&mut backlog, WIDE, "2");
        for (cursor, expected) in [
            (None, &["{}", "2"][..]),
            (Some("rubbish"), &["{}", "2"]),
            (Some("12"), &["{}", "2"]),
            (Some("1838271672320000"), &["2"]),
            (Some("1838271672320001"), &[]),
            // No event had this number: it is of another life.
            (Some("1838271672320002"), &["{}", "2"]),
            (Some("99999999999999999999"), &["{}", "2"]),
        ] {
            assert_eq!(seen(&backlog, cursor), expected, "{cursor:?}");
        }
        assert!(backlog.next < 1 << 53);
    }

    #[test]
    fn the_oldest_go_first_and_the_newest_stays() {
        let mut backlog = Backlog::new(UnixMillis(0));
        for text in ["1", "2", "3"] {
            add(
                &mut backlog,
                Limits {
                    events: 2,
                    bytes: 9_999,
                },
                text,
            );
        }
        assert_eq!(seen(&backlog, None), ["2", "3"]);
        add(&mut backlog, Limits { events: 9, bytes: 10 }, "a long one");
        assert_eq!(seen(&backlog, None), ["a long one"]);
        assert_eq!(backlog.bytes(), backlog.events[0].text.len());
    }

    #[test]
    fn chunks_read_back_in_a_later_life_whose_numbers_are_larger() {
        let session = SessionKey::of_u("s-01");
        let (mut backlog, mut ledger) = (Backlog::new(UnixMillis(1)), Ledger::default());
        add(&mut backlog, WIDE, "1");
        backlog.flush(&session, &mut ledger);
        add(&mut backlog, WIDE, "2");
        backlog.flush(&session, &mut ledger);
        backlog.flush(&session, &mut ledger);
        assert_eq!(backlog.chunks, [1_024, 1_025]);
        add(&mut backlog, Limits { events: 1, bytes: 999 }, "3");
        backlog.flush(&session, &mut ledger);
        assert_eq!(
            backlog.chunks,
            [1_025, 1_026],
            "a chunk goes once all of it is gone and another follows"
        );
        let long = "x".repeat(CHUNK * 2 / 5);
        for _ in 0..5 {
            add(&mut backlog, WIDER, &long);
        }
        add(&mut backlog, WIDER, &"y".repeat(CHUNK));
        backlog.flush(&session, &mut ledger);
        assert_eq!(backlog.chunks, [1_026, 1_027, 1_029, 1_031, 1_032]);
        let mut chunk = BytesMut::new();
        chunk.put_u8(VERSION);
        for number in [2_000_u64, 2_001] {
            chunk.put_u64(number);
            chunk.put_u32(8);
            chunk.put_slice(b"data: x\n");
        }
        let chunk = chunk.freeze();
        let mut later = Backlog::new(UnixMillis(1));
        assert!(later.load(chunk.clone()) && later.next == 2_002 && later.chunks == [2_000]);
        assert!(!later.load(chunk.clone()), "nothing twice");
        assert!(!later.load(chunk.slice(..chunk.len() - 1)));
        assert!(!later.load(Bytes::from_static(b"\x02")));
    }
}
