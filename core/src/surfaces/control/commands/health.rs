//! `health_check`: all providers are asked; the answer comes when they have answered, and until then the connection's
//! further messages wait.

use alloc::borrow::Cow;
use alloc::string::String;

use serde::Serialize;

use super::{Command, answer};
use crate::id::ConnId;
use crate::providers::{HealthReport, ProviderHealth};
use crate::surfaces::control::wire::{Echo, write_failure};
use crate::surfaces::control::{Context, Control, Session, ledger};

const MESSAGE: &str = "Health check complete \u{2014} see server logs for details.";

/// What is answered when the gateway goes away before there is a result.
const SHUTDOWN: &str = "Command failed: server shutdown";

/// A client that waits for the result.
#[derive(Debug)]
pub(in crate::surfaces::control) struct Asked {
    pub(in crate::surfaces::control) conn: ConnId,
    /// Of the message, as written.
    id: Option<String>,
}

#[derive(Serialize)]
struct Checked<'a> {
    message: &'static str,
    providers: &'a [ProviderHealth],
}

/// There will be no result.
pub(in crate::surfaces::control) fn stopped(cx: &mut Context<'_>, asked: &Asked) {
    let cmd = Echo::Text(Cow::Borrowed(Command::HealthCheck.name()));
    cx.outbox.text(asked.conn, |out| {
        write_failure(out, &cmd, asked.id.as_deref(), SHUTDOWN)
    });
}

impl Control {
    pub(super) fn check_health(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        session: &mut Session,
        id: Option<&str>,
    ) -> Result<(), Cow<'static, str>> {
        if self.draining {
            return Err(SHUTDOWN.into());
        }
        self.last_ticket += 1;
        let asked = Asked {
            conn,
            id: id.map(String::from),
        };
        self.checks.insert(self.last_ticket, asked);
        session.busy = true;
        cx.providers.check_health(cx.now, cx.calls, cx.random, self.last_ticket);
        Ok(())
    }

    /// The providers have been asked. A client that is gone is not told.
    pub fn health_checked(&mut self, cx: &mut Context<'_>, ticket: u64, report: &HealthReport) {
        let Some(asked) = self.checks.remove(&ticket) else {
            return;
        };
        let checked = Checked {
            message: MESSAGE,
            providers: &report.providers,
        };
        answer(cx, asked.conn, Command::HealthCheck, asked.id.as_deref(), &checked);
        self.released.push_back(asked.conn);
        ledger::checked(cx, report);
    }
}
