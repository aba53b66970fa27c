//! Registering a device's identity key, reading it, and removing a device.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Device, Devices};
use crate::audit::{AuditEvent, AuditOutcome};
use crate::http::{Method, Status};
use crate::settings::RelayAuth;
use crate::surfaces::relay::body::{self, Unreadable};
use crate::surfaces::relay::context::RelayContext;
use crate::surfaces::relay::http::{Answer, Caller, Reply, Request};
use crate::surfaces::relay::ids::DeviceId;
use crate::surfaces::relay::{stamp, transcript};

/// The longest name of a device.
const MAX_NAME: usize = 256;

/// What a body says.
struct Registration {
    key: [u8; 32],
    text: String,
    name: Option<String>,
}

impl Devices {
    /// `PUT …/identity-key`.
    pub(super) fn put_key(
        &mut self,
        cx: &mut RelayContext<'_>,
        caller: &Caller,
        request: &Request<'_>,
        id: &str,
    ) -> Reply {
        debug_assert_eq!(request.method, Method::Put);
        match self.register(cx, caller, request, id) {
            Ok(()) => {
                cx.ledger
                    .answer(cx.now, request.conn, Answer::empty(Status::NO_CONTENT));
                Reply::Later
            }
            Err(answer) => Reply::Now(answer),
        }
    }

    fn register(
        &mut self,
        cx: &mut RelayContext<'_>,
        caller: &Caller,
        request: &Request<'_>,
        id: &str,
    ) -> Result<(), Answer> {
        let bad = |text: &str| Answer::error(Status::BAD_REQUEST, text);
        let id = DeviceId::parse(id).map_err(|fault| bad(&fault.text("device_id")))?;
        let registration = read(request).map_err(bad)?;
        let demo = cx.relay.auth == RelayAuth::Demo;
        let now = cx.now.wall;
        let before = self.get(&id).cloned();
        let who = (request.conn, request.client);
        let mut device = match &before {
            Some(device) if self.owner_match(demo, caller, device) => device.clone(),
            Some(_) => return Err(Answer::error(Status::FORBIDDEN, "you do not own this device")),
            None => {
                let owned = self.by_owner.get(&caller.uid).map_or(0, |owned| owned.len());
                if owned >= cx.relay.limits.devices_per_owner as usize {
                    return Err(Answer::error(Status::TOO_MANY_REQUESTS, "too many registered devices"));
                }
                Device::new(id, caller.uid.clone(), now)
            }
        };
        device.kept.owner = caller.uid.clone();
        // Those with whom the device is shared see it as the owner's.
        if caller.email.is_some() && caller.email_verified {
            device.kept.owner_email.clone_from(&caller.email);
        }
        if device.kept.public_key.as_ref() != Some(&registration.text) {
            device.set_key(registration.key, &registration.text, &caller.uid, now);
        }
        if registration.name.is_some() {
            device.kept.display_name = registration.name;
        }
        // Agents register before every connection and handshake; what changes nothing is not written again.
        if before.as_ref() == Some(&device) {
            return Ok(());
        }
        device.kept.updated_at = now;
        device.keep(cx.ledger);
        let whose = alloc::format!("{} of {}", device.id, caller.uid.0);
        let (id, owner) = (device.id.clone(), device.kept.owner.clone());
        let old_key = before.as_ref().and_then(|before| before.kept.public_key.as_ref());
        let is_replaced = old_key.is_some_and(|old| Some(old) != device.kept.public_key.as_ref());
        if before.is_none() {
            cx.record(AuditEvent::DeviceRegistered, AuditOutcome::Ok, who, whose);
        } else if is_replaced {
            cx.record(AuditEvent::IdentityKeyReplaced, AuditOutcome::Ok, who, whose);
        }
        if let Some(before) = &before {
            self.forget_owner(&before.kept.owner, &before.id);
            if before.kept.owner != device.kept.owner {
                self.wake_user(cx, &before.kept.owner);
            }
        }
        self.insert(device);
        // A device that comes into view is told at once.
        if before.is_none_or(|before| before.kept.owner != owner) {
            self.wake(cx, &id);
        }
        if is_replaced {
            self.tell_key(cx, &id);
        }
        Ok(())
    }

    /// `GET …/identity-key`.
    pub(super) fn get_key(&self, cx: &RelayContext<'_>, caller: &Caller, id: &str) -> Reply {
        #[derive(serde::Serialize)]
        struct Past<'a> {
            public_key: &'a str,
            since: String,
            until: String,
        }
        #[derive(serde::Serialize)]
        struct Key<'a> {
            algorithm: &'static str,
            public_key: &'a str,
            updated_at: String,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            previous_keys: Vec<Past<'a>>,
        }
        let id = match DeviceId::parse(id) {
            Ok(id) => id,
            Err(fault) => return refused(Status::BAD_REQUEST, &fault.text("device_id")),
        };
        // To a stranger a device that is not his is one that is not there.
        let device = self.standing(cx, caller, &id).and_then(|_| self.devices.get(&id));
        let Some(device) = device else {
            return refused(Status::NOT_FOUND, "device not found");
        };
        let Some(public_key) = device.kept.public_key.as_deref() else {
            return refused(Status::NOT_FOUND, "device identity not found");
        };
        let past = device.kept.past_keys.iter().map(|past| Past {
            public_key: &past.public_key,
            since: stamp::text(past.since),
            until: stamp::text(past.until),
        });
        let key = Key {
            algorithm: "ed25519",
            public_key,
            updated_at: stamp::text(device.kept.updated_at),
            previous_keys: past.collect(),
        };
        Reply::Now(Answer::json(Status::OK, &key))
    }

    /// `DELETE /gateway/v1/devices/{id}`: the device, its grants, and (elsewhere) its sessions.
    pub(super) fn delete(
        &mut self,
        cx: &mut RelayContext<'_>,
        caller: &Caller,
        request: &Request<'_>,
        id: &str,
    ) -> Reply {
        let id = match DeviceId::parse(id) {
            Ok(id) => id,
            Err(fault) => return refused(Status::BAD_REQUEST, &fault.text("device_id")),
        };
        let demo = cx.relay.auth == RelayAuth::Demo;
        match self.devices.get(&id) {
            Some(device) if self.owner_match(demo, caller, device) => {}
            Some(_) if self.role(cx.now, &caller.uid, &id).is_some() => {
                return refused(Status::FORBIDDEN, "forbidden");
            }
            _ => return refused(Status::NOT_FOUND, "device not found"),
        }
        if let Some(device) = self.devices.remove(&id) {
            let whose = alloc::format!("{id} of {}", caller.uid.0);
            let who = (request.conn, request.client);
            cx.record(AuditEvent::DeviceRemoved, AuditOutcome::Ok, who, whose);
            device.remove(cx.ledger);
            self.forget_owner(&device.kept.owner, &id);
            let mut concerned = self.shares.device_removed(cx, &id);
            concerned.push(device.kept.owner);
            self.removed.push_back(id);
            for uid in concerned {
                self.wake_user(cx, &uid);
            }
        }
        cx.ledger
            .answer(cx.now, request.conn, Answer::empty(Status::NO_CONTENT));
        Reply::Later
    }
}

fn refused(status: Status, text: &str) -> Reply {
    Reply::Now(Answer::error(status, text))
}

fn read(request: &Request<'_>) -> Result<Registration, &'static str> {
    let unreadable = |_: Unreadable| "invalid request body";
    let object = body::object(request).map_err(unreadable)?;
    let text = |name| body::fixed_text(&object, name).map_err(unreadable);
    let names = ["public_key", "identityKey", "identity_key"];
    let [first, second, third] = names.map(text);
    let keys = [first?, second?, third?];
    let (algorithm, name) = (text("algorithm")?, text("display_name")?);
    if !algorithm.is_empty() && algorithm != "ed25519" {
        return Err("unsupported algorithm");
    }
    let key_text = keys.iter().find(|key| !key.is_empty()).ok_or("invalid public key")?;
    let key = transcript::identity_key(key_text).ok_or("invalid public key")?;
    if name.len() > MAX_NAME {
        return Err("invalid display_name");
    }
    Ok(Registration {
        key,
        text: key_text.as_ref().into(),
        name: (!name.is_empty()).then(|| name.as_ref().into()),
    })
}
