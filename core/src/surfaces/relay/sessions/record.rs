//! One session: who began it with which device, how far its handshake is, which numbers were used; and what of it is on
//! disk. It carries one handshake for its whole life.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::answers::Answers;
use super::backlog::Backlog;
use super::key::SessionKey;
use crate::id::ConnId;
use crate::store::Durability;
use crate::surfaces::relay::ids::{ConversationId, DeviceId, HandshakeId, SessionId, Uid};
use crate::surfaces::relay::ledger::{Change, Ledger};
use crate::surfaces::relay::records;
use crate::surfaces::relay::transcript::Transcript;
use crate::time::{Instant, UnixMillis};

/// Where sessions are kept.
pub(super) const SESSIONS: &str = "relay.sessions";
/// Where messages are kept that their agent has not been sent.
pub(super) const UNDELIVERED: &str = "relay.undelivered";
/// The first wait before a handshake request is sent again on the same connection.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How far a handshake is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    PendingAgentAck,
    PendingAgentConnection,
    AgentAcknowledged,
    AgentError,
}

impl Status {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PendingAgentAck => "pending_agent_ack",
            Self::PendingAgentConnection => "pending_agent_connection",
            Self::AgentAcknowledged => "agent_acknowledged",
            Self::AgentError => "agent_error",
        }
    }

    pub(super) const fn is_pending(self) -> bool {
        matches!(self, Self::PendingAgentAck | Self::PendingAgentConnection)
    }
}

/// What is on disk of a session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) device: DeviceId,
    /// Who began it: nobody else may read or write it.
    pub(super) initiator: Uid,
    pub(super) handshake: HandshakeId,
    pub(super) conversation: ConversationId,
    pub(super) client_key: String,
    pub(super) client_nonce: String,
    /// The client knows the transcript of version 2.
    #[serde(default)]
    pub(super) knows_bound: bool,
    /// The agent's proof; empty until it came.
    pub(super) proof: AgentProof,
    pub(super) status: Status,
    pub(super) last_error: String,
    /// The last number that was accepted from the client.
    pub(super) from_client: u64,
    /// The last number that was accepted from the agent.
    pub(super) from_agent: u64,
    pub(super) created_at: UnixMillis,
    pub(super) updated_at: UnixMillis,
}

/// An agent's answer to a handshake.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct AgentProof {
    pub(super) key: String,
    pub(super) signature: String,
    pub(super) hash: String,
    /// It is over the transcript of version 2.
    #[serde(default)]
    pub(super) is_bound: bool,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) kept: Kept,
    /// When and where the handshake request was sent last.
    sent: Option<(ConnId, Instant)>,
    wait: Duration,
    pub(super) answers: Answers,
    /// Accepted, and not handed to the agent's socket, the oldest first.
    pub(super) undelivered: VecDeque<Undelivered>,
    /// The place of the next message.
    pub(super) next_place: u64,
    pub(super) backlog: Backlog,
    pub(super) listeners: Vec<ConnId>,
    /// What changed is to be written with the next flush.
    pub(super) is_dirty: bool,
}

/// A message that waits for its agent.
#[derive(Clone, Debug)]
pub(super) struct Undelivered {
    /// Its place in the queue: numbers grow.
    pub(super) place: u64,
    pub(super) message_id: String,
    pub(super) frame: Bytes,
}

/// What is on disk of a message that waits.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptMessage {
    pub(super) key: String,
    pub(super) fingerprint: u64,
    pub(super) message_id: String,
    pub(super) until: UnixMillis,
    pub(super) frame: String,
}

impl Session {
    pub(super) fn new(id: SessionId, kept: Kept, now: UnixMillis) -> Self {
        Self {
            id,
            backlog: Backlog::new(kept.created_at.max(now)),
            kept,
            sent: None,
            wait: FIRST_WAIT,
            answers: Answers::default(),
            undelivered: VecDeque::new(),
            next_place: 0,
            listeners: Vec::new(),
            is_dirty: false,
        }
    }

    pub(super) fn keep(&mut self, ledger: &mut Ledger, durability: Durability) {
        // Before the numbers that they used up: a message that is repeated after a crash is one with an answer, or it is new.
        let key = self.key();
        self.answers.flush(&key, self.kept.updated_at, ledger);
        let change = Change::Put {
            value: records::write(&self.kept),
            expires_at: None,
        };
        ledger.change(SESSIONS, key.record(), change, durability);
    }

    /// What it is found by.
    pub(super) fn key(&self) -> SessionKey {
        SessionKey::new(&self.id, &self.kept.initiator)
    }

    /// What both sides must agree on, with this key of the agent.
    pub(super) fn transcript<'a>(&'a self, agent_key: &'a str) -> Transcript<'a> {
        Transcript {
            session_id: self.id.as_str(),
            handshake_id: self.kept.handshake.as_str(),
            client_key: &self.kept.client_key,
            client_nonce: &self.kept.client_nonce,
            agent_key,
        }
    }

    /// Whether the handshake request may be sent on this connection: a repetition makes an agent choose new keys, so the
    /// waits between repetitions on one connection grow.
    pub(super) fn may_send_on(&self, conn: ConnId, now: Instant) -> bool {
        self.sent
            .is_none_or(|(last, at)| last != conn || now >= at.plus(self.wait))
    }

    /// The handshake request was sent.
    pub(super) fn sent_on(&mut self, conn: ConnId, now: Instant) {
        self.wait = match self.sent {
            Some((last, _)) if last == conn => (self.wait * 2).min(LONGEST_WAIT),
            _ => FIRST_WAIT,
        };
        self.sent = Some((conn, now));
    }

    /// The place of a new message, behind all others.
    pub(super) const fn take_place(&mut self) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        place
    }
}
