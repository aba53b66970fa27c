//! Who listens to a session's events: the stream's beginning, its heartbeat with a second look at the rights, its end.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use bytes::{BufMut, BytesMut};

use super::key::SessionKey;
use super::{Sessions, bad, refused};
use crate::http::Status;
use crate::id::ConnId;
use crate::surfaces::relay::context::RelayContext;
use crate::surfaces::relay::devices::{Devices, end_of};
use crate::surfaces::relay::http::{Answer, Caller, EventStream, Reply, Request};
use crate::surfaces::relay::ids::SessionId;
use crate::surfaces::relay::streams::Streams;
use crate::time::Instant;

/// The longest silence.
const BEAT: Duration = Duration::from_secs(15);

/// All listeners.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    open: BTreeMap<ConnId, Box<Listener>>,
    due: BTreeSet<(Instant, ConnId)>,
    /// Those that have not been sent all that is older, and the last event that they were sent.
    behind: BTreeMap<ConnId, u64>,
}

#[derive(Debug)]
struct Listener {
    session: SessionKey,
    caller: Caller,
    /// When the token ends.
    until: Instant,
    next: Instant,
}

impl Listeners {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whether a listener has not been sent all that is older than the newest event.
    pub(super) fn is_behind(&self, conn: ConnId) -> bool {
        !self.behind.is_empty() && self.behind.contains_key(&conn)
    }

    /// Forgets a listener; the session to which it listened.
    pub(super) fn remove(&mut self, conn: ConnId) -> Option<SessionKey> {
        self.behind.remove(&conn);
        let listener = self.open.remove(&conn)?;
        self.due.remove(&(listener.next, conn));
        Some(listener.session)
    }
}

impl Sessions {
    /// `GET …/events`.
    pub(super) fn listen(
        &mut self,
        cx: &mut RelayContext<'_>,
        devices: &Devices,
        caller: &Caller,
        request: &Request<'_>,
        id: &str,
    ) -> Result<Reply, Answer> {
        let id = SessionId::parse(id).map_err(|fault| bad(&fault.text("session_id")))?;
        let key = self.member(cx, devices, caller, &id)?.0;
        let conn = request.conn;
        self.closed(conn);
        let session = self
            .sessions
            .get_mut(&key)
            .ok_or_else(|| refused(Status::NOT_FOUND, "session not found"))?;
        if cx.streams.count(&caller.uid) >= cx.relay.limits.streams_per_user {
            return Err(refused(Status::TOO_MANY_REQUESTS, "too many event streams").with("Retry-After", "30"));
        }
        let mut first = BytesMut::from(&b":connected\n\n"[..]);
        let limit = cx.relay.limits.stream_buffer_bytes as usize;
        let cursor = session.backlog.cursor(request.headers.get("last-event-id"));
        if let Some(last) = session.backlog.since(cursor, limit, |event| first.put_slice(event)) {
            self.common.listeners.behind.insert(conn, last);
        }
        let until = end_of(cx.now, caller);
        let next = cx.now.monotonic.plus(BEAT).min(until);
        session.listeners.push(conn);
        self.common.listeners.due.insert((next, conn));
        let listener = Listener {
            session: key,
            caller: caller.clone(),
            until,
            next,
        };
        self.common.listeners.open.insert(conn, Box::new(listener));
        cx.streams
            .open(conn, caller.uid.clone(), cx.relay.limits.stream_buffer_bytes);
        let first = first.freeze();
        Ok(Reply::Events(EventStream { first }))
    }

    /// A listener's socket took bytes: who is behind is sent more of what is older.
    pub fn listen_on(&mut self, streams: &mut Streams, limit: usize, conn: ConnId) {
        let listeners = &mut self.common.listeners;
        let Some(last) = listeners.behind.get(&conn).copied() else {
            return;
        };
        if streams.load(conn) > limit / 4 {
            return;
        }
        let session = listeners.open.get(&conn).map(|listener| &listener.session);
        let Some(session) = session.and_then(|key| self.sessions.get(key)) else {
            return;
        };
        let mut more = BytesMut::new();
        match session.backlog.since(last, limit / 2, |event| more.put_slice(event)) {
            Some(last) => listeners.behind.insert(conn, last),
            None => listeners.behind.remove(&conn),
        };
        if !streams.append(conn, &more) {
            self.closed(conn);
        }
    }

    /// Heartbeats that are due.
    pub(super) fn beat(&mut self, cx: &mut RelayContext<'_>, devices: &Devices) {
        let now = cx.now.monotonic;
        while let Some(&(at, conn)) = self.common.listeners.due.first()
            && at <= now
        {
            let listeners = &mut self.common.listeners;
            listeners.due.remove(&(at, conn));
            let Some(listener) = listeners.open.get_mut(&conn) else {
                continue;
            };
            let is_member = self.sessions.get(&listener.session).is_some_and(|session| {
                let device = &session.kept.device;
                devices.standing(cx, &listener.caller, device).is_some()
            });
            let (comment, ends) = if listener.until <= now {
                (":authorization_expired\n\n", true)
            } else if !is_member {
                (":authorization_revoked\n\n", true)
            } else {
                (":heartbeat\n\n", false)
            };
            let taken = cx.streams.push(conn, comment.as_bytes());
            listener.next = now.plus(BEAT).min(listener.until);
            listeners.due.insert((listener.next, conn));
            if ends || !taken {
                cx.streams.end(conn);
                self.closed(conn);
            }
        }
    }
}
