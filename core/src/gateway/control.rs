//! The control plane on a connection: who may upgrade, messages to the surface, and the deadlines that its sessions keep
//! themselves. Spec: `spec/control.md`.

use alloc::string::String;

use super::Gateway;
use super::answers::Answer;
use super::connection::{Connection, Session, Stage};
use super::deadlines::Timer;
use crate::http::{Request, Status};
use crate::id::ConnId;
use crate::policy::forwarded::Client;
use crate::surfaces::control::{Context, Control, Due, ProviderAccess, Refusal};
use crate::time::{Instant, Now};

impl Gateway {
    /// Does something with the control surface, where there is one.
    pub(super) fn with_control<R>(
        &mut self,
        now: Now,
        act: impl FnOnce(&mut Control, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let control = self.control.as_mut()?;
        let mut access = ProviderAccess {
            providers: &mut self.providers,
            exchanges: &mut self.exchanges,
            settings: &self.settings.providers,
        };
        let mut cx = Context {
            now,
            settings: &self.settings,
            random: &mut self.random,
            auth: &mut self.auth,
            outbox: &mut self.outbox,
            calls: &mut self.calls,
            reports: &mut self.reports,
            audit: &mut self.audit,
            providers: &mut access,
        };
        Some(act(control, &mut cx))
    }

    /// Whether the connection may be upgraded to the control plane: the accept key, or the answer.
    pub(super) fn judge_control(
        &mut self,
        now: Now,
        id: ConnId,
        connection: &mut Connection,
        request: &Request,
    ) -> Result<String, Answer<'static>> {
        // The accept key is looked at first: without it nobody wants to be let in.
        let key = Self::accept_key(request)?;
        if self.draining.is_some() {
            return Err(Answer::draining());
        }
        let client = connection.client;
        let is_stranger = self.control.as_ref().is_some_and(|control| !control.trusts(client));
        let origin = match request.headers().get_only("origin") {
            Ok(origin) => origin,
            Err(_) if is_stranger => None,
            Err(_) => return Err(Answer::bad_request()),
        };
        let judged = self.with_control(now, |control, cx| control.judge(cx, client, origin));
        match judged {
            Some(Ok(())) => {}
            Some(Err(refusal)) => {
                // That an address may not connect was told by the surface, at its own rate.
                if refusal != Refusal::ADDRESS {
                    self.reject(now, id, connection, Some(request), refusal.body);
                }
                let status = Status::new(refusal.status).unwrap_or(Status::FORBIDDEN);
                let answer = Answer::text(status, refusal.body).closing();
                return Err(match refusal.retry_after {
                    Some(after) => answer.retry_after(after),
                    None => answer,
                });
            }
            None => return Err(Answer::not_found().closing()),
        }
        self.count_client(connection, origin.is_some()).map_err(|setting| {
            self.turned_away(now, setting);
            Answer::unavailable()
        })?;
        Ok(key)
    }

    /// What a request gets on a path of the control plane that is not an upgrade.
    pub(super) fn control_upgrade_required() -> Answer<'static> {
        Answer {
            media: "text/plain",
            ..Answer::text(Status::UPGRADE_REQUIRED, "Upgrade Required").with("Upgrade", "websocket")
        }
    }

    /// The session of a connection that was upgraded; `None`: the control plane is gone.
    pub(super) fn control_session(
        &mut self,
        now: Now,
        id: ConnId,
        client: Client,
        origin: Option<&str>,
    ) -> Option<Session> {
        let session = self.with_control(now, |control, cx| control.opened(cx, id, client, origin))?;
        Some(Session::Control(alloc::boxed::Box::new(session)))
    }

    /// A session's own deadline has come.
    pub(super) fn control_due(&mut self, now: Now, id: ConnId, connection: &mut Connection) {
        let due = match &mut connection.stage {
            Stage::WebSocket(stage) => match &mut stage.session {
                Session::Control(session) => self.with_control(now, |control, cx| control.due(cx, id, session)),
                Session::Operator(_) | Session::Agent | Session::Over => None,
            },
            Stage::Http(_) | Stage::Flushing | Stage::Ended => None,
        };
        if due == Some(Due::Drop) {
            return self.abort(now, id, connection);
        }
        Self::keep_control_deadline(connection);
    }

    /// The deadline is the one that the session wants now.
    pub(super) fn keep_control_deadline(connection: &mut Connection) {
        if let Stage::WebSocket(stage) = &connection.stage
            && let Session::Control(session) = &stage.session
        {
            connection.deadlines.set(Timer::Control, session.deadline());
        }
    }

    /// Connections whose command is answered take messages again.
    pub(super) fn release_control(&mut self, now: Now) {
        while let Some(id) = self.control.as_mut().and_then(Control::take_released) {
            self.with(now, id, |gateway, connection| {
                if let Stage::WebSocket(stage) = &mut connection.stage
                    && let Session::Control(session) = &mut stage.session
                {
                    session.released();
                    if connection.deadlines.gate() == Some(Instant::END) {
                        gateway.gate_opened(now, id, connection);
                    }
                }
            });
        }
    }
}
