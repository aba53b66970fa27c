//! The relay's limits, each a variable of our own. Spec: `spec/relay.md` section 1.

use std::time::Duration;

use portcullis_core::settings::RelayLimits;

use super::values::Values;

pub(super) fn read(values: &Values<'_>) -> RelayLimits {
    let usual = RelayLimits::default();
    let many = |name, default| values.number(name, default, (1, 10_000_000));
    let bytes = |name, default| values.number(name, default, (1_024, 268_435_456));
    RelayLimits {
        devices_per_owner: many("RELAY_MAX_DEVICES_PER_OWNER", usual.devices_per_owner),
        agents_per_owner: many("RELAY_MAX_AGENTS_PER_OWNER", usual.agents_per_owner),
        sessions_per_user: many("RELAY_MAX_SESSIONS_PER_USER", usual.sessions_per_user),
        grants_per_device: many("RELAY_MAX_GRANTS_PER_DEVICE", usual.grants_per_device),
        streams_per_user: many("RELAY_MAX_STREAMS_PER_USER", usual.streams_per_user),
        events_per_session: many("RELAY_MAX_EVENTS_PER_SESSION", usual.events_per_session),
        event_bytes_per_session: bytes("RELAY_MAX_EVENT_BYTES_PER_SESSION", usual.event_bytes_per_session),
        event_bytes: values.number("RELAY_MAX_EVENT_BYTES", usual.event_bytes, (1_048_576, u32::MAX)),
        queued_bytes: values.number("RELAY_MAX_QUEUED_BYTES", usual.queued_bytes, (1_048_576, u32::MAX)),
        stream_buffer_bytes: bytes("RELAY_MAX_STREAM_BUFFER_BYTES", usual.stream_buffer_bytes),
        body_bytes: bytes("RELAY_MAX_BODY_BYTES", usual.body_bytes),
        // Published clients read no event of 512 KiB or more.
        frame_bytes: values.number("RELAY_MAX_FRAME_BYTES", usual.frame_bytes, (1_024, 491_520)),
        undelivered_per_session: many("RELAY_MAX_UNDELIVERED_PER_SESSION", usual.undelivered_per_session),
        idempotency_per_session: many("RELAY_MAX_IDEMPOTENCY_PER_SESSION", usual.idempotency_per_session),
        logins_per_user: many("RELAY_MAX_LOGINS_PER_USER", usual.logins_per_user),
        logins: many("RELAY_MAX_LOGINS", usual.logins),
        auth_codes: many("RELAY_MAX_AUTH_CODES", usual.auth_codes),
        session_idle: Duration::from_secs(
            values
                .number("RELAY_SESSION_IDLE_SECONDS", 86_400, (60, 31_536_000))
                .into(),
        ),
    }
}
