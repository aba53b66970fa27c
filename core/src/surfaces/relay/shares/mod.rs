//! Shares: grants that let somebody else use a device. It knows devices only by their ids and is told who owns them.
//! Spec: `spec/relay.md` section 16.

mod accept;
mod grant;
mod invite;
mod manage;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

pub use grant::GrantId;
pub(super) use grant::TABLE;
use grant::{Grant, GrantStatus};

use super::context::RelayContext;
use super::http::{Answer, Caller, Reply, Request};
use super::ids::{DeviceId, Uid};
use super::percent;
use crate::http::{Method, Status};
use crate::store::{Durability, Record};
use crate::surfaces::relay::ledger::Change;
use crate::time::Now;

/// Who owns a device; `None`: there is no such device.
type OwnerOf<'a> = &'a dyn Fn(&DeviceId) -> Option<Uid>;

/// All grants.
#[derive(Debug, Default)]
pub(super) struct Shares {
    grants: BTreeMap<GrantId, Box<Grant>>,
    of_device: BTreeMap<DeviceId, BTreeSet<GrantId>>,
    /// Grants that were accepted, by who did.
    of_user: BTreeMap<Uid, BTreeSet<GrantId>>,
    by_token: BTreeMap<String, GrantId>,
    revoked: VecDeque<(DeviceId, Uid)>,
    /// Users for whom a device appeared or vanished.
    concerned: VecDeque<Uid>,
}

impl Shares {
    /// Takes a record in; whether it is one.
    pub(super) fn load(&mut self, record: &Record) -> bool {
        Grant::read(&record.value)
            .map(|grant| self.insert(GrantId(record.id.clone()), grant))
            .is_some()
    }

    fn insert(&mut self, id: GrantId, grant: Grant) {
        self.of_device
            .entry(grant.device.clone())
            .or_default()
            .insert(id.clone());
        if let Some(uid) = &grant.uid {
            self.of_user.entry(uid.clone()).or_default().insert(id.clone());
        }
        self.by_token.insert(grant.token.clone(), id.clone());
        self.grants.insert(id, Box::new(grant));
    }

    fn forget(&mut self, cx: &mut RelayContext<'_>, id: &GrantId) -> Option<Grant> {
        let grant = self.grants.remove(id)?;
        self.by_token.remove(&grant.token);
        if let Some(ids) = self.of_device.get_mut(&grant.device) {
            ids.remove(id);
            if ids.is_empty() {
                self.of_device.remove(&grant.device);
            }
        }
        // A user without grants leaves nothing behind.
        if let Some(uid) = &grant.uid
            && let Some(ids) = self.of_user.get_mut(uid)
        {
            ids.remove(id);
            if ids.is_empty() {
                self.of_user.remove(uid);
            }
        }
        cx.ledger
            .change(TABLE, id.0.as_str(), Change::Delete, Durability::Durable);
        Some(*grant)
    }

    fn of(&self, device: &DeviceId) -> impl Iterator<Item = (&GrantId, &Grant)> {
        let ids = self.of_device.get(device).into_iter().flatten();
        ids.filter_map(|id| self.grants.get_key_value(id))
            .map(|(id, grant)| (id, &**grant))
    }

    /// Grants of a device, in whatever state.
    pub(super) fn count(&self, device: &DeviceId) -> usize {
        self.of_device.get(device).map_or(0, BTreeSet::len)
    }

    /// The grant by which a user may use a device at this time.
    pub(super) fn active_grant(&self, now: Now, uid: &Uid, device: &DeviceId) -> Option<GrantId> {
        let mut ids = self.of_user.get(uid)?.iter();
        ids.find(|id| {
            self.grants
                .get(*id)
                .is_some_and(|grant| grant.device == *device && grant.effective(now) == GrantStatus::Active)
        })
        .cloned()
    }

    /// The devices that are shared with a user at this time.
    pub(super) fn devices_of(&self, now: Now, uid: &Uid) -> Vec<(DeviceId, GrantId)> {
        let grants = self.of_user.get(uid).into_iter().flatten();
        grants
            .filter_map(|id| self.grants.get_key_value(id))
            .filter(|(_, grant)| grant.effective(now) == GrantStatus::Active)
            .map(|(id, grant)| (grant.device.clone(), id.clone()))
            .collect()
    }

    /// The users with whom a device is shared at this time.
    pub(super) fn grantees(&self, now: Now, device: &DeviceId) -> Vec<Uid> {
        self.of(device)
            .filter(|(_, grant)| grant.effective(now) == GrantStatus::Active)
            .filter_map(|(_, grant)| grant.uid.clone())
            .collect()
    }

    /// A device is gone, and its grants with it; who had it.
    pub(super) fn device_removed(&mut self, cx: &mut RelayContext<'_>, device: &DeviceId) -> Vec<Uid> {
        let had = self.grantees(cx.now, device);
        for id in self.of_device.remove(device).unwrap_or_default() {
            self.forget(cx, &id);
        }
        let ended = had.iter().map(|uid| (device.clone(), uid.clone()));
        self.revoked.extend(ended);
        had
    }

    /// A grant that ended.
    pub(super) fn take_revoked(&mut self) -> Option<(DeviceId, Uid)> {
        self.revoked.pop_front()
    }

    /// A user for whom a device appeared or vanished.
    pub(super) fn take_concerned(&mut self) -> Option<Uid> {
        self.concerned.pop_front()
    }

    /// A request; `path` is what follows `/gateway/v1/shares/`.
    pub(super) fn handle(
        &mut self,
        cx: &mut RelayContext<'_>,
        caller: &Caller,
        request: &Request<'_>,
        path: &str,
        owner_of: OwnerOf<'_>,
    ) -> Option<Reply> {
        let mut segments = path.split('/');
        let place = (segments.next(), segments.next(), segments.next(), segments.next());
        let made = match (request.method, place) {
            (Method::Post, (Some("invites"), None, ..)) => self.invite(cx, caller, request, owner_of),
            (Method::Post, (Some("invites"), Some("accept"), None, None)) => self.accept(cx, caller, request, owner_of),
            (Method::Get, (Some("devices"), Some(id), Some("grants"), None)) => {
                return Some(Reply::Now(
                    self.list(cx, caller, &segment(id), owner_of)
                        .unwrap_or_else(|refusal| refusal),
                ));
            }
            (Method::Post, (Some("grants"), Some(id), Some("revoke"), None)) => {
                self.end(cx, caller, request, &segment(id), owner_of, true)
            }
            (Method::Post, (Some("grants"), Some(id), Some("leave"), None)) => {
                self.end(cx, caller, request, &segment(id), owner_of, false)
            }
            _ => return None,
        };
        Some(match made {
            Ok(answer) => {
                cx.ledger.answer(cx.now, request.conn, answer);
                Reply::Later
            }
            Err(refusal) => Reply::Now(refusal),
        })
    }
}

fn refused(status: Status, text: &str) -> Answer {
    Answer::error(status, text)
}

/// A segment of a path, decoded; one that cannot be names nothing.
fn segment(written: &str) -> alloc::borrow::Cow<'_, str> {
    percent::decode(written).unwrap_or(alloc::borrow::Cow::Borrowed("%"))
}
