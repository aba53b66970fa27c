//! Shares in virtual time: `spec/relay.md` section 16.

use alloc::string::{String, ToString};

use super::*;
use crate::surfaces::relay::devices::tests::register;
use crate::surfaces::relay::world::{Asked, START, World, caller};

const NOW: u64 = START / 1_000;

fn with_device() -> (World, Caller, Caller) {
    let (mut world, ann) = (World::new(), caller("ann"));
    register(&mut world, &ann, "dev_1", 1);
    (world, ann, caller("bob"))
}

fn invite(world: &mut World, who: &Caller, body: &str) -> Asked {
    world.ask(who, "POST /gateway/v1/shares/invites", body)
}

fn invite_bob(world: &mut World, who: &Caller) -> (String, String) {
    let asked = invite(world, who, r#"{"deviceId":"dev_1","email":"Bob@example.org"}"#);
    assert_eq!(asked.status, 201, "{}", asked.body);
    let json = asked.json();
    let url = json["inviteUrl"].as_str().unwrap();
    let token = url.rsplit('/').next().unwrap().to_string();
    (json["grantId"].as_str().unwrap().to_string(), token)
}

fn accept(world: &mut World, who: &Caller, token: &str) -> Asked {
    let body = alloc::format!(r#"{{"token":"{token}"}}"#);
    world.ask(who, "POST /gateway/v1/shares/invites/accept", &body)
}

fn end(world: &mut World, who: &Caller, grant: &str, how: &str) -> Asked {
    world.ask(who, &alloc::format!("POST /gateway/v1/shares/grants/{grant}/{how}"), "")
}

fn grants(world: &mut World, who: &Caller) -> serde_json::Value {
    let asked = world.ask(who, "GET /gateway/v1/shares/devices/dev_1/grants", "");
    assert_eq!(asked.status, 200, "{}", asked.body);
    asked.json()["grants"].clone()
}

#[test]
fn an_invitation_is_checked_in_order() {
    let (mut world, ann, bob) = with_device();
    for (body, status, error) in [
        ("[]", 400, "invalid json body"),
        (r#"{"deviceId":1}"#, 400, "invalid json body"),
        (r#"{"inviteTokenTtlSeconds":"1"}"#, 400, "invalid json body"),
        ("{}", 400, "deviceId is required"),
        (r#"{"deviceId":"x"}"#, 400, "invalid deviceId"),
        (r#"{"deviceId":"dev_9","email":"bob"}"#, 400, "invalid email"),
        (
            r#"{"deviceId":"dev_9","email":" ANN@example.org"}"#,
            400,
            "cannot invite yourself",
        ),
        (
            r#"{"deviceId":"dev_9","email":"b@c","inviteTokenTtlSeconds":7776001}"#,
            400,
            "inviteTokenTtlSeconds exceeds maximum",
        ),
        (
            r#"{"deviceId":"dev_9","email":"b@c","grantExpiresAt":-1}"#,
            400,
            "invalid grantExpiresAt",
        ),
        (
            &alloc::format!(r#"{{"deviceId":"dev_9","email":"b@c","grantExpiresAt":{NOW}}}"#),
            400,
            "invalid grantExpiresAt",
        ),
        (
            &alloc::format!(
                r#"{{"deviceId":"dev_9","email":"b@c","grantExpiresAt":{}}}"#,
                NOW + 365 * 86_400 + 1
            ),
            400,
            "invalid grantExpiresAt",
        ),
        (r#"{"deviceId":"dev_9","email":"b@c"}"#, 404, "device not found"),
    ] {
        invite(&mut world, &ann, body).is(status, error);
    }
    invite(&mut world, &bob, r#"{"deviceId":"dev_1","email":"c@d"}"#).is(404, "device not found");
    let (_, token) = invite_bob(&mut world, &ann);
    accept(&mut world, &bob, &token);
    invite(&mut world, &bob, r#"{"deviceId":"dev_1","email":"c@d"}"#).is(403, "you do not own this device");
    invite(&mut world, &ann, r#"{"deviceId":"dev_1","email":"bob@example.org"}"#).is(
        409,
        "an active or pending grant already exists for this email and device",
    );
}

#[test]
fn an_invitation_says_what_was_granted() {
    let (mut world, ann, _) = with_device();
    let body = alloc::format!(
        r#"{{"deviceId":"dev_1","email":"c@d","grantExpiresAt":{},"inviteTokenTtlSeconds":60}}"#,
        NOW + 99
    );
    let json = invite(&mut world, &ann, &body).json();
    assert_eq!(
        (&json["status"], &json["inviteTokenExpiresAt"], &json["grantExpiresAt"]),
        (&"pending".into(), &(NOW + 60).into(), &(NOW + 99).into())
    );
    assert!(
        json["grantId"]
            .as_str()
            .is_some_and(|id| id.len() == 35 && id.starts_with("gr_"))
    );
    let url = json["inviteUrl"].as_str().unwrap();
    assert!(url.starts_with("https://relay.test/share/") && url.len() == 25 + 43);
    let token = &url[25..];
    assert!(
        world
            .disk
            .values()
            .all(|value| !value.windows(43).any(|part| part == token.as_bytes()))
    );
    world.relay.frontend_url = Some("https://app.test".into());
    let json = invite(&mut world, &ann, r#"{"deviceId":"dev_1","email":"e@f"}"#).json();
    assert!(
        json["inviteUrl"]
            .as_str()
            .unwrap()
            .starts_with("https://app.test/share/")
    );
    assert_eq!(
        (&json["inviteTokenExpiresAt"], &json["grantExpiresAt"]),
        (&(NOW + 7 * 86_400).into(), &0.into())
    );
}

#[test]
fn acceptance_is_checked_in_order_and_happens_once() {
    let (mut world, ann, bob) = with_device();
    let (grant, token) = invite_bob(&mut world, &ann);
    let accept_with =
        |world: &mut World, who: &Caller, body: &str| world.ask(who, "POST /gateway/v1/shares/invites/accept", body);
    let nobody = Caller {
        email: None,
        ..bob.clone()
    };
    accept_with(&mut world, &nobody, "").is(403, "email is required to accept invites");
    let unproven = Caller {
        email_verified: false,
        ..bob.clone()
    };
    accept_with(&mut world, &unproven, "").is(403, "a verified email is required to accept invites");
    accept_with(&mut world, &bob, "").is(400, "invalid json body");
    accept_with(&mut world, &bob, r#"{"token":" "}"#).is(400, "token is required");
    accept_with(&mut world, &bob, r#"{"token":"t","deviceId":"x"}"#).is(400, "invalid deviceId");
    for id in ["dev_1", "dev_9"] {
        let body = alloc::format!(r#"{{"token":"{token}","deviceId":"{id}"}}"#);
        accept_with(&mut world, &bob, &body).is(403, "you do not own this device");
    }
    accept_with(&mut world, &bob, r#"{"token":"t"}"#).is(404, "invite not found or already used");
    accept(&mut world, &caller("eve"), &token).is(403, "email does not match this invite");
    register(&mut world, &bob, "dev_b", 1);
    let body = alloc::format!(r#"{{"token":"{token}","deviceId":"dev_b"}}"#);
    let asked = accept_with(&mut world, &bob, &body);
    let expected =
        alloc::format!(r#"{{"grantId":"{grant}","deviceId":"dev_1","role":"collaborator","status":"active"}}"#);
    assert_eq!((asked.status, &asked.body), (200, &expected));
    world.crash();
    assert_eq!(
        accept(&mut world, &bob, &token).body,
        expected,
        "the same user may ask again"
    );
    accept(&mut world, &caller("eve"), &token).is(404, "invite not found or already used");
    let entry = grants(&mut world, &ann)[0].clone();
    assert_eq!(
        (&entry["granteeUid"], &entry["granteeDeviceId"], &entry["acceptedAt"]),
        (&"bob".into(), &"dev_b".into(), &NOW.into())
    );
}

#[test]
fn invitations_end_by_time_and_by_their_owner() {
    let (mut world, ann, bob) = with_device();
    let (_, token) = invite_bob(&mut world, &ann);
    world.seconds(7 * 86_400);
    assert_eq!(grants(&mut world, &ann)[0]["status"], "expired");
    accept(&mut world, &bob, &token).is(410, "invite has expired");
    accept(&mut world, &bob, &token).is(404, "invite not found or already used");
    let (grant, token) = invite_bob(&mut world, &ann);
    end(&mut world, &bob, &grant, "leave").is(404, "grant not found");
    assert_eq!(end(&mut world, &ann, &grant, "revoke").status, 200);
    accept(&mut world, &bob, &token).is(409, "invite is revoked");
    let (_, token) = invite_bob(&mut world, &ann);
    assert_eq!(accept(&mut world, &bob, &token).status, 200);
}

#[test]
fn a_grant_ends_by_its_own_time() {
    let (mut world, ann, bob) = with_device();
    let body = alloc::format!(
        r#"{{"deviceId":"dev_1","email":"bob@example.org","grantExpiresAt":{}}}"#,
        NOW + 100
    );
    let json = invite(&mut world, &ann, &body).json();
    let token = json["inviteUrl"].as_str().unwrap().rsplit('/').next().unwrap();
    accept(&mut world, &bob, token);
    let device = DeviceId::parse("dev_1").unwrap();
    assert!(matches!(
        world.devices.role(world.now, &bob.uid, &device),
        Some(crate::surfaces::relay::devices::Role::Collaborator { .. })
    ));
    world.seconds(100);
    assert_eq!(world.devices.role(world.now, &bob.uid, &device), None);
    let grant = json["grantId"].as_str().unwrap();
    end(&mut world, &ann, grant, "revoke").is(409, "cannot revoke grant in expired state");
    end(&mut world, &bob, grant, "leave").is(409, "cannot leave grant in expired state");
    accept(&mut world, &bob, token).is(404, "invite not found or already used");
}

#[test]
fn grants_are_listed_and_ended_by_whom_they_concern() {
    let (mut world, ann, bob) = with_device();
    let eve = caller("eve");
    let (grant, token) = invite_bob(&mut world, &ann);
    accept(&mut world, &bob, &token);
    let path = "GET /gateway/v1/shares/devices/dev_1/grants";
    world.ask(&eve, path, "").is(404, "device not found");
    world.ask(&bob, path, "").is(403, "you do not own this device");
    world
        .ask(&ann, "GET /gateway/v1/shares/devices/dev_9/grants", "")
        .is(404, "device not found");
    world
        .ask(&ann, "GET /gateway/v1/shares/devices/x/grants", "")
        .is(400, "invalid deviceId");
    let asked = world.ask(&ann, path, "");
    let expected = alloc::format!(
        r#"{{"deviceId":"dev_1","grants":[{{"grantId":"{grant}","granteeEmail":"bob@example.org","granteeUid":"bob","granteeDeviceId":"","role":"collaborator","status":"active","grantExpiresAt":0,"acceptedAt":{NOW},"createdAt":{NOW}}}]}}"#
    );
    assert_eq!(asked.body, expected);
    let asked = world.ask(&bob, "GET /gateway/v1/devices", "").json();
    assert_eq!(
        (&asked["devices"][0]["role"], &asked["devices"][0]["grant_id"]),
        (&"collaborator".into(), &grant[..].into())
    );
    end(&mut world, &eve, &grant, "revoke").is(404, "grant not found");
    end(&mut world, &eve, "gr_0", "leave").is(404, "grant not found");
    end(&mut world, &bob, &grant, "revoke").is(403, "forbidden");
    end(&mut world, &ann, &grant, "leave").is(403, "forbidden");
    let ended = alloc::format!(r#"{{"grantId":"{grant}","status":"revoked"}}"#);
    for how in ["leave", "leave"] {
        let asked = end(&mut world, &bob, &grant, how);
        assert_eq!((asked.status, &asked.body), (200, &ended));
    }
    assert_eq!(end(&mut world, &ann, &grant, "revoke").body, ended);
    assert_eq!(grants(&mut world, &ann)[0]["status"], "revoked");
    assert_eq!(world.ask(&bob, "GET /gateway/v1/devices", "").body, r#"{"devices":[]}"#);
}

#[test]
fn listeners_see_a_shared_device_come_and_go() {
    let (mut world, ann, bob) = with_device();
    let listener = world.ask(&bob, "GET /gateway/v1/devices/events", "");
    assert_eq!(listener.body, ":connected\n\n");
    let (grant, token) = invite_bob(&mut world, &ann);
    accept(&mut world, &bob, &token);
    assert!(
        world
            .heard(listener.conn)
            .contains(r#"{"at":"","deviceId":"dev_1","status":"offline"}"#)
    );
    let agent = world.agent(&ann, "dev_1");
    assert!(
        world
            .heard(listener.conn)
            .contains(r#""deviceId":"dev_1","status":"online"}"#)
    );
    end(&mut world, &ann, &grant, "revoke");
    assert!(
        world
            .heard(listener.conn)
            .contains(r#"{"at":"2026-11-20T15:06:20Z","deviceId":"dev_1","status":"offline"}"#)
    );
    world.agent_leaves(agent);
    assert_eq!(world.heard(listener.conn), "");
}

#[test]
fn a_device_has_a_number_of_grants_at_most_and_ended_ones_make_room() {
    let (mut world, ann, _) = with_device();
    world.relay.limits.grants_per_device = 2;
    let invite_to = |world: &mut World, email: &str| {
        invite(
            world,
            &ann,
            &alloc::format!(r#"{{"deviceId":"dev_1","email":"{email}"}}"#),
        )
    };
    let first = invite_to(&mut world, "a@x").json();
    invite_to(&mut world, "b@x");
    invite_to(&mut world, "c@x").is(429, "too many grants for this device");
    end(&mut world, &ann, first["grantId"].as_str().unwrap(), "revoke");
    assert_eq!(invite_to(&mut world, "c@x").status, 201);
    assert_eq!(
        (
            grants(&mut world, &ann).as_array().unwrap().len(),
            world.records("relay.grants")
        ),
        (2, 2)
    );
    assert_eq!(world.devices.counts(&ann.uid), (1, 2));
}

#[test]
fn a_removed_device_takes_its_grants_along() {
    let (mut world, ann, bob) = with_device();
    let (_, token) = invite_bob(&mut world, &ann);
    accept(&mut world, &bob, &token);
    world
        .ask(&bob, "DELETE /gateway/v1/devices/dev_1", "")
        .is(403, "forbidden");
    assert_eq!(world.ask(&ann, "DELETE /gateway/v1/devices/dev_1", "").status, 204);
    assert_eq!(world.records("relay.grants"), 0);
    register(&mut world, &ann, "dev_1", 1);
    assert_eq!(world.ask(&bob, "GET /gateway/v1/devices", "").body, r#"{"devices":[]}"#);
    accept(&mut world, &bob, &token).is(404, "invite not found or already used");
}

#[test]
fn other_paths_are_not_served_here() {
    let (mut world, ann, _) = with_device();
    for line in [
        "GET /gateway/v1/shares/invites",
        "POST /gateway/v1/shares/invites/",
        "POST /gateway/v1/shares/grants/x",
        "GET /gateway/v1/devices/",
        "POST /gateway/v1/devices",
        "GET /gateway/v1/devices/dev_1",
        "GET /gateway/v1/devicesx",
    ] {
        assert_eq!(world.ask(&ann, line, "").status, 0, "{line}");
    }
}
