//! What the gateway tells: reports for the log at a bounded rate, and records for the audit journal.
//! Spec: `spec/hardening.md`.

use alloc::boxed::Box;
use alloc::string::{String, ToString};

use super::Gateway;
use super::connection::{Connection, Session, Stage};
use crate::audit::{AuditEvent, AuditOutcome, AuditRecord, Journal, Surface};
use crate::http::Request;
use crate::id::ConnId;
use crate::machine::{Output, Peer};
use crate::report::Report;
use crate::settings::AuditSettings;
use crate::time::Now;

/// The facts about a request that records of it share.
pub(super) struct Facts(AuditRecord);

impl Facts {
    /// A record of these facts.
    pub(super) fn record(&self, event: AuditEvent, outcome: AuditOutcome) -> AuditRecord {
        Self(self.0.clone()).into_record(event, outcome)
    }

    /// The last record of these facts.
    pub(super) fn into_record(mut self, event: AuditEvent, outcome: AuditOutcome) -> AuditRecord {
        self.0.event = event;
        self.0.outcome = outcome;
        self.0
    }
}

impl Gateway {
    /// What is known about who asks.
    pub(super) fn facts(
        &self,
        id: ConnId,
        connection: &Connection,
        request: Option<&Request>,
        surface: Surface,
    ) -> Facts {
        let mut record = AuditRecord::new(AuditEvent::ConnOpen, AuditOutcome::Ok).on(id, surface);
        // Without a journal nobody reads them.
        if self.journal.is_none() {
            return Facts(record);
        }
        record.ip = connection.client.address();
        if let Peer::Tcp(peer) = connection.peer {
            record.peer = Some(peer.ip()).filter(|peer| record.ip != Some(peer.to_canonical()));
        }
        if let Some(request) = request {
            let field = |name| request.headers().get(name).map(String::from);
            record.origin = field("origin");
            record.host = request.host().map(String::from);
            record.user_agent = field("user-agent");
        }
        Facts(record)
    }

    /// A connection or a request was refused before anybody served it.
    pub(super) fn reject(
        &mut self,
        now: Now,
        id: ConnId,
        connection: &Connection,
        request: Option<&Request>,
        reason: &'static str,
    ) {
        let facts = self.facts(id, connection, request, Surface::Http);
        let mut record = facts
            .into_record(AuditEvent::ConnRejected, AuditOutcome::Denied)
            .because(reason);
        // Who comes back again and again does not fill the disk.
        let repeats = self.repeats.entry("conn_rejected").or_default();
        if let Some(left_out) = repeats.tell(now.monotonic) {
            record.count = (left_out > 0).then_some(left_out);
            self.audit.push(record);
        }
    }

    /// A WebSocket connection ends.
    pub(super) fn record_close(&mut self, id: ConnId, connection: &Connection) {
        let surface = match &connection.stage {
            Stage::WebSocket(stage) => match &stage.session {
                Session::Operator(_) => Surface::Ws,
                Session::Agent => Surface::Relay,
                // The surface tells it itself; and what was closed by us was told then.
                Session::Control(_) | Session::Over => return,
            },
            Stage::Http(_) | Stage::Flushing | Stage::Ended => return,
        };
        if self.settings.records(AuditEvent::ConnClose) {
            let facts = self.facts(id, connection, None, surface);
            self.audit
                .push(facts.into_record(AuditEvent::ConnClose, AuditOutcome::Ok));
        }
    }

    /// An event of the gateway itself.
    pub(super) fn record(&mut self, event: AuditEvent, outcome: AuditOutcome, reason: Option<&'static str>) {
        let mut record = AuditRecord::new(event, outcome);
        record.reason = reason.map(Into::into);
        self.audit.push(record);
    }

    /// Takes new settings of the journal: it may begin or end with them.
    pub(super) fn reconfigure_journal(&mut self) {
        self.journal = match (self.journal.take(), &self.settings.audit) {
            (Some(mut journal), Some(settings)) => {
                journal.reconfigure(settings);
                Some(journal)
            }
            (None, Some(settings)) => Some(Journal::new(AuditSettings::clone(settings), &mut self.calls)),
            // What waits is still written; nothing further is taken in.
            (Some(journal), None) => Some(journal),
            (None, None) => None,
        };
    }

    /// Hands the reports over, those of each kind at a bounded rate, and the records to the journal.
    pub(super) fn tell(&mut self, now: Now) {
        // Most inputs leave nothing to tell.
        if self.audit.is_empty() && self.reports.is_empty() {
            return;
        }
        for record in self.audit.drain(..) {
            self.metrics.recorded(&record);
            if let Some(journal) = &mut self.journal {
                journal.record(now, &mut self.calls, record);
            }
        }
        for report in self.reports.drain(..) {
            let kind = report.kind();
            let Some(count) = self.repeats.entry(kind).or_default().tell(now.monotonic) else {
                continue;
            };
            if count > 0 {
                let left_out = Report::LeftOut {
                    kind,
                    level: report.level(),
                    count,
                };
                self.outputs.push_back(Output::Report(Box::new(left_out)));
            }
            self.outputs.push_back(Output::Report(Box::new(report)));
        }
    }

    /// Somebody found no room; the log hears of it at most once a second.
    pub(super) fn turned_away(&mut self, now: Now, setting: &'static str) {
        self.metrics.turned_away.add(0, 1);
        self.turned_away.count += 1;
        let quiet = self
            .turned_away
            .reported_at
            .is_some_and(|at| now.monotonic.since(at).as_secs() < 1);
        if !quiet {
            let count = core::mem::take(&mut self.turned_away.count);
            self.turned_away.reported_at = Some(now.monotonic);
            self.reports.push(Report::TurnedAway { count, setting });
            let mut record =
                AuditRecord::new(AuditEvent::ConnRejected, AuditOutcome::Denied).because(setting.to_string());
            record.count = Some(count);
            self.audit.push(record);
        }
    }
}
