//! The keys of the journal, the log, the audit and the AI providers.

use super::{Key, Kind, count, flag, key, millis, secret, text};
use crate::settings::draft::Draft;

#[rustfmt::skip] // one line each: it is a table
pub(super) static KEYS: &[Key] = &[
    key("audit.enabled", flag(true, |d, on| { d.audit_on = on; Ok(()) }), "keep a journal of connections, refusals and requests"),
    key("audit.path", text("file", "`logs/audit.jsonl` in the state folder", |d, path| { d.audit.path = d.absolute(path).to_string_lossy().into_owned(); Ok(()) }), "the journal's file; rotated ones lie beside it"),
    key("audit.maxBytes", Kind::Size { floor: 4_096, field: |d| &mut d.audit.max_bytes }, "a larger file is rotated"),
    key("audit.maxFiles", count(1, |d| &mut d.audit.max_files), "rotated files that are kept"),
    key("audit.connections", flag(true, |d, on| { d.audit.connections = on; Ok(()) }), "record connections that open and close"),
    key("audit.requests", flag(true, |d, on| { d.audit.requests = on; Ok(()) }), "record requests"),
    key("logging.level", text("\"error\", \"warn\", \"info\" or \"debug\"", "\"warn\"", Draft::set_log_level), "what the log tells; `--verbose` is \"debug\""),
    key("logging.redactSensitive", text("\"on\" or \"tools\"", "\"on\"", Draft::set_redaction), "secrets are masked in the log; cannot be switched off"),
    key("security.audit.suppressions", Kind::Suppressions, "findings of the audit that are accepted, see below"),
    key("security.attest.tailnetAcl", flag(false, |d, on| { d.tailnet_acl_attested = on; Ok(()) }), "you have restricted the tailnet's devices by tag; asked for by the audit"),
    key("providers.active", text("\"kimi\" or \"gemini\"", "\"gemini\"", Draft::set_active_provider), "the one that an agent with provider \"active\" means until it is switched"),
    key("providers.health", text("\"completion\" or \"models\"", "\"completion\"", Draft::set_health_probe), "what a health check asks: a short completion (it costs), or the list of models"),
    key("providers.maxResponseBytes", Kind::Size { floor: 1_024, field: |d| &mut d.core.providers.max_response_bytes }, "the most bytes of one answer to a chat"),
    secret(key("providers.kimi.apiKey", text("text", "none", |d, key| Draft::set_api_key(&mut d.core.providers.kimi, key)), "left out: not configured")),
    key("providers.kimi.baseUrl", text("URL", "\"https://api.moonshot.cn/v1\"", |d, url| Draft::set_base_url(&mut d.core.providers.kimi, url)), "where its API is; `http` only on this machine"),
    key("providers.kimi.model", text("text", "\"moonshot-v1-8k\"", |d, model| Draft::set_model(&mut d.core.providers.kimi, model)), "the model until another is chosen"),
    key("providers.kimi.timeoutMs", millis(100, |d| &mut d.core.providers.kimi.timeout), "for one attempt"),
    key("providers.kimi.retries", count(0, |d| &mut d.core.providers.kimi.retries), "further attempts after a failure that may pass"),
    secret(key("providers.gemini.apiKey", text("text", "none", |d, key| Draft::set_api_key(&mut d.core.providers.gemini, key)), "left out: not configured")),
    key("providers.gemini.baseUrl", text("URL", "\"https://generativelanguage.googleapis.com\"", |d, url| Draft::set_base_url(&mut d.core.providers.gemini, url)), "where its API is; `http` only on this machine"),
    key("providers.gemini.model", text("text", "\"gemini-1.5-pro\"", |d, model| Draft::set_model(&mut d.core.providers.gemini, model)), "the model until another is chosen"),
    key("providers.gemini.timeoutMs", millis(100, |d| &mut d.core.providers.gemini.timeout), "for one attempt"),
    key("providers.gemini.retries", count(0, |d| &mut d.core.providers.gemini.retries), "further attempts after a failure that may pass"),
];
