//! One connection as its threads share it: the socket, the bytes that wait for it, and whether it is read from. Bytes
//! leave in the order in which they were queued, whoever sends them. Nothing here knows the machine.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use portcullis_core::effect::Fault;

use super::socket::Socket;
use crate::tls::TlsSession;

/// The most pieces that go into one write.
const MAX_SLICES: usize = 32;
/// So many plain bytes become TLS records at once: one record of the largest size.
const TLS_CHUNK: usize = 16 * 1024;

pub(super) struct Link {
    pub(super) socket: Socket,
    flow: Mutex<Flow>,
    /// The writer thread sleeps here until the socket is full.
    stuck: Condvar,
    /// The reader thread sleeps here while reading is paused.
    resumed: Condvar,
    /// Whether the reader must look at [`Flow`] before it reads on: paused or over.
    held: AtomicBool,
}

#[derive(Default)]
struct Flow {
    queue: VecDeque<Bytes>,
    tls: Option<Tls>,
    /// The socket took no more: the writer thread waits for it and nobody else sends.
    stuck: bool,
    writer_started: bool,
    paused: bool,
    /// End the write direction once the queue is empty.
    closing: bool,
    write_ended: bool,
    read_ended: bool,
    /// The machine has been told that the connection is gone.
    over: bool,
}

struct Tls {
    session: TlsSession,
    wire: Bytes,
    /// How many plain bytes `wire` carries.
    plain: usize,
}

/// What came of sending.
#[derive(Default, Debug)]
pub(super) struct Flushed {
    /// Bytes of the machine's that the socket took.
    pub(super) sent: usize,
    /// Both directions have ended in order.
    pub(super) both_ended: bool,
    /// The connection has failed.
    pub(super) failed: bool,
    /// The socket is full, and no thread waits for it yet: start one.
    pub(super) needs_writer: bool,
}

impl Link {
    pub(super) fn new(socket: Socket, session: Option<TlsSession>) -> Self {
        let tls = session.map(|session| Tls {
            session,
            wire: Bytes::new(),
            plain: 0,
        });
        Self {
            socket,
            flow: Mutex::new(Flow { tls, ..Flow::default() }),
            stuck: Condvar::new(),
            resumed: Condvar::new(),
            held: AtomicBool::new(false),
        }
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts bytes behind those that wait already. They leave with the next [`Self::flush`].
    pub(super) fn queue(&self, bytes: Bytes) {
        let mut flow = self.flow();
        if !flow.over && !flow.closing {
            flow.queue.push_back(bytes);
        }
    }

    /// Ends the write direction after what waits; reading goes on until the peer ends its own.
    pub(super) fn close_after_flush(&self) {
        let mut flow = self.flow();
        flow.closing = true;
        drop(flow);
        self.pause(false);
    }

    pub(super) fn pause(&self, paused: bool) {
        let mut flow = self.flow();
        flow.paused = paused && !flow.closing;
        self.held.store(flow.paused || flow.over, Ordering::Release);
        drop(flow);
        if !paused {
            self.resumed.notify_one();
        }
    }

    /// Waits while reading is paused; `false` when the connection is over.
    pub(super) fn may_read(&self) -> bool {
        if !self.held.load(Ordering::Acquire) {
            return true;
        }
        let mut flow = self.flow();
        while flow.paused && !flow.over {
            flow = self.resumed.wait(flow).unwrap_or_else(PoisonError::into_inner);
        }
        !flow.over
    }

    /// The connection is gone for the machine: end the socket and let its threads go.
    pub(super) fn finish(&self) {
        let mut flow = self.flow();
        flow.over = true;
        let unsent = !flow.queue.is_empty() || flow.stuck;
        flow.queue = VecDeque::new();
        // A connection that has ended in both directions holds nobody: closing it is enough.
        let ended = flow.read_ended && flow.write_ended && !unsent;
        self.held.store(true, Ordering::Release);
        drop(flow);
        if !ended {
            self.socket.end(unsent);
        }
        self.stuck.notify_one();
        self.resumed.notify_one();
    }

    /// The peer has ended its direction. Says whether both have ended now.
    pub(super) fn read_ended(&self) -> bool {
        let mut flow = self.flow();
        flow.read_ended = true;
        flow.write_ended
    }

    /// Whether the end of the stream was announced, as TLS demands; without TLS it needs no announcement.
    pub(super) fn ended_in_order(&self) -> bool {
        self.flow().tls.as_ref().is_none_or(|tls| tls.session.peer_has_closed())
    }

    /// Whether the connection has TLS: then what is read must go through [`Self::decrypt`].
    pub(super) fn has_tls(&self) -> bool {
        self.flow().tls.is_some()
    }

    /// Turns bytes from the wire into plain ones. An answer that TLS itself owes leaves with the next flush.
    pub(super) fn decrypt(&self, wire: &[u8], plain: &mut Vec<u8>) -> Result<(), Fault> {
        match &mut self.flow().tls {
            Some(tls) => tls.session.received(wire, plain),
            None => Ok(()),
        }
    }

    /// The writer thread's sleep: until the socket has become full; then until it takes bytes again. `false`: nothing will
    /// ever be written again.
    pub(super) fn wait_for_room(&self) -> bool {
        let mut flow = self.flow();
        while !flow.stuck && !flow.over && !flow.write_ended {
            flow = self.stuck.wait(flow).unwrap_or_else(PoisonError::into_inner);
        }
        if flow.over || flow.write_ended {
            return false;
        }
        drop(flow);
        self.socket.wait_writable();
        true
    }

    /// Sends what waits, as far as the socket takes it without waiting. While the writer thread waits for the socket only
    /// that thread sends.
    pub(super) fn flush(&self, as_writer: bool) -> Flushed {
        let mut flow = self.flow();
        let mut flushed = Flushed::default();
        if flow.over || (flow.stuck && !as_writer) {
            return flushed;
        }
        flow.stuck = false;
        match flow.send_queue(&self.socket, &mut flushed.sent) {
            Ok(()) => {
                let ending = flow.closing && !flow.write_ended;
                if ending {
                    flow.write_ended = true;
                    // The peer may have gone in the same moment; then reading tells so.
                    let _ = self.socket.end_writing();
                    self.stuck.notify_one();
                }
                flushed.both_ended = ending && flow.read_ended;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                flow.stuck = true;
                flushed.needs_writer = !std::mem::replace(&mut flow.writer_started, true);
                self.stuck.notify_one();
            }
            Err(_) => flushed.failed = true,
        }
        flushed
    }
}

impl Flow {
    fn send_queue(&mut self, socket: &Socket, sent: &mut usize) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            return tls.send_queue(&mut self.queue, self.closing, socket, sent);
        }
        while !self.queue.is_empty() {
            let count = {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let mut used = 0;
                for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
                    *slice = IoSlice::new(bytes);
                    used += 1;
                }
                let then_end = self.closing && used == self.queue.len();
                socket.send(slices.get(..used).unwrap_or_default(), then_end)?
            };
            *sent = sent.saturating_add(count);
            self.take(count);
        }
        // A burst must not leave its room behind on an idle connection.
        if self.queue.capacity() > MAX_SLICES {
            self.queue = VecDeque::new();
        }
        Ok(())
    }

    /// Forgets the oldest `count` bytes.
    fn take(&mut self, mut count: usize) {
        while let Some(first) = self.queue.front_mut() {
            if first.len() > count {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.queue.pop_front();
        }
    }
}

impl Tls {
    fn send_queue(
        &mut self,
        queue: &mut VecDeque<Bytes>,
        closing: bool,
        socket: &Socket,
        sent: &mut usize,
    ) -> io::Result<()> {
        let mut said_goodbye = false;
        loop {
            while !self.wire.is_empty() {
                let count = socket.send(&[IoSlice::new(&self.wire)], false)?;
                self.wire.advance(count);
            }
            // Plain bytes count as sent when the whole record that carries them is.
            *sent = sent.saturating_add(std::mem::take(&mut self.plain));
            if let Some(first) = queue.front_mut() {
                let chunk = first.split_to(first.len().min(TLS_CHUNK));
                if first.is_empty() {
                    queue.pop_front();
                }
                self.session.send(&chunk);
                self.plain = chunk.len();
            } else if closing && !said_goodbye {
                said_goodbye = true;
                self.session.close();
            }
            let mut wire = Vec::new();
            self.session.take_wire(&mut wire);
            self.wire = Bytes::from(wire);
            if self.wire.is_empty() && self.plain == 0 {
                return Ok(());
            }
        }
    }
}
