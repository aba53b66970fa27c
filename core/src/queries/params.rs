//! The params of the methods that only read, with the exact reasons that clients print. Spec: `spec/operator.md` section 6.

use alloc::string::String;

use serde_json::value::RawValue;

use crate::fields::{Reason, integer, is_null, object, optional_boolean, optional_string};
use crate::json::Object;

/// The params of `session.list`.
#[derive(Default, Debug)]
pub(crate) struct ListParams {
    pub(crate) agent_id: Option<String>,
    pub(crate) active_minutes: Option<u32>,
}

impl ListParams {
    pub(crate) fn parse(params: Option<&RawValue>) -> Result<Self, Reason> {
        let Some(params) = params.filter(|params| !is_null(params)) else {
            return Ok(Self::default());
        };
        let params = object(
            Some(params),
            &["agentId", "activeMinutes"],
            "session.list params must be an object",
            "session.list params contain unknown fields",
        )?;
        Ok(Self {
            agent_id: owned(&params, "agentId", 120)?,
            active_minutes: optional_integer(&params, "activeMinutes", 525_600)?,
        })
    }
}

/// The params of `session.history`.
#[derive(Default, Debug)]
pub(crate) struct HistoryParams {
    pub(crate) agent_id: Option<String>,
    pub(crate) session_ref: Option<String>,
    pub(crate) limit: Option<u32>,
    pub(crate) include_compaction: bool,
}

impl HistoryParams {
    pub(crate) fn parse(params: Option<&RawValue>) -> Result<Self, Reason> {
        let Some(params) = params.filter(|params| !is_null(params)) else {
            return Ok(Self::default());
        };
        let params = object(
            Some(params),
            &["agentId", "sessionRef", "limit", "includeCompaction"],
            "session.history params must be an object",
            "session.history params contain unknown fields",
        )?;
        Ok(Self {
            agent_id: owned(&params, "agentId", 120)?,
            session_ref: owned(&params, "sessionRef", 200)?,
            limit: optional_integer(&params, "limit", 5_000)?,
            include_compaction: optional_boolean(params.get("includeCompaction"), "includeCompaction")?
                .unwrap_or(false),
        })
    }
}

fn owned(params: &Object<'_>, field: &'static str, max: usize) -> Result<Option<String>, Reason> {
    Ok(optional_string(params.get(field), field, 1, max)?.map(alloc::borrow::Cow::into_owned))
}

/// Absent is fine; `null` is not an integer.
fn optional_integer(params: &Object<'_>, field: &'static str, max: u32) -> Result<Option<u32>, Reason> {
    params
        .get(field)
        .map(|value| integer(Some(value), field, 1, max))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn reasons_of_the_session_methods() {
        assert!(ListParams::parse(None).is_ok() && ListParams::parse(Some(raw("null"))).is_ok());
        for (params, reason) in [
            ("[]", "session.list params must be an object"),
            (r#"{"x":1}"#, "session.list params contain unknown fields"),
            (r#"{"activeMinutes":null}"#, "activeMinutes must be an integer"),
            (
                r#"{"activeMinutes":525601}"#,
                "activeMinutes must be between 1 and 525600",
            ),
        ] {
            assert_eq!(ListParams::parse(Some(raw(params))).unwrap_err(), reason, "{params}");
        }
        for (params, reason) in [
            ("1", "session.history params must be an object"),
            (r#"{"limit":0}"#, "limit must be between 1 and 5000"),
            (r#"{"includeCompaction":1}"#, "includeCompaction must be a boolean"),
        ] {
            assert_eq!(HistoryParams::parse(Some(raw(params))).unwrap_err(), reason, "{params}");
        }
    }
}
