//! What happens by itself: reading at the start, writing what may wait, forgetting what nobody used for long.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::Sessions;
use super::answers::{ANSWERS, Stored};
use super::backlog::EVENTS;
use super::key::SessionKey;
use super::record::{Kept, KeptMessage, SESSIONS, Session, Status as State, UNDELIVERED, Undelivered};
use crate::report::Report;
use crate::settings::RelaySettings;
use crate::store::{Durability, Record};
use crate::surfaces::relay::context::RelayContext;
use crate::surfaces::relay::devices::Devices;
use crate::surfaces::relay::ids::SessionId;
use crate::surfaces::relay::ledger::Change;
use crate::surfaces::relay::records;
use crate::time::{Instant, Now};

/// How often idle sessions are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(300);

impl Sessions {
    /// Everything is read: sessions first, then what belongs to them.
    pub(super) fn take_loaded(&mut self, relay: &RelaySettings, now: Now, reports: &mut Vec<Report>) {
        let mut tables: BTreeMap<_, _> = core::mem::take(&mut self.loaded).into_iter().collect();
        let mut unread = 0_u64;
        let mut names = BTreeMap::new();
        for record in tables.remove(SESSIONS).unwrap_or_default() {
            match read_session(&record, now) {
                Some(session) => {
                    names.insert(record.id, session.key());
                    self.insert(session);
                }
                None => unread += 1,
            }
        }
        for table in [EVENTS, ANSWERS, UNDELIVERED] {
            for record in tables.remove(table).unwrap_or_default() {
                unread += u64::from(!self.take_record(relay, now, table, &record, &names));
            }
        }
        self.common.sweep_at = Some(now.monotonic.plus(SWEEP_EVERY));
        if unread > 0 {
            reports.push(Report::EffectFailed {
                what: "records of the relay are of another form, or of no session, and were left alone",
                detail: alloc::format!("{unread} of sessions"),
            });
        }
    }

    /// A record of what belongs to a session; `names`: whose records have names that begin so.
    fn take_record(
        &mut self,
        relay: &RelaySettings,
        now: Now,
        table: &str,
        record: &Record,
        names: &BTreeMap<String, SessionKey>,
    ) -> bool {
        let Some((name, number)) = record.id.split_once('/') else {
            return false;
        };
        let (Some(session), Ok(number)) = (
            names.get(name).and_then(|key| self.sessions.get_mut(key)),
            u64::from_str_radix(number, 16),
        ) else {
            return false;
        };
        let limit = relay.limits.idempotency_per_session as usize;
        match table {
            EVENTS => {
                let before = session.backlog.bytes();
                let good = session.backlog.load(record.value.clone());
                let more = session.backlog.bytes() - before;
                self.common.with_events += usize::from(before == 0 && more > 0);
                self.common
                    .hold(&session.kept.initiator, |holding| holding.event_bytes += more);
                good
            }
            ANSWERS => {
                let before = session.answers.len();
                let good = session.answers.load(number, &record.value, now.wall, limit);
                let after = session.answers.len();
                self.common.hold(&session.kept.initiator, |holding| {
                    holding.answers = (holding.answers + after).saturating_sub(before);
                });
                good
            }
            _ => {
                let Some(kept) = records::read::<KeptMessage>(&record.value) else {
                    return false;
                };
                let message_id = kept.message_id;
                let before = session.answers.len();
                if now.wall < kept.until {
                    let stored = Stored::new(kept.fingerprint, message_id.clone(), true, kept.until);
                    session.answers.insert(kept.key, stored, now.wall, limit);
                }
                let after = session.answers.len();
                let frame = Bytes::from(kept.frame);
                self.common.hold(&session.kept.initiator, |holding| {
                    holding.queued_bytes += frame.len();
                    holding.answers = (holding.answers + after).saturating_sub(before);
                });
                session.next_place = session.next_place.max(number.saturating_add(1));
                session.undelivered.push_back(Undelivered {
                    place: number,
                    message_id,
                    frame,
                });
                true
            }
        }
    }

    pub(super) fn insert(&mut self, session: Session) {
        let of_device = self.of_device.entry(session.kept.device.clone()).or_default();
        of_device.insert(session.id.clone(), session.kept.initiator.clone());
        self.common
            .hold(&session.kept.initiator, |holding| holding.sessions += 1);
        self.sessions.insert(session.key(), Box::new(session));
    }

    /// A session is over: it goes from memory and from disk, and its streams end.
    pub(super) fn forget(&mut self, cx: &mut RelayContext<'_>, key: &SessionKey) {
        let Some(mut session) = self.sessions.remove(key) else {
            return;
        };
        self.common.end_listeners(cx, &mut session);
        if let Some(ids) = self.of_device.get_mut(&session.kept.device) {
            ids.remove(&key.id);
            if ids.is_empty() {
                self.of_device.remove(&session.kept.device);
            }
        }
        self.common.drop_undelivered(cx, &mut session);
        let had_events = usize::from(!session.backlog.is_empty());
        self.common.with_events = self.common.with_events.saturating_sub(had_events);
        self.common.hold(&session.kept.initiator, |holding| {
            holding.sessions = holding.sessions.saturating_sub(1);
            holding.event_bytes = holding.event_bytes.saturating_sub(session.backlog.bytes());
            holding.answers = holding.answers.saturating_sub(session.answers.len());
        });
        cx.ledger
            .change(SESSIONS, key.record(), Change::Delete, Durability::Durable);
        session.backlog.forget(key, cx.ledger);
        session.answers.forget(key, cx.ledger);
    }

    /// When [`Self::on_deadline`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        [
            self.loading.next_deadline(),
            self.common.flush_at,
            self.common.sweep_at,
            self.common.listeners.next_deadline(),
            self.agents_due.first().map(|(at, _)| *at),
            self.watched.front().map(|(at, _)| *at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// A deadline passed.
    pub fn on_deadline(&mut self, cx: &mut RelayContext<'_>, devices: &mut Devices) {
        let now = cx.now.monotonic;
        self.loading.on_deadline(cx.now, cx.calls);
        self.agents_due(cx, devices);
        self.watch(cx);
        self.beat(cx, devices);
        if self.common.flush_at.is_some_and(|at| at <= now) {
            self.flush(cx);
        }
        if self.common.sweep_at.is_some_and(|at| at <= now) {
            self.common.sweep_at = Some(now.plus(SWEEP_EVERY));
            self.sweep(cx, devices);
        }
    }

    /// Writes what may wait no longer; before a stop, too.
    pub fn flush(&mut self, cx: &mut RelayContext<'_>) {
        self.common.flush_at = None;
        for key in core::mem::take(&mut self.common.dirty) {
            let Some(session) = self.sessions.get_mut(&key) else {
                continue;
            };
            session.is_dirty = false;
            session.keep(cx.ledger, Durability::Lazy);
            session.answers.flush(&key, cx.now.wall, cx.ledger);
            session.backlog.flush(&key, cx.ledger);
        }
    }

    /// Forgets sessions without a change for long, unless their agent is there and they are not over.
    fn sweep(&mut self, cx: &mut RelayContext<'_>, devices: &Devices) {
        let idle = |session: &&Session| {
            let until = session.kept.updated_at.plus(cx.relay.limits.session_idle);
            let online = devices
                .get(&session.kept.device)
                .is_some_and(|device| device.is_online(cx.now.monotonic));
            until <= cx.now.wall && !(online && session.kept.status != State::AgentError)
        };
        let sessions = self.sessions.values().map(Box::as_ref);
        let over: Vec<_> = sessions.filter(idle).map(Session::key).collect();
        for key in over {
            self.forget(cx, &key);
        }
        for session in self.sessions.values_mut() {
            let before = session.answers.len();
            session.answers.sweep(cx.now.wall);
            let gone = before - session.answers.len();
            if gone > 0 {
                self.common.hold(&session.kept.initiator, |holding| {
                    holding.answers = holding.answers.saturating_sub(gone);
                });
            }
        }
    }
}

fn read_session(record: &Record, now: Now) -> Option<Session> {
    let kept: Kept = records::read(&record.value)?;
    let (id, _) = record.id.split_once('~')?;
    let session = Session::new(SessionId::parse(id).ok()?, kept, now.wall);
    // The name is the session's own, or it is none of ours.
    (session.key().record() == record.id).then_some(session)
}
