//! Devices in virtual time: `spec/relay.md` section 15.

use alloc::string::{String, ToString};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;

use super::*;
use crate::surfaces::relay::http::Caller;
use crate::surfaces::relay::world::{Asked, START, World, caller};

pub(in crate::surfaces::relay) fn public_key(seed: u8) -> String {
    STANDARD.encode(SigningKey::from_bytes(&[seed; 32]).verifying_key().as_bytes())
}

pub(in crate::surfaces::relay) fn register(world: &mut World, who: &Caller, id: &str, seed: u8) -> Asked {
    let body = alloc::format!(r#"{{"public_key":"{}"}}"#, public_key(seed));
    world.ask(who, &alloc::format!("PUT /gateway/v1/devices/{id}/identity-key"), &body)
}

fn put(world: &mut World, who: &Caller, id: &str, body: &str) -> Asked {
    world.ask(who, &alloc::format!("PUT /gateway/v1/devices/{id}/identity-key"), body)
}

fn list(world: &mut World, who: &Caller) -> serde_json::Value {
    let mut asked = world.ask(who, "GET /gateway/v1/devices", "");
    assert_eq!(asked.status, 200);
    asked.body = asked.body.replace("\u{0}", "");
    asked.json()["devices"].clone()
}

#[test]
fn registration_is_checked_in_order() {
    let (mut world, ann, bob) = (World::new(), caller("ann"), caller("bob"));
    let key = public_key(1);
    register(&mut world, &bob, "dev_b", 9);
    for (id, body, status, error) in [
        ("ab", "{", 400, "invalid device_id"),
        ("%20", "{", 400, "device_id is required"),
        ("a%zz", "{", 400, "invalid device_id"),
        ("dev_b", "{", 400, "invalid request body"),
        ("dev_b", r#"{"algorithm":7}"#, 400, "invalid request body"),
        (
            "dev_b",
            r#"{"public_key":"a","PUBLIC_KEY":"b"}"#,
            400,
            "invalid request body",
        ),
        ("dev_b", r#"{"algorithm":"rsa"}"#, 400, "unsupported algorithm"),
        ("dev_b", "{}", 400, "invalid public key"),
        ("dev_b", "null", 400, "invalid public key"),
        ("dev_b", r#"{"public_key":"AAAA"}"#, 400, "invalid public key"),
        (
            "dev_b",
            &alloc::format!(r#"{{"public_key":"{}"}}"#, key.trim_end_matches('=')),
            400,
            "invalid public key",
        ),
        (
            "dev_b",
            &alloc::format!(r#"{{"public_key":"{key}","display_name":"{}"}}"#, "x".repeat(257)),
            400,
            "invalid display_name",
        ),
        (
            "dev_b",
            &alloc::format!(r#"{{"public_key":"{key}"}}"#),
            403,
            "you do not own this device",
        ),
    ] {
        put(&mut world, &ann, id, body).is(status, error);
    }
    let wrong = "Content-Type: text/plain\r\n";
    let asked = world.ask_with(&ann, "PUT /gateway/v1/devices/dev_1/identity-key", wrong, "{}");
    asked.is(400, "invalid request body");
    for (id, name) in [
        ("dev_1", "public_key"),
        ("dev_2", "identityKey"),
        ("dev%3A3", "identity_key"),
        ("dev_4", "Public_Key"),
    ] {
        let body = alloc::format!(r#"{{"algorithm":" ed25519 ","{name}":" {key} ","public_key_":1}}"#);
        let asked = put(&mut world, &ann, id, &body);
        assert_eq!((asked.status, &asked.body[..]), (204, ""), "{id}");
    }
    assert_eq!(list(&mut world, &ann).as_array().unwrap().len(), 4);
}

#[test]
fn an_owner_has_a_number_of_devices_at_most() {
    let mut world = World::new();
    world.relay.limits.devices_per_owner = 2;
    let ann = caller("ann");
    for (id, status) in [("dev_1", 204), ("dev_2", 204), ("dev_3", 429), ("dev_2", 204)] {
        assert_eq!(register(&mut world, &ann, id, 1).status, status);
    }
    register(&mut world, &ann, "dev_3", 1).is(429, "too many registered devices");
}

#[test]
fn keys_are_read_by_those_who_may_and_replaced_ones_are_remembered() {
    let (mut world, ann) = (World::new(), caller("ann"));
    register(&mut world, &ann, "dev_1", 1);
    let path = "GET /gateway/v1/devices/dev_1/identity-key";
    let asked = world.ask(&ann, path, "");
    let expected = alloc::format!(
        r#"{{"algorithm":"ed25519","public_key":"{}","updated_at":"2026-11-20T15:06:20Z"}}"#,
        public_key(1)
    );
    assert_eq!((asked.status, asked.body), (200, expected));
    world.ask(&caller("eve"), path, "").is(404, "device not found");
    world
        .ask(&ann, "GET /gateway/v1/devices/dev_9/identity-key", "")
        .is(404, "device not found");
    world
        .ask(&ann, "GET /gateway/v1/devices/x/identity-key", "")
        .is(400, "invalid device_id");
    world.seconds(60);
    register(&mut world, &ann, "dev_1", 1);
    assert!(
        !world.ask(&ann, path, "").body.contains("previous_keys"),
        "the same key again"
    );
    register(&mut world, &ann, "dev_1", 2);
    let json = world.ask(&ann, path, "").json();
    assert_eq!(json["public_key"], public_key(2));
    assert_eq!(json["previous_keys"][0]["public_key"], public_key(1));
    assert_eq!(json["previous_keys"][0]["until"], "2026-11-20T15:07:20Z");
    for seed in 3..40 {
        register(&mut world, &ann, "dev_1", seed);
    }
    world.crash();
    let json = world.ask(&ann, path, "").json();
    assert_eq!(json["public_key"], public_key(39));
    assert_eq!(json["previous_keys"].as_array().unwrap().len(), 16);
}

#[test]
fn in_demo_mode_a_device_follows_its_owners_email() {
    let (mut world, ann, mut other) = (World::new(), caller("ann"), caller("ann"));
    other.uid = Uid("ann-2".into());
    register(&mut world, &ann, "dev_1", 1);
    assert_eq!(register(&mut world, &other, "dev_1", 1).status, 403);
    world.relay.auth = RelayAuth::Demo;
    assert_eq!(register(&mut world, &other, "dev_1", 1).status, 204);
    assert_eq!(list(&mut world, &ann), serde_json::json!([]));
    assert_eq!(list(&mut world, &other)[0]["owner_uid"], "ann-2");
}

#[test]
fn the_list_has_its_order_and_its_fields() {
    let (mut world, ann) = (World::new(), caller("ann"));
    for id in ["dev_b", "dev_a"] {
        register(&mut world, &ann, id, 1);
    }
    world.seconds(1);
    let body = alloc::format!(r#"{{"public_key":"{}","display_name":"Office"}}"#, public_key(1));
    put(&mut world, &ann, "dev_z", &body);
    world.seconds(1);
    world.agent(&ann, "dev_b");
    let asked = world.ask(&ann, "GET /gateway/v1/devices", "");
    assert!(asked.body.starts_with(
        r#"{"devices":[{"device_id":"dev_b","display_name":"dev_b","name":"dev_b","owner_uid":"ann","owner_email":"ann@example.org","algorithm":"ed25519","status":"online","connected":true,"updated_at":"2026-11-20T15:06:20Z","connected_at":"2026-11-20T15:06:22Z","last_seen_at":"2026-11-20T15:06:22Z","device_class":"agent","role":"owner"},{"device_id":"dev_z","display_name":"Office","name":"Office","#
    ), "{}", asked.body);
    let ids: alloc::vec::Vec<_> = list(&mut world, &ann)
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["device_id"].to_string())
        .collect();
    assert_eq!(ids, ["\"dev_b\"", "\"dev_z\"", "\"dev_a\""]);
    assert_eq!(list(&mut world, &caller("eve")), serde_json::json!([]));
}

#[test]
fn a_device_is_removed_by_its_owner_with_all_that_hangs_on_it() {
    let (mut world, ann, eve) = (World::new(), caller("ann"), caller("eve"));
    register(&mut world, &ann, "dev_1", 1);
    let agent = world.agent(&ann, "dev_1");
    world.frames(agent);
    let listener = world.ask(&ann, "GET /gateway/v1/devices/events", "").conn;
    world
        .ask(&eve, "DELETE /gateway/v1/devices/dev_1", "")
        .is(404, "device not found");
    world
        .ask(&ann, "DELETE /gateway/v1/devices/-", "")
        .is(400, "invalid device_id");
    let asked = world.ask(&ann, "DELETE /gateway/v1/devices/dev_1", "");
    assert_eq!((asked.status, &asked.body[..]), (204, ""));
    assert_eq!(world.frames(agent), ["close 1008 device removed"]);
    assert!(
        world
            .heard(listener)
            .contains(r#""deviceId":"dev_1","status":"offline""#)
    );
    world
        .ask(&ann, "DELETE /gateway/v1/devices/dev_1", "")
        .is(404, "device not found");
    assert!(world.disk.is_empty());
    assert_eq!(register(&mut world, &eve, "dev_1", 1).status, 204);
}

#[test]
fn what_was_answered_is_on_disk_and_what_is_not_is_not_answered() {
    let (mut world, ann) = (World::new(), caller("ann"));
    world.disk_works = false;
    let asked = register(&mut world, &ann, "dev_1", 1);
    assert_eq!(asked.status, 1);
    world.seconds(5);
    assert_eq!(world.answered_later(asked.conn).unwrap().0, 503);
    world.disk_works = true;
    world.settle();
    assert_eq!(world.answered_later(asked.conn), None);
    world.crash();
    assert_eq!(list(&mut world, &ann)[0]["device_id"], "dev_1");
}

#[test]
fn tables_that_cannot_be_read_are_read_again_and_broken_records_are_told() {
    let (mut world, ann) = (World::new(), caller("ann"));
    register(&mut world, &ann, "dev_1", 1);
    let mut calls = Calls::default();
    let mut devices = Devices::new(&mut calls);
    assert!(!devices.is_ready());
    core::mem::swap(&mut world.devices, &mut devices);
    let key = crate::store::Key {
        table: "relay.devices",
        id: "dev_2".into(),
    };
    world.disk.insert(key, bytes::Bytes::from_static(b"\x07?"));
    world.crash();
    assert!(world.devices.is_ready());
    assert_eq!(world.reports.len(), 1);
    assert_eq!(list(&mut world, &ann).as_array().unwrap().len(), 1);
    let mut fresh = World::new();
    fresh.disk_works = false;
    fresh.crash();
    fresh.fail_reads();
    assert!(!fresh.devices.is_ready() && !fresh.sessions.is_ready() && !fresh.reports.is_empty());
    fresh.disk_works = true;
    fresh.seconds(1);
    assert!(fresh.devices.is_ready() && fresh.sessions.is_ready());
}

#[test]
fn listeners_hear_of_their_devices_and_of_no_others() {
    let (mut world, ann, eve) = (World::new(), caller("ann"), caller("eve"));
    register(&mut world, &ann, "dev_1", 1);
    register(&mut world, &eve, "dev_2", 1);
    let asked = world.ask(&ann, "GET /gateway/v1/devices/events", "");
    assert_eq!(
        asked.body,
        ":connected\n\nevent: device.status\ndata: {\"at\":\"\",\"deviceId\":\"dev_1\",\"status\":\"offline\"}\n\n"
    );
    let agent = world.agent(&ann, "dev_1");
    let online = ":heartbeat\n\nevent: device.status\ndata: {\"at\":\"2026-11-20T15:06:20Z\",\"deviceId\":\"dev_1\",\"status\":\"online\"}\n\n";
    assert_eq!(world.heard(asked.conn), online);
    let other = world.agent(&eve, "dev_2");
    assert_eq!(world.heard(asked.conn), "", "a stranger's agent wakes nobody");
    world.agent_leaves(other);
    world.seconds(30);
    assert_eq!(world.heard(asked.conn), ":heartbeat\n\n");
    world.agent_leaves(agent);
    assert!(
        world
            .heard(asked.conn)
            .contains("{\"at\":\"\",\"deviceId\":\"dev_1\",\"status\":\"offline\"}")
    );
    world.listener_leaves(asked.conn);
    assert_eq!(world.devices.next_deadline(), None);
}

#[test]
fn a_stream_ends_with_its_token_and_a_user_has_a_number_of_them() {
    let mut world = World::new();
    world.relay.limits.streams_per_user = 2;
    let mut ann = caller("ann");
    ann.expires_at = START / 1_000 + 45;
    let first = world.ask(&ann, "GET /gateway/v1/devices/events", "");
    world.ask(&ann, "GET /gateway/v1/devices/events", "");
    world
        .ask(&ann, "GET /gateway/v1/devices/events", "")
        .is(429, "too many event streams");
    world.seconds(44);
    assert_eq!(world.heard(first.conn), ":heartbeat\n\n");
    world.seconds(1);
    assert_eq!(world.heard(first.conn), ":authorization_expired\n\nEND");
    assert_eq!(world.devices.next_deadline(), None);
}

#[test]
fn presence_is_renewed_by_the_connection_and_ends_with_it() {
    let (mut world, ann) = (World::new(), caller("ann"));
    register(&mut world, &ann, "dev_1", 1);
    let agent = world.agent(&ann, "dev_1");
    for _ in 0..4 {
        world.seconds(50);
        world.agent_says(agent, r#"{"type":"heartbeat"}"#);
    }
    let entry = list(&mut world, &ann)[0].clone();
    assert_eq!(
        (&entry["status"], &entry["connected_at"]),
        (&"online".into(), &"2026-11-20T15:06:20Z".into())
    );
    assert_eq!(entry["last_seen_at"], "2026-11-20T15:09:40Z");
    world.agent_leaves(agent);
    let entry = list(&mut world, &ann)[0].clone();
    assert_eq!(entry["connected"], false);
    assert!(entry.get("last_seen_at").is_none() && entry.get("connected_at").is_none());
}

#[test]
fn an_email_that_nobody_vouches_for_is_not_shown_as_the_owners() {
    let (mut world, mut ann) = (World::new(), caller("ann"));
    ann.email_verified = false;
    register(&mut world, &ann, "dev_1", 1);
    assert!(list(&mut world, &ann)[0].get("owner_email").is_none());
    ann.email_verified = true;
    register(&mut world, &ann, "dev_1", 1);
    assert_eq!(list(&mut world, &ann)[0]["owner_email"], "ann@example.org");
}
