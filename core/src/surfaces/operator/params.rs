//! The params of each method, with the exact reasons that clients print. Spec: `spec/operator.md` section 6.

use alloc::string::String;
use alloc::vec::Vec;

use serde_json::value::RawValue;

use super::inputs::{self, Input};
use crate::fields::{Reason, object, optional_boolean, optional_string, string};
use crate::json::Object;
use crate::secret::digest;

/// The params of `agent.run`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RunParams {
    pub(super) idempotency_key: String,
    pub(super) message: String,
    pub(super) agent_id: Option<String>,
    pub(super) session_ref: Option<String>,
    pub(super) force_new_session: bool,
    pub(super) disable_session: bool,
    pub(super) cwd: Option<String>,
    pub(super) model: Option<String>,
    /// Files and images.
    pub(super) inputs: Vec<Input>,
}

impl RunParams {
    pub(super) fn parse(params: Option<&RawValue>) -> Result<Self, Reason> {
        const KEYS: &[&str] = &[
            "idempotencyKey",
            "message",
            "agentId",
            "sessionRef",
            "forceNewSession",
            "disableSession",
            "cwd",
            "model",
            "inputs",
        ];
        let params = object(
            params,
            KEYS,
            "agent.run params must be an object",
            "agent.run params contain unknown fields",
        )?;
        Ok(Self {
            idempotency_key: string(params.get("idempotencyKey"), "idempotencyKey", 1, 200)?.into_owned(),
            message: string(params.get("message"), "message", 1, 100_000)?.into_owned(),
            agent_id: owned(&params, "agentId", 120)?,
            session_ref: owned(&params, "sessionRef", 200)?,
            force_new_session: optional_boolean(params.get("forceNewSession"), "forceNewSession")?.unwrap_or(false),
            disable_session: optional_boolean(params.get("disableSession"), "disableSession")?.unwrap_or(false),
            cwd: owned(&params, "cwd", 4_096)?,
            model: owned(&params, "model", 160)?,
            inputs: inputs::parse(params.get("inputs"))?,
        })
    }

    /// A digest of everything but the idempotency key: two requests with the same digest ask for the same thing.
    pub(super) fn digest(&self) -> [u8; 32] {
        fn text(value: Option<&String>) -> &[u8] {
            value.map_or(&[0xff], |value| value.as_bytes())
        }
        let flags = [u8::from(self.force_new_session), u8::from(self.disable_session)];
        let mut parts: Vec<&[u8]> = alloc::vec![
            self.message.as_bytes(),
            text(self.agent_id.as_ref()),
            text(self.session_ref.as_ref()),
            &flags,
            text(self.cwd.as_ref()),
            text(self.model.as_ref()),
        ];
        // Nothing is added for a request without inputs: its digest stays what earlier versions stored.
        parts.extend(self.inputs.iter().flat_map(Input::digest_parts));
        digest(&parts)
    }
}

/// The params of `agent.cancel`: the run's id.
pub(super) fn cancel(params: Option<&RawValue>) -> Result<String, Reason> {
    let params = object(
        params,
        &["runId"],
        "agent.cancel params must be an object",
        "agent.cancel params contain unknown fields",
    )?;
    Ok(string(params.get("runId"), "runId", 1, 200)?.into_owned())
}

fn owned(params: &Object<'_>, field: &'static str, max: usize) -> Result<Option<String>, Reason> {
    Ok(optional_string(params.get(field), field, 1, max)?.map(alloc::borrow::Cow::into_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn reasons_of_agent_run_in_order() {
        for (params, reason) in [
            ("null", "agent.run params must be an object"),
            (
                r#"{"idempotencyKey":1,"x":1}"#,
                "agent.run params contain unknown fields",
            ),
            (r#"{"message":1}"#, "idempotencyKey must be a string"),
            (r#"{"idempotencyKey":"k"}"#, "message must be a string"),
            (
                r#"{"idempotencyKey":"k","message":"m","agentId":""}"#,
                "agentId must be at least 1 character(s)",
            ),
            (
                r#"{"idempotencyKey":"k","message":"m","forceNewSession":1}"#,
                "forceNewSession must be a boolean",
            ),
            (
                r#"{"idempotencyKey":"k","message":"m","disableSession":"y"}"#,
                "disableSession must be a boolean",
            ),
            (
                r#"{"idempotencyKey":"k","message":"m","cwd":1}"#,
                "cwd must be a string",
            ),
            (
                r#"{"idempotencyKey":"k","message":"m","model":[]}"#,
                "model must be a string",
            ),
        ] {
            assert_eq!(RunParams::parse(Some(raw(params))).unwrap_err(), reason, "{params}");
        }
        assert_eq!(
            RunParams::parse(None).unwrap_err(),
            "agent.run params must be an object"
        );
    }

    #[test]
    fn reasons_of_agent_cancel() {
        assert_eq!(cancel(Some(raw("{}"))).unwrap_err(), "runId must be a string");
    }

    #[test]
    fn the_digest_sees_every_field_but_the_key() {
        let base = r#"{"idempotencyKey":"k","message":"m"}"#;
        let same = RunParams::parse(Some(raw(r#"{"idempotencyKey":"other","message":"m","cwd":null}"#))).unwrap();
        let digest = RunParams::parse(Some(raw(base))).unwrap().digest();
        assert_eq!(same.digest(), digest);
        for more in [
            "\"agentId\":\"a\"",
            "\"sessionRef\":\"s\"",
            "\"forceNewSession\":true",
            "\"cwd\":\"/\"",
            "\"model\":\"x\"",
            r#""inputs":[{"type":"input_file","source":{"type":"url","url":"u"}}]"#,
            r#""inputs":[{"type":"input_image","source":{"type":"url","url":"u"}}]"#,
            r#""inputs":[{"type":"input_file","source":{"type":"base64","data":"dQ=="}}]"#,
        ] {
            let text = alloc::format!(r#"{{"idempotencyKey":"k","message":"m",{more}}}"#);
            assert_ne!(RunParams::parse(Some(raw(&text))).unwrap().digest(), digest, "{more}");
        }
    }
}
