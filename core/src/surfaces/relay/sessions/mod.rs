//! Sessions: a client and an agent shake hands here and then exchange sealed messages. This page is the part's front door
//! and its table of routes. It cannot read what is sealed, and it asks the devices who may do what.
//! Spec: `spec/relay.md` sections 17 to 21.

mod answers;
mod backlog;
mod common;
mod connect;
mod flight;
mod frame;
mod from_agent;
mod handshake;
mod key;
mod listeners;
mod messages;
mod proof;
mod record;
#[cfg(test)]
mod tests;
mod upkeep;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use common::Common;
pub(super) use key::SessionKey;
use record::Session;

use super::agents::Agents;
use super::context::RelayContext;
use super::devices::{Devices, Role};
use super::http::{Answer, Caller, Reply, Request};
use super::ids::{DeviceId, SessionId, Uid};
use super::loading::Loading;
use super::percent;
use super::transport;
use crate::calls::Calls;
use crate::effect::Outcome;
use crate::http::{Method, Status};
use crate::id::{ConnId, EffectId};
use crate::report::Report;
use crate::secret::Secret;
use crate::settings::RelaySettings;
use crate::store::Record;
use crate::time::{Instant, Now};

/// Other users' sessions of one id that are looked at, to tell somebody that a session is another user's.
const MAX_NAMESAKES: usize = 64;

/// All sessions and agents.
#[derive(Debug)]
pub struct Sessions {
    loading: Loading,
    /// What was read, until all of it is there.
    loaded: Vec<(&'static str, Vec<Record>)>,
    /// Signs transport tokens.
    secret: Secret,
    sessions: BTreeMap<SessionKey, Box<Session>>,
    /// On a device an id is there once: whose session it is.
    of_device: BTreeMap<DeviceId, BTreeMap<SessionId, Uid>>,
    agents: Agents,
    agents_due: BTreeSet<(Instant, ConnId)>,
    common: Common,
    /// Agents with messages that they have not shown to have, and when they are looked at.
    watched: VecDeque<(Instant, ConnId)>,
    /// Answers to messages that their agents' sockets took.
    answers: VecDeque<(ConnId, Answer)>,
}

impl Sessions {
    /// No sessions yet: their records are being read.
    #[must_use]
    pub fn new(relay: &RelaySettings, calls: &mut Calls) -> Self {
        Self {
            loading: Loading::start(
                calls,
                &[record::SESSIONS, record::UNDELIVERED, answers::ANSWERS, backlog::EVENTS],
            ),
            loaded: Vec::new(),
            secret: transport::secret(relay),
            sessions: BTreeMap::new(),
            of_device: BTreeMap::new(),
            agents: Agents::default(),
            agents_due: BTreeSet::new(),
            common: Common::default(),
            watched: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    /// Whether the records are read; before that nothing is to be asked.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.loading.is_done() && self.loaded.is_empty()
    }

    /// Whether this effect was started here.
    #[must_use]
    pub fn owns(&self, effect: EffectId) -> bool {
        self.loading.owns(effect)
    }

    /// An effect ended.
    pub fn completed(
        &mut self,
        relay: &RelaySettings,
        now: Now,
        reports: &mut Vec<Report>,
        effect: EffectId,
        outcome: Outcome,
    ) {
        self.loaded
            .extend(self.loading.completed(now, reports, effect, outcome));
        if self.loading.is_done() {
            self.take_loaded(relay, now, reports);
        }
    }

    /// Sessions of the devices of an owner, agents and sessions with events of everybody: for the health endpoint.
    #[must_use]
    pub fn counts(&self, devices: &Devices, owner: &Uid) -> Counts {
        let sessions = devices.owned_by(owner).filter_map(|id| self.of_device.get(id));
        Counts {
            sessions: sessions.map(BTreeMap::len).sum(),
            agents: self.agents.len(),
            event_backlogs: self.common.with_events,
        }
    }

    /// A request of a signed-in caller; `None` when its path and method are not served here.
    pub fn handle(
        &mut self,
        cx: &mut RelayContext<'_>,
        devices: &mut Devices,
        caller: &Caller,
        request: &Request<'_>,
    ) -> Option<Reply> {
        if request.path == "/gateway/v1/agent/connect" {
            return (request.method == Method::Get).then(|| self.connect(cx, devices, caller, request));
        }
        let rest = request.path.strip_prefix("/gateway/v1/sessions/")?;
        let mut segments = rest.split('/');
        let place = (segments.next(), segments.next(), segments.next(), segments.next());
        let reply = match (request.method, place) {
            (Method::Post, (Some(id), Some("messages"), None, _)) => {
                self.message(cx, devices, caller, request, &segment(id))
            }
            (Method::Get, (Some(id), Some("events"), None, _)) => {
                self.listen(cx, devices, caller, request, &segment(id))
            }
            (Method::Post, (Some(id), Some("handshake"), Some("client-init"), None)) => {
                self.client_init(cx, devices, caller, request, &segment(id))
            }
            (Method::Post, (Some(id), Some("handshake"), Some("agent-ack"), None)) => {
                self.agent_ack(cx, devices, caller, request, &segment(id))
            }
            (Method::Get, (Some(id), Some("handshake"), Some(handshake), None)) => {
                self.handshake(cx, devices, caller, &segment(id), &segment(handshake))
            }
            _ => return None,
        };
        Some(reply.unwrap_or_else(Reply::Now))
    }

    /// A user's right to use a device ended: that user's streams of its sessions end at once, and what that user's
    /// sessions still had for its agent is not sent.
    pub fn revoked(&mut self, cx: &mut RelayContext<'_>, device: &DeviceId, uid: &Uid) {
        for key in self.keys_of(device).into_iter().filter(|key| key.user == *uid) {
            if let Some(session) = self.sessions.get_mut(&key) {
                self.common.end_listeners(cx, session);
                // Who has no right any more is not heard any more.
                self.common.drop_undelivered(cx, session);
            }
        }
    }

    /// A device is gone, and with it its sessions and its agent.
    pub fn removed(&mut self, cx: &mut RelayContext<'_>, devices: &mut Devices, device: &DeviceId) {
        for key in self.keys_of(device) {
            self.forget(cx, &key);
        }
        if let Some(conn) = self.agents.of_device(device) {
            cx.outbox
                .close(conn, crate::websocket::CloseCode::POLICY, "device removed");
            self.agent_closed(cx, devices, conn);
        }
    }

    /// The sessions of a device.
    fn keys_of(&self, device: &DeviceId) -> Vec<SessionKey> {
        let all = self.of_device.get(device).into_iter().flatten();
        all.map(|(id, user)| SessionKey::new(id, user)).collect()
    }

    /// The session of this id on a device.
    fn on_device(&self, device: &DeviceId, id: &str) -> Option<SessionKey> {
        let (id, user) = self.of_device.get(device)?.get_key_value(id)?;
        Some(SessionKey::new(id, user))
    }

    /// The caller's own session of this id, and the caller's part in it: only who began it has one, and only while the device
    /// may be used. Others who may use the device learn that it is not theirs, strangers nothing.
    fn member(
        &self,
        cx: &RelayContext<'_>,
        devices: &Devices,
        caller: &Caller,
        id: &SessionId,
    ) -> Result<(SessionKey, Role), Answer> {
        let key = SessionKey::new(id, &caller.uid);
        let forbidden = || refused(Status::FORBIDDEN, "forbidden");
        if let Some(session) = self.sessions.get(&key) {
            let role = devices.standing(cx, caller, &session.kept.device);
            return role.map(|role| (key, role)).ok_or_else(forbidden);
        }
        let first = SessionKey {
            id: id.clone(),
            user: Uid::default(),
        };
        let others = self.sessions.range(first..).take(MAX_NAMESAKES);
        let mut others = others.take_while(|(other, _)| other.id == *id);
        if others.any(|(_, session)| devices.standing(cx, caller, &session.kept.device).is_some()) {
            return Err(forbidden());
        }
        Err(refused(Status::NOT_FOUND, "session not found"))
    }

    /// The next answer to a message that was handed over; others come from the ledger.
    pub fn take_answer(&mut self) -> Option<(ConnId, Answer)> {
        self.answers.pop_front()
    }

    /// A listener left.
    pub fn closed(&mut self, conn: ConnId) {
        if let Some(key) = self.common.listeners.remove(conn)
            && let Some(session) = self.sessions.get_mut(&key)
        {
            session.listeners.retain(|listener| *listener != conn);
        }
    }
}

/// Numbers for the health endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Sessions of the owner's devices.
    pub sessions: usize,
    /// Agents of everybody.
    pub agents: usize,
    /// Sessions of everybody that have events.
    pub event_backlogs: usize,
}

/// A segment of a path, decoded; one that cannot be is no id either.
fn segment(written: &str) -> alloc::borrow::Cow<'_, str> {
    percent::decode(written).unwrap_or(alloc::borrow::Cow::Borrowed("%"))
}

fn refused(status: Status, text: &str) -> Answer {
    Answer::error(status, text)
}

fn bad(text: &str) -> Answer {
    refused(Status::BAD_REQUEST, text)
}
