//! `hello-ok` as version 4 of the dialect has it. Spec: `spec/hardening.md`.

use alloc::vec::Vec;

use crate::settings::Settings;
use crate::surfaces::operator::scope::{EVENTS, METHODS, Scopes};

/// The payload of a successful `connect`.
#[derive(serde::Serialize)]
pub(in crate::surfaces::operator) struct Hello<'a> {
    r#type: &'static str,
    protocol: u32,
    server: Server<'a>,
    features: Features,
    snapshot: Snapshot,
    auth: Auth,
    policy: Policy,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Server<'a> {
    version: &'static str,
    conn_id: &'a str,
}

#[derive(serde::Serialize)]
struct Features {
    methods: &'static [&'static str],
    events: &'static [&'static str],
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    presence: [u8; 0],
    health: Empty,
    state_version: StateVersion,
    uptime_ms: u64,
}

#[derive(serde::Serialize)]
struct Empty {}

#[derive(serde::Serialize)]
struct StateVersion {
    presence: u32,
    health: u32,
}

#[derive(serde::Serialize)]
struct Auth {
    role: &'static str,
    scopes: Vec<&'static str>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    max_payload: usize,
    max_buffered_bytes: usize,
    tick_interval_ms: u128,
}

/// What a client that is in is told.
pub(in crate::surfaces::operator) fn hello<'a>(
    settings: &Settings,
    version: u32,
    conn_id: &'a str,
    uptime_ms: u64,
    scopes: Scopes,
) -> Hello<'a> {
    let gateway = &settings.gateway;
    Hello {
        r#type: "hello-ok",
        protocol: version,
        server: Server {
            version: env!("CARGO_PKG_VERSION"),
            conn_id,
        },
        features: Features {
            methods: METHODS,
            events: EVENTS,
        },
        snapshot: Snapshot {
            presence: [],
            health: Empty {},
            state_version: StateVersion { presence: 0, health: 0 },
            uptime_ms,
        },
        auth: Auth {
            role: "operator",
            scopes: scopes.names(),
        },
        policy: Policy {
            max_payload: gateway.max_payload_bytes,
            max_buffered_bytes: gateway.max_buffered_bytes,
            tick_interval_ms: gateway.tick_interval.as_millis(),
        },
    }
}
