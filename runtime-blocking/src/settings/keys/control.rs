//! The keys of the control plane.

use super::{Key, Kind, bytes, count, flag, key, secret, text};
use crate::settings::draft::Draft;

#[rustfmt::skip] // one line each: it is a table
pub(super) static KEYS: &[Key] = &[
    key("control.enabled", flag(false, |d, on| { d.control_on = on; Ok(()) }), "serve the control plane on the gateway's port"),
    key("control.paths", Kind::Texts { takes: "list of paths", default: "[\"/\", \"/control\"]", set: Draft::set_control_paths }, "where; empty: on every path"),
    secret(key("control.jwtSecret", text("text, 32 bytes or more", "a fresh one at each start", Draft::set_jwt_secret), "what tokens are signed with")),
    key("control.sessionTtlHours", Kind::Number { takes: "1 to 8760 hours", most: 8_760, default: "24", set: Draft::set_session_ttl }, "how long a token is good for"),
    key("control.trustedClients", Kind::Texts { takes: "list of addresses and CIDR blocks", default: "[\"127.0.0.1\", \"::1\"]", set: Draft::set_trusted_clients }, "who may connect; not empty"),
    key("control.refuseBeforeUpgrade", flag(false, |d, on| { d.control.refuse_before_upgrade = on; Ok(()) }), "refuse strangers with 403 instead of closing them after the upgrade"),
    key("control.closeOnRotate", flag(false, |d, on| { d.control.close_on_rotate = on; Ok(()) }), "close connections (4001) when the token is rotated"),
    key("control.tokenFile", text("file", "`control-token` in the state folder", |d, path| { d.control.token_file = Some(d.absolute(path).to_string_lossy().into_owned()); Ok(()) }), "where the current token is written"),
    key("control.nodeEnv", text("text", "\"development\"", |d, text| { d.control.node_env = text.chars().filter(|c| !c.is_control()).take(64).collect(); Ok(()) }), "what `status` tells as `nodeEnv`"),
    key("control.maxUnauthorised", count(1, |d| &mut d.control.max_unauthorised), "messages in a row with a bad token before the connection is closed"),
    key("control.maxMessageBytesBefore", bytes(1_024, |d| &mut d.control.max_message_bytes.0), "the largest message before the first good token"),
    key("control.maxMessageBytes", bytes(1_024, |d| &mut d.control.max_message_bytes.1), "the largest message after it"),
];
