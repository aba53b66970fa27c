//! HTTP on a connection: which request gets what, and the time that each part of it may take.
//! Spec: `spec/operator.md` section 1, `spec/http.md`.

use bytes::BytesMut;

use super::answers::{Answer, check_reads};
use super::connection::{Connection, Counted, Stage, TurnedAway};
use super::deadlines::Timer;
use super::exchange::{Exchange, collect, hold};
use super::routes::Route;
use super::{Gateway, figures};
use crate::http::{Event, PeerFault, Phase, Request, Status};
use crate::id::ConnId;
use crate::time::Now;

/// What a request led to.
pub(super) enum Routed {
    /// It is answered.
    Answered,
    /// The connection speaks WebSocket now; these bytes followed the request.
    Upgraded(Route, BytesMut),
}

impl Gateway {
    /// Bytes, or their end, came on a connection that speaks HTTP.
    pub(super) fn drive_http(&mut self, now: Now, id: ConnId, connection: &mut Connection) {
        let mut is_new = false;
        loop {
            let Stage::Http(stage) = &mut connection.stage else {
                return;
            };
            let http = &mut stage.http;
            match http.poll(self.outbox.bytes(id)) {
                Event::Request(request) => {
                    is_new = true;
                    if let Routed::Upgraded(route, rest) = self.route(now, id, connection, &request) {
                        return self.upgraded(now, id, connection, &request, route, rest);
                    }
                }
                Event::Refused(fault) => self.answer_fault(now, id, connection, fault),
                Event::Body(piece) => collect(&mut stage.exchange, &piece),
                Event::BodyEnd => self.body_complete(now, id, connection),
                Event::NeedInput | Event::Paused | Event::Ended => break,
            }
        }
        self.after_http(now, id, connection, is_new);
    }

    /// The deadline of what the connection does now; or its end. `is_new`: a request was read since the last deadline.
    fn after_http(&mut self, now: Now, id: ConnId, connection: &mut Connection, is_new: bool) {
        let Stage::Http(stage) = &mut connection.stage else {
            return;
        };
        let http = &mut stage.http;
        if http.must_close() {
            return self.flush_after(now, id, connection);
        }
        // What is read meanwhile waits for that answer.
        match stage.exchange {
            Exchange::Held(_) => return self.pause_requests(id, connection),
            Exchange::Working | Exchange::RelayWorking(_) | Exchange::Streaming => {
                connection.deadlines.clear();
                return self.pause_requests(id, connection);
            }
            Exchange::Nothing | Exchange::Collecting(_) | Exchange::RelayBody(_) => {}
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
        let Stage::Http(stage) = &mut connection.stage else {
            return;
        };
        let http = &mut stage.http;
        let fault = match timer {
            // A peer that sent nothing at all has asked for nothing.
            Timer::Header if http.phase() != Phase::Idle => PeerFault::HeadTimeout,
            Timer::Body => PeerFault::BodyTimeout,
            _ => return self.flush_after(now, id, connection),
        };
        http.raise(fault);
        self.answer_fault(now, id, connection, fault);
        self.flush_after(now, id, connection);
    }

    /// Answers a request; or answers an upgrade and returns what followed it.
    fn route(&mut self, now: Now, id: ConnId, connection: &mut Connection, request: &Request) -> Routed {
        let upgrade = request.wants_upgrade("websocket");
        let route = self.routes.find(request.target().path(), upgrade);
        let answer = match self.judge(now, id, connection, request, route) {
            Err(answer) => answer,
            Ok(()) => match route {
                Route::Control if !upgrade => Self::control_upgrade_required(),
                Route::Operator | Route::Control => {
                    let judged = match route {
                        Route::Control => self.judge_control(now, id, connection, request),
                        _ => self.judge_upgrade(now, id, connection, request),
                    };
                    match judged {
                        Err(answer) => answer,
                        Ok(key) => {
                            return match self.switch(id, connection, &key) {
                                Some(rest) => Routed::Upgraded(route, rest),
                                None => Routed::Answered,
                            };
                        }
                    }
                }
                Route::Health => {
                    let body = self.health(now);
                    self.answer(now, id, connection, &Answer::new(Status::OK, &body));
                    return Routed::Answered;
                }
                Route::Live | Route::Ready | Route::Startup => self.probe(route),
                Route::Metrics => match self.judge_bearer(now, id, connection, request) {
                    Ok(()) => Answer::page(self.figures(now), figures::MEDIA),
                    Err((answer, Some(until))) => return hold(connection, answer, until),
                    Err((answer, None)) => answer,
                },
                Route::Tools => match self.tool_request(now, id, connection, request) {
                    Ok(routed) => return routed,
                    Err(answer) => answer,
                },
                Route::Relay => return self.relay_request(now, id, connection, request),
                Route::Unknown if upgrade => Answer::not_found().closing(),
                Route::Unknown => Answer::not_found(),
            },
        };
        self.answer(now, id, connection, &answer);
        Routed::Answered
    }

    /// What holds for every request, before anybody looks what it asks for.
    fn judge(
        &mut self,
        now: Now,
        id: ConnId,
        connection: &mut Connection,
        request: &Request,
        route: Route,
    ) -> Result<(), Answer<'static>> {
        match connection.counted {
            Counted::No(TurnedAway::NoRoom) if self.draining.is_some() => return Err(Answer::draining()),
            Counted::No(TurnedAway::NoRoom) => return Err(Answer::unavailable()),
            // The journal heard of it when the connection was opened.
            Counted::No(TurnedAway::Stranger) => return Err(Answer::stranger()),
            Counted::Pending(_) | Counted::Open(_) => {}
        }
        self.judge_doors(now, id, connection, request, route)?;
        // How large a tool call or a request for the relay may be is looked at after the token.
        if let Stage::Http(stage) = &mut connection.stage
            && !matches!(route, Route::Tools | Route::Relay)
            && stage
                .http
                .limit_body(self.settings.gateway.http.max_body_bytes)
                .is_err()
        {
            let body = br#"{"error":"Content Too Large"}"#;
            return Err(Answer::new(Status::CONTENT_TOO_LARGE, body).closing());
        }
        if matches!(
            route,
            Route::Health | Route::Live | Route::Ready | Route::Startup | Route::Metrics
        ) {
            check_reads(request.method())?;
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, now: Now, id: ConnId, connection: &mut Connection, answer: &Answer<'_>) {
        let Stage::Http(stage) = &mut connection.stage else {
            return;
        };
        if self.draining.is_some() {
            stage.http.close_after_response();
        }
        let class = usize::from(answer.status.code() / 100);
        self.metrics.http_responses.add(class.saturating_sub(1), 1);
        self.answers
            .write(&mut stage.http, answer, now.wall, self.outbox.bytes(id));
    }
}
