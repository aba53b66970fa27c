//! The surface while the gateway goes away: clients are told, no run begins any more, and what is cut short is counted.
//! Spec: `spec/operator.md` section 5, `spec/hardening.md`.

use alloc::string::String;
use core::time::Duration;

use super::wire::{Shutdown, WireError, write_event};
use super::{Context, Operator, Session};
use crate::audit::{AuditEvent, AuditOutcome, AuditRecord};
use crate::id::ConnId;
use crate::machine::DrainHow;
use crate::outbox::Outbox;
use crate::report::Report;

/// When clients may expect the gateway back after a restart.
const RESTART_EXPECTED_MS: u32 = 1_500;
/// When a client may try again.
const RETRY: Duration = Duration::from_secs(1);

/// What a request gets that would begin something now. `method` is `connect` or `agent.run`.
pub(super) fn unavailable(method: &'static str) -> WireError {
    let (message, details) = if method == "connect" {
        (
            "connect unavailable during gateway restart",
            r#"{"method":"connect","reason":"gateway-restarting","phase":"draining"}"#,
        )
    } else {
        (
            "agent.run unavailable during gateway restart",
            r#"{"method":"agent.run","reason":"gateway-restarting","phase":"draining"}"#,
        )
    };
    WireError {
        details: Some(details.into()),
        ..WireError::unavailable(message).retry_after(RETRY)
    }
}

/// What a run is answered that did not end in time.
pub(super) fn lost_run() -> WireError {
    WireError {
        details: Some(r#"{"method":"agent.run","reason":"gateway-restarting","phase":"stopping"}"#.into()),
        ..WireError::unavailable("server shutdown").retry_after(RETRY)
    }
}

impl Operator {
    /// No run is taken in from now on.
    pub const fn drain(&mut self) {
        self.draining = true;
    }

    /// Tells a client that the gateway goes away, and whether it comes back.
    pub fn announce_shutdown(&self, outbox: &mut Outbox, conn: ConnId, session: &Session, how: DrainHow) {
        if !session.is_ready() {
            return;
        }
        let payload = match how {
            DrainHow::Restart => Shutdown {
                reason: "gateway restarting",
                restart_expected_ms: Some(RESTART_EXPECTED_MS),
            },
            DrainHow::Stop | DrainHow::Quick => Shutdown {
                reason: "gateway stopping",
                restart_expected_ms: None,
            },
        };
        outbox.text(conn, |out| write_event(out, "shutdown", &payload, None));
    }

    /// The time for draining is over: what still runs is stopped.
    pub fn stop(&mut self, cx: &mut Context<'_>) {
        self.stop_all_runs(cx);
    }

    /// The gateway ends without waiting for the runs that are still under way.
    pub fn abandon(&mut self, cx: &mut Context<'_>) {
        for (run, agent) in self.runs.names() {
            self.lose(cx, &run, &agent);
        }
    }

    /// Runs that were cut short because the gateway went away.
    #[must_use]
    pub const fn lost_runs(&self) -> u32 {
        self.lost
    }

    pub(super) fn lose(&mut self, cx: &mut Context<'_>, run: &str, agent: &str) {
        self.lost = self.lost.saturating_add(1);
        cx.audit.push(AuditRecord {
            run_id: Some(String::from(run)),
            ..AuditRecord::new(AuditEvent::TurnLost, AuditOutcome::Failed)
        });
        cx.reports.push(Report::TurnLost {
            run: String::from(run),
            agent: String::from(agent),
        });
    }

    /// Whether the surface knows what was done before it started, so that it can take work.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.index.is_loaded()
    }
}
