//! What the gateway writes into its audit journal, and how often: `spec/hardening.md` section 24, `spec/audit.md`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod world;

use std::time::Duration;

use portcullis_core::effect::{Completion, Effect};
use portcullis_core::machine::{DrainHow, Input};
use portcullis_core::settings::{AuditSettings, ControlSettings, Settings};
use world::client::UPGRADE;
use world::{Ending, World, settings};

const LOCAL: &str = "127.0.0.1:9";
const PATH: &str = "/state/audit.jsonl";

fn with_journal(change: impl FnOnce(&mut Settings)) -> World {
    let mut settings = settings();
    settings.audit = Some(AuditSettings::at(PATH.into()));
    change(&mut settings);
    let mut world = World::new(settings);
    world.settle();
    world
}

/// The lines about this event.
fn records(world: &mut World, event: &str) -> Vec<String> {
    world.settle();
    let Some(Completion::File { bytes, .. }) = world.store.file(PATH) else {
        return Vec::new();
    };
    let what = format!(r#""event":"{event}""#);
    let lines = std::str::from_utf8(&bytes).unwrap().lines();
    lines.filter(|line| line.contains(&what)).map(String::from).collect()
}

fn control_upgrade(fields: &str) -> String {
    UPGRADE.replace("/gateway", "/control").replace("Host: gw\r\n", fields)
}

#[test]
fn a_connection_that_is_closed_by_us_is_recorded_once() {
    let mut world = with_journal(|settings| settings.control = Some(ControlSettings::default()));
    let client = world.client();
    let control = world.connect(LOCAL);
    world.bytes(control, control_upgrade("Host: gw\r\n").as_bytes());
    let stranger = world.connect("192.0.2.1:9");
    world.bytes(stranger, control_upgrade("Host: gw\r\n").as_bytes());
    world.step(Input::Drain { how: DrainHow::Stop });
    for conn in [client, control, stranger] {
        world.gone(conn);
    }
    let closed = records(&mut world, "conn_close");
    assert_eq!(closed.len(), 2, "{closed:?}");
    let of = |surface: &str| closed.iter().filter(|line| line.contains(surface)).count();
    assert_eq!(
        (of(r#""surface":"ws""#), of(r#""surface":"control""#)),
        (1, 1),
        "{closed:?}"
    );
}

#[test]
fn a_refused_upgrade_of_the_control_plane_is_recorded_once_and_at_a_bounded_rate() {
    let strict = ControlSettings {
        refuse_before_upgrade: true,
        ..ControlSettings::default()
    };
    let mut world = with_journal(|settings| {
        settings.control = Some(strict);
        settings.gateway.max_connections = 1_000;
    });
    let origin = control_upgrade("Host: gw\r\nOrigin: https://evil.example\r\n");
    for (peer, request, refused) in [
        (LOCAL, origin.clone(), "Origin not allowed"),
        ("192.0.2.1:9", control_upgrade("Host: gw\r\n"), "IP not permitted"),
    ] {
        let before = records(&mut world, "conn_rejected").len();
        let conn = world.connect(peer);
        world.bytes(conn, request.as_bytes());
        assert!(String::from_utf8_lossy(&world.sockets[&conn].written).ends_with(refused));
        assert_eq!(records(&mut world, "conn_rejected").len(), before + 1, "{refused}");
    }
    for _ in 0..100 {
        let conn = world.connect(LOCAL);
        world.bytes(conn, origin.as_bytes());
        world.gone(conn);
    }
    assert!(records(&mut world, "conn_rejected").len() < 20);
}

#[test]
fn the_control_planes_list_of_addresses_comes_before_every_other_door() {
    let alone = ControlSettings {
        paths: Vec::new(),
        standalone: true,
        ..ControlSettings::default()
    };
    let mut world = with_journal(|settings| {
        settings.control = Some(alone);
        settings.doors.check_host = true;
    });
    let odd = "Host: evil.example\r\nOrigin: null\r\nOrigin: https://evil.example\r\n";
    let upgrade = control_upgrade(odd).replace("/control", "/any?token=x");
    let conn = world.connect("192.0.2.1:9");
    world.bytes(conn, upgrade.as_bytes());
    let close = &world.frames(conn)[0];
    assert_eq!((close.opcode, &close.payload[2..]), (8, &b"IP not permitted"[..]));
    let conn = world.connect(LOCAL);
    world.bytes(conn, upgrade.as_bytes());
    assert!(
        world.sockets[&conn].written.starts_with(b"HTTP/1.1 403 "),
        "the other doors stay for those in it"
    );
}

#[test]
fn a_stranger_who_never_asks_is_recorded() {
    let mut world = with_journal(|settings| {
        settings.doors.allowed_networks = Some(vec!["127.0.0.0/8".parse().unwrap()]);
    });
    let conn = world.connect("192.0.2.1:9");
    world.bytes(conn, b"GET /healthz HTTP/1.1\r\nHost: gw\r\n\r\n");
    let rejected = records(&mut world, "conn_rejected");
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    assert!(rejected[0].contains(r#""ip":"192.0.2.1""#) && rejected[0].contains("address_not_allowed"));
}

#[test]
fn an_end_before_the_last_records_are_on_disk_is_not_clean() {
    for is_written in [true, false] {
        let mut world = with_journal(|_| {});
        world.step(Input::Drain { how: DrainHow::Stop });
        for _ in 0..8 {
            let append = world
                .running
                .iter()
                .find(|(_, running)| matches!(running.what, Effect::Append { .. }));
            if let Some((effect, _)) = append.filter(|_| is_written) {
                world.complete(*effect, Ending::Well);
            }
        }
        world.wait(Duration::from_secs(3));
        assert!(world.drained);
        assert_eq!(world.ended_clean, is_written);
    }
}
