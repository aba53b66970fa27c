//! The commands: their names, what a token must allow for each, and what they answer. Spec: `spec/control.md` section 5.

mod health;
mod status;
mod switch;

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};

pub(super) use health::{Asked, stopped};
use serde::Serialize;

use super::wire::{Request, write_result};
use super::{Context, Control, Session};
use crate::id::ConnId;
use crate::json::write_value;
use crate::jwt::Granted;
use crate::report::Issued;

/// A command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Command {
    Ping,
    Status,
    SwitchProvider,
    HealthCheck,
    RotateToken,
}

const ADMIN: &str = "gateway:admin";

impl Command {
    /// All of them, as clients are told.
    pub(super) const NAMES: &str = "ping, status, switch_provider, health_check, rotate_token";

    const ALL: [Self; 5] = [
        Self::Ping,
        Self::Status,
        Self::SwitchProvider,
        Self::HealthCheck,
        Self::RotateToken,
    ];

    /// The one with this name, exactly.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|command| command.name() == name)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Status => "status",
            Self::SwitchProvider => "switch_provider",
            Self::HealthCheck => "health_check",
            Self::RotateToken => "rotate_token",
        }
    }

    /// The scope that allows it; the administrator's allows everything.
    const fn scope(self) -> &'static str {
        match self {
            Self::Ping | Self::Status | Self::HealthCheck => "provider:read",
            Self::SwitchProvider => "provider:write",
            Self::RotateToken => ADMIN,
        }
    }

    /// Whether a token allows it.
    ///
    /// # Errors
    /// What it lacks.
    pub(super) fn check(self, granted: &Granted) -> Result<(), Cow<'static, str>> {
        let (name, scope) = (self.name(), self.scope());
        if granted.has(scope) || granted.has(ADMIN) {
            Ok(())
        } else if scope == ADMIN {
            Err(format!("Forbidden: {name} needs the scope {ADMIN}").into())
        } else {
            Err(format!("Forbidden: {name} needs the scope {scope} or {ADMIN}").into())
        }
    }
}

#[derive(Serialize)]
struct Pong {
    pong: bool,
    ts: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rotated<'a> {
    token: &'a str,
    token_id: &'a str,
    expires_at: String,
}

impl Control {
    /// Carries a command out. `Ok`: it is answered, or will be.
    ///
    /// # Errors
    /// What to answer instead.
    pub(super) fn run(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        session: &mut Session,
        command: Command,
        request: &Request<'_>,
    ) -> Result<(), Cow<'static, str>> {
        let id = request.id;
        match command {
            Command::Ping => {
                let ts = cx.now.wall.0;
                answer(cx, conn, command, id, &Pong { pong: true, ts });
            }
            Command::Status => self.status(cx, conn, id),
            Command::SwitchProvider => {
                let switched = self.switch_provider(cx, conn, session.client, request.data)?;
                answer(cx, conn, command, id, &switched);
            }
            Command::HealthCheck => self.check_health(cx, conn, session, id)?,
            Command::RotateToken => self.rotate_token(cx, conn, id),
        }
        Ok(())
    }

    fn rotate_token(&mut self, cx: &mut Context<'_>, conn: ConnId, id: Option<&str>) {
        self.replace_token(cx, Some(conn), Issued::Rotated);
        let active = &self.tokens.active;
        let rotated = Rotated {
            token: active.token.reveal(),
            token_id: &active.id,
            expires_at: active.expires_at().to_utc().to_string(),
        };
        answer(cx, conn, Command::RotateToken, id, &rotated);
    }
}

fn answer<T: Serialize>(cx: &mut Context<'_>, conn: ConnId, command: Command, id: Option<&str>, result: &T) {
    cx.outbox.text(conn, |out| {
        write_result(out, command.name(), id, |out| write_value(out, result));
    });
}
