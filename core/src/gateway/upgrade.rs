//! The way from HTTP to WebSocket: who may take it, and what begins at its end. Spec: `spec/operator.md` sections 1 and 8,
//! `spec/hardening.md`, `spec/websocket.md`.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::BytesMut;

use super::Gateway;
use super::answers::Answer;
use super::connection::{Connection, Counted, Session, Stage, WebSocketStage};
use super::deadlines::Timer;
use super::routes::Route;
use crate::audit::{AuditEvent, AuditOutcome, Surface};
use crate::http::Request;
use crate::id::ConnId;
use crate::limits::lockout::{Guesser, Scope};
use crate::machine::Peer;
use crate::policy::address::AddressGroup;
use crate::policy::forwarded::{Client, is_trusted};
use crate::policy::origin;
use crate::surfaces::operator::UpgradeFacts;
use crate::time::Now;
use crate::websocket::WebSocket;
use crate::websocket::handshake::{HandshakeFault, accept};

/// The largest message of a client that has not said who it is, so that strangers cannot make the gateway hold much.
const MAX_BEFORE_HANDSHAKE: usize = 65_536;

impl Gateway {
    /// The accept key of a sound handshake.
    pub(super) fn accept_key(request: &Request) -> Result<String, Answer<'static>> {
        accept(request).map_err(|fault| match fault {
            HandshakeFault::NotAnUpgrade => Answer::upgrade_required().with("Upgrade", "websocket"),
            HandshakeFault::BadVersion => Answer::upgrade_required().with("Sec-WebSocket-Version", "13").closing(),
            HandshakeFault::BadRequest | HandshakeFault::BadKey => Answer::bad_request(),
        })
    }

    /// Whether the connection may be upgraded: the accept key, or the answer.
    pub(super) fn judge_upgrade(
        &mut self,
        now: Now,
        id: ConnId,
        connection: &mut Connection,
        request: &Request,
    ) -> Result<String, Answer<'static>> {
        let key = Self::accept_key(request)?;
        if self.draining.is_some() {
            return Err(Answer::draining());
        }
        // Two origins are none that could be judged.
        let Ok(origin) = request.headers().get_only("origin") else {
            return Err(Answer::bad_request());
        };
        let origin = origin::present(origin);
        let page = origin::counted(origin, request.host(), &self.settings.gateway.allowed_origins);
        let who = Guesser::of(Scope::SharedSecret, connection.client, page);
        if let Some(left) = self.auth.locked_for(now.monotonic, who) {
            self.reject(now, id, connection, Some(request), "rate_limited");
            return Err(Answer::locked_out(left).closing());
        }
        self.count_client(connection, origin.is_some()).map_err(|setting| {
            self.turned_away(now, setting);
            Answer::unavailable()
        })?;
        Ok(key)
    }

    /// Whose limits hold for a connection that has said nothing: those of its peer, but none for programs on this machine
    /// and for trusted proxies, whose clients are not known yet.
    pub(super) fn group_at_first(&self, peer: Peer) -> Option<AddressGroup> {
        match Client::of_peer(peer) {
            Client::Remote(address) if !is_trusted(address, &self.settings.doors) => {
                Some(AddressGroup::of_address(address))
            }
            _ => None,
        }
    }

    /// Clients behind a proxy count by their own address. Web pages on this machine count per address like strangers; other
    /// local programs do not.
    pub(super) fn count_client(&mut self, connection: &mut Connection, is_page: bool) -> Result<(), &'static str> {
        let address = match connection.client {
            Client::Local(address) => address.filter(|_| is_page),
            Client::Remote(address) => Some(address),
            Client::Unknown => None,
        };
        if let (Counted::Pending(None), Some(address)) = (connection.counted, address) {
            let group = AddressGroup::of_address(address);
            self.admission.join(group, &self.settings.gateway)?;
            connection.counted = Counted::Pending(Some(group));
        }
        Ok(())
    }

    pub(super) fn switch(&mut self, id: ConnId, connection: &mut Connection, accept: &str) -> Option<BytesMut> {
        let Stage::Http(stage) = &mut connection.stage else {
            return None;
        };
        let accept = [("Sec-WebSocket-Accept", accept)];
        let fields = self.answers.upgraded(&accept);
        stage.http.switch_protocols("websocket", fields, self.outbox.bytes(id))
    }

    /// The connection speaks WebSocket from here on.
    pub(super) fn upgraded(
        &mut self,
        now: Now,
        id: ConnId,
        connection: &mut Connection,
        request: &Request,
        route: Route,
        mut rest: BytesMut,
    ) {
        let session = match route {
            Route::Control => {
                let origin = request.headers().get("origin");
                self.control_session(now, id, connection.client, origin)
            }
            _ => Some(self.operator_session(now, id, connection, request)),
        };
        let Some(session) = session else {
            return self.flush_after(now, id, connection);
        };
        let socket = WebSocket::new(self.largest_message(&session));
        let is_operator = matches!(session, Session::Operator(_));
        connection.stage = Stage::WebSocket(Box::new(WebSocketStage {
            socket,
            session,
            held: Vec::new(),
        }));
        if is_operator {
            let at = now.monotonic.plus(self.settings.gateway.handshake_timeout);
            connection.deadlines.set(Timer::Handshake, at);
        } else {
            Self::keep_control_deadline(connection);
        }
        if !rest.is_empty() {
            self.drive_websocket(now, id, connection, &mut rest);
        }
    }

    fn operator_session(&mut self, now: Now, id: ConnId, connection: &Connection, request: &Request) -> Session {
        if self.settings.records(AuditEvent::ConnOpen) {
            let facts = self.facts(id, connection, Some(request), Surface::Ws);
            self.audit
                .push(facts.into_record(AuditEvent::ConnOpen, AuditOutcome::Ok));
        }
        let facts = UpgradeFacts {
            origin: origin::present(request.headers().get("origin")),
            host: request.host(),
            connected_at: connection.opened_at,
            client: connection.client,
            vouched_for: self.has_proxy_user(connection, request),
        };
        let (operator, mut cx) = self.operator(now);
        Session::Operator(operator.opened(&mut cx, id, facts))
    }

    /// The largest message that a session takes now: strangers cannot make the gateway hold much.
    pub(super) fn largest_message(&self, session: &Session) -> usize {
        match session {
            Session::Control(session) => {
                let limits = self
                    .control
                    .as_ref()
                    .map(|control| control.settings().max_message_bytes);
                let (before, after) = limits.unwrap_or((MAX_BEFORE_HANDSHAKE, MAX_BEFORE_HANDSHAKE));
                if session.is_authenticated() { after } else { before }
            }
            session if session.is_ready() => self.settings.gateway.max_payload_bytes,
            _ => self.settings.gateway.max_payload_bytes.min(MAX_BEFORE_HANDSHAKE),
        }
    }
}
