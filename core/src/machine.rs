//! The contract between a machine and the world: everything that can happen is an [`Input`], everything that must be
//! done is an [`Output`]. Both are plain data: they can be recorded, compared and replayed. Spec: `spec/contract.md`.

use alloc::boxed::Box;
use core::net::SocketAddr;

use bytes::Bytes;

use crate::effect::{Effect, Outcome, Progress};
use crate::id::{ConnId, EffectId, ListenerId};
use crate::report::Report;
use crate::settings::Settings;
use crate::time::{Instant, Now};

/// A machine that a runtime can drive: the gateway, or any other program over the same sockets and effects.
///
/// The loop of every runtime: `handle` one input, `poll` until [`Output::Idle`] or [`Output::Drained`], carry out what
/// came, sleep until `wake_at` or the next input.
pub trait Machine {
    /// Takes one input. Never fails; a name that is unknown or late is counted and ignored.
    fn handle(&mut self, now: Now, input: Input<'_>);

    /// The next thing to do. Poll after every `handle` until [`Output::Idle`] or [`Output::Drained`].
    fn poll(&mut self) -> Output;
}

/// Everything that can happen to a machine.
#[derive(Debug)]
pub enum Input<'a> {
    /// A listener accepted a connection.
    Opened {
        /// Its name: never used before.
        conn: ConnId,
        /// Where it was accepted.
        listener: ListenerId,
        /// Who is at the other end.
        peer: Peer,
    },
    /// Bytes arrived. They are consumed whole. The machine may change them in place (WebSocket unmasking);
    /// adapters read at most 16 KiB at a time into one buffer per thread.
    Received {
        /// The connection.
        conn: ConnId,
        /// At least one byte.
        bytes: &'a mut [u8],
    },
    /// The peer will send nothing more (end of stream); it may still read.
    ReadClosed {
        /// The connection.
        conn: ConnId,
    },
    /// The socket took bytes that [`Output::Transmit`] handed over.
    Sent {
        /// The connection.
        conn: ConnId,
        /// How many, of the oldest ones.
        bytes: usize,
    },
    /// The connection is closed in both directions. Reported exactly once for each connection, and last.
    Gone {
        /// The connection.
        conn: ConnId,
        /// Who ended it.
        why: GoneReason,
    },
    /// An effect ended. Exactly one for each [`Output::Start`], also after [`Output::Cancel`].
    Completed {
        /// The effect.
        effect: EffectId,
        /// How it ended.
        outcome: Outcome,
    },
    /// An effect under way has something to tell. The adapter tells nothing further until [`Output::Continue`].
    Progress {
        /// The effect.
        effect: EffectId,
        /// What it tells.
        progress: Progress,
    },
    /// The settings changed.
    Reconfigured {
        /// The new settings, whole.
        settings: alloc::sync::Arc<Settings>,
    },
    /// Finish: stop accepting, let work end within its time, close every connection. Asked again, it waits no longer: what
    /// still works is stopped.
    Drain {
        /// Why, and with how much patience.
        how: DrainHow,
    },
    /// A deadline may have passed. An early tick is harmless.
    Tick,
}

/// Why a machine finishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DrainHow {
    /// It goes away (SIGTERM): work has the grace that the settings give.
    Stop,
    /// Another takes its place (SIGUSR2): the same, and clients are told to come back.
    Restart,
    /// It goes away and somebody waits for it (SIGINT): work has 5 s at most.
    Quick,
}

/// The other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A peer on a Unix socket: the same machine, by file permission.
    Local,
}

/// Who ended a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GoneReason {
    /// Both directions ended in order.
    Closed,
    /// The machine asked for it with [`CloseHow::Abort`].
    Aborted,
    /// The peer reset it or the network failed.
    Failed,
}

/// Everything that must be done in the world.
#[derive(Debug)]
#[must_use = "an output that is dropped is work that nobody does"]
pub enum Output {
    /// Write these bytes, after those handed over before, and report them with [`Input::Sent`] as the socket takes them.
    Transmit {
        /// The connection.
        conn: ConnId,
        /// At least one byte. All that one input caused for this connection.
        bytes: Bytes,
    },
    /// Stop reading from the socket (what one read under way brings may still be delivered).
    PauseReading {
        /// The connection.
        conn: ConnId,
    },
    /// Read again.
    ResumeReading {
        /// The connection.
        conn: ConnId,
    },
    /// Close the connection.
    Close {
        /// The connection.
        conn: ConnId,
        /// In order or at once.
        how: CloseHow,
    },
    /// Begin an effect and report its end with [`Input::Completed`].
    Start {
        /// Its name.
        effect: EffectId,
        /// What to do.
        what: Box<Effect>,
    },
    /// The last [`Input::Progress`] of this effect is dealt with; send the next.
    Continue {
        /// The effect.
        effect: EffectId,
    },
    /// End an effect early. It still completes, with its outcome or with [`FaultKind::Cancelled`](crate::effect::FaultKind).
    Cancel {
        /// The effect.
        effect: EffectId,
    },
    /// Close the listening sockets.
    StopAccepting,
    /// A fact for the log. The adapter renders it and decides nothing by it.
    Report(Box<Report>),
    /// Nothing more to do for now; ends a drain of outputs.
    Idle {
        /// Send [`Input::Tick`] then, unless another input comes first. `None`: no deadline is set.
        wake_at: Option<Instant>,
    },
    /// Nothing more to do ever: the program may exit.
    Drained {
        /// Whether all work came to its end; `false`: some was cut short, and the program exits with 1.
        clean: bool,
    },
}

/// How to close a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseHow {
    /// Write what was handed over, then end the write direction; go on reading until the peer ends its own, then report
    /// [`Input::Gone`]. The machine sets the deadline and aborts when it passes.
    Flush,
    /// Drop it now, with what is unsent, and report [`Input::Gone`].
    Abort,
}

// An output is moved for every response: it must stay small.
const _: () = assert!(size_of::<Output>() <= 48);
