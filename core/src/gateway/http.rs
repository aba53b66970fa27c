//! HTTP on a connection: which request gets what, and the time that each part of it may take.
//! Spec: `spec/operator.md` section 1, `spec/http.md`.

use bytes::BytesMut;

use super::Gateway;
use super::answers::{Answer, check_reads};
use super::connection::{Connection, Counted, Stage, TurnedAway};
use super::deadlines::Timer;
use super::routes::Route;
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
            let Stage::Http(http) = &mut connection.stage else {
                return;
            };
            match http.poll(self.outbox.bytes(id)) {
                Event::Request(request) => {
                    is_new = true;
                    if let Routed::Upgraded(route, rest) = self.route(now, id, connection, &request) {
                        return self.upgraded(now, id, connection, &request, route, rest);
                    }
                }
                Event::Refused(fault) => self.answers.write_fault(http, fault, now.wall, self.outbox.bytes(id)),
                // No request that comes here has a use for a body.
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
    fn route(&mut self, now: Now, id: ConnId, connection: &mut Connection, request: &Request) -> Routed {
        let upgrade = request.wants_upgrade("websocket");
        let route = self.routes.find(request.target().path(), upgrade);
        let answer = match self.judge(now, id, connection, request, route, upgrade) {
            Err(answer) => answer,
            Ok(()) => match route {
                Route::Operator => match self.judge_upgrade(now, connection, request) {
                    Err(answer) => answer,
                    Ok(key) => {
                        return match self.switch(id, connection, &key) {
                            Some(rest) => Routed::Upgraded(route, rest),
                            None => Routed::Answered,
                        };
                    }
                },
                Route::Health => {
                    let body = self.health(now);
                    self.answer(now, id, connection, &Answer::new(Status::OK, &body));
                    return Routed::Answered;
                }
                Route::Live | Route::Ready | Route::Startup => self.probe(route),
                Route::Control | Route::Metrics | Route::Tools | Route::Unknown if upgrade => {
                    Answer::not_found().closing()
                }
                Route::Control | Route::Metrics | Route::Tools | Route::Unknown => Answer::not_found(),
            },
        };
        self.answer(now, id, connection, &answer);
        Routed::Answered
    }

    /// What holds for every request, before anybody looks what it asks for.
    fn judge(
        &mut self,
        _now: Now,
        _id: ConnId,
        connection: &mut Connection,
        request: &Request,
        route: Route,
        _upgrade: bool,
    ) -> Result<(), Answer<'static>> {
        match connection.counted {
            Counted::No(TurnedAway::NoRoom) => return Err(Answer::unavailable()),
            Counted::No(TurnedAway::Stranger) => return Err(Answer::stranger()),
            Counted::Pending(_) | Counted::Open(_) => {}
        }
        if let Stage::Http(http) = &mut connection.stage
            && http.limit_body(self.settings.gateway.http.max_body_bytes).is_err()
        {
            return Err(Answer::new(Status::CONTENT_TOO_LARGE, br#"{"error":"Content Too Large"}"#).closing());
        }
        if matches!(route, Route::Health | Route::Live | Route::Ready | Route::Startup) {
            check_reads(request.method())?;
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, now: Now, id: ConnId, connection: &mut Connection, answer: &Answer<'_>) {
        let Stage::Http(http) = &mut connection.stage else {
            return;
        };
        if self.draining.is_some() {
            http.close_after_response();
        }
        self.answers.write(http, answer, now.wall, self.outbox.bytes(id));
    }
}
