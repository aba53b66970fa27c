//! Agents' connections: one for each device, how many an owner has, what each has been sent, and when each was heard last.
//! It knows frames that concern a connection, none that concern a session. Spec: `spec/relay.md` section 17.

mod handed;
mod proof;
pub(super) mod wire;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use core::time::Duration;

pub(super) use handed::{ASK_AFTER, Handed, InFlight};
pub(super) use proof::{Proof, Shown};

use super::context::RelayContext;
use super::ids::{DeviceId, Uid};
use crate::id::ConnId;
use crate::secret::Secret;
use crate::time::{Instant, Now};

/// An agent that says nothing for so long is gone.
pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// How often an open connection renews its device's presence.
pub(super) const PRESENCE: Duration = Duration::from_secs(20);
/// A frame renews it at most this often.
const SEEN: Duration = Duration::from_secs(30);

/// All agents.
#[derive(Debug, Default)]
pub(super) struct Agents {
    open: BTreeMap<ConnId, Box<Agent>>,
    by_device: BTreeMap<DeviceId, ConnId>,
    owners: BTreeMap<Uid, u32>,
    /// Connections so far: the number in the next one's name.
    connections: u64,
}

/// An agent's connection.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) device: DeviceId,
    pub(super) owner: Uid,
    pub(super) proof: Proof,
    /// What it was given and has not shown to have.
    pub(super) flight: InFlight,
    /// What it has not shown to have is looked at before long.
    pub(super) is_watched: bool,
    /// Something waits until it takes more.
    pub(super) is_owed: bool,
    pub(super) heard: Instant,
    seen: Instant,
    /// When its access token ends.
    pub(super) until: Instant,
    /// Its access token came from a login, which ends it when it ends.
    pub(super) has_login: bool,
    /// When it is looked at next.
    pub(super) due: Instant,
}

impl Agents {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether a device of this owner may connect; its own connection, if it has one, is replaced and does not count.
    pub(super) fn has_room(&self, owner: &Uid, device: &DeviceId, limit: u32) -> bool {
        let others = self.owners.get(owner).copied().unwrap_or(0);
        let own = self.by_device.get(device).and_then(|conn| self.open.get(conn));
        let replaced = u32::from(own.is_some_and(|agent| agent.owner == *owner));
        others.saturating_sub(replaced) < limit
    }

    /// A device's connection.
    pub(super) fn of_device(&self, device: &DeviceId) -> Option<ConnId> {
        self.by_device.get(device).copied()
    }

    /// An agent; `None` when the connection is none, or was replaced.
    pub(super) fn get(&self, conn: ConnId) -> Option<&Agent> {
        self.open.get(&conn).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Agent> {
        self.open.get_mut(&conn).map(Box::as_mut)
    }

    /// A connection becomes a device's.
    pub(super) fn open(
        &mut self,
        cx: &RelayContext<'_>,
        secret: &Secret,
        conn: ConnId,
        device: DeviceId,
        owner: Uid,
        until: Instant,
    ) {
        self.connections += 1;
        let name: String = alloc::format!("agt:{}", self.connections);
        let now = cx.now.monotonic;
        let agent = Agent {
            proof: Proof::new(cx.now, secret, device.as_str(), name, cx.relay.transport_token_ttl),
            device: device.clone(),
            owner: owner.clone(),
            flight: InFlight::default(),
            is_watched: false,
            is_owed: false,
            heard: now,
            seen: now,
            until,
            has_login: false,
            due: now,
        };
        *self.owners.entry(owner).or_default() += 1;
        self.by_device.insert(device, conn);
        self.open.insert(conn, Box::new(agent));
    }

    /// A connection is no agent's any more.
    pub(super) fn remove(&mut self, conn: ConnId) -> Option<Agent> {
        let agent = self.open.remove(&conn)?;
        if self.by_device.get(&agent.device) == Some(&conn) {
            self.by_device.remove(&agent.device);
        }
        if let Some(count) = self.owners.get_mut(&agent.owner) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.owners.remove(&agent.owner);
            }
        }
        Some(*agent)
    }

    /// The connection of a device on which a further frame may be sent now, if it has one that takes what it is sent.
    pub(super) fn taking(&self, cx: &RelayContext<'_>, device: &DeviceId) -> Result<ConnId, NotSent> {
        let conn = self.of_device(device).ok_or(NotSent::NotConnected)?;
        let agent = self.open.get(&conn).ok_or(NotSent::NotConnected)?;
        if !agent.has_room(cx.settings.gateway.max_buffered_bytes / 2) || cx.outbox.is_closing(conn) {
            return Err(NotSent::Stalled);
        }
        Ok(conn)
    }

    /// Something waits for a device's agent until it takes more.
    pub(super) fn owe(&mut self, device: &DeviceId) {
        let agent = self.by_device.get(device).and_then(|conn| self.open.get_mut(conn));
        if let Some(agent) = agent {
            agent.is_owed = true;
        }
    }

    /// Sends a frame that `write` writes and that needs about so much room.
    pub(super) fn send(
        &mut self,
        cx: &mut RelayContext<'_>,
        conn: ConnId,
        room: usize,
        write: impl FnOnce(&mut bytes::BytesMut),
    ) {
        let mut length = 0;
        cx.outbox.text_of(conn, room, |out| {
            let before = out.len();
            write(out);
            length = out.len().saturating_sub(before);
        });
        if let Some(agent) = self.open.get_mut(&conn) {
            agent.flight.wrote(length);
        }
    }
}

impl Agents {
    /// Sends a message, and keeps it until the agent shows that it has it.
    pub(super) fn hand(&mut self, cx: &mut RelayContext<'_>, conn: ConnId, handed: Handed) {
        let room = handed.frame.len() + 8;
        self.send(cx, conn, room, |out| out.extend_from_slice(&handed.frame));
        if let Some(agent) = self.open.get_mut(&conn) {
            agent.flight.push(cx.now.monotonic, handed);
        }
    }
}

/// Why a frame was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotSent {
    /// No agent.
    NotConnected,
    /// It does not take what it was sent.
    Stalled,
}

impl NotSent {
    /// Its name.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::NotConnected => "agent_not_connected",
            Self::Stalled => "agent_unavailable",
        }
    }
}

impl Agent {
    /// Whether it takes what it is sent, as far as this can be told: so many bytes may be on their way.
    pub(super) fn has_room(&self, max_bytes: usize) -> bool {
        self.flight.unsent() <= max_bytes && self.flight.has_room(max_bytes)
    }

    /// A frame came; whether the device's presence is to be renewed.
    pub(super) fn heard(&mut self, now: Now) -> bool {
        self.heard = now.monotonic;
        let renew = now.monotonic.since(self.seen) >= SEEN;
        if renew {
            self.seen = now.monotonic;
        }
        renew
    }
}
