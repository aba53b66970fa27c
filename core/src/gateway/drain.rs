//! Going away: no new connections, no new work; what works may end within its time; then every client is told and closed.
//! Spec: `spec/operator.md` section 5, `spec/hardening.md`.

use alloc::vec::Vec;
use core::time::Duration;

use super::Gateway;
use super::connection::{Session, Stage};
use crate::audit::{AuditEvent, AuditOutcome, Journal};
use crate::id::ConnId;
use crate::machine::{DrainHow, Output};
use crate::report::Report;
use crate::surfaces::control::Control;
use crate::surfaces::relay::Relay;
use crate::time::{Instant, Now};
use crate::websocket::CloseCode;

/// How long work that was stopped at the end of its time may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// The time that work has when somebody waits for the end.
const QUICK: Duration = Duration::from_secs(5);

/// A drain under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Drain {
    pub(super) how: DrainHow,
    phase: Phase,
}

/// How far draining has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Work may end until then.
    Grace(Instant),
    /// Work was stopped; it has until then.
    Stopping(Instant),
    /// Every connection is being closed.
    Closing,
    /// Everybody is gone; the journal has until then to be on disk.
    Writing(Instant),
}

impl Gateway {
    /// Begins to drain; asked again, it does not wait any longer.
    pub(super) fn drain(&mut self, now: Now, how: DrainHow) {
        if let Some(drain) = &mut self.draining {
            if matches!(drain.phase, Phase::Grace(_)) {
                drain.phase = Phase::Grace(now.monotonic);
            }
            // Who asks for the end while a restart is under way gets the end.
            if how != DrainHow::Restart {
                drain.how = how;
            }
            return;
        }
        self.outputs.push_back(Output::StopAccepting);
        self.operator.drain();
        if let Some(control) = &mut self.control {
            control.drain();
        }
        if let Some(relay) = &mut self.relay {
            relay.drain();
        }
        let grace = match how {
            DrainHow::Stop | DrainHow::Restart => self.settings.gateway.drain_grace,
            DrainHow::Quick => self.settings.gateway.drain_grace.min(QUICK),
        };
        self.reports.push(Report::Draining {
            connections: self.connections.len(),
            work: self.work(),
            seconds: grace.as_secs(),
        });
        self.draining = Some(Drain {
            how,
            phase: Phase::Grace(now.monotonic.plus(grace)),
        });
        let reason = match how {
            DrainHow::Stop => "stop",
            DrainHow::Restart => "restart",
            DrainHow::Quick => "interrupt",
        };
        self.record(AuditEvent::DrainStart, AuditOutcome::Ok, Some(reason));
        self.announce(how);
    }

    /// Every operator client is told that the gateway goes away, and whether it comes back.
    fn announce(&mut self, how: DrainHow) {
        for id in self.all_connections() {
            if let Some(connection) = self.connections.get(id)
                && let Stage::WebSocket(stage) = &connection.stage
                && let Session::Operator(session) = &stage.session
            {
                self.operator.announce_shutdown(&mut self.outbox, id, session, how);
            }
        }
    }

    /// Work that a drain waits for.
    pub(super) fn work(&self) -> usize {
        self.operator.runs()
            + self.tools.len()
            + self.control.as_ref().map_or(0, Control::in_progress)
            + self.relay_waiting
    }

    /// Takes every step whose time has come: one may make the next possible, with no input between them.
    pub(super) fn drain_further(&mut self, now: Now) {
        while let Some(before) = self.draining {
            self.drain_step(now, before);
            if self.draining == Some(before) {
                return;
            }
        }
    }

    fn drain_step(&mut self, now: Now, drain: Drain) {
        let idle = self.work() == 0;
        match drain.phase {
            Phase::Grace(until) if !idle && until <= now.monotonic => {
                self.draining = Some(Drain {
                    phase: Phase::Stopping(now.monotonic.plus(STOP_PATIENCE)),
                    ..drain
                });
                let (operator, mut cx) = self.operator(now);
                operator.stop(&mut cx);
                self.with_control(now, |control, cx| control.stop(cx));
                self.stop_tools(now);
                self.answer_tools(now);
                // What can end at once has ended then.
                self.outbound_events(now);
                self.deliver(now);
                self.drain_further(now);
            }
            Phase::Stopping(until) if idle || until <= now.monotonic => self.close_all(now, drain),
            Phase::Grace(_) if idle => self.close_all(now, drain),
            Phase::Closing if self.nobody_is_left() => {
                let outcome = if self.ended_clean() {
                    AuditOutcome::Ok
                } else {
                    AuditOutcome::Failed
                };
                self.with_relay(now, Relay::flush);
                self.record(AuditEvent::DrainEnd, outcome, None);
                self.record(AuditEvent::Stop, AuditOutcome::Ok, None);
                self.draining = Some(Drain {
                    phase: Phase::Writing(now.monotonic.plus(STOP_PATIENCE)),
                    ..drain
                });
            }
            Phase::Writing(until) if until <= now.monotonic => {
                // What could not be written is lost: whoever waits for the end is told so.
                self.journal_lost |= self.journal.take().is_some_and(|journal| !journal.is_flushed());
                self.journal_lost |= self.relay.take().is_some_and(|relay| !relay.is_flushed());
            }
            _ => {}
        }
    }

    fn close_all(&mut self, now: Now, drain: Drain) {
        self.draining = Some(Drain {
            phase: Phase::Closing,
            ..drain
        });
        let (operator, mut cx) = self.operator(now);
        operator.abandon(&mut cx);
        self.exchanges.cancel_all(&mut self.calls);
        self.outbound_events(now);
        // The answers to the last runs go out before the close.
        self.deliver(now);
        let (code, reason) = match drain.how {
            DrainHow::Restart => (CloseCode::SERVICE_RESTART, "service restart"),
            DrainHow::Stop | DrainHow::Quick => (CloseCode::GOING_AWAY, "server shutdown"),
        };
        for id in self.all_connections() {
            self.with(now, id, |gateway, connection| match &connection.stage {
                Stage::WebSocket(_) => gateway.outbox.close(id, code, reason),
                Stage::Http(_) | Stage::Flushing | Stage::Ended => {
                    gateway.close_relay(now, id, connection);
                    gateway.answer_last(now, id, connection);
                    gateway.flush_after(now, id, connection);
                }
            });
        }
    }

    /// In order of their names, so that the same inputs give the same outputs.
    fn all_connections(&self) -> Vec<ConnId> {
        let mut all: Vec<ConnId> = self.connections.names().collect();
        all.sort_unstable();
        all
    }

    /// Whether every connection is being closed, so that a new one comes too late.
    pub(super) const fn is_closing(&self) -> bool {
        matches!(
            self.draining,
            Some(Drain {
                phase: Phase::Closing | Phase::Writing(_),
                ..
            })
        )
    }

    fn nobody_is_left(&self) -> bool {
        self.connections.is_empty() && self.exchanges.connections() == 0
    }

    /// Whether nothing is left to do; asked after the records were handed to the journal.
    pub(super) fn is_drained(&self) -> bool {
        let is_last = matches!(
            self.draining,
            Some(Drain {
                phase: Phase::Writing(_),
                ..
            })
        );
        is_last
            && self.nobody_is_left()
            && self.journal.as_ref().is_none_or(Journal::is_flushed)
            && self.relay.as_ref().is_none_or(Relay::is_flushed)
    }

    /// Whether all work came to its end.
    pub(super) fn ended_clean(&self) -> bool {
        self.operator.lost_runs() == 0 && self.lost_calls == 0 && !self.journal_lost
    }

    pub(super) const fn next_drain_deadline(&self) -> Option<Instant> {
        match self.draining {
            Some(Drain {
                phase: Phase::Grace(at) | Phase::Stopping(at) | Phase::Writing(at),
                ..
            }) => Some(at),
            _ => None,
        }
    }
}
