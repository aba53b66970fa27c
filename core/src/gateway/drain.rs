//! Going away: no new connections, no new runs; what runs may end within the grace; then every client is told and closed.
//! Spec: `spec/operator.md` section 5.

use alloc::vec::Vec;
use core::time::Duration;

use super::Gateway;
use super::connection::Stage;
use crate::id::ConnId;
use crate::machine::Output;
use crate::report::Report;
use crate::time::{Instant, Now};
use crate::websocket::CloseCode;

/// How long runs that were stopped at the end of the grace may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// How far draining has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Draining {
    /// Runs may end until then.
    Grace(Instant),
    /// Runs were stopped; they have until then.
    Stopping(Instant),
    /// Every connection is being closed.
    Closing,
}

impl Gateway {
    /// Begins to drain; asked again, it does not wait any longer.
    pub(super) fn drain(&mut self, now: Now) {
        if self.draining.is_some() {
            if matches!(self.draining, Some(Draining::Grace(_))) {
                self.draining = Some(Draining::Grace(now.monotonic));
            }
            return;
        }
        self.outputs.push_back(Output::StopAccepting);
        self.operator.drain();
        self.reports.push(Report::Draining {
            connections: self.connections.len(),
            runs: self.operator.runs(),
        });
        self.draining = Some(Draining::Grace(now.monotonic.plus(self.settings.gateway.drain_grace)));
    }

    /// Takes the next step when its time has come.
    pub(super) fn drain_further(&mut self, now: Now) {
        let idle = self.operator.runs() == 0;
        match self.draining {
            Some(Draining::Grace(until)) if !idle && until <= now.monotonic => {
                self.draining = Some(Draining::Stopping(now.monotonic.plus(STOP_PATIENCE)));
                let (operator, mut cx) = self.operator(now);
                operator.stop(&mut cx);
                self.deliver(now);
            }
            Some(Draining::Stopping(until)) if idle || until <= now.monotonic => self.close_all(now),
            Some(Draining::Grace(_)) if idle => self.close_all(now),
            _ => {}
        }
    }

    fn close_all(&mut self, now: Now) {
        self.draining = Some(Draining::Closing);
        self.exchanges.cancel_all(&mut self.calls);
        self.outbound_events(now);
        // The answers to the last runs go out before the close.
        self.deliver(now);
        let mut all: Vec<ConnId> = self.connections.keys().copied().collect();
        all.sort_unstable();
        for id in all {
            self.with(now, id, |gateway, connection| match &connection.stage {
                Stage::Operator(_) => gateway.outbox.close(id, CloseCode::GOING_AWAY, "server shutdown"),
                Stage::Http(_) | Stage::Ended => gateway.flush_after(now, id, connection),
            });
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.draining == Some(Draining::Closing) && self.connections.is_empty() && self.exchanges.connections() == 0
    }

    pub(super) const fn next_drain_deadline(&self) -> Option<Instant> {
        match self.draining {
            Some(Draining::Grace(at) | Draining::Stopping(at)) => Some(at),
            _ => None,
        }
    }
}
