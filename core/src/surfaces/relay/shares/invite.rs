//! `POST /gateway/v1/shares/invites`: an owner invites somebody by e-mail. The token is in the answer's link and nowhere
//! else; its digest is kept.

use alloc::string::String;

use super::grant::digest;
use super::{Grant, GrantId, GrantStatus, OwnerOf, Shares, refused};
use crate::audit::{AuditEvent, AuditOutcome};
use crate::http::Status;
use crate::surfaces::relay::body;
use crate::surfaces::relay::context::RelayContext;
use crate::surfaces::relay::http::{Answer, Caller, Request};
use crate::surfaces::relay::ids::{DeviceId, Email};

/// Seven days.
const LIFETIME: u64 = 7 * 86_400;
/// Ninety days.
const MAX_LIFETIME: u64 = 7_776_000;
/// The furthest end of a grant: a year.
const MAX_GRANT: u64 = 365 * 86_400;

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Invited<'a> {
    grant_id: &'a str,
    status: &'static str,
    invite_url: String,
    invite_token_expires_at: u64,
    grant_expires_at: u64,
}

impl Shares {
    pub(super) fn invite(
        &mut self,
        cx: &mut RelayContext<'_>,
        caller: &Caller,
        request: &Request<'_>,
        owner_of: OwnerOf<'_>,
    ) -> Result<Answer, Answer> {
        let now = cx.now.wall.0 / 1_000;
        let grant = read(caller, request, now)?;
        match owner_of(&grant.device) {
            Some(owner) if owner == caller.uid => {}
            Some(_) if self.active_grant(cx.now, &caller.uid, &grant.device).is_some() => {
                return Err(refused(Status::FORBIDDEN, "you do not own this device"));
            }
            // To a stranger a device that is not his is one that is not there.
            _ => return Err(refused(Status::NOT_FOUND, "device not found")),
        }
        let in_force = |grant: &Grant| {
            let status = grant.effective(cx.now);
            matches!(status, GrantStatus::Pending | GrantStatus::Active)
        };
        if self
            .of(&grant.device)
            .any(|(_, other)| other.email == grant.email && in_force(other))
        {
            let text = "an active or pending grant already exists for this email and device";
            return Err(refused(Status::CONFLICT, text));
        }
        if self.count(&grant.device) >= cx.relay.limits.grants_per_device as usize {
            let over = self.of(&grant.device).filter(|(_, other)| !in_force(other));
            let Some(oldest) = over.min_by_key(|(_, other)| other.created_at).map(|(id, _)| id.clone()) else {
                return Err(refused(Status::TOO_MANY_REQUESTS, "too many grants for this device"));
            };
            self.forget(cx, &oldest);
        }
        let token = cx.random.token();
        let grant = Grant {
            token: digest(&token),
            ..grant
        };
        let id = GrantId(alloc::format!("gr_{:032x}", u128::from_be_bytes(cx.random.bytes())));
        let base = cx.relay.frontend_url.as_deref().unwrap_or(&cx.relay.public_base_url);
        let answer = Invited {
            grant_id: &id.0,
            status: "pending",
            invite_url: alloc::format!("{}/share/{token}", base.trim_end_matches('/')),
            invite_token_expires_at: grant.invite_until,
            grant_expires_at: grant.until,
        };
        let answer = Answer::json(Status::CREATED, &answer);
        let what = alloc::format!("{} to {} by {}", id.0, grant.device, caller.uid.0);
        let who = (request.conn, request.client);
        cx.record(AuditEvent::GrantInvited, AuditOutcome::Ok, who, what);
        grant.keep(&id, cx.ledger);
        self.insert(id, grant);
        Ok(answer)
    }
}

/// The grant that a body asks for, without its token.
fn read(caller: &Caller, request: &Request<'_>, now: u64) -> Result<Grant, Answer> {
    let bad = |text: &str| refused(Status::BAD_REQUEST, text);
    let unreadable = |_| bad("invalid json body");
    let object = body::object(request).map_err(unreadable)?;
    let device = body::fixed_text(&object, "deviceId").map_err(unreadable)?;
    let email = body::fixed_text(&object, "email").map_err(unreadable)?;
    let until = body::fixed_integer(&object, "grantExpiresAt").map_err(unreadable)?;
    let lifetime = body::fixed_integer(&object, "inviteTokenTtlSeconds").map_err(unreadable)?;
    let device = DeviceId::parse(&device).map_err(|fault| bad(&fault.text("deviceId")))?;
    let email = Email::parse(&email).ok_or_else(|| bad("invalid email"))?;
    if caller.email.as_ref() == Some(&email) {
        return Err(bad("cannot invite yourself"));
    }
    let lifetime = match u64::try_from(lifetime) {
        Ok(1..) if lifetime as u64 > MAX_LIFETIME => return Err(bad("inviteTokenTtlSeconds exceeds maximum")),
        Ok(seconds @ 1..) => seconds,
        _ => LIFETIME,
    };
    let until = match u64::try_from(until) {
        Ok(0) => 0,
        Ok(until) if until > now && until - now <= MAX_GRANT => until,
        _ => return Err(bad("invalid grantExpiresAt")),
    };
    Ok(Grant {
        device,
        email,
        uid: None,
        grantee_device: None,
        status: GrantStatus::Pending,
        token: String::new(),
        invite_until: now + lifetime,
        until,
        accepted_at: 0,
        created_at: now,
    })
}
