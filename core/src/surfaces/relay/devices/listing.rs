//! The list of devices that a user sees.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Device, Devices, Role};
use crate::http::Status;
use crate::surfaces::relay::context::RelayContext;
use crate::surfaces::relay::http::{Answer, Caller, Reply};
use crate::surfaces::relay::ids::{DeviceId, Uid};
use crate::surfaces::relay::stamp;
use crate::time::Now;

#[derive(serde::Serialize)]
struct Entry<'a> {
    device_id: &'a str,
    display_name: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    owner_uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_email: Option<&'a str>,
    algorithm: &'static str,
    status: &'static str,
    connected: bool,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen_at: Option<String>,
    device_class: &'static str,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant_id: Option<String>,
}

#[derive(serde::Serialize)]
struct List<'a> {
    devices: Vec<Entry<'a>>,
}

impl Devices {
    /// `GET /gateway/v1/devices`.
    pub(super) fn list(&self, cx: &RelayContext<'_>, caller: &Caller) -> Reply {
        let now = cx.now.monotonic;
        let visible = self.visible(cx.now, &caller.uid);
        let mut visible: Vec<_> = visible
            .into_iter()
            .filter_map(|(id, role)| self.devices.get(&id).map(|device| (device, role)))
            .collect();
        visible.sort_by(|(one, _), (other, _)| {
            let connected = other.is_online(now).cmp(&one.is_online(now));
            let updated = other.kept.updated_at.cmp(&one.kept.updated_at);
            connected.then(updated).then_with(|| one.id.cmp(&other.id))
        });
        let devices = visible
            .into_iter()
            .map(|(device, role)| entry(cx.now, device, role))
            .collect();
        Reply::Now(Answer::json(Status::OK, &List { devices }))
    }

    /// The devices that a user sees, and as what.
    pub(super) fn visible(&self, now: Now, uid: &Uid) -> BTreeMap<DeviceId, Role> {
        let shared = self.shares.devices_of(now, uid).into_iter();
        let shared = shared
            .filter(|(id, _)| self.devices.contains_key(id))
            .map(|(id, grant)| (id, Role::Collaborator { grant }));
        let owned = self.by_owner.get(uid).into_iter().flatten();
        shared.chain(owned.map(|id| (id.clone(), Role::Owner))).collect()
    }
}

fn entry(now: Now, device: &Device, role: Role) -> Entry<'_> {
    let connected = device.is_online(now.monotonic);
    let presence = device.presence.filter(|_| connected);
    let (role, grant_id) = match role {
        Role::Owner => ("owner", None),
        Role::Collaborator { grant } => ("collaborator", Some(grant.0)),
    };
    Entry {
        device_id: device.id.as_str(),
        display_name: device.name(),
        name: device.name(),
        owner_uid: &device.kept.owner.0,
        owner_email: device.kept.owner_email.as_ref().map(|email| email.as_str()),
        algorithm: "ed25519",
        status: status(connected),
        connected,
        updated_at: stamp::text(device.kept.updated_at),
        connected_at: presence.map(|presence| stamp::text(presence.connected_at)),
        last_seen_at: presence.map(|presence| stamp::text(presence.last_seen)),
        device_class: "agent",
        role,
        grant_id,
    }
}

/// The word for it.
pub(super) const fn status(connected: bool) -> &'static str {
    if connected { "online" } else { "offline" }
}
