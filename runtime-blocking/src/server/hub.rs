//! Where everything meets: the machine in its lock, the connections and effects by name, and the turn that every thread
//! takes: lock, hand in, collect what it causes, unlock, carry it out. Nothing waits for a peer while it holds the lock.

use std::io::PipeWriter;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use portcullis_core::effect::{Effect, Outcome};
use portcullis_core::id::{ConnId, EffectId, ListenerId};
use portcullis_core::machine::{GoneReason, Input, Machine, Peer};
use portcullis_core::report::Report;
use portcullis_core::time::Instant;

use super::Host;
use super::act::{Act, Inside};
use super::link::Link;
use super::peers;
use super::start::{self, Pools};
use super::threads::Threads;
use crate::effects::control::Control;

/// A connection with its name.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) conn: ConnId,
    pub(super) link: Arc<Link>,
}

pub(super) struct Hub<M> {
    inside: Mutex<Inside<M>>,
    /// Wakes the thread that keeps the deadlines.
    timer: Condvar,
    pub(super) host: Host,
    pub(super) pools: Pools,
    /// One for each connection.
    pub(super) threads: Arc<Threads>,
    /// One for each listener.
    pub(super) accepters: Arc<Threads>,
}

/// What one thread carries from its locked to its unlocked half and back.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) touched: Vec<Named>,
    pub(super) starts: Vec<(EffectId, Effect, Arc<Control>)>,
    pub(super) reports: Vec<Report>,
    pub(super) news: Vec<News>,
}

/// What came of sending.
pub(super) enum News {
    Sent(ConnId, usize),
    Gone(ConnId, GoneReason),
}

impl<M: Machine + Send + 'static> Hub<M> {
    pub(super) fn new(machine: M, host: Host, stopper: PipeWriter) -> Arc<Self> {
        Arc::new(Self {
            inside: Mutex::new(Inside::new(machine, stopper)),
            timer: Condvar::new(),
            pools: Pools::new(),
            threads: Threads::new(host.max_connections),
            accepters: Threads::new(usize::MAX),
            host,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inside<M>> {
        // A machine that panicked in its lock is not asked again: see `Inside::input`.
        self.inside.lock().unwrap_or_else(|poisoned| {
            let mut inside = PoisonError::into_inner(poisoned);
            inside.drained = true;
            inside
        })
    }

    /// One turn: `first` in the lock, then what it caused outside of it, until nothing more comes of it.
    fn turn<T>(self: &Arc<Self>, turn: &mut Turn, first: impl FnOnce(&mut Act<'_, M>) -> T) -> T {
        let mut inside = self.lock();
        let mut act = Act {
            hub: self,
            inside: &mut inside,
            now: self.host.clock.now(),
            turn,
        };
        let answer = first(&mut act);
        loop {
            if inside.must_wake_timer() {
                self.timer.notify_one();
            }
            drop(inside);
            self.carry_out(turn);
            if turn.news.is_empty() {
                return answer;
            }
            inside = self.lock();
            let mut act = Act {
                hub: self,
                inside: &mut inside,
                now: self.host.clock.now(),
                turn,
            };
            act.tell_news();
        }
    }

    fn carry_out(self: &Arc<Self>, turn: &mut Turn) {
        turn.reports
            .drain(..)
            .for_each(|report| self.host.reports.tell(&report));
        for named in turn.touched.drain(..) {
            self.flush_link(&named, false, &mut turn.news);
        }
        for (effect, what, control) in turn.starts.drain(..) {
            start::begin(self, effect, what, control);
        }
    }

    fn flush_link(self: &Arc<Self>, named: &Named, as_writer: bool, news: &mut Vec<News>) {
        let flushed = named.link.flush(as_writer);
        if flushed.sent > 0 {
            news.push(News::Sent(named.conn, flushed.sent));
        }
        let no_writer = flushed.needs_writer && peers::start_writer(self, named).is_err();
        if flushed.failed || no_writer {
            news.push(News::Gone(named.conn, GoneReason::Failed));
        } else if flushed.both_ended {
            news.push(News::Gone(named.conn, GoneReason::Closed));
        }
    }

    /// Names an accepted connection and tells of it; `None` when nothing is accepted any more.
    pub(super) fn opened(
        self: &Arc<Self>,
        link: Arc<Link>,
        listener: ListenerId,
        peer: Peer,
        turn: &mut Turn,
    ) -> Option<Named> {
        self.turn(turn, |act| {
            if act.inside.stopper.is_none() || act.inside.drained {
                return None;
            }
            let named = act.inside.name(link);
            act.input(Input::Opened {
                conn: named.conn,
                listener,
                peer,
            });
            Some(named)
        })
    }

    /// Names a dialled connection and completes its effect; `None` when nobody waits for it any more.
    pub(super) fn dialled(
        self: &Arc<Self>,
        link: Arc<Link>,
        effect: EffectId,
        peer: Peer,
        turn: &mut Turn,
    ) -> Option<Named> {
        self.turn(turn, |act| {
            act.inside.effects.remove(&effect)?;
            let named = act.inside.name(link);
            act.input(peers::dial_completed(effect, &named, peer));
            Some(named)
        })
    }

    /// Hands over what was read.
    pub(super) fn received(self: &Arc<Self>, named: &Named, bytes: &mut [u8], turn: &mut Turn) {
        self.turn(turn, |act| {
            if act.inside.links.contains_key(&named.conn) {
                act.input(Input::Received {
                    conn: named.conn,
                    bytes,
                });
            }
        });
    }

    /// The peer has ended its direction.
    pub(super) fn read_ended(self: &Arc<Self>, named: &Named, turn: &mut Turn) {
        self.turn(turn, |act| {
            let both_ended = named.link.read_ended();
            if act.inside.links.contains_key(&named.conn) {
                act.input(Input::ReadClosed { conn: named.conn });
            }
            if both_ended {
                act.gone(named.conn, GoneReason::Closed);
            }
        });
    }

    /// The connection has ended otherwise.
    pub(super) fn gone(self: &Arc<Self>, named: &Named, why: GoneReason, turn: &mut Turn) {
        self.turn(turn, |act| act.gone(named.conn, why));
    }

    /// Sends what waits for a connection, for its own sake.
    pub(super) fn flush(self: &Arc<Self>, named: &Named, turn: &mut Turn) {
        self.flush_link(named, false, &mut turn.news);
        if !turn.news.is_empty() {
            self.turn(turn, |act| act.tell_news());
        }
    }

    /// The writer thread's own sending.
    pub(super) fn write(self: &Arc<Self>, named: &Named, turn: &mut Turn) {
        self.flush_link(named, true, &mut turn.news);
        if !turn.news.is_empty() {
            self.turn(turn, |act| act.tell_news());
        }
    }

    /// An effect has ended. Only the first end counts.
    pub(super) fn completed(self: &Arc<Self>, effect: EffectId, outcome: Outcome) {
        self.turn(&mut Turn::default(), |act| {
            if act.inside.effects.remove(&effect).is_some() {
                act.input(Input::Completed { effect, outcome });
            }
        });
    }

    /// Tells what an effect has to tell; `false` when nobody waits for it any more.
    pub(super) fn tell_effect(self: &Arc<Self>, effect: EffectId, input: Input<'_>) -> bool {
        self.turn(&mut Turn::default(), |act| {
            let known = act.inside.effects.contains_key(&effect) && !act.inside.drained;
            if known {
                act.input(input);
            }
            known
        })
    }

    /// Hands in what concerns no connection and no effect.
    pub(super) fn tell(self: &Arc<Self>, input: Input<'_>) {
        self.turn(&mut Turn::default(), |act| act.input(input));
    }

    /// Sends a tick whenever a deadline has passed, until the machine has drained.
    pub(super) fn keep_deadlines(self: &Arc<Self>) {
        // The first tick asks a machine that has heard nothing yet for its first deadline.
        self.tell(Input::Tick);
        let mut inside = self.lock();
        while !inside.drained {
            let now = self.host.clock.now().monotonic;
            let at = inside.wake_at.unwrap_or(Instant::from_micros(u64::MAX));
            if at <= now {
                drop(inside);
                self.tell(Input::Tick);
                inside = self.lock();
                continue;
            }
            inside.timer_sleeps_until = Some(at);
            let waited = self.timer.wait_timeout(inside, at.since(now));
            inside = waited.unwrap_or_else(PoisonError::into_inner).0;
            inside.timer_sleeps_until = None;
        }
    }

    /// Whether the machine panicked while it held the lock: then nothing that it says can be relied on.
    pub(super) fn has_failed(&self) -> bool {
        self.inside.is_poisoned()
    }

    /// Whether the machine drained without waiting for all work.
    pub(super) fn was_cut_short(&self) -> bool {
        self.lock().cut_short
    }

    /// Ends everything that is left: no input is handed in any more.
    pub(super) fn end(&self) {
        let mut inside = self.lock();
        inside.drained = true;
        inside.stopper = None;
        let links: Vec<_> = inside.links.drain().map(|(_, link)| link).collect();
        let effects: Vec<_> = inside.effects.drain().map(|(_, running)| running.control).collect();
        drop(inside);
        links.iter().for_each(|link| link.finish());
        effects.iter().for_each(|control| control.cancel());
    }
}
