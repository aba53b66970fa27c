//! The relay on connections: requests go to it whole, its answers come at once or later, event streams and agents' sockets
//! begin when it says so. What a request means is the surface's business. Spec: `spec/relay.md`.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::BytesMut;

use super::Gateway;
use super::answers::{HSTS, SECURITY};
use super::connection::{Connection, Counted, Session, Stage, WebSocketStage};
use super::exchange::Exchange;
use super::http::Routed;
use crate::audit::{AuditEvent, AuditOutcome, Surface};
use crate::http::{Fields, Method, PeerFault, Request, Response, ResponseHead, Status};
use crate::id::{ConnId, ExchangeId};
use crate::outbound::ExchangeEvent;
use crate::surfaces::relay::cors::Cors;
use crate::surfaces::relay::http::{Answer, Caller, EventStream, Reply, Request as Whole, Socket};
use crate::surfaces::relay::ids::DeviceId;
use crate::surfaces::relay::streams::StreamOutput;
use crate::surfaces::relay::{Admitted, Begun, Class, Context, Refused, Relay, broken, framework, stream_head};
use crate::time::Now;
use crate::websocket::WebSocket;
use crate::websocket::handshake::accept;

/// A request for the relay whose body is not complete.
#[derive(Debug)]
pub(super) struct RelayRequest {
    request: Request,
    admitted: Admitted,
    asked: Asked,
    body: BytesMut,
}

impl RelayRequest {
    /// A piece of the body arrived; how much may is the connection's business.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.body.extend_from_slice(piece);
    }
}

/// What is kept of a request until it is answered.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    cors: Cors,
    class: Class,
}

impl Gateway {
    /// Does something with the relay, where there is one.
    pub(super) fn with_relay<R>(&mut self, now: Now, act: impl FnOnce(&mut Relay, &mut Context<'_>) -> R) -> Option<R> {
        let relay = self.relay.as_mut()?;
        let mut cx = Context {
            now,
            settings: &self.settings,
            random: &mut self.random,
            outbox: &mut self.outbox,
            calls: &mut self.calls,
            exchanges: &mut self.exchanges,
            reports: &mut self.reports,
            audit: &mut self.audit,
        };
        Some(act(relay, &mut cx))
    }

    /// A request for the relay: judged by its head, and handed over once its body is there.
    pub(super) fn relay_request(
        &mut self,
        now: Now,
        id: ConnId,
        connection: &mut Connection,
        request: &Request,
    ) -> Routed {
        let path = request.target().path();
        let begun = self.relay.as_mut().map(|relay| {
            let method = (request.method(), request.method_name());
            relay.begin(now, method, path, request.headers(), connection.client.address())
        });
        let Some(Begun { cors, class, verdict }) = begun else {
            return Routed::Answered;
        };
        let asked = Asked { cors, class };
        let admitted = match verdict {
            Ok(admitted) => admitted,
            Err(Refused { answer, fault }) => {
                if let Some(fault) = fault {
                    self.relay_auth_failed(now, id, connection, request, fault.to_string());
                }
                self.write_relay_answer(now, id, connection, &answer, &asked);
                return Routed::Answered;
            }
        };
        if admitted.caller.is_some() {
            self.relay_known(connection);
        }
        let Stage::Http(stage) = &mut connection.stage else {
            return Routed::Answered;
        };
        if stage.http.limit_body(admitted.max_body_bytes).is_err() {
            stage.http.close_after_response();
            self.write_relay_answer(now, id, connection, &broken(PeerFault::BodyTooLarge), &asked);
            return Routed::Answered;
        }
        if request.has_body() {
            stage.exchange = Exchange::RelayBody(Box::new(RelayRequest {
                request: request.clone(),
                admitted,
                asked,
                body: BytesMut::new(),
            }));
        } else {
            self.ask_relay(now, id, connection, request, &admitted, asked, &[]);
        }
        Routed::Answered
    }

    /// The body of a request for the relay is complete.
    pub(super) fn relay_body_complete(
        &mut self,
        now: Now,
        id: ConnId,
        connection: &mut Connection,
        whole: RelayRequest,
    ) {
        let RelayRequest {
            request,
            admitted,
            asked,
            body,
        } = whole;
        self.ask_relay(now, id, connection, &request, &admitted, asked, &body);
    }

    #[allow(clippy::too_many_arguments, reason = "each is one part of the one request")]
    fn ask_relay(
        &mut self,
        now: Now,
        id: ConnId,
        connection: &mut Connection,
        request: &Request,
        admitted: &Admitted,
        asked: Asked,
        body: &[u8],
    ) {
        let target = request.target();
        let whole = Whole {
            conn: id,
            method: request.method(),
            path: target.path(),
            query: target.query().unwrap_or_default(),
            headers: request.headers(),
            client: connection.client.address(),
            body,
            wants_websocket: request.method() == Method::Get
                && !request.has_body()
                && request.wants_upgrade("websocket"),
        };
        let Some(reply) = self.with_relay(now, |relay, cx| relay.handle(cx, &whole, admitted)) else {
            return;
        };
        match reply {
            Reply::Now(answer) => self.write_relay_answer(now, id, connection, &answer, &asked),
            Reply::Later => {
                if let Stage::Http(stage) = &mut connection.stage {
                    stage.exchange = Exchange::RelayWorking(Box::new(asked));
                    self.relay_waiting += 1;
                }
            }
            Reply::Events(stream) => self.begin_stream(now, id, connection, &stream, &asked),
            Reply::Upgrade(Socket::Agent(device)) => {
                self.begin_agent(now, id, connection, request, admitted.caller.as_ref(), device, &asked);
            }
        }
    }

    fn write_relay_answer(
        &mut self,
        now: Now,
        id: ConnId,
        connection: &mut Connection,
        answer: &Answer,
        asked: &Asked,
    ) {
        let Stage::Http(stage) = &mut connection.stage else {
            return;
        };
        if self.draining.is_some() {
            stage.http.close_after_response();
        }
        let (mut fields, overrides) = fields(answer, &asked.cors);
        let headers = if overrides {
            complete(&mut fields, self.settings.doors.strict_transport_security.as_deref());
            Fields::of(&fields)
        } else {
            self.answers.upgraded(&fields)
        };
        let response = Response {
            status: answer.status,
            headers,
            body: &answer.body,
            date: now.wall,
        };
        stage.http.respond(&response, self.outbox.bytes(id));
        self.metrics.relay_answered(asked.class as usize, answer.status);
    }

    fn begin_stream(&mut self, now: Now, id: ConnId, connection: &mut Connection, stream: &EventStream, asked: &Asked) {
        let Stage::Http(stage) = &mut connection.stage else {
            return;
        };
        let head = stream_head();
        let (mut fields, _) = fields(&head, &asked.cors);
        complete(&mut fields, self.settings.doors.strict_transport_security.as_deref());
        let out = self.outbox.bytes(id);
        let before = out.len();
        let head = ResponseHead {
            status: head.status,
            headers: Fields::of(&fields),
            date: now.wall,
        };
        stage.http.respond_streaming(&head, out);
        stage.http.write(&stream.first, out);
        stage.exchange = Exchange::Streaming;
        let written = out.len() - before;
        if let Some(relay) = &mut self.relay {
            relay.stream_began(id, written);
        }
        self.metrics.relay_answered(asked.class as usize, Status::OK);
    }

    #[allow(clippy::too_many_arguments, reason = "each is one part of the one request")]
    fn begin_agent(
        &mut self,
        now: Now,
        id: ConnId,
        connection: &mut Connection,
        request: &Request,
        caller: Option<&Arc<Caller>>,
        device: DeviceId,
        asked: &Asked,
    ) {
        let sound = accept(request).map_err(|_| framework(Status::BAD_REQUEST, "Bad Request"));
        let is_page = request.headers().get("origin").is_some();
        let admitted = sound.and_then(|key| {
            self.count_client(connection, is_page).map_err(|setting| {
                self.turned_away(now, setting);
                framework(Status::SERVICE_UNAVAILABLE, "Service Unavailable").with("Retry-After", "1")
            })?;
            Ok(key)
        });
        let key = match admitted {
            Ok(key) => key,
            Err(answer) => return self.write_relay_answer(now, id, connection, &answer, asked),
        };
        let (Some(mut rest), Some(caller)) = (self.switch(id, connection, &key), caller) else {
            return;
        };
        if self.journal.is_some() {
            let facts = self.facts(id, connection, Some(request), Surface::Relay);
            let record = facts.record(AuditEvent::ConnOpen, AuditOutcome::Ok);
            let who = alloc::format!("agent of {device}, {}", caller.uid.0);
            self.audit.push(record.because(who));
        }
        let largest = self
            .relay
            .as_ref()
            .map(|relay| relay.settings().limits.frame_bytes as usize);
        connection.stage = Stage::WebSocket(Box::new(WebSocketStage {
            socket: WebSocket::new(largest.unwrap_or_default()),
            session: Session::Agent,
            held: Vec::new(),
        }));
        // The surface watches over its silence.
        connection.deadlines.clear();
        self.relay_known(connection);
        self.with_relay(now, |relay, cx| relay.agent_opened(cx, id, caller, device));
        if !rest.is_empty() {
            self.drive_websocket(now, id, connection, &mut rest);
        }
    }

    /// Who has proved who they are do not count as strangers any more.
    fn relay_known(&mut self, connection: &mut Connection) {
        if let Counted::Pending(group) = connection.counted {
            self.admission.finished(group);
            connection.counted = Counted::Open(group);
        }
    }

    fn relay_auth_failed(
        &mut self,
        now: Now,
        id: ConnId,
        connection: &Connection,
        request: &Request,
        reason: alloc::string::String,
    ) {
        self.metrics.auth_failures.add(3, 1);
        // Who tries again and again does not fill the disk.
        if let Some(left_out) = self.repeats.entry("relay_auth_failed").or_default().tell(now.monotonic) {
            let facts = self.facts(id, connection, Some(request), Surface::Relay);
            let mut record = facts
                .record(AuditEvent::AuthFailed, AuditOutcome::Denied)
                .because(reason);
            record.count = (left_out > 0).then_some(left_out);
            self.audit.push(record);
        }
    }

    /// Has the relay's parts settle with each other, writes the answers and events that are there, and goes on with what
    /// waited behind them.
    pub(super) fn serve_relay(&mut self, now: Now) {
        loop {
            if self.with_relay(now, Relay::settle).is_none() {
                return;
            }
            let mut is_idle = true;
            while let Some((id, answer)) = self.relay.as_mut().and_then(Relay::take_answer) {
                is_idle = false;
                self.with(now, id, |gateway, connection| {
                    let Some(asked) = gateway.take_relay_asked(connection) else {
                        return;
                    };
                    gateway.write_relay_answer(now, id, connection, &answer, &asked);
                    gateway.drive_http(now, id, connection);
                    gateway.resume_requests(id, connection);
                });
            }
            while let Some((id, output)) = self.relay.as_mut().and_then(Relay::take_stream) {
                is_idle = false;
                self.with(now, id, |gateway, connection| {
                    gateway.stream(now, id, connection, output)
                });
            }
            if is_idle {
                return;
            }
        }
    }

    fn stream(&mut self, now: Now, id: ConnId, connection: &mut Connection, output: StreamOutput) {
        let Stage::Http(stage) = &mut connection.stage else {
            return;
        };
        if !matches!(stage.exchange, Exchange::Streaming) {
            return;
        }
        match output {
            StreamOutput::Bytes(bytes) => {
                let out = self.outbox.bytes(id);
                let before = out.len();
                stage.http.write(&bytes, out);
                let framing = (out.len() - before).saturating_sub(bytes.len());
                if let Some(relay) = &mut self.relay {
                    relay.stream_framed(id, framing);
                }
            }
            StreamOutput::End => {
                self.end_stream(id, connection);
                self.drive_http(now, id, connection);
                self.resume_requests(id, connection);
            }
        }
    }

    /// Ends a stream in order.
    fn end_stream(&mut self, id: ConnId, connection: &mut Connection) {
        if let Stage::Http(stage) = &mut connection.stage
            && matches!(stage.exchange, Exchange::Streaming)
        {
            if self.draining.is_some() {
                stage.http.close_after_response();
            }
            stage.http.finish(self.outbox.bytes(id));
            stage.exchange = Exchange::Nothing;
            if let Some(relay) = &mut self.relay {
                relay.closed(id);
            }
        }
    }

    /// The request that waits for the relay's answer does so no longer.
    fn take_relay_asked(&mut self, connection: &mut Connection) -> Option<Asked> {
        let Stage::Http(stage) = &mut connection.stage else {
            return None;
        };
        match core::mem::take(&mut stage.exchange) {
            Exchange::RelayWorking(asked) => {
                self.relay_waiting = self.relay_waiting.saturating_sub(1);
                Some(*asked)
            }
            other => {
                stage.exchange = other;
                None
            }
        }
    }

    /// The connection ends: what the relay still had to do for it, it need not do.
    pub(super) fn relay_left(&mut self, id: ConnId, exchange: &Exchange) {
        match exchange {
            Exchange::RelayWorking(_) => self.relay_waiting = self.relay_waiting.saturating_sub(1),
            Exchange::Streaming => {}
            _ => return,
        }
        if let Some(relay) = &mut self.relay {
            relay.closed(id);
        }
    }

    /// The gateway closes: streams end in order, and who waits for an answer is told that none comes.
    pub(super) fn close_relay(&mut self, now: Now, id: ConnId, connection: &mut Connection) {
        self.end_stream(id, connection);
        if let Some(asked) = self.take_relay_asked(connection) {
            let answer = Answer::error(Status::SERVICE_UNAVAILABLE, "server is shutting down");
            self.write_relay_answer(now, id, connection, &answer.with("Retry-After", "1"), &asked);
            if let Some(relay) = &mut self.relay {
                relay.closed(id);
            }
        }
    }

    /// The answer to a request that broke a rule of HTTP, in the relay's form, where the relay is all there is or the
    /// request was for it.
    pub(super) fn relay_fault(
        &mut self,
        now: Now,
        id: ConnId,
        connection: &mut Connection,
        exchange: &Exchange,
        fault: PeerFault,
    ) -> bool {
        let asked = match exchange {
            Exchange::RelayBody(whole) => whole.asked.clone(),
            Exchange::Nothing if self.routes.is_relay_alone() => Asked {
                cors: Cors::Silent,
                class: Class::Other,
            },
            _ => return false,
        };
        self.write_relay_answer(now, id, connection, &broken(fault), &asked);
        true
    }

    /// An exchange that the relay began tells something.
    pub(super) fn relay_exchange_event(&mut self, now: Now, exchange: ExchangeId, event: ExchangeEvent) {
        self.with_relay(now, |relay, cx| relay.exchange_event(cx, exchange, event));
    }

    /// Bytes for an agent are on their way to its socket.
    pub(super) fn relay_handed(&mut self, id: ConnId, connection: &Connection, bytes: usize) {
        if let Stage::WebSocket(stage) = &connection.stage
            && matches!(stage.session, Session::Agent)
            && let Some(relay) = &mut self.relay
        {
            relay.agent_handed(id, bytes);
        }
    }

    /// The socket of an agent or of a stream took bytes.
    pub(super) fn relay_sent(&mut self, now: Now, id: ConnId, bytes: usize) {
        if self.relay.is_none() {
            return;
        }
        match self.connections.get(id).map(|connection| &connection.stage) {
            Some(Stage::Http(stage)) if matches!(stage.exchange, Exchange::Streaming) => {
                if let Some(relay) = &mut self.relay {
                    relay.stream_sent(id, bytes);
                }
            }
            Some(Stage::WebSocket(stage)) if matches!(stage.session, Session::Agent) => {
                self.with_relay(now, |relay, cx| relay.agent_sent(cx, id, bytes));
            }
            _ => {}
        }
    }
}

/// The fields of an answer: its own, and what it says to the page that asked. Then, whether it says one of those itself
/// that the gateway has for every answer.
fn fields<'a>(answer: &'a Answer, cors: &'a Cors) -> (Vec<(&'a str, &'a str)>, bool) {
    let mut fields = Vec::with_capacity(answer.headers.len() + 4);
    if !answer.content_type.is_empty() {
        fields.push(("Content-Type", answer.content_type));
    }
    let is_ours = |name: &str| SECURITY.iter().any(|(ours, _)| ours.eq_ignore_ascii_case(name));
    let overrides = answer.headers.iter().any(|(name, _)| is_ours(name));
    fields.extend(answer.headers.iter().map(|(name, value)| (*name, &**value)));
    fields.extend(cors.fields());
    (fields, overrides)
}

/// Adds what the gateway has for every answer, as far as the answer does not say it itself.
fn complete<'a>(fields: &mut Vec<(&'a str, &'a str)>, hsts: Option<&'a str>) {
    let said = fields.len();
    for (name, value) in SECURITY {
        if !fields
            .iter()
            .take(said)
            .any(|(said, _)| said.eq_ignore_ascii_case(name))
        {
            fields.push((name, value));
        }
    }
    fields.extend(hsts.map(|value| (HSTS, value)));
}
