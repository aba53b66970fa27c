//! `health`: the request that clients send most. Spec: `spec/operator.md` section 6.

use alloc::string::{String, ToString};

use bytes::{BufMut, BytesMut};

use crate::json::{write_number, write_string};
use crate::time::UnixMillis;

/// The parts of the answer that stay the same from one request to the next.
#[derive(Debug)]
pub(crate) struct Health {
    home_dir_json: BytesMut,
    /// The time that was written last, and how: many requests come within one millisecond.
    time: (UnixMillis, String),
}

impl Health {
    pub(crate) fn new(home_dir: &str) -> Self {
        let mut home_dir_json = BytesMut::new();
        write_string(&mut home_dir_json, home_dir);
        Self {
            home_dir_json,
            time: (UnixMillis(0), UnixMillis(0).to_utc().to_string()),
        }
    }

    /// Writes the payload.
    pub(crate) fn write(&mut self, out: &mut BytesMut, connected_at: UnixMillis, now: UnixMillis) {
        if self.time.0 != now {
            self.time = (now, now.to_utc().to_string());
        }
        out.put_slice(b"{\"status\":\"ok\",\"protocol\":1,\"homeDir\":");
        out.put_slice(&self.home_dir_json);
        out.put_slice(b",\"connectedAtMs\":");
        write_number(out, connected_at.0);
        out.put_slice(b",\"serverTime\":\"");
        out.put_slice(self.time.1.as_bytes());
        out.put_slice(b"\"}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_and_its_time() {
        let mut health = Health::new("/home/\"x\"");
        for (now, time) in [(0, "1970-01-01T00:00:00.000Z"), (1_001, "1970-01-01T00:00:01.001Z")] {
            let mut out = BytesMut::new();
            health.write(&mut out, UnixMillis(7), UnixMillis(now));
            let expected = alloc::format!(
                r#"{{"status":"ok","protocol":1,"homeDir":"/home/\"x\"","connectedAtMs":7,"serverTime":"{time}"}}"#
            );
            assert_eq!(core::str::from_utf8(&out).unwrap(), expected);
        }
    }
}
