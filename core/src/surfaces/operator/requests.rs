//! Requests of clients that finished the handshake: the checks in their order, and the table of methods. What a method does is
//! the business of runs and queries. Spec: `spec/operator.md`, sections 5 and 6.

use alloc::string::String;

use serde_json::value::RawValue;

use super::Operator;
use super::context::Context;
use super::params::{self, RunParams};
use super::scope::{METHODS, Method};
use super::session::{Ready, Session, Stage};
use super::wire::{ErrorCode, RequestFrame, Waiter, WireError, write_error, write_ok};
use crate::audit::{AuditEvent, AuditOutcome, AuditRecord, Surface};
use crate::id::ConnId;
use crate::json::write_value;
use crate::limits::throttle::RefusalLimits;
use crate::queries::{AgentList, HistoryParams, ListParams, Refused};
use crate::report::Report;
use crate::settings::{Agent, Settings};
use crate::websocket::CloseCode;

impl Operator {
    /// The checks of section 5, in their order.
    pub(super) fn request(&mut self, cx: &mut Context<'_>, conn: ConnId, session: &mut Session, text: &str) {
        let traced = session.speaks_dialect();
        let frame = match RequestFrame::parse(text, traced) {
            Ok(frame) => frame,
            Err(reason) => return refuse(cx, conn, session, "invalid", &WireError::invalid(reason)),
        };
        let method = Method::parse(&frame.method);
        let answered = self.judge_request(cx, conn, session, method, &frame);
        count_request(cx, conn, &frame.id, method, &answered);
        match answered {
            Ok(()) => {}
            Err(error) if error.code == ErrorCode::Unavailable => {
                cx.outbox.text(conn, |out| write_error(out, &frame.id, &error));
            }
            Err(error) => refuse(cx, conn, session, &frame.id, &error),
        }
    }

    fn judge_request(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        session: &mut Session,
        method: Option<Method>,
        frame: &RequestFrame<'_>,
    ) -> Result<(), WireError> {
        let now = cx.now.monotonic;
        let Stage::Ready(ready) = &mut session.stage else {
            return Ok(());
        };
        if let Err(wait) = ready.requests.admit(now, cx.settings.gateway.rate_limit_per_minute) {
            return Err(WireError::new(ErrorCode::RateLimited, "rate limit exceeded").retry_after(wait));
        }
        let method = method.ok_or_else(|| WireError::invalid(alloc::format!("unknown method: {}", frame.method)))?;
        if !ready.scopes.allow(method) {
            return Err(WireError::new(ErrorCode::Forbidden, "missing scope"));
        }
        if ready.in_flight >= cx.settings.gateway.max_in_flight && method.is_deferred() {
            let pause = core::time::Duration::from_millis(100);
            session.not_before = now.plus(pause);
            return Err(WireError::new(ErrorCode::RateLimited, "too many requests in flight").retry_after(pause));
        }
        self.call(cx, conn, ready, method, frame)?;
        ready.in_flight += u32::from(method.is_deferred());
        Ok(())
    }

    /// The table of methods. `Ok`: it is answered, or (a deferred method) will be.
    fn call(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        ready: &Ready,
        method: Method,
        frame: &RequestFrame<'_>,
    ) -> Result<(), WireError> {
        let params: Option<&RawValue> = frame.params;
        let waiter = || Waiter {
            conn,
            id: frame.id.clone().into_owned(),
        };
        match method {
            Method::Health => {
                let (health, connected_at, wall) = (&mut self.health, ready.connected_at, cx.now.wall);
                cx.outbox.text(conn, |out| {
                    write_ok(out, &frame.id, |out| health.write(out, connected_at, wall))
                });
            }
            Method::AgentList => {
                let agents = AgentList::of(&cx.settings.agents);
                cx.outbox
                    .text(conn, |out| write_ok(out, &frame.id, |out| write_value(out, &agents)));
            }
            Method::AgentRun => {
                let params = RunParams::parse(params).map_err(WireError::invalid)?;
                self.run(
                    cx,
                    conn,
                    (ready.identity, ready.ip),
                    frame.id.clone().into_owned(),
                    params,
                )?;
            }
            Method::AgentCancel => {
                let run_id = params::cancel(params).map_err(WireError::invalid)?;
                let cancelled = self.cancel_run(cx, conn, &ready.identity, ready.scopes.is_admin(), &run_id);
                let payload = Cancelled {
                    run_id: &run_id,
                    cancelled,
                };
                cx.outbox
                    .text(conn, |out| write_ok(out, &frame.id, |out| write_value(out, &payload)));
            }
            Method::SessionList => {
                let params = ListParams::parse(params).map_err(WireError::invalid)?;
                let query = self.queries.list(cx.settings, waiter(), params)?;
                self.ask(cx, query);
            }
            Method::SessionHistory => {
                let params = HistoryParams::parse(params).map_err(WireError::invalid)?;
                let query = self.queries.history(cx.settings, waiter(), params)?;
                self.ask(cx, query);
            }
        }
        Ok(())
    }
}

/// The agent that a request means.
pub(super) fn find_agent<'a>(cx: &Context<'a>, id: Option<&str>) -> Result<&'a Agent, WireError> {
    let settings: &'a Settings = cx.settings;
    settings.agents.find(id).ok_or_else(|| Refused::no_agent(id).into())
}

/// Counts a request, and puts it into the journal where the settings want that.
fn count_request(
    cx: &mut Context<'_>,
    conn: ConnId,
    id: &str,
    method: Option<Method>,
    answered: &Result<(), WireError>,
) {
    let label = method.map_or(METHODS.len(), |method| method as usize);
    let outcome = match answered {
        Ok(()) => usize::from(method.is_some_and(Method::is_deferred)),
        Err(error) => 2 + error.code as usize,
    };
    if let Some(counters) = cx.metrics.operator_requests.get_mut(label) {
        counters.add(outcome, 1);
    }
    // Monitors ask for health all day: that would push what matters out of the journal.
    let is_routine = method == Some(Method::Health) && answered.is_ok();
    if !is_routine && cx.settings.records(AuditEvent::Request) {
        let done = match answered {
            Ok(()) => AuditOutcome::Ok,
            Err(error) if error.code == ErrorCode::Unavailable => AuditOutcome::Failed,
            Err(_) => AuditOutcome::Denied,
        };
        let record = AuditRecord {
            request_id: Some(String::from(id)),
            ..AuditRecord::new(AuditEvent::Request, done).on(conn, Surface::Ws)
        };
        cx.audit
            .push(record.because(METHODS.get(label).copied().unwrap_or("other")));
    }
}

/// Answers a request that is refused, and counts it.
fn refuse(cx: &mut Context<'_>, conn: ConnId, session: &mut Session, id: &str, error: &WireError) {
    cx.outbox.text(conn, |out| write_error(out, id, error));
    let gateway = &cx.settings.gateway;
    let limits = RefusalLimits {
        burst: gateway.refusal_burst,
        per_second: gateway.refusals_per_second,
        per_minute: gateway.max_refused_per_minute,
    };
    if session.refusals.is_none() {
        let reason = error.message.chars().take(200).collect();
        cx.reports.push(Report::Refused { conn, reason });
    }
    if !session.refuse(cx.now.monotonic, limits) {
        cx.outbox.close(conn, CloseCode::POLICY, "too many refused requests");
    }
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Cancelled<'a> {
    run_id: &'a str,
    cancelled: bool,
}
