//! An agent's connection from its upgrade to its end, and what waits for it when it comes.

use super::handshake::offer;
use super::record::Status as State;
use super::{Sessions, bad, refused};
use crate::audit::{AuditEvent, AuditOutcome};
use crate::http::Status;
use crate::id::ConnId;
use crate::settings::RelayAuth;
use crate::surfaces::relay::agents::{Handed, PRESENCE, SILENCE, wire};
use crate::surfaces::relay::context::RelayContext;
use crate::surfaces::relay::devices::{Devices, Role, end_of};
use crate::surfaces::relay::http::{Answer, Caller, Reply, Request, Socket};
use crate::surfaces::relay::ids::DeviceId;
use crate::surfaces::relay::percent;
use crate::time::Instant;
use crate::websocket::CloseCode;

impl Sessions {
    /// `GET /gateway/v1/agent/connect`: whether the upgrade may take place.
    pub(super) fn connect(
        &self,
        cx: &RelayContext<'_>,
        devices: &Devices,
        caller: &Caller,
        request: &Request<'_>,
    ) -> Reply {
        match self.judge(cx, devices, caller, request) {
            Ok(device) => Reply::Upgrade(Socket::Agent(device)),
            Err(refusal) => Reply::Now(refusal),
        }
    }

    fn judge(
        &self,
        cx: &RelayContext<'_>,
        devices: &Devices,
        caller: &Caller,
        request: &Request<'_>,
    ) -> Result<DeviceId, Answer> {
        let device = device_of(request.query).ok_or_else(|| bad("device_id query param is required"))?;
        match devices.role(cx.now, &caller.uid, &device) {
            Some(Role::Owner) => {}
            Some(Role::Collaborator { .. }) => return Err(refused(Status::FORBIDDEN, "forbidden")),
            None => return Err(bad("device_not_found")),
        }
        if let Some(header) = request
            .headers
            .get("x-device-id")
            .filter(|text| !text.trim().is_empty())
        {
            let header = DeviceId::parse(header).map_err(|_| bad("invalid X-Device-Id header"))?;
            if header != device {
                return Err(bad("X-Device-Id header does not match device_id query param"));
            }
        }
        if !self
            .agents
            .has_room(&caller.uid, &device, cx.relay.limits.agents_per_owner)
        {
            return Err(refused(Status::TOO_MANY_REQUESTS, "too many agent connections").with("Retry-After", "30"));
        }
        if !request.wants_websocket {
            #[derive(serde::Serialize)]
            struct Required {
                code: u16,
                error: &'static str,
            }
            let required = Required {
                code: 426,
                error: "Upgrade Required",
            };
            return Err(Answer::json(Status::UPGRADE_REQUIRED, &required).with("Upgrade", "websocket"));
        }
        Ok(device)
    }

    /// The upgrade took place.
    pub fn agent_opened(
        &mut self,
        cx: &mut RelayContext<'_>,
        devices: &mut Devices,
        conn: ConnId,
        caller: &Caller,
        device: DeviceId,
    ) {
        if devices.role(cx.now, &caller.uid, &device) != Some(Role::Owner) {
            return cx.outbox.close(conn, CloseCode::POLICY, "invalid device_id");
        }
        let limit = cx.relay.limits.agents_per_owner;
        if !self.agents.has_room(&caller.uid, &device, limit) {
            return cx.outbox.close(conn, CloseCode::POLICY, "too_many_connections");
        }
        if let Some(old) = self.agents.of_device(&device) {
            cx.outbox.close(old, CloseCode::NORMAL, "replaced_by_new_connection");
            self.drop_agent(cx, old, "replaced");
        }
        let until = end_of(cx.now, caller);
        self.agents
            .open(cx, &self.secret, conn, device.clone(), caller.uid.clone(), until);
        if let Some(agent) = self.agents.get_mut(conn) {
            // Where there is no login that can be ended, the token's end is the only one.
            agent.has_login = caller.login.is_some();
        }
        let at = cx.now.wall;
        let whose = alloc::format!("{device} of {}", caller.uid.0);
        cx.record(AuditEvent::AgentConnected, AuditOutcome::Ok, (conn, None), whose);
        self.tell_agent(cx, conn, |out, agent| wire::connected(out, agent, at));
        self.send_token(cx, conn);
        self.schedule(cx, conn);
        devices.connected(cx, &device);
        self.drop_of_strangers(cx, devices, &device);
        self.pump(cx, &device);
    }

    /// An agent's connection ended. Nothing happens for one that was replaced.
    pub fn agent_closed(&mut self, cx: &mut RelayContext<'_>, devices: &mut Devices, conn: ConnId) {
        if let Some(device) = self.drop_agent(cx, conn, "gone") {
            devices.disconnected(cx, &device);
        }
    }

    fn drop_agent(&mut self, cx: &mut RelayContext<'_>, conn: ConnId, how: &str) -> Option<DeviceId> {
        let agent = self.agents.remove(conn)?;
        let whose = alloc::format!("{how}: {} of {}", agent.device, agent.owner.0);
        cx.record(AuditEvent::AgentDisconnected, AuditOutcome::Ok, (conn, None), whose);
        self.agents_due.remove(&(agent.due, conn));
        self.take_back(cx, agent.flight);
        Some(agent.device)
    }

    /// Sends what waits for a device: handshake requests, then messages, each session's in order.
    pub(super) fn pump(&mut self, cx: &mut RelayContext<'_>, device: &DeviceId) {
        for key in self.keys_of(device) {
            let Some(mut session) = self.sessions.get_mut(&key) else {
                continue;
            };
            if session.kept.status.is_pending() {
                offer(cx, &mut self.agents, session);
                self.common.touch(cx.now.monotonic, session);
            }
            if session.kept.status != State::AgentAcknowledged {
                continue;
            }
            while !session.undelivered.is_empty() {
                let Ok(conn) = self.agents.taking(cx, device) else {
                    self.owe(cx, device);
                    return;
                };
                let Some(message) = session.undelivered.pop_front() else {
                    break;
                };
                let length = message.frame.len();
                self.common.hold(&session.kept.initiator, |holding| {
                    holding.queued_bytes = holding.queued_bytes.saturating_sub(length);
                });
                session.kept.updated_at = cx.now.wall;
                self.common.touch(cx.now.monotonic, session);
                let handed = Handed {
                    session: key.clone(),
                    place: message.place,
                    message_id: message.message_id,
                    frame: message.frame,
                    reply: None,
                    is_kept: true,
                };
                self.hand(cx, conn, handed);
                let Some(again) = self.sessions.get_mut(&key) else {
                    break;
                };
                session = again;
            }
        }
    }

    /// What waits of users whose time with the device is over goes nowhere: a grant that ran out is told by nobody.
    fn drop_of_strangers(&mut self, cx: &mut RelayContext<'_>, devices: &Devices, device: &DeviceId) {
        // In demo mode an owner may be known by e-mail alone, which is not known here.
        if cx.relay.auth == RelayAuth::Demo {
            return;
        }
        for key in self.keys_of(device) {
            if devices.role(cx.now, &key.user, device).is_none()
                && let Some(session) = self.sessions.get_mut(&key)
            {
                self.common.drop_undelivered(cx, session);
            }
        }
    }

    fn send_token(&mut self, cx: &mut RelayContext<'_>, conn: ConnId) {
        let (seconds, at) = (cx.relay.transport_token_ttl.as_secs(), cx.now.wall);
        self.tell_agent(cx, conn, |out, agent| wire::transport_init(out, agent, seconds, at));
    }

    /// Looks after the agents whose time has come: silence, presence, fresh tokens, and with strict settings the end of
    /// the access token.
    pub(super) fn agents_due(&mut self, cx: &mut RelayContext<'_>, devices: &mut Devices) {
        let now = cx.now.monotonic;
        while let Some(&(at, conn)) = self.agents_due.first()
            && at <= now
        {
            self.agents_due.remove(&(at, conn));
            let Some(agent) = self.agents.get_mut(conn) else {
                continue;
            };
            let expired = (cx.relay.strict_transport || !agent.has_login) && agent.until <= now;
            if expired || agent.heard.plus(SILENCE) <= now {
                let reason = if expired {
                    "access token expired"
                } else {
                    "no frame for 60 seconds"
                };
                cx.outbox.close(conn, CloseCode::POLICY, reason);
                self.agent_closed(cx, devices, conn);
                continue;
            }
            devices.seen(cx.now, &agent.device);
            if agent.proof.renew_at <= now {
                agent.proof.renew(
                    cx.now,
                    &self.secret,
                    agent.device.as_str(),
                    cx.relay.transport_token_ttl,
                );
                self.send_token(cx, conn);
            }
            self.schedule(cx, conn);
        }
    }

    fn schedule(&mut self, cx: &RelayContext<'_>, conn: ConnId) {
        let Some(agent) = self.agents.get_mut(conn) else { return };
        let until = if cx.relay.strict_transport || !agent.has_login {
            agent.until
        } else {
            Instant::END
        };
        let next = cx.now.monotonic.plus(PRESENCE);
        agent.due = next.min(agent.heard.plus(SILENCE)).min(agent.proof.renew_at).min(until);
        self.agents_due.insert((agent.due, conn));
    }
}

/// The device that a query names: once, so that nobody who looked at the query before can have taken it for another one.
fn device_of(query: &str) -> Option<DeviceId> {
    let mut named = query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent::decode_form(name) == "device_id").then(|| percent::decode_form(value))
    });
    let (first, None) = (named.next()?, named.next()) else {
        return None;
    };
    DeviceId::parse(&first).ok()
}
