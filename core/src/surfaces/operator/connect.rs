//! The params of `connect`: the first thing a client says. Spec: `spec/operator.md` section 3.

use alloc::borrow::Cow;
use alloc::string::String;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::dialect::Dialect;
use super::scope::Scopes;
use crate::audit::ClientName;
use crate::fields::{Reason, integer, is_null, object, optional_string, string};

const KEYS: &[&str] = &[
    "minProtocol",
    "maxProtocol",
    "client",
    "role",
    "scopes",
    "auth",
    "nonce",
    "locale",
    "userAgent",
];
const CLIENT_KEYS: &[&str] = &["id", "displayName", "version", "platform", "mode", "instanceId"];

/// What a client says about itself and wants.
#[derive(Debug)]
pub(super) struct ConnectParams<'a> {
    pub(super) min_protocol: u32,
    pub(super) max_protocol: u32,
    pub(super) client_id: Cow<'a, str>,
    pub(super) client_version: Cow<'a, str>,
    pub(super) client_mode: Cow<'a, str>,
    pub(super) instance_id: Option<Cow<'a, str>>,
    pub(super) scopes: Scopes,
    pub(super) token: Option<Cow<'a, str>>,
    pub(super) nonce: Option<Cow<'a, str>>,
    /// What a client of the OpenClaw dialect says besides; `None`: it speaks our own protocol.
    pub(super) dialect: Option<Dialect<'a>>,
}

impl<'a> ConnectParams<'a> {
    /// Checks the params field by field, in the order of the protocol.
    ///
    /// # Errors
    /// The first reason.
    pub(super) fn parse(params: Option<&'a RawValue>) -> Result<Self, Reason> {
        let params = object(
            params,
            KEYS,
            "connect params must be an object",
            "connect params contain unknown fields",
        )?;
        let min_protocol = integer(params.get("minProtocol"), "minProtocol", 1, 1_000)?;
        let max_protocol = integer(params.get("maxProtocol"), "maxProtocol", 1, 1_000)?;
        let client = object(
            params.get("client"),
            CLIENT_KEYS,
            "client must be an object",
            "client contains unknown fields",
        )?;
        let client_id = string(client.get("id"), "client.id", 1, 120)?;
        let client_version = string(client.get("version"), "client.version", 1, 80)?;
        string(client.get("platform"), "client.platform", 1, 80)?;
        let client_mode = string(client.get("mode"), "client.mode", 1, 80)?;
        optional_string(client.get("displayName"), "client.displayName", 1, 120)?;
        let instance_id = optional_string(client.get("instanceId"), "client.instanceId", 1, 120)?;
        if let Some(role) = params.get("role")
            && crate::json::string(role).as_deref() != Some("operator")
        {
            return Err("role must be operator".into());
        }
        let scopes = params.get("scopes").map_or(Ok(Scopes::NONE), scopes)?;
        let token = match params.get("auth").filter(|auth| !is_null(auth)) {
            Some(auth) => {
                let auth = object(
                    Some(auth),
                    &["token"],
                    "auth must be an object",
                    "auth contains unknown fields",
                )?;
                optional_string(auth.get("token"), "auth.token", 8, 512)?
            }
            None => None,
        };
        let nonce = optional_string(params.get("nonce"), "nonce", 1, 200)?;
        optional_string(params.get("locale"), "locale", 1, 40)?;
        optional_string(params.get("userAgent"), "userAgent", 1, 512)?;
        Ok(Self {
            min_protocol,
            max_protocol,
            client_id,
            client_version,
            client_mode,
            instance_id,
            scopes,
            token,
            nonce,
            dialect: None,
        })
    }
}

impl ConnectParams<'_> {
    /// Who the client says it is.
    pub(super) fn client_name(&self) -> ClientName {
        ClientName {
            id: String::from(self.client_id.as_ref()),
            mode: Some(String::from(self.client_mode.as_ref())),
            version: Some(String::from(self.client_version.as_ref())),
        }
    }
}

fn scopes(value: &RawValue) -> Result<Scopes, Reason> {
    // A client may repeat a scope, so the array has no bound of its own; the size of a message bounds it.
    #[derive(Deserialize)]
    struct Items<'a>(#[serde(borrow)] alloc::vec::Vec<&'a RawValue>);

    let Items(items) = serde_json::from_str(value.get()).map_err(|_| "scopes must be an array")?;
    items.into_iter().try_fold(Scopes::NONE, |scopes, item| {
        let name = string(Some(item), "scopes[]", 1, 80)?;
        scopes
            .with(&name)
            .ok_or_else(|| alloc::format!("unsupported scope: {name}").into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> String {
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        ConnectParams::parse(Some(raw))
            .err()
            .map(Reason::into_owned)
            .unwrap_or_default()
    }

    fn with(client: &str, rest: &str) -> String {
        alloc::format!(r#"{{"minProtocol":1,"maxProtocol":1,"client":{client}{rest}}}"#)
    }

    const CLIENT: &str = r#"{"id":"c","version":"1","platform":"p","mode":"m"}"#;

    #[test]
    fn each_reason_in_its_place() {
        for (params, expected) in [
            ("[]", "connect params must be an object"),
            (r#"{"x":1}"#, "connect params contain unknown fields"),
            ("{}", "minProtocol must be an integer"),
            (r#"{"minProtocol":0}"#, "minProtocol must be between 1 and 1000"),
            (
                r#"{"minProtocol":1,"maxProtocol":1001}"#,
                "maxProtocol must be between 1 and 1000",
            ),
            (r#"{"minProtocol":1,"maxProtocol":1}"#, "client must be an object"),
        ] {
            assert_eq!(reason(params), expected, "{params}");
        }
        for (client, expected) in [
            ("null", "client must be an object"),
            (r#"{"y":1}"#, "client contains unknown fields"),
            ("{}", "client.id must be a string"),
            (r#"{"id":"c"}"#, "client.version must be a string"),
            (
                r#"{"id":"c","version":"1","platform":""}"#,
                "client.platform must be at least 1 character(s)",
            ),
            (
                r#"{"id":"c","version":"1","platform":"p"}"#,
                "client.mode must be a string",
            ),
        ] {
            assert_eq!(reason(&with(client, "")), expected, "{client}");
        }
        for (rest, expected) in [
            ("", ""),
            (r#","role":null"#, "role must be operator"),
            (r#","role":"admin""#, "role must be operator"),
            (r#","scopes":null"#, "scopes must be an array"),
            (r#","scopes":[1]"#, "scopes[] must be a string"),
            (r#","scopes":["operator.read","root"]"#, "unsupported scope: root"),
            (r#","scopes":[]"#, ""),
            (r#","auth":null"#, ""),
            (r#","auth":"token""#, "auth must be an object"),
            (r#","auth":{"key":1}"#, "auth contains unknown fields"),
            (
                r#","auth":{"token":"seven77"}"#,
                "auth.token must be at least 8 character(s)",
            ),
            (r#","auth":{"token":null}"#, ""),
            (r#","nonce":"""#, "nonce must be at least 1 character(s)"),
            (r#","nonce":null,"locale":null,"userAgent":null"#, ""),
            (r#","userAgent":1"#, "userAgent must be a string"),
        ] {
            assert_eq!(reason(&with(CLIENT, rest)), expected, "{rest}");
        }
    }
}
