//! Requests that are not answered at once: a body is collected first, a tool works, or a refusal is held back. Until the
//! answer is written the next request on the connection waits. Spec: `spec/hardening.md`.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::ToString;
use core::net::IpAddr;

use bytes::{Bytes, BytesMut};

use super::Gateway;
use super::answers::Answer;
use super::connection::{Connection, Stage};
use super::deadlines::Timer;
use super::http::Routed;
use super::relay::{Asked, RelayRequest};
use crate::audit::{AuditEvent, AuditOutcome, AuditRecord};
use crate::http::{Method, PeerFault, Request, Status};
use crate::id::ConnId;
use crate::machine::Output;
use crate::report::Report;
use crate::surfaces::tools::{HttpAnswer, ToolCall};
use crate::time::{Instant, Now};

/// Bytes of further requests that are taken while one is being answered; then reading pauses.
const MAX_PIPELINED: usize = 16_384;

/// How far the answer to a request is.
#[derive(Debug, Default)]
pub(super) enum Exchange {
    /// There is nothing to wait for.
    #[default]
    Nothing,
    /// The body of a tool call arrives.
    Collecting(Box<Collecting>),
    /// A tool works.
    Working,
    /// The body of a request for the relay arrives.
    RelayBody(Box<RelayRequest>),
    /// The relay answers later.
    RelayWorking(Box<Asked>),
    /// Events of the relay go out.
    Streaming,
    /// The answer is there, and is told when its time comes.
    Held(Box<Answer<'static>>),
}

/// A tool call whose body is not complete.
#[derive(Debug)]
pub(super) struct Collecting {
    client: Option<IpAddr>,
    body: BytesMut,
}

impl Connection {
    /// Whether so much of further requests has arrived that no more is taken for now.
    pub(super) fn is_backed_up(&self) -> bool {
        matches!(&self.stage, Stage::Http(stage)
            if !matches!(stage.exchange, Exchange::Nothing | Exchange::Collecting(_) | Exchange::RelayBody(_)) && stage.http.buffered() > MAX_PIPELINED)
    }
}

impl Gateway {
    /// `POST /tools/invoke`: everything before the body is judged here, in the order that the protocol gives.
    pub(super) fn tool_request(
        &mut self,
        now: Now,
        id: ConnId,
        connection: &mut Connection,
        request: &Request,
    ) -> Result<Routed, Answer<'static>> {
        if self.draining.is_some() {
            return Err(Answer::draining());
        }
        if request.method() != Method::Post {
            return Err(Answer::text(Status::METHOD_NOT_ALLOWED, "Method Not Allowed").with("Allow", "POST"));
        }
        match self.judge_bearer(now, id, connection, request) {
            Ok(()) => {}
            Err((answer, Some(until))) => return Ok(hold(connection, answer, until)),
            Err((answer, None)) => return Err(answer),
        }
        let client = connection.client.address();
        let max_body_bytes = self.settings.tools.max_body_bytes;
        let Stage::Http(stage) = &mut connection.stage else {
            return Ok(Routed::Answered);
        };
        if stage.http.limit_body(max_body_bytes).is_err() {
            return Err(too_large());
        }
        let body = BytesMut::new();
        stage.exchange = Exchange::Collecting(Box::new(Collecting { client, body }));
        if !request.has_body() {
            self.body_complete(now, id, connection);
        }
        Ok(Routed::Answered)
    }

    /// The body of a request is complete; what has no use for it was answered before, or is held back.
    pub(super) fn body_complete(&mut self, now: Now, id: ConnId, connection: &mut Connection) {
        let Stage::Http(stage) = &mut connection.stage else {
            return;
        };
        let call = match core::mem::replace(&mut stage.exchange, Exchange::Working) {
            Exchange::Collecting(call) => call,
            Exchange::RelayBody(whole) => {
                stage.exchange = Exchange::Nothing;
                return self.relay_body_complete(now, id, connection, *whole);
            }
            other => {
                stage.exchange = other;
                return;
            }
        };
        // The drain may have begun while the body was on its way: its call was not.
        if self.draining.is_some() {
            stage.exchange = Exchange::Nothing;
            return self.answer(now, id, connection, &Answer::draining());
        }
        let call = ToolCall {
            conn: id,
            client: call.client,
            connected_at: connection.opened_at,
            body: call.body.freeze(),
        };
        let answer = self.with_tools(now, |tools, cx| tools.invoke(cx, &call));
        if let Some(answer) = answer {
            self.write_tool_answer(now, id, connection, &answer);
        }
    }

    fn write_tool_answer(&mut self, now: Now, id: ConnId, connection: &mut Connection, answer: &HttpAnswer) {
        if let Stage::Http(stage) = &mut connection.stage
            && matches!(stage.exchange, Exchange::Working)
        {
            stage.exchange = Exchange::Nothing;
            let answer = Answer {
                body: Cow::Borrowed(&answer.body),
                retry_after: answer.retry_after,
                ..Answer::new(answer.status, b"")
            };
            self.answer(now, id, connection, &answer);
        }
    }

    /// Writes the answers of tools that are done, and goes on with what waited behind them.
    pub(super) fn answer_tools(&mut self, now: Now) {
        while let Some((id, answer)) = self.tools.take_answer() {
            self.with(now, id, |gateway, connection| {
                gateway.write_tool_answer(now, id, connection, &answer);
                gateway.drive_http(now, id, connection);
                gateway.resume_requests(id, connection);
            });
        }
    }

    /// The time of an answer that was held back has come.
    pub(super) fn answer_held(&mut self, now: Now, id: ConnId, connection: &mut Connection) {
        let Stage::Http(stage) = &mut connection.stage else {
            return;
        };
        match core::mem::take(&mut stage.exchange) {
            Exchange::Held(answer) => {
                self.answer(now, id, connection, &answer);
                self.drive_http(now, id, connection);
                self.resume_requests(id, connection);
            }
            other => stage.exchange = other,
        }
    }

    /// The connection is closed before its time: a refusal that is held back is told now, and who still sends a body learns
    /// that the gateway goes away.
    pub(super) fn answer_last(&mut self, now: Now, id: ConnId, connection: &mut Connection) {
        let Stage::Http(stage) = &mut connection.stage else {
            return;
        };
        match core::mem::take(&mut stage.exchange) {
            Exchange::Held(answer) => self.answer(now, id, connection, &answer),
            Exchange::Collecting(_) => self.answer(now, id, connection, &Answer::draining()),
            other => stage.exchange = other,
        }
    }

    /// Whoever sends more requests than are taken is not read from.
    pub(super) fn pause_requests(&mut self, id: ConnId, connection: &mut Connection) {
        if !connection.reading_paused && connection.is_backed_up() {
            connection.reading_paused = true;
            self.outputs.push_back(Output::PauseReading { conn: id });
        }
    }

    pub(super) fn resume_requests(&mut self, id: ConnId, connection: &mut Connection) {
        if connection.reading_paused
            && matches!(connection.stage, Stage::Http(_))
            && !connection.is_backed_up()
            && self.has_room(connection)
        {
            connection.reading_paused = false;
            self.outputs.push_back(Output::ResumeReading { conn: id });
        }
    }

    /// How a fault of a request is answered: in the form of what it asked for.
    pub(super) fn answer_fault(&mut self, now: Now, id: ConnId, connection: &mut Connection, fault: PeerFault) {
        let Stage::Http(stage) = &mut connection.stage else {
            return;
        };
        let exchange = core::mem::take(&mut stage.exchange);
        if self.relay_fault(now, id, connection, &exchange, fault) {
            return;
        }
        let answer = match (exchange, fault) {
            (Exchange::Collecting(_), PeerFault::BodyTooLarge) => too_large(),
            (Exchange::Collecting(_), PeerFault::BodyTimeout) => {
                Answer::refusal(Status::REQUEST_TIMEOUT, "Request body timeout", "invalid_request_error")
            }
            _ => {
                let body = alloc::format!(r#"{{"error":"{}"}}"#, fault.status().reason());
                Answer {
                    body: Cow::Owned(body.into_bytes()),
                    ..Answer::new(fault.status(), b"")
                }
            }
        };
        self.answer(now, id, connection, &answer);
    }

    /// Tool calls are stopped: nobody waits for them any longer.
    pub(super) fn stop_tools(&mut self, now: Now) {
        // What nobody waits for any more is no loss.
        for _ in 0..self.tools.awaited() {
            self.lost_calls = self.lost_calls.saturating_add(1);
            let record = AuditRecord::new(AuditEvent::TurnLost, AuditOutcome::Failed);
            self.audit.push(record.because("tools.invoke"));
            self.reports.push(Report::TurnLost {
                run: "tools.invoke".to_string(),
                agent: "a tool".to_string(),
            });
        }
        self.with_tools(now, |tools, cx| tools.stop(cx));
    }
}

/// Takes a piece of a body in. Bodies that nobody collects are dropped.
pub(super) fn collect(exchange: &mut Exchange, piece: &Bytes) {
    match exchange {
        Exchange::Collecting(call) => call.body.extend_from_slice(piece),
        Exchange::RelayBody(whole) => whole.push(piece),
        _ => {}
    }
}

/// Holds an answer back until its time: whoever guesses is slowed down.
pub(super) fn hold(connection: &mut Connection, answer: Answer<'static>, until: Instant) -> Routed {
    if let Stage::Http(stage) = &mut connection.stage {
        stage.exchange = Exchange::Held(Box::new(answer));
        connection.deadlines.set(Timer::Answer, until);
    }
    Routed::Answered
}

fn too_large() -> Answer<'static> {
    Answer::refusal(Status::CONTENT_TOO_LARGE, "Payload too large", "invalid_request_error").closing()
}
