//! Who listens to the states of devices, and what each has been told. A listener is woken by changes of devices that the
//! user sees, by nobody else's, and every 30 seconds.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::Devices;
use super::listing::status;
use crate::http::Status;
use crate::id::ConnId;
use crate::surfaces::relay::context::RelayContext;
use crate::surfaces::relay::http::{Answer, Caller, EventStream, Reply};
use crate::surfaces::relay::ids::{DeviceId, Uid};
use crate::surfaces::relay::stamp;
use crate::time::{Instant, Now};

/// The longest silence.
const BEAT: Duration = Duration::from_secs(30);

/// All listeners.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    open: BTreeMap<ConnId, Box<Listener>>,
    of_user: BTreeMap<Uid, BTreeSet<ConnId>>,
    due: BTreeSet<(Instant, ConnId)>,
}

#[derive(Debug)]
struct Listener {
    uid: Uid,
    /// When the token ends.
    until: Instant,
    next: Instant,
    /// What was told last of each device.
    told: BTreeMap<DeviceId, bool>,
}

impl Listeners {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(super) fn remove(&mut self, conn: ConnId) {
        let Some(listener) = self.open.remove(&conn) else {
            return;
        };
        self.due.remove(&(listener.next, conn));
        if let Some(conns) = self.of_user.get_mut(&listener.uid) {
            conns.remove(&conn);
            if conns.is_empty() {
                self.of_user.remove(&listener.uid);
            }
        }
    }
}

/// When a token ends, on the clock of deadlines.
pub(in crate::surfaces::relay) fn end_of(now: Now, caller: &Caller) -> Instant {
    let left = caller.expires_at.saturating_mul(1_000).saturating_sub(now.wall.0);
    now.monotonic.plus(Duration::from_millis(left))
}

impl Devices {
    /// `GET /gateway/v1/devices/events`.
    pub(super) fn listen(&mut self, cx: &mut RelayContext<'_>, caller: &Caller, conn: ConnId) -> Reply {
        if cx.streams.count(&caller.uid) >= cx.relay.limits.streams_per_user {
            return Reply::Now(
                Answer::error(Status::TOO_MANY_REQUESTS, "too many event streams").with("Retry-After", "30"),
            );
        }
        self.listeners.remove(conn);
        let mut listener = Listener {
            uid: caller.uid.clone(),
            until: end_of(cx.now, caller),
            next: cx.now.monotonic.plus(BEAT),
            told: BTreeMap::new(),
        };
        let mut first = String::from(":connected\n\n");
        self.tell(cx.now, &mut listener, &mut first);
        listener.next = listener.next.min(listener.until);
        self.listeners.due.insert((listener.next, conn));
        let conns = self.listeners.of_user.entry(caller.uid.clone()).or_default();
        conns.insert(conn);
        self.listeners.open.insert(conn, Box::new(listener));
        cx.streams
            .open(conn, caller.uid.clone(), cx.relay.limits.stream_buffer_bytes);
        Reply::Events(EventStream {
            first: Bytes::from(first),
        })
    }

    /// Appends what a listener has not been told.
    fn tell(&self, now: Now, listener: &mut Listener, out: &mut String) {
        let visible = self.visible(now, &listener.uid);
        for id in visible.keys() {
            let Some(device) = self.devices.get(id) else { continue };
            let online = device.is_online(now.monotonic);
            if listener.told.insert(id.clone(), online) != Some(online) {
                let seen = device.presence.filter(|_| online);
                let at = seen.map(|presence| stamp::text(presence.last_seen));
                event(out, &at.unwrap_or_default(), id, online);
            }
        }
        let gone: Vec<_> = listener
            .told
            .keys()
            .filter(|id| !visible.contains_key(*id))
            .cloned()
            .collect();
        for id in gone {
            listener.told.remove(&id);
            event(out, &stamp::text(now.wall), &id, false);
        }
    }

    /// Something about a device changed: whoever sees it looks again.
    pub(super) fn wake(&mut self, cx: &mut RelayContext<'_>, id: &DeviceId) {
        let owner = self.devices.get(id).map(|device| device.kept.owner.clone());
        let grantees = self.shares.grantees(cx.now, id);
        for uid in owner.into_iter().chain(grantees) {
            self.wake_user(cx, &uid);
        }
    }

    /// A device has another identity key: whoever sees it is told which, beside the state that it has.
    pub(super) fn tell_key(&mut self, cx: &mut RelayContext<'_>, id: &DeviceId) {
        let Some(device) = self.devices.get(id) else { return };
        let mut text = String::from("event: device.identity_key\ndata: {\"at\":\"");
        text.push_str(&stamp::text(cx.now.wall));
        text.push_str("\",\"deviceId\":\"");
        text.push_str(id.as_str());
        text.push_str("\",\"publicKey\":\"");
        text.push_str(device.kept.public_key.as_deref().unwrap_or_default());
        text.push_str("\",\"status\":\"");
        text.push_str(status(device.is_online(cx.now.monotonic)));
        text.push_str("\"}\n\n");
        let owner = device.kept.owner.clone();
        let users = self.shares.grantees(cx.now, id).into_iter().chain([owner]);
        let conns: Vec<_> = users
            .filter_map(|uid| self.listeners.of_user.get(&uid))
            .flatten()
            .copied()
            .collect();
        for conn in conns {
            if !cx.streams.push(conn, text.as_bytes()) {
                cx.streams.end(conn);
                self.listeners.remove(conn);
            }
        }
    }

    /// Grants began or ended: whom they concern looks again.
    pub(super) fn wake_changed(&mut self, cx: &mut RelayContext<'_>) {
        while let Some(uid) = self.shares.take_concerned() {
            self.wake_user(cx, &uid);
        }
    }

    pub(super) fn wake_user(&mut self, cx: &mut RelayContext<'_>, uid: &Uid) {
        let conns: Vec<_> = self.listeners.of_user.get(uid).into_iter().flatten().copied().collect();
        for conn in conns {
            self.look_again(cx, conn);
        }
    }

    pub(super) fn listeners_due(&mut self, cx: &mut RelayContext<'_>) {
        while let Some(&(at, conn)) = self.listeners.due.first()
            && at <= cx.now.monotonic
        {
            self.listeners.due.remove(&(at, conn));
            self.look_again(cx, conn);
        }
    }

    fn look_again(&mut self, cx: &mut RelayContext<'_>, conn: ConnId) {
        let now = cx.now.monotonic;
        let Some(mut listener) = self.listeners.open.remove(&conn) else {
            return;
        };
        self.listeners.due.remove(&(listener.next, conn));
        let mut text = String::from(":heartbeat\n\n");
        let expired = listener.until <= now;
        if expired {
            text = String::from(":authorization_expired\n\n");
        } else {
            self.tell(cx.now, &mut listener, &mut text);
        }
        let taken = cx.streams.push(conn, text.as_bytes());
        listener.next = now.plus(BEAT).min(listener.until);
        self.listeners.due.insert((listener.next, conn));
        self.listeners.open.insert(conn, listener);
        if expired || !taken {
            cx.streams.end(conn);
            self.listeners.remove(conn);
        }
    }
}

fn event(out: &mut String, at: &str, id: &DeviceId, online: bool) {
    // None of the three texts has a character that JSON escapes.
    out.push_str("event: device.status\ndata: {\"at\":\"");
    out.push_str(at);
    out.push_str("\",\"deviceId\":\"");
    out.push_str(id.as_str());
    out.push_str("\",\"status\":\"");
    out.push_str(status(online));
    out.push_str("\"}\n\n");
}
