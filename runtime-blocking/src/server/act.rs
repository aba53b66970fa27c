//! The locked half of a turn: hands inputs to the machine and collects its outputs. Nothing here waits or calls the system
//! but to end a socket; what may take time goes into the turn and is carried out when the lock is free.

use std::collections::{HashMap, VecDeque};
use std::io::PipeWriter;
use std::sync::Arc;

use portcullis_core::effect::{Effect, Fault, FaultKind, Outcome};
use portcullis_core::id::{ConnId, EffectId};
use portcullis_core::machine::{CloseHow, GoneReason, Input, Machine, Output};
use portcullis_core::time::{Instant, Now};

use super::hub::{Hub, Named, News, Turn};
use super::link::Link;
use super::start;
use crate::effects::control::Control;
use crate::effects::fault::fault;

/// The most effects under way; a further one fails at once.
const MAX_EFFECTS: usize = 1_024;

/// The machine, and what it knows by name.
pub(super) struct Inside<M> {
    pub(super) machine: M,
    pub(super) links: HashMap<ConnId, Arc<Link>>,
    pub(super) effects: HashMap<EffectId, Running>,
    next_conn: ConnId,
    pub(super) wake_at: Option<Instant>,
    /// Until when the timer thread sleeps, while it does.
    pub(super) timer_sleeps_until: Option<Instant>,
    /// Closing it ends the accept threads.
    pub(super) stopper: Option<PipeWriter>,
    pub(super) drained: bool,
    /// The machine drained without waiting for all work.
    pub(super) cut_short: bool,
    /// What the outputs of this turn cause by themselves: handed in when the machine is idle.
    after: VecDeque<After>,
}

/// An effect under way.
pub(super) struct Running {
    pub(super) control: Arc<Control>,
    /// A cancel completes it at once; what it brings later is dropped.
    drops_late: bool,
}

/// What an output causes by itself.
enum After {
    Aborted(ConnId),
    Completed(EffectId, Outcome),
}

impl<M> Inside<M> {
    pub(super) fn new(machine: M, stopper: PipeWriter) -> Self {
        Self {
            machine,
            links: HashMap::new(),
            effects: HashMap::new(),
            next_conn: ConnId::FIRST,
            wake_at: None,
            timer_sleeps_until: None,
            stopper: Some(stopper),
            drained: false,
            cut_short: false,
            after: VecDeque::new(),
        }
    }

    pub(super) fn name(&mut self, link: Arc<Link>) -> Named {
        let conn = self.next_conn;
        self.next_conn = conn.next();
        self.links.insert(conn, Arc::clone(&link));
        Named { conn, link }
    }

    pub(super) fn must_wake_timer(&self) -> bool {
        let earlier = || {
            self.wake_at
                .zip(self.timer_sleeps_until)
                .is_some_and(|(wake_at, until)| wake_at < until)
        };
        self.drained || earlier()
    }
}

/// The locked half of a turn.
pub(super) struct Act<'a, M> {
    pub(super) hub: &'a Arc<Hub<M>>,
    pub(super) inside: &'a mut Inside<M>,
    pub(super) now: Now,
    pub(super) turn: &'a mut Turn,
}

impl<M: Machine + Send + 'static> Act<'_, M> {
    /// Hands one input in and collects everything that it causes.
    pub(super) fn input(&mut self, input: Input<'_>) {
        if self.inside.drained {
            return;
        }
        self.inside.machine.handle(self.now, input);
        self.drain();
        while let Some(after) = self.inside.after.pop_front() {
            if self.inside.drained {
                return;
            }
            let input = match after {
                After::Aborted(conn) => Input::Gone {
                    conn,
                    why: GoneReason::Aborted,
                },
                After::Completed(effect, outcome) => Input::Completed { effect, outcome },
            };
            self.inside.machine.handle(self.now, input);
            self.drain();
        }
    }

    pub(super) fn tell_news(&mut self) {
        let mut news = std::mem::take(&mut self.turn.news);
        for one in news.drain(..) {
            match one {
                News::Sent(conn, bytes) if self.inside.links.contains_key(&conn) => {
                    self.input(Input::Sent { conn, bytes });
                }
                News::Sent(..) => {}
                News::Gone(conn, why) => self.gone(conn, why),
            }
        }
        self.turn.news = news;
    }

    /// Tells of a connection's end, once.
    pub(super) fn gone(&mut self, conn: ConnId, why: GoneReason) {
        if let Some(link) = self.inside.links.remove(&conn) {
            link.finish();
            self.input(Input::Gone { conn, why });
        }
    }

    fn drain(&mut self) {
        loop {
            match self.inside.machine.poll() {
                Output::Transmit { conn, bytes } => self.with_link(conn, |link| link.queue(bytes), true),
                Output::PauseReading { conn } => self.with_link(conn, |link| link.pause(true), false),
                Output::ResumeReading { conn } => self.with_link(conn, |link| link.pause(false), false),
                Output::Close {
                    conn,
                    how: CloseHow::Flush,
                } => self.with_link(conn, Link::close_after_flush, true),
                Output::Close {
                    conn,
                    how: CloseHow::Abort,
                } => {
                    if let Some(link) = self.inside.links.remove(&conn) {
                        link.finish();
                        self.inside.after.push_back(After::Aborted(conn));
                    }
                }
                Output::Start { effect, what } => self.start(effect, *what),
                Output::Continue { effect } => {
                    if let Some(running) = self.inside.effects.get(&effect) {
                        running.control.go_on();
                    }
                }
                Output::Cancel { effect } => self.cancel(effect),
                Output::StopAccepting => self.inside.stopper = None,
                Output::Report(report) => self.turn.reports.push(*report),
                Output::Idle { wake_at } => {
                    self.inside.wake_at = wake_at;
                    return;
                }
                Output::Drained { clean } => {
                    self.inside.drained = true;
                    self.inside.cut_short = !clean;
                    return;
                }
            }
        }
    }

    fn with_link(&mut self, conn: ConnId, act: impl FnOnce(&Link), to_send: bool) {
        let Some(link) = self.inside.links.get(&conn) else {
            return;
        };
        act(link);
        if to_send && self.turn.touched.last().is_none_or(|last| last.conn != conn) {
            self.turn.touched.push(Named {
                conn,
                link: Arc::clone(link),
            });
        }
    }

    fn start(&mut self, effect: EffectId, what: Effect) {
        if self.inside.effects.len() >= MAX_EFFECTS {
            let fault = fault(
                FaultKind::Unavailable,
                format!("{MAX_EFFECTS} effects are under way already"),
            );
            return self.inside.after.push_back(After::Completed(effect, Err(fault)));
        }
        let control = Arc::new(Control::default());
        let drops_late = matches!(what, Effect::Resolve { .. } | Effect::Dial(_));
        self.inside.effects.insert(
            effect,
            Running {
                control: Arc::clone(&control),
                drops_late,
            },
        );
        match what {
            // At once, so that batches reach the store in the order in which the machine wrote them.
            Effect::Store(batch) => {
                if let Err(fault) = start::store(self.hub, effect, batch) {
                    self.fail(effect, fault);
                }
            }
            what => self.turn.starts.push((effect, what, control)),
        }
    }

    fn fail(&mut self, effect: EffectId, fault: Fault) {
        if self.inside.effects.remove(&effect).is_some() {
            self.inside.after.push_back(After::Completed(effect, Err(fault)));
        }
    }

    fn cancel(&mut self, effect: EffectId) {
        let Some(running) = self.inside.effects.get(&effect) else {
            return;
        };
        running.control.cancel();
        if running.drops_late {
            self.fail(effect, fault(FaultKind::Cancelled, String::new()));
        }
    }
}
