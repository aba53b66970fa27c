//! The grants of a device, and their end: taken back by the owner, given back by the one who has it.

use alloc::vec::Vec;

use super::{Grant, GrantId, GrantStatus, OwnerOf, Shares, refused};
use crate::audit::{AuditEvent, AuditOutcome};
use crate::http::Status;
use crate::surfaces::relay::context::RelayContext;
use crate::surfaces::relay::http::{Answer, Caller, Request};
use crate::surfaces::relay::ids::DeviceId;

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    grant_id: &'a str,
    grantee_email: &'a str,
    grantee_uid: &'a str,
    grantee_device_id: &'a str,
    role: &'static str,
    status: &'static str,
    grant_expires_at: u64,
    accepted_at: u64,
    created_at: u64,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    device_id: &'a str,
    grants: Vec<Entry<'a>>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Ended<'a> {
    grant_id: &'a str,
    status: &'static str,
}

impl Shares {
    pub(super) fn list(
        &self,
        cx: &RelayContext<'_>,
        caller: &Caller,
        device: &str,
        owner_of: OwnerOf<'_>,
    ) -> Result<Answer, Answer> {
        let device = DeviceId::parse(device).map_err(|fault| refused(Status::BAD_REQUEST, &fault.text("deviceId")))?;
        match owner_of(&device) {
            Some(owner) if owner == caller.uid => {}
            Some(_) if self.active_grant(cx.now, &caller.uid, &device).is_some() => {
                return Err(refused(Status::FORBIDDEN, "you do not own this device"));
            }
            _ => return Err(refused(Status::NOT_FOUND, "device not found")),
        }
        let grants = self.of(&device).map(|(id, grant)| Entry {
            grant_id: &id.0,
            grantee_email: grant.email.as_str(),
            grantee_uid: grant.uid.as_ref().map_or("", |uid| &uid.0),
            grantee_device_id: grant.grantee_device.as_ref().map_or("", |id| id.as_str()),
            role: "collaborator",
            status: grant.effective(cx.now).name(),
            grant_expires_at: grant.until,
            accepted_at: grant.accepted_at,
            created_at: grant.created_at,
        });
        let mut grants: Vec<_> = grants.collect();
        grants.sort_by_key(|entry| entry.created_at);
        let device_id = device.as_str();
        Ok(Answer::json(Status::OK, &List { device_id, grants }))
    }

    /// Ends a grant: its device's owner takes it back, or (`by_owner` is false) who has it gives it back.
    pub(super) fn end(
        &mut self,
        cx: &mut RelayContext<'_>,
        caller: &Caller,
        request: &Request<'_>,
        id: &str,
        owner_of: OwnerOf<'_>,
        by_owner: bool,
    ) -> Result<Answer, Answer> {
        let id = GrantId(id.into());
        let not_found = || refused(Status::NOT_FOUND, "grant not found");
        let grant = self.grants.get_mut(&id).ok_or_else(not_found)?;
        let is_owner = owner_of(&grant.device).as_ref() == Some(&caller.uid);
        let is_grantee = grant.uid.as_ref() == Some(&caller.uid);
        match (is_owner, is_grantee) {
            // To a stranger a grant that is not his is one that is not there.
            (false, false) => return Err(not_found()),
            _ if by_owner && !is_owner || !by_owner && !is_grantee => {
                return Err(refused(Status::FORBIDDEN, "forbidden"));
            }
            _ => {}
        }
        let ended = Ended {
            grant_id: &id.0,
            status: "revoked",
        };
        let ended = Answer::json(Status::OK, &ended);
        let status = grant.effective(cx.now);
        match status {
            GrantStatus::Revoked => return Ok(ended),
            GrantStatus::Expired => {
                let verb = if by_owner { "revoke" } else { "leave" };
                let text = alloc::format!("cannot {verb} grant in {} state", status.name());
                return Err(refused(Status::CONFLICT, &text));
            }
            GrantStatus::Pending | GrantStatus::Active => {}
        }
        grant.status = GrantStatus::Revoked;
        grant.keep(&id, cx.ledger);
        let Grant { device, uid, .. } = &**grant;
        let device = device.clone();
        if let Some(uid) = uid {
            self.revoked.push_back((device.clone(), uid.clone()));
            self.concerned.push_back(uid.clone());
        }
        let (event, what) = (
            if by_owner {
                AuditEvent::GrantRevoked
            } else {
                AuditEvent::GrantLeft
            },
            alloc::format!("{} to {device} by {}", id.0, caller.uid.0),
        );
        cx.record(event, AuditOutcome::Ok, (request.conn, request.client), what);
        Ok(ended)
    }
}
