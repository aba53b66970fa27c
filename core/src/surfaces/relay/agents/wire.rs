//! Frames to agents that concern the connection.

use bytes::{BufMut, BytesMut};

use super::Agent;
use crate::json::{write_number, write_string};
use crate::surfaces::relay::stamp;
use crate::time::UnixMillis;

/// The first frame of a connection.
pub(in crate::surfaces::relay) fn connected(out: &mut BytesMut, agent: &Agent, at: UnixMillis) {
    stamped(out, "gateway.connected", agent, at);
}

/// The answer to `ping`.
pub(in crate::surfaces::relay) fn heartbeat(out: &mut BytesMut, agent: &Agent, at: UnixMillis) {
    stamped(out, "heartbeat", agent, at);
}

fn stamped(out: &mut BytesMut, kind: &str, agent: &Agent, at: UnixMillis) {
    out.put_slice(b"{\"at\":");
    write_string(out, &stamp::text(at));
    out.put_slice(b",\"device_id\":");
    write_string(out, agent.device.as_str());
    out.put_slice(b",\"type\":");
    write_string(out, kind);
    out.put_u8(b'}');
}

/// The transport token.
pub(in crate::surfaces::relay) fn transport_init(out: &mut BytesMut, agent: &Agent, seconds: u64, at: UnixMillis) {
    out.put_slice(b"{\"at\":");
    write_string(out, &stamp::text(at));
    out.put_slice(b",\"connection_id\":");
    write_string(out, &agent.proof.name);
    out.put_slice(b",\"device_id\":");
    write_string(out, agent.device.as_str());
    out.put_slice(b",\"expires_in\":");
    write_number(out, seconds);
    out.put_slice(b",\"transport_token\":");
    write_string(out, agent.proof.token());
    out.put_slice(b",\"type\":\"transport.init\"}");
}

/// A complaint, with further texts.
pub(in crate::surfaces::relay) fn error(out: &mut BytesMut, error: &str, more: &[(&str, &str)]) {
    out.put_slice(b"{\"error\":");
    write_string(out, error);
    for (name, text) in more {
        out.put_u8(b',');
        write_string(out, name);
        out.put_u8(b':');
        write_string(out, text);
    }
    out.put_slice(b",\"type\":\"agent.error\"}");
}
