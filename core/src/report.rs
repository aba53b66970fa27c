//! Facts for the log, as data: what happened, to whom, how often. The adapter renders them; nothing is decided by them.
//! Repeats are counted where they arise, so that no peer can make the log grow with every byte it sends.

#[cfg(feature = "control")]
mod control;

use alloc::string::String;
use core::fmt;

#[cfg(feature = "control")]
pub use control::{ControlFact, Issued};

use crate::id::ConnId;
use crate::machine::Peer;

/// How much a fact matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Everyday.
    Debug,
    /// Worth a line.
    Info,
    /// Somebody should look.
    Warn,
    /// Something does not work.
    Error,
}

/// One fact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// A client finished the handshake.
    Authenticated {
        /// Its connection.
        conn: ConnId,
        /// Its address.
        peer: Peer,
        /// The client id it gave.
        client: String,
    },
    /// A handshake was refused.
    HandshakeRefused {
        /// Its connection.
        conn: ConnId,
        /// Its address.
        peer: Peer,
        /// The reason that the client was told.
        reason: String,
    },
    /// An address is locked out after too many wrong tokens.
    LockedOut {
        /// The address, or the browser origin on this machine.
        who: String,
        /// For how long.
        seconds: u64,
    },
    /// The first request of a connection that was refused.
    Refused {
        /// Its connection.
        conn: ConnId,
        /// What the client was told.
        reason: String,
    },
    /// How many further requests of a connection were refused; reported when it ends.
    Refusals {
        /// Its connection.
        conn: ConnId,
        /// How many.
        count: u64,
    },
    /// Connections were turned away because a limit was reached; at most one report a second.
    TurnedAway {
        /// How many since the last report.
        count: u64,
        /// The setting whose limit was reached last.
        setting: &'static str,
    },
    /// The gateway closed a connection.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: String,
    },
    /// A run of an agent ended.
    RunEnded {
        /// Its id.
        run: String,
        /// The agent.
        agent: String,
        /// How it ended.
        outcome: String,
    },
    /// Facts of one kind were left out because there were too many; told before the next one of that kind.
    LeftOut {
        /// The kind, by its name in this type.
        kind: &'static str,
        /// How much they mattered.
        level: Level,
        /// How many.
        count: u64,
    },
    /// An effect failed and work was lost or refused because of it.
    EffectFailed {
        /// What was to be done.
        what: &'static str,
        /// What the system said.
        detail: String,
    },
    /// The relay has read its records: from now on requests are answered. Once in a life.
    RelayReady,
    /// A fact of the control plane.
    #[cfg(feature = "control")]
    Control(ControlFact),
    /// Draining began.
    Draining {
        /// Connections open.
        connections: usize,
        /// Work under way: runs of agents and calls of tools.
        work: usize,
        /// Seconds that it has.
        seconds: u64,
    },
    /// Work was cut short because the gateway went away before its end.
    TurnLost {
        /// The run's id, or the connection of a tool call.
        run: String,
        /// The agent or tool.
        agent: String,
    },
    /// A door stayed shut for a request or a connection: its network, proxy, host or origin is not allowed.
    DoorShut {
        /// The connection.
        conn: ConnId,
        /// The other end of the socket.
        peer: Peer,
        /// Why.
        reason: &'static str,
        /// The setting that would let it in.
        setting: &'static str,
    },
}

impl Report {
    /// The name of its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Authenticated { .. } => "Authenticated",
            Self::HandshakeRefused { .. } => "HandshakeRefused",
            Self::LockedOut { .. } => "LockedOut",
            Self::Refused { .. } => "Refused",
            Self::Refusals { .. } => "Refusals",
            Self::TurnedAway { .. } => "TurnedAway",
            Self::Closed { .. } => "Closed",
            Self::RunEnded { .. } => "RunEnded",
            Self::LeftOut { .. } => "LeftOut",
            Self::EffectFailed { .. } => "EffectFailed",
            Self::RelayReady => "RelayReady",
            #[cfg(feature = "control")]
            Self::Control(fact) => fact.kind(),
            Self::Draining { .. } => "Draining",
            Self::TurnLost { .. } => "TurnLost",
            Self::DoorShut { .. } => "DoorShut",
        }
    }

    /// How much it matters.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Authenticated { .. } | Self::RunEnded { .. } | Self::Draining { .. } => Level::Info,
            Self::Closed { .. } | Self::RelayReady => Level::Debug,
            Self::HandshakeRefused { .. }
            | Self::LockedOut { .. }
            | Self::Refusals { .. }
            | Self::Refused { .. }
            | Self::TurnLost { .. }
            | Self::DoorShut { .. }
            | Self::TurnedAway { .. } => Level::Warn,
            Self::EffectFailed { .. } => Level::Error,
            #[cfg(feature = "control")]
            Self::Control(fact) => fact.level(),
            Self::LeftOut { level, .. } => *level,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authenticated { conn, peer, client } => {
                write!(f, "{conn}: client {client:?} authenticated from {peer}")
            }
            Self::RelayReady => f.write_str("the relay has read its records"),
            Self::HandshakeRefused { conn, peer, reason } => {
                write!(f, "{conn}: handshake from {peer} refused: {}", OneLine(reason))
            }
            Self::LockedOut { who, seconds } => {
                let who = OneLine(who);
                write!(f, "{who} is locked out for {seconds} s after too many wrong tokens")
            }
            Self::Refused { conn, reason } => write!(f, "{conn}: a request was refused: {}", OneLine(reason)),
            Self::Refusals { conn, count } => write!(f, "{conn}: {count} further requests were refused"),
            Self::TurnedAway { count, setting } => {
                write!(
                    f,
                    "{count} connections turned away with 503 (raise {setting} to admit more)"
                )
            }
            Self::Closed { conn, reason } => write!(f, "{conn}: closed: {}", OneLine(reason)),
            Self::RunEnded { run, agent, outcome } => {
                write!(f, "run {run:?} of agent {agent:?}: {}", OneLine(outcome))
            }
            Self::LeftOut { kind, count, .. } => write!(f, "{count} more reports of kind {kind} were left out"),
            Self::EffectFailed { what, detail } => write!(f, "{what}: {}", OneLine(detail)),
            #[cfg(feature = "control")]
            Self::Control(fact) => fact.fmt(f),
            Self::Draining {
                connections,
                work,
                seconds,
            } => {
                write!(
                    f,
                    "draining: {connections} connections, {work} runs and tool calls under way, which have {seconds} s"
                )
            }
            Self::TurnLost { run, agent } => {
                write!(
                    f,
                    "run {run:?} of {agent:?} was cut short by the shutdown: its answer is lost"
                )
            }
            Self::DoorShut {
                conn,
                peer,
                reason,
                setting,
            } => write!(f, "{conn}: {peer} is not served: {reason} (see {setting})"),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Local => f.write_str("this machine"),
        }
    }
}

/// A text that may hold what a peer wrote: control characters are escaped, so that it cannot begin a line of its own or
/// command a terminal.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        self.0.chars().try_for_each(|c| match c {
            '\u{2028}' | '\u{2029}' => write!(f, "{}", c.escape_unicode()),
            c if c.is_control() => write!(f, "{}", c.escape_default()),
            c => f.write_char(c),
        })
    }
}
