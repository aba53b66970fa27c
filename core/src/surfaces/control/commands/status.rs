//! `status`: the provider that answers, and a few facts about the gateway. It never fails: a provider without a key is a
//! fact like the others.

use alloc::string::{String, ToString};

use serde::Serialize;

use super::{Command, answer};
use crate::id::ConnId;
use crate::surfaces::control::{Context, Control};

/// The first five members are the original's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    provider: &'static str,
    model: &'a str,
    provider_key: &'static str,
    uptime_ms: u64,
    node_env: &'a str,
    configured: bool,
    version: &'static str,
    token_id: &'a str,
    token_expires_at: String,
    connections: usize,
}

impl Control {
    pub(super) fn status(&self, cx: &mut Context<'_>, conn: ConnId, id: Option<&str>) {
        let active = cx.providers.active();
        let uptime = cx.now.monotonic.since(self.started.monotonic);
        let status = Status {
            provider: active.key.display_name(),
            model: &active.model,
            provider_key: active.key.as_str(),
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            node_env: &self.settings.node_env,
            configured: active.configured,
            version: env!("CARGO_PKG_VERSION"),
            token_id: &self.tokens.active.id,
            token_expires_at: self.tokens.active.expires_at().to_utc().to_string(),
            connections: self.open.len(),
        };
        answer(cx, conn, Command::Status, id, &status);
    }
}
