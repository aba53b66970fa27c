//! Messages on their way to an agent: answered when its socket took them, forgotten when it shows that it has them, and
//! taken back when its connection ends before that. So no message that was accepted is lost with a connection, and the
//! numbers of a session have no holes.

use super::messages::accepted;
use super::record::{KeptMessage, UNDELIVERED, Undelivered};
use super::{Sessions, refused};
use crate::http::Status;
use crate::id::ConnId;
use crate::store::Durability;
use crate::surfaces::relay::agents::{ASK_AFTER, Handed, InFlight};
use crate::surfaces::relay::context::RelayContext;
use crate::surfaces::relay::ids::DeviceId;
use crate::surfaces::relay::ledger::{Change, Ledger};
use crate::surfaces::relay::records;
use crate::time::UnixMillis;

impl Sessions {
    /// Hands a message to an agent's connection.
    pub(super) fn hand(&mut self, cx: &mut RelayContext<'_>, conn: ConnId, handed: Handed) {
        self.agents.hand(cx, conn, handed);
        if let Some(agent) = self.agents.get_mut(conn)
            && !core::mem::replace(&mut agent.is_watched, true)
        {
            self.watched.push_back((cx.now.monotonic.plus(ASK_AFTER), conn));
        }
    }

    /// Something waits for a device's agent until it takes more: it is asked what it has, so that room is known of.
    pub(super) fn owe(&mut self, cx: &mut RelayContext<'_>, device: &DeviceId) {
        self.agents.owe(device);
        let conn = self.agents.of_device(device);
        if let Some((conn, agent)) = conn.and_then(|conn| Some((conn, self.agents.get_mut(conn)?)))
            && let Some(number) = agent.flight.ask_now()
        {
            cx.outbox.ping_with(conn, &number.to_be_bytes());
        }
    }

    /// Bytes for an agent are on their way to its socket.
    pub fn agent_handed(&mut self, conn: ConnId, bytes: usize) {
        if let Some(agent) = self.agents.get_mut(conn) {
            agent.flight.handed_over(bytes);
        }
    }

    /// An agent's socket took bytes. Without this the agent counts as one that takes nothing.
    pub fn agent_sent(&mut self, cx: &mut RelayContext<'_>, conn: ConnId, bytes: usize) {
        let Some(agent) = self.agents.get_mut(conn) else { return };
        for handed in agent.flight.took(bytes) {
            self.answers.extend(handed.reply.take());
            forget(cx.ledger, handed);
        }
        self.go_on(cx, conn);
    }

    /// An agent answered a ping: it has what was sent before.
    pub fn agent_pong(&mut self, cx: &mut RelayContext<'_>, conn: ConnId, content: &[u8]) {
        let Ok(number) = <[u8; 8]>::try_from(content) else {
            return;
        };
        let number = u64::from_be_bytes(number);
        let agent = self.agents.get_mut(conn);
        if let Some(agent) = agent.filter(|agent| agent.flight.asked_with(number)) {
            agent.heard(cx.now);
            self.shown(cx, conn, number);
        }
    }

    /// An agent said something about a message: it has this one and all before it.
    pub(super) fn shows(&mut self, cx: &mut RelayContext<'_>, conn: ConnId, session: &str, message_id: &str) {
        let agent = self.agents.get(conn);
        if let Some(number) = agent.and_then(|agent| agent.flight.number_of(session, message_id)) {
            self.shown(cx, conn, number);
        }
    }

    fn shown(&mut self, cx: &mut RelayContext<'_>, conn: ConnId, number: u64) {
        let Some(agent) = self.agents.get_mut(conn) else { return };
        while let Some(mut handed) = agent.flight.shown(number) {
            self.answers.extend(handed.reply.take());
            forget(cx.ledger, &mut handed);
        }
        self.go_on(cx, conn);
    }

    /// Sends what waits for an agent that takes more now.
    fn go_on(&mut self, cx: &mut RelayContext<'_>, conn: ConnId) {
        let Some(agent) = self.agents.get_mut(conn).filter(|agent| agent.is_owed) else {
            return;
        };
        if agent.has_room(cx.settings.gateway.max_buffered_bytes / 4) {
            agent.is_owed = false;
            let device = agent.device.clone();
            self.pump(cx, &device);
        }
    }

    /// Looks after agents that have not shown what they have: asks them, and answers those who waited too long for a
    /// socket once their message is on disk.
    pub(super) fn watch(&mut self, cx: &mut RelayContext<'_>) {
        let now = cx.now.monotonic;
        while let Some(&(at, conn)) = self.watched.front()
            && at <= now
        {
            self.watched.pop_front();
            let Some(agent) = self.agents.get_mut(conn) else {
                continue;
            };
            agent.is_watched = !agent.flight.is_empty();
            if !agent.is_watched {
                continue;
            }
            self.watched.push_back((now.plus(ASK_AFTER), conn));
            if let Some(number) = agent.flight.ask(now) {
                cx.outbox.ping_with(conn, &number.to_be_bytes());
            }
            for handed in agent.flight.stuck(now) {
                keep(cx.ledger, handed);
                if let Some((conn, _)) = handed.reply.take()
                    && let Some(session) = self.sessions.get(&handed.session)
                {
                    cx.ledger
                        .answer(cx.now, conn, accepted(session, &handed.message_id, true));
                }
            }
        }
    }

    /// A connection ended: what its agent has not shown to have waits for the next one, before everything else.
    pub(super) fn take_back(&mut self, cx: &mut RelayContext<'_>, flight: InFlight) {
        let mut waiting = alloc::vec::Vec::new();
        for mut handed in flight.into_left() {
            let reply = handed.reply.take();
            let Some(session) = self.sessions.get_mut(&handed.session) else {
                forget(cx.ledger, &mut handed);
                let over = reply.map(|(conn, _)| (conn, refused(Status::NOT_FOUND, "session not found")));
                self.answers.extend(over);
                continue;
            };
            keep(cx.ledger, &mut handed);
            waiting.extend(reply.map(|(conn, _)| (conn, accepted(session, &handed.message_id, true))));
            let length = handed.frame.len();
            session.undelivered.push_front(Undelivered {
                place: handed.place,
                message_id: handed.message_id,
                frame: handed.frame,
            });
            self.common
                .hold(&session.kept.initiator, |holding| holding.queued_bytes += length);
        }
        for (conn, answer) in waiting.into_iter().rev() {
            cx.ledger.answer(cx.now, conn, answer);
        }
    }
}

/// Writes a message down, unless it is. Its answer is on disk for itself.
fn keep(ledger: &mut Ledger, handed: &mut Handed) {
    if core::mem::replace(&mut handed.is_kept, true) {
        return;
    }
    let kept = KeptMessage {
        key: alloc::string::String::new(),
        fingerprint: 0,
        message_id: handed.message_id.clone(),
        until: UnixMillis(0),
        frame: alloc::string::String::from_utf8_lossy(&handed.frame).into_owned(),
    };
    let change = Change::Put {
        value: records::write(&kept),
        expires_at: None,
    };
    let record = handed.session.record_of(handed.place);
    ledger.change(UNDELIVERED, record, change, Durability::Durable);
}

/// Removes a message from disk, if it is there.
fn forget(ledger: &mut Ledger, handed: &mut Handed) {
    if core::mem::take(&mut handed.is_kept) {
        let record = handed.session.record_of(handed.place);
        ledger.change(UNDELIVERED, record, Change::Delete, Durability::Durable);
    }
}
