//! Devices: who owns them, which key is theirs, who may use them, and whether their agents are connected. It knows
//! nothing about sessions: it is told who connects, and tells whose rights ended. Spec: `spec/relay.md`
//! sections 15 and 16.

mod identity;
mod listeners;
mod listing;
mod record;
#[cfg(test)]
pub(super) mod tests;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use listeners::Listeners;
pub(super) use listeners::end_of;
use record::Presence;
pub use record::{Device, Kept, PastKey};

use super::context::RelayContext;
use super::http::{Caller, Reply, Request};
use super::ids::{DeviceId, Uid};
use super::loading::Loading;
use super::percent;
pub use super::shares::GrantId;
use super::shares::{self, Shares};
use crate::calls::Calls;
use crate::effect::Outcome;
use crate::http::Method;
use crate::id::{ConnId, EffectId};
use crate::report::Report;
use crate::settings::RelayAuth;
use crate::time::{Instant, Now};

/// How long a device counts as online without a sign of its agent.
const PRESENCE: Duration = Duration::from_secs(60);

/// What somebody is to a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// Its owner.
    Owner,
    /// Somebody with whom the owner shares it.
    Collaborator {
        /// By this grant.
        grant: GrantId,
    },
}

/// All devices and grants.
#[derive(Debug, Default)]
pub struct Devices {
    loading: Loading,
    devices: BTreeMap<DeviceId, Box<Device>>,
    by_owner: BTreeMap<Uid, BTreeSet<DeviceId>>,
    shares: Shares,
    listeners: Listeners,
    removed: VecDeque<DeviceId>,
}

impl Devices {
    /// No devices yet: their records are being read.
    #[must_use]
    pub fn new(calls: &mut Calls) -> Self {
        Self {
            loading: Loading::start(calls, &[record::TABLE, shares::TABLE]),
            ..Self::default()
        }
    }

    /// Whether the records are read; before that nothing is to be asked.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.loading.is_done()
    }

    /// Whether this effect was started here.
    #[must_use]
    pub fn owns(&self, effect: EffectId) -> bool {
        self.loading.owns(effect)
    }

    /// An effect ended.
    pub fn completed(&mut self, now: Now, reports: &mut Vec<Report>, effect: EffectId, outcome: Outcome) {
        let Some((table, records)) = self.loading.completed(now, reports, effect, outcome) else {
            return;
        };
        let mut unread = 0_u64;
        for record in records {
            if table == shares::TABLE {
                unread += u64::from(!self.shares.load(&record));
            } else if let Some(device) = Device::read(&record.id, &record.value) {
                self.insert(device);
            } else {
                unread += 1;
            }
        }
        if unread > 0 {
            reports.push(Report::EffectFailed {
                what: "records of the relay are of another form and were left alone",
                detail: alloc::format!("{unread} in {table}"),
            });
        }
    }

    /// A device.
    #[must_use]
    pub fn get(&self, id: &DeviceId) -> Option<&Device> {
        self.devices.get(id).map(Box::as_ref)
    }

    /// What a user is to a device at this time; `None`: a stranger, or there is no such device.
    #[must_use]
    pub fn role(&self, now: Now, uid: &Uid, id: &DeviceId) -> Option<Role> {
        let device = self.devices.get(id)?;
        if device.kept.owner == *uid {
            return Some(Role::Owner);
        }
        self.shares
            .active_grant(now, uid, id)
            .map(|grant| Role::Collaborator { grant })
    }

    /// Whether the caller owns the device; in demo mode, by e-mail, too.
    #[must_use]
    pub fn owner_match(&self, demo: bool, caller: &Caller, device: &Device) -> bool {
        device.kept.owner == caller.uid || (demo && caller.email.is_some() && device.kept.owner_email == caller.email)
    }

    /// What a caller is to a device, by uid, by grant, or (in demo mode) by e-mail.
    #[must_use]
    pub fn standing(&self, cx: &RelayContext<'_>, caller: &Caller, id: &DeviceId) -> Option<Role> {
        let device = self.devices.get(id)?;
        if self.owner_match(cx.relay.auth == RelayAuth::Demo, caller, device) {
            return Some(Role::Owner);
        }
        self.role(cx.now, &caller.uid, id)
    }

    /// Devices and grants of an owner, for the health endpoint.
    #[must_use]
    pub fn counts(&self, owner: &Uid) -> (usize, usize) {
        let devices = self.by_owner.get(owner);
        let grants = devices.into_iter().flatten().map(|id| self.shares.count(id)).sum();
        (devices.map_or(0, BTreeSet::len), grants)
    }

    /// The devices of an owner.
    pub fn owned_by(&self, owner: &Uid) -> impl Iterator<Item = &DeviceId> {
        self.by_owner.get(owner).into_iter().flatten()
    }

    /// The agent of a device connected.
    pub fn connected(&mut self, cx: &mut RelayContext<'_>, id: &DeviceId) {
        if let Some(device) = self.devices.get_mut(id) {
            device.presence = Some(Presence {
                connected_at: cx.now.wall,
                last_seen: cx.now.wall,
                until: cx.now.monotonic.plus(PRESENCE),
            });
            self.wake(cx, id);
        }
    }

    /// The agent of a device gave a sign.
    pub fn seen(&mut self, now: Now, id: &DeviceId) {
        if let Some(presence) = self.devices.get_mut(id).and_then(|device| device.presence.as_mut()) {
            presence.last_seen = now.wall;
            presence.until = now.monotonic.plus(PRESENCE);
        }
    }

    /// The agent of a device is gone.
    pub fn disconnected(&mut self, cx: &mut RelayContext<'_>, id: &DeviceId) {
        if let Some(device) = self.devices.get_mut(id) {
            device.presence = None;
            self.wake(cx, id);
        }
    }

    /// A request of a signed-in caller; `None` when its path and method are not served here.
    pub fn handle(&mut self, cx: &mut RelayContext<'_>, caller: &Caller, request: &Request<'_>) -> Option<Reply> {
        if let Some(path) = request.path.strip_prefix("/gateway/v1/shares/") {
            let devices = &self.devices;
            let owner_of = |id: &DeviceId| devices.get(id).map(|device| device.kept.owner.clone());
            let reply = self.shares.handle(cx, caller, request, path, &owner_of);
            self.wake_changed(cx);
            return reply;
        }
        let rest = request.path.strip_prefix("/gateway/v1/devices")?;
        let mut segments = rest.split('/').skip(1);
        let place = (segments.next(), segments.next(), segments.next());
        match (request.method, place) {
            (Method::Get, (None, ..)) if rest.is_empty() => Some(self.list(cx, caller)),
            (Method::Get, (Some("events"), None, None)) => Some(self.listen(cx, caller, request.conn)),
            (Method::Delete, (Some(id), None, None)) => Some(self.delete(cx, caller, request, &segment(id))),
            (Method::Put, (Some(id), Some("identity-key"), None)) => {
                Some(self.put_key(cx, caller, request, &segment(id)))
            }
            (Method::Get, (Some(id), Some("identity-key"), None)) => Some(self.get_key(cx, caller, &segment(id))),
            _ => None,
        }
    }

    /// A grant that ended: the device, and whose it was.
    pub fn take_revoked(&mut self) -> Option<(DeviceId, Uid)> {
        self.shares.take_revoked()
    }

    /// A device that was removed.
    pub fn take_removed(&mut self) -> Option<DeviceId> {
        self.removed.pop_front()
    }

    /// A listener left.
    pub fn closed(&mut self, conn: ConnId) {
        self.listeners.remove(conn);
    }

    /// When [`Self::on_deadline`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.loading.next_deadline(), self.listeners.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// A deadline passed.
    pub fn on_deadline(&mut self, cx: &mut RelayContext<'_>) {
        self.loading.on_deadline(cx.now, cx.calls);
        self.listeners_due(cx);
    }

    fn insert(&mut self, device: Device) {
        let owned = self.by_owner.entry(device.kept.owner.clone()).or_default();
        owned.insert(device.id.clone());
        self.devices.insert(device.id.clone(), Box::new(device));
    }

    fn forget_owner(&mut self, owner: &Uid, id: &DeviceId) {
        if let Some(owned) = self.by_owner.get_mut(owner) {
            owned.remove(id);
            if owned.is_empty() {
                self.by_owner.remove(owner);
            }
        }
    }
}

/// A segment of a path, decoded; one that cannot be is no id either.
pub(super) fn segment(written: &str) -> alloc::borrow::Cow<'_, str> {
    percent::decode(written).unwrap_or(alloc::borrow::Cow::Borrowed("%"))
}
