//! The OpenClaw dialect of the handshake, versions 3 and 4: understood only where the settings say so, and only from
//! clients that do not speak ours. It reads their params, words refusals as they expect them, and writes their `hello-ok`.
//! It never lets anybody in whom the rules of our own protocol would keep out. Spec: `spec/hardening.md`.

mod device;
mod hello;
#[cfg(test)]
mod tests;

use alloc::borrow::Cow;
use alloc::string::String;

use serde_json::value::RawValue;

use device::Device;
pub(super) use hello::hello;

use super::connect::ConnectParams;
use super::scope::Scopes;
use super::session::Awaiting;
use super::wire::{ErrorCode, PROTOCOL, WireError};
use crate::auth::Verdict;
use crate::fields::{Reason, integer, is_null, object, optional_string, string};
use crate::json::Object;
use crate::settings::Credential;
use crate::time::UnixMillis;

/// The newest version that is spoken.
const NEWEST: u32 = 4;
/// The oldest one.
const OLDEST: u32 = 3;

const KEYS: &[&str] = &[
    "minProtocol",
    "maxProtocol",
    "client",
    "caps",
    "commands",
    "computerUse",
    "workerRuns",
    "permissions",
    "pathEnv",
    "role",
    "scopes",
    "device",
    "auth",
    "locale",
    "userAgent",
    "nonce",
];
const CLIENT_KEYS: &[&str] = &[
    "id",
    "displayName",
    "version",
    "buildId",
    "platform",
    "deviceFamily",
    "modelIdentifier",
    "timeZone",
    "mode",
    "instanceId",
];
const AUTH_KEYS: &[&str] = &[
    "token",
    "password",
    "deviceToken",
    "bootstrapToken",
    "approvalRuntimeToken",
    "agentRuntimeIdentityToken",
];

/// What a client of the dialect says besides.
#[derive(Debug)]
pub(super) struct Dialect<'a> {
    /// The version that is spoken; `None`: there is none in its range.
    pub(super) version: Option<u32>,
    platform: Cow<'a, str>,
    device_family: Cow<'a, str>,
    /// The scopes as they were asked for.
    scopes: String,
    device: Option<Device<'a>>,
}

/// Reads the params of a client that speaks the dialect; `None`: this one speaks our own protocol, or nothing known.
pub(super) fn parse(params: Option<&RawValue>) -> Option<Result<ConnectParams<'_>, Reason>> {
    let peek = Object::parse(params?.get()).ok()?;
    let min = integer(peek.get("minProtocol"), "minProtocol", 1, 1_000).ok()?;
    let max = integer(peek.get("maxProtocol"), "maxProtocol", 1, 1_000).ok()?;
    (min > PROTOCOL && max >= OLDEST).then(|| read(params, min, max))
}

fn read(params: Option<&RawValue>, min: u32, max: u32) -> Result<ConnectParams<'_>, Reason> {
    let params = object(
        params,
        KEYS,
        "connect params must be an object",
        "connect params contain unknown fields",
    )?;
    let client = object(
        params.get("client"),
        CLIENT_KEYS,
        "client must be an object",
        "client contains unknown fields",
    )?;
    let client_id = string(client.get("id"), "client.id", 1, 120)?;
    let client_version = string(client.get("version"), "client.version", 1, 80)?;
    let platform = string(client.get("platform"), "client.platform", 1, 80)?;
    let client_mode = string(client.get("mode"), "client.mode", 1, 80)?;
    optional_string(client.get("displayName"), "client.displayName", 1, 120)?;
    let device_family = optional_string(client.get("deviceFamily"), "client.deviceFamily", 0, 120)?;
    let instance_id = optional_string(client.get("instanceId"), "client.instanceId", 1, 120)?;
    let role = optional_string(params.get("role"), "role", 1, 80)?;
    if role.is_some_and(|role| role != "operator") {
        return Err("role must be operator".into());
    }
    let (granted, scopes) = scopes(params.get("scopes"))?;
    let token = match params.get("auth").filter(|auth| !is_null(auth)) {
        Some(auth) => {
            let (not, unknown) = ("auth must be an object", "auth contains unknown fields");
            let auth = object(Some(auth), AUTH_KEYS, not, unknown)?;
            match optional_string(auth.get("token"), "auth.token", 1, 512)? {
                Some(token) => Some(token),
                None => optional_string(auth.get("password"), "auth.password", 1, 512)?,
            }
        }
        None => None,
    };
    let device = params
        .get("device")
        .filter(|device| !is_null(device))
        .map(Device::parse)
        .transpose()?;
    let nonce = match &device {
        Some(device) => device.nonce.clone(),
        None => optional_string(params.get("nonce"), "nonce", 1, 200)?,
    };
    let version = [NEWEST, OLDEST]
        .into_iter()
        .find(|version| (min..=max).contains(version));
    Ok(ConnectParams {
        min_protocol: min,
        max_protocol: max,
        client_id,
        client_version,
        client_mode,
        instance_id,
        scopes: granted,
        token,
        nonce,
        dialect: Some(Dialect {
            version,
            platform,
            device_family: device_family.unwrap_or_default(),
            scopes,
            device,
        }),
    })
}

/// The scopes that are granted, and all that were asked for as the device signed them. Scopes that this gateway has no use
/// for are not granted; who asks for none at all gets what clients of our own protocol get.
fn scopes(value: Option<&RawValue>) -> Result<(Scopes, String), Reason> {
    let Some(value) = value else {
        return Ok((Scopes::NONE.granted(), String::new()));
    };
    let items: alloc::vec::Vec<Cow<'_, str>> =
        serde_json::from_str(value.get()).map_err(|_| "scopes must be an array of strings")?;
    let mut granted = Scopes::NONE;
    for item in &items {
        granted = granted.with(item.trim()).unwrap_or(granted);
    }
    if items.is_empty() {
        granted = granted.granted();
    }
    Ok((granted, items.join(",")))
}

impl Dialect<'_> {
    /// Checks the device's proof, if there is one; without one only programs on this machine need none.
    pub(super) fn check_device(
        &self,
        params: &ConnectParams<'_>,
        awaiting: &Awaiting,
        now: UnixMillis,
    ) -> Result<(), WireError> {
        let Some(device) = &self.device else {
            if awaiting.client.is_local() || params.nonce.is_some() {
                return Ok(());
            }
            return Err(refusal(
                "device identity required",
                r#"{"code":"DEVICE_IDENTITY_REQUIRED"}"#,
            ));
        };
        let token = params.token.as_deref().unwrap_or_default();
        let facts = device::Facts {
            client_id: &params.client_id,
            client_mode: &params.client_mode,
            scopes: &self.scopes,
            token,
            platform: &self.platform,
            device_family: &self.device_family,
            // The nonce is what makes a proof fresh; on this machine the older version may leave it out.
            nonce: params.nonce.as_deref(),
            expected_nonce: &awaiting.nonce,
            nonce_may_be_missing: awaiting.client.is_local() && self.version == Some(OLDEST),
            // Version 3 allows ten minutes between the clocks, version 4 two.
            max_skew_ms: if self.version == Some(OLDEST) { 600_000 } else { 120_000 },
        };
        device
            .verify(&facts, now)
            .map_err(|fault| refusal(fault.message(), fault.details()))
    }
}

fn refusal(message: &'static str, details: &'static str) -> WireError {
    WireError {
        details: Some(details.into()),
        ..WireError::invalid(message)
    }
}

/// The client's range holds no version that is spoken here.
pub(super) fn mismatch(params: &ConnectParams<'_>) -> WireError {
    let details = alloc::format!(
        r#"{{"code":"PROTOCOL_MISMATCH","clientMinProtocol":{},"clientMaxProtocol":{},"expectedProtocol":{NEWEST},"minimumProbeProtocol":{OLDEST}}}"#,
        params.min_protocol,
        params.max_protocol
    );
    WireError {
        details: Some(details.into()),
        ..WireError::invalid("protocol mismatch")
    }
}

/// How a credential that is not right is refused.
pub(super) fn unauthorized(verdict: Verdict, credential: Credential) -> Option<WireError> {
    let (message, code, reason) = (
        verdict.message(credential)?,
        verdict.code(credential)?,
        verdict.reason(credential)?,
    );
    let next = match verdict {
        Verdict::LockedOut(_) => "wait_then_retry",
        Verdict::Missing | Verdict::NotConfigured => "update_auth_configuration",
        Verdict::Wrong { .. } | Verdict::Right => "update_auth_credentials",
    };
    let details = alloc::format!(r#"{{"code":"{code}","authReason":"{reason}","recommendedNextStep":"{next}"}}"#);
    let error = WireError {
        details: Some(details.into()),
        ..WireError::invalid(message)
    };
    Some(match verdict {
        Verdict::LockedOut(left) => error.retry_after(left),
        _ => error,
    })
}

/// The same refusal with a code that the dialect knows.
pub(super) fn in_words(error: WireError) -> WireError {
    let code = match error.code {
        ErrorCode::Unauthorized | ErrorCode::ProtocolMismatch => ErrorCode::InvalidRequest,
        other => other,
    };
    WireError { code, ..error }
}
