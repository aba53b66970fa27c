//! Drives the machine: one input, then everything that it causes. All bytes that one input causes for a connection leave
//! in one system call, and what the sockets took is told to the machine in the same turn.
//!
//! It decides nothing: it looks connections and effects up by name and does what the output says.

mod sending;
mod traffic;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use portcullis_blocking::clock::Clock;
use portcullis_blocking::reporting::Reporter;
use portcullis_blocking::server::WORK_LOST;
use portcullis_blocking::shortage::Shortage;
use portcullis_blocking::tls::ServerTls;
use portcullis_core::effect::Outcome;
use portcullis_core::id::{ConnId, EffectId, ListenerId};
use portcullis_core::machine::{CloseHow, GoneReason, Input, Machine, Output};
use portcullis_core::time::Instant;
use smol::LocalExecutor;
use smol::channel::Sender;

use crate::effects::Effects;
use crate::link::Link;
use crate::watch::Watch;

/// One read of a socket is at most this long; the one buffer of the thread has this size.
pub(crate) const READ_MAX: usize = 16 * 1024;
/// A machine and everything that is open on its behalf. Lives on one thread.
pub(crate) struct Driver<M> {
    pub(crate) clock: Clock,
    /// When the machine wants its next tick.
    wake_at: Cell<Option<Instant>>,
    pub(crate) effects: Effects,
    /// TLS on accepted connections; set once, before the first.
    pub(crate) listener_tls: OnceCell<Option<ServerTls>>,
    pub(crate) watch: Watch,
    engine: RefCell<Engine<M>>,
    links: RefCell<HashMap<ConnId, Rc<Link>>>,
    buffer: RefCell<Box<[u8]>>,
    next_conn: Cell<ConnId>,
    executor: Weak<LocalExecutor<'static>>,
    /// The listening sockets; dropping one closes it.
    pub(crate) listeners: RefCell<Vec<(ListenerId, Rc<TcpListener>)>>,
    /// Listeners that are looked away from, and until when.
    pub(crate) resting: RefCell<Vec<(std::time::Instant, ListenerId)>>,
    /// What the log was told about connections that could not be accepted.
    pub(crate) shortage: RefCell<Shortage>,
    reports: Reporter,
    drained: Sender<io::Result<()>>,
}

/// What one turn works with.
struct Engine<M> {
    machine: M,
    gathered: Vec<Gathered>,
    events: VecDeque<Event>,
    sent: usize,
    /// It has said that there is nothing more to do ever, and hears nothing more.
    drained: bool,
}

/// Something that a drain of outputs wants done on a connection, kept until the drain ends.
struct Gathered {
    link: Rc<Link>,
    what: Gather,
}

enum Gather {
    Bytes(Bytes),
    Close,
}

/// What carrying out outputs brought about; told to the machine before the turn ends.
enum Event {
    Sent { conn: ConnId, bytes: usize },
    Gone { conn: ConnId, why: GoneReason },
    Completed { effect: EffectId, outcome: Outcome },
}

impl Event {
    fn into_input(self) -> Input<'static> {
        match self {
            Self::Sent { conn, bytes } => Input::Sent { conn, bytes },
            Self::Gone { conn, why } => Input::Gone { conn, why },
            Self::Completed { effect, outcome } => Input::Completed { effect, outcome },
        }
    }
}

impl<M: Machine + 'static> Driver<M> {
    /// A driver for `machine` whose tasks run on `executor`; it tells `drained` when there is nothing more to do ever.
    pub(crate) fn new(
        machine: M,
        clock: Clock,
        effects: Effects,
        watch: Watch,
        reports: Reporter,
        executor: &Rc<LocalExecutor<'static>>,
        drained: Sender<io::Result<()>>,
    ) -> Rc<Self> {
        Rc::new(Self {
            clock,
            wake_at: Cell::new(None),
            effects,
            listener_tls: OnceCell::new(),
            watch,
            engine: RefCell::new(Engine {
                machine,
                gathered: Vec::new(),
                events: VecDeque::new(),
                sent: 0,
                drained: false,
            }),
            links: RefCell::default(),
            buffer: RefCell::new(vec![0; READ_MAX].into_boxed_slice()),
            next_conn: Cell::new(ConnId::FIRST),
            executor: Rc::downgrade(executor),
            listeners: RefCell::default(),
            resting: RefCell::default(),
            shortage: RefCell::default(),
            reports,
            drained,
        })
    }

    /// Starts a task on the machine's thread. `None` when the server is being taken down.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) -> Option<smol::Task<()>> {
        self.executor.upgrade().map(|executor| executor.spawn(task))
    }

    /// How long until the machine wants its next tick; `None`: it wants none.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.wake_at.get().map(|at| self.clock.until(at))
    }

    /// One input and everything that it causes. `current` is the connection that the caller serves, if any: it is found
    /// without a look into the table.
    pub(crate) fn turn(self: &Rc<Self>, current: Option<&Rc<Link>>, input: Input<'_>) {
        let now = self.clock.now();
        let mut engine = self.engine.borrow_mut();
        if engine.drained {
            return;
        }
        engine.sent = 0;
        engine.machine.handle(now, input);
        loop {
            self.drain(&mut engine, current);
            if !engine.gathered.is_empty() {
                self.send_gathered(&mut engine);
            }
            let Some(event) = engine.events.pop_front() else { return };
            if engine.drained {
                return;
            }
            engine.machine.handle(now, event.into_input());
        }
    }

    fn drain(self: &Rc<Self>, engine: &mut Engine<M>, current: Option<&Rc<Link>>) {
        loop {
            match engine.machine.poll() {
                Output::Transmit { conn, bytes } => {
                    if let Some(link) = self.find(current, conn) {
                        engine.gathered.push(Gathered {
                            link,
                            what: Gather::Bytes(bytes),
                        });
                    }
                }
                Output::Idle { wake_at } => return self.wake_at.set(wake_at),
                Output::Drained { clean } => {
                    engine.drained = true;
                    let end = if clean {
                        Ok(())
                    } else {
                        Err(io::Error::other(WORK_LOST))
                    };
                    // Told once is enough; the channel holds one.
                    let _ = self.drained.try_send(end);
                    return;
                }
                output => self.carry_out(engine, current, output),
            }
        }
    }

    fn carry_out(self: &Rc<Self>, engine: &mut Engine<M>, current: Option<&Rc<Link>>, output: Output) {
        match output {
            Output::PauseReading { conn } => self.set_paused(engine, current, conn, true),
            Output::ResumeReading { conn } => self.set_paused(engine, current, conn, false),
            Output::Close {
                conn,
                how: CloseHow::Flush,
            } => {
                if let Some(link) = self.find(current, conn) {
                    engine.gathered.push(Gathered {
                        link,
                        what: Gather::Close,
                    });
                }
            }
            Output::Close {
                conn,
                how: CloseHow::Abort,
            } => {
                if let Some(link) = self.find(current, conn) {
                    if link.is_waiting() || engine.gathered.iter().any(|gathered| Rc::ptr_eq(&gathered.link, &link)) {
                        link.reset_on_drop();
                    }
                    self.end(engine, &link, GoneReason::Aborted);
                }
            }
            Output::Start { effect, what } => {
                if let Err(fault) = Effects::start(self, effect, *what) {
                    engine.events.push_back(Event::Completed {
                        effect,
                        outcome: Err(fault),
                    });
                }
            }
            Output::Continue { effect } => self.effects.proceed(effect),
            Output::Cancel { effect } => self.effects.cancel(effect),
            Output::StopAccepting => self.stop_accepting(),
            Output::Report(report) => self.reports.tell(&report),
            Output::Transmit { .. } | Output::Idle { .. } | Output::Drained { .. } => {}
        }
    }

    fn find(&self, current: Option<&Rc<Link>>, conn: ConnId) -> Option<Rc<Link>> {
        match current {
            Some(link) if link.conn() == conn => Some(link.clone()),
            _ => self.links.borrow().get(&conn).cloned(),
        }
    }

    fn set_paused(&self, engine: &mut Engine<M>, current: Option<&Rc<Link>>, conn: ConnId, paused: bool) {
        if let Some(link) = self.find(current, conn) {
            link.set_paused(paused);
            self.rewatch(engine, &link);
        }
    }

    /// What a connection is wanted for may have changed.
    fn rewatch(&self, engine: &mut Engine<M>, link: &Rc<Link>) {
        if !link.is_gone() && link.watch(&self.watch).is_err() {
            self.end(engine, link, GoneReason::Failed);
        }
    }

    fn end(&self, engine: &mut Engine<M>, link: &Rc<Link>, why: GoneReason) {
        if link.set_gone() {
            self.links.borrow_mut().remove(&link.conn());
            engine.events.push_back(Event::Gone { conn: link.conn(), why });
        }
    }
}
