//! `POST /gateway/v1/shares/invites/accept`: the invited one takes the grant. A token does it once; its user may ask
//! again and hears the same.

use super::grant::digest;
use super::{Grant, GrantStatus, OwnerOf, Shares, refused};
use crate::audit::{AuditEvent, AuditOutcome};
use crate::http::Status;
use crate::surfaces::relay::body;
use crate::surfaces::relay::context::RelayContext;
use crate::surfaces::relay::http::{Answer, Caller, Request};
use crate::surfaces::relay::ids::DeviceId;

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Accepted<'a> {
    grant_id: &'a str,
    device_id: &'a str,
    role: &'static str,
    status: &'static str,
}

impl Shares {
    pub(super) fn accept(
        &mut self,
        cx: &mut RelayContext<'_>,
        caller: &Caller,
        request: &Request<'_>,
        owner_of: OwnerOf<'_>,
    ) -> Result<Answer, Answer> {
        let Some(email) = &caller.email else {
            return Err(refused(Status::FORBIDDEN, "email is required to accept invites"));
        };
        if !caller.email_verified {
            return Err(refused(
                Status::FORBIDDEN,
                "a verified email is required to accept invites",
            ));
        }
        let (token, own_device) = read(request)?;
        if let Some(own) = &own_device
            && owner_of(own).as_ref() != Some(&caller.uid)
        {
            return Err(refused(Status::FORBIDDEN, "you do not own this device"));
        }
        let used = || refused(Status::NOT_FOUND, "invite not found or already used");
        let id = self.by_token.get(&token).cloned().ok_or_else(used)?;
        let grant = self
            .grants
            .get_mut(&id)
            .ok_or_else(|| refused(Status::NOT_FOUND, "invite not found"))?;
        let accepted = |grant: &Grant| {
            let accepted = Accepted {
                grant_id: &id.0,
                device_id: grant.device.as_str(),
                role: "collaborator",
                status: "active",
            };
            Answer::json(Status::OK, &accepted)
        };
        match (grant.status, grant.effective(cx.now)) {
            (GrantStatus::Pending, GrantStatus::Pending) => {}
            (GrantStatus::Pending, _) => {
                // Told once; afterwards the token names nothing.
                grant.status = GrantStatus::Expired;
                grant.keep(&id, cx.ledger);
                self.by_token.remove(&token);
                return Err(refused(Status::GONE, "invite has expired"));
            }
            (GrantStatus::Active, GrantStatus::Active) if grant.uid.as_ref() == Some(&caller.uid) => {
                return Ok(accepted(grant));
            }
            (GrantStatus::Revoked, _) => return Err(refused(Status::CONFLICT, "invite is revoked")),
            (GrantStatus::Active | GrantStatus::Expired, _) => return Err(used()),
        }
        if grant.email != *email {
            return Err(refused(Status::FORBIDDEN, "email does not match this invite"));
        }
        grant.status = GrantStatus::Active;
        grant.uid = Some(caller.uid.clone());
        grant.grantee_device = own_device;
        grant.accepted_at = cx.now.wall.0 / 1_000;
        grant.keep(&id, cx.ledger);
        let answer = accepted(grant);
        let what = alloc::format!("{} to {} by {}", id.0, grant.device, caller.uid.0);
        let who = (request.conn, request.client);
        cx.record(AuditEvent::GrantAccepted, AuditOutcome::Ok, who, what);
        self.of_user.entry(caller.uid.clone()).or_default().insert(id);
        self.concerned.push_back(caller.uid.clone());
        Ok(answer)
    }
}

/// The digest of the token, and the acceptor's device.
fn read(request: &Request<'_>) -> Result<(alloc::string::String, Option<DeviceId>), Answer> {
    let bad = |text: &str| refused(Status::BAD_REQUEST, text);
    let unreadable = |_| bad("invalid json body");
    let object = body::object(request).map_err(unreadable)?;
    let token = body::fixed_text(&object, "token").map_err(unreadable)?;
    let device = body::fixed_text(&object, "deviceId").map_err(unreadable)?;
    if token.is_empty() {
        return Err(bad("token is required"));
    }
    let device = match &*device {
        "" => None,
        device => Some(DeviceId::parse(device).map_err(|fault| bad(&fault.text("deviceId")))?),
    };
    Ok((digest(&token), device))
}
