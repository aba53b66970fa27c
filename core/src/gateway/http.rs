//! HTTP on a connection: which path gets what, and the way to an upgrade. Spec: `spec/operator.md` section 1.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::{BufMut, BytesMut};

use super::Gateway;
use super::answers::{Answer, SECURITY, check_reads};
use super::connection::{Connection, Counted, OperatorStage, Stage};
use super::deadlines::Timer;
use crate::auth::guesser;
use crate::http::{Event, PeerFault, Phase, Request, Status};
use crate::id::ConnId;
use crate::json::write_number;
use crate::policy::address::AddressGroup;
use crate::policy::origin;
use crate::surfaces::operator::{PROTOCOL, UpgradeFacts};
use crate::time::Now;
use crate::websocket::WebSocket;
use crate::websocket::handshake::{HandshakeFault, accept};

/// The largest message of a client that has not said who it is, so that strangers cannot make the gateway hold much.
const MAX_BEFORE_HANDSHAKE: usize = 65_536;

impl Gateway {
    /// Bytes, or their end, came on a connection that speaks HTTP.
    pub(super) fn drive_http(&mut self, now: Now, id: ConnId, connection: &mut Connection) {
        let mut is_new = false;
        loop {
            let Stage::Http(http) = &mut connection.stage else {
                return;
            };
            match http.poll(self.outbox.bytes(id)) {
                Event::Request(request) => {
                    is_new = true;
                    if let Some(rest) = self.route(now, id, connection, &request) {
                        return self.upgraded(now, id, connection, &request, rest);
                    }
                }
                Event::Refused(fault) => self.answers.write_fault(http, fault, now.wall, self.outbox.bytes(id)),
                // No request that we serve has a use for a body.
                Event::Body(_) | Event::BodyEnd => {}
                Event::NeedInput | Event::Paused | Event::Ended => break,
            }
        }
        self.after_http(now, id, connection, is_new);
    }

    /// The deadline of what the connection does now; or its end. `is_new`: a request was read since the last deadline.
    fn after_http(&mut self, now: Now, id: ConnId, connection: &mut Connection, is_new: bool) {
        let Stage::Http(http) = &mut connection.stage else {
            return;
        };
        if http.must_close() {
            return self.flush_after(now, id, connection);
        }
        let settings = &self.settings.gateway.http;
        let (timer, after) = match http.phase() {
            Phase::Idle => (Timer::Idle, settings.idle_timeout),
            Phase::Head => (Timer::Header, settings.header_timeout),
            _ => (Timer::Body, settings.body_timeout),
        };
        // A deadline begins with what it limits: a slow sender's further bytes do not move it.
        if connection
            .deadlines
            .timer()
            .is_none_or(|(current, _)| current != timer || timer == Timer::Idle || is_new)
        {
            connection.deadlines.set(timer, now.monotonic.plus(after));
        }
    }

    /// The time for a request is up.
    pub(super) fn http_timed_out(&mut self, now: Now, id: ConnId, connection: &mut Connection, timer: Timer) {
        let Stage::Http(http) = &mut connection.stage else {
            return;
        };
        let fault = match timer {
            // A peer that sent nothing at all has asked for nothing.
            Timer::Header if http.phase() != Phase::Idle => PeerFault::HeadTimeout,
            Timer::Body => PeerFault::BodyTimeout,
            _ => return self.flush_after(now, id, connection),
        };
        http.raise(fault);
        self.answers.write_fault(http, fault, now.wall, self.outbox.bytes(id));
        self.flush_after(now, id, connection);
    }

    /// Answers a request; or answers an upgrade and returns what followed it.
    fn route(&mut self, now: Now, id: ConnId, connection: &mut Connection, request: &Request) -> Option<BytesMut> {
        let path = request.target().path();
        let upgrade = request.wants_upgrade("websocket");
        if connection.counted == Counted::No {
            self.answer(now, id, connection, &Answer::unavailable(), true);
        } else if path == self.settings.gateway.path {
            match self.judge_upgrade(now, connection, request) {
                Ok(accept) => return self.switch(id, connection, &accept),
                Err((answer, close)) => self.answer(now, id, connection, &answer, close),
            }
        } else if path == "/health" && !upgrade {
            let body = self.health(now);
            let answer = match check_reads(request.method()) {
                Ok(()) => Answer::new(Status::OK, &body),
                Err(answer) => answer,
            };
            self.answer(now, id, connection, &answer, false);
        } else {
            self.answer(
                now,
                id,
                connection,
                &Answer::new(Status::NOT_FOUND, br#"{"error":"Not Found"}"#),
                upgrade,
            );
        }
        None
    }

    /// Whether the connection may be upgraded: the accept key, or the answer and whether the connection is closed after it.
    fn judge_upgrade(
        &mut self,
        now: Now,
        connection: &mut Connection,
        request: &Request,
    ) -> Result<alloc::string::String, (Answer<'static>, bool)> {
        let upgrade_required = Answer::new(Status::UPGRADE_REQUIRED, br#"{"error":"Upgrade Required"}"#);
        let key = match accept(request) {
            Ok(key) => key,
            Err(HandshakeFault::NotAnUpgrade) => {
                return Err((
                    Answer {
                        extra: Some(("Upgrade", "websocket")),
                        ..upgrade_required
                    },
                    false,
                ));
            }
            Err(HandshakeFault::BadVersion) => {
                return Err((
                    Answer {
                        extra: Some(("Sec-WebSocket-Version", "13")),
                        ..upgrade_required
                    },
                    true,
                ));
            }
            Err(HandshakeFault::BadRequest | HandshakeFault::BadKey) => {
                return Err((Answer::new(Status::BAD_REQUEST, br#"{"error":"Bad Request"}"#), true));
            }
        };
        if self.draining.is_some() {
            return Err((Answer::unavailable(), true));
        }
        // Two origins are none that could be judged.
        let Ok(origin) = request.headers().get_only("origin") else {
            return Err((Answer::new(Status::BAD_REQUEST, br#"{"error":"Bad Request"}"#), true));
        };
        let origin = origin::present(origin);
        if let Some(left) = self.auth.locked_for(now.monotonic, guesser(connection.peer, origin)) {
            let body = br#"{"error":{"message":"Too many failed authentication attempts. Please try again later.","type":"rate_limited"}}"#;
            let answer = Answer::new(Status::TOO_MANY_REQUESTS, body);
            return Err((
                Answer {
                    retry_after: Some(left),
                    ..answer
                },
                true,
            ));
        }
        self.count_page(connection, origin.is_some()).map_err(|setting| {
            self.turned_away(now, setting);
            (Answer::unavailable(), true)
        })?;
        Ok(key)
    }

    /// Web pages on this machine count per address like strangers; other local programs do not.
    fn count_page(&mut self, connection: &mut Connection, is_page: bool) -> Result<(), &'static str> {
        if let (Counted::Pending(None), true, Some(group)) =
            (connection.counted, is_page, AddressGroup::of(connection.peer))
        {
            self.admission.join(group, &self.settings.gateway)?;
            connection.counted = Counted::Pending(Some(group));
        }
        Ok(())
    }

    fn switch(&mut self, id: ConnId, connection: &mut Connection, accept: &str) -> Option<BytesMut> {
        let Stage::Http(http) = &mut connection.stage else {
            return None;
        };
        let mut fields = Vec::with_capacity(SECURITY.len() + 1);
        fields.push(("Sec-WebSocket-Accept", accept));
        fields.extend(SECURITY);
        http.switch_protocols("websocket", &fields, self.outbox.bytes(id))
    }

    /// The connection speaks WebSocket from here on.
    fn upgraded(&mut self, now: Now, id: ConnId, connection: &mut Connection, request: &Request, mut rest: BytesMut) {
        let facts = UpgradeFacts {
            origin: origin::present(request.headers().get("origin")),
            host: request.host(),
            connected_at: connection.opened_at,
        };
        let (operator, mut cx) = self.operator(now);
        let session = operator.opened(&mut cx, id, facts);
        let socket = WebSocket::new(self.settings.gateway.max_payload_bytes.min(MAX_BEFORE_HANDSHAKE));
        connection.stage = Stage::Operator(Box::new(OperatorStage {
            socket,
            session,
            held: Vec::new(),
        }));
        connection.deadlines.set(
            Timer::Handshake,
            now.monotonic.plus(self.settings.gateway.handshake_timeout),
        );
        if !rest.is_empty() {
            self.drive_websocket(now, id, connection, &mut rest);
        }
    }

    fn answer(&mut self, now: Now, id: ConnId, connection: &mut Connection, answer: &Answer<'_>, close: bool) {
        let Stage::Http(http) = &mut connection.stage else {
            return;
        };
        if close || self.draining.is_some() {
            http.close_after_response();
        }
        self.answers.write(http, answer, now.wall, self.outbox.bytes(id));
    }

    /// The body of `GET /health`.
    fn health(&self, now: Now) -> BytesMut {
        let mut out = BytesMut::with_capacity(160);
        out.put_slice(b"{\"status\":\"ok\",\"protocol\":");
        write_number(&mut out, u64::from(PROTOCOL));
        out.put_slice(b",\"connectedClients\":");
        write_number(&mut out, u64::from(self.operator.clients()));
        out.put_slice(b",\"uptimeMs\":");
        write_number(&mut out, now.monotonic.since(self.started.monotonic).as_millis() as u64);
        let required: &[u8] = if self.auth.is_required() { b"true" } else { b"false" };
        out.put_slice(b",\"authRequired\":");
        out.put_slice(required);
        // A gateway that requires a token has one: it would not start without.
        out.put_slice(b",\"hasAuthToken\":");
        out.put_slice(required);
        out.put_u8(b'}');
        out
    }
}
