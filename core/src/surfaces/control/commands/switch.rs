//! `switch_provider`: everything is checked before anything changes, and what is answered is what holds from then on.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::id::ConnId;
use crate::json::{Object, ObjectFault, string};
use crate::policy::forwarded::Client;
use crate::settings::ProviderKey;
use crate::surfaces::control::{Context, Control, ledger};

#[derive(Serialize)]
pub(super) struct Switched {
    previous: &'static str,
    active: &'static str,
    model: String,
}

impl Control {
    pub(super) fn switch_provider(
        &self,
        cx: &mut Context<'_>,
        conn: ConnId,
        client: Client,
        data: Option<&RawValue>,
    ) -> Result<Switched, Cow<'static, str>> {
        let (to, model) = wanted(data)?;
        let switched = cx.providers.switch(to, model.as_deref());
        let switched = switched.map_err(|error| error.to_string())?;
        ledger::switched(cx, conn, client, &self.tokens.active.id, &switched);
        Ok(Switched {
            previous: switched.previous.as_str(),
            active: switched.active.as_str(),
            model: switched.model,
        })
    }
}

/// Which provider is wanted, and with which model if the message says so.
fn wanted(data: Option<&RawValue>) -> Result<(ProviderKey, Option<Cow<'_, str>>), Cow<'static, str>> {
    let data = match data.map(|data| Object::parse(data.get())) {
        Some(Ok(data)) => Some(data),
        Some(Err(ObjectFault::Malformed)) => {
            return Err("Invalid data: an object without repeated members is needed".into());
        }
        Some(Err(ObjectFault::NotAnObject)) | None => None,
    };
    let member = |name| {
        data.as_ref()
            .and_then(|data| data.get(name))
            .filter(|value| value.get() != "null")
    };
    let provider = member("provider").map(as_text).filter(|name| !name.is_empty());
    let name = provider.as_deref().unwrap_or("(none)");
    // A number or an array that reads like a key is none.
    let is_text = member("provider").is_some_and(|value| string(value).is_some());
    let key = ProviderKey::parse(name)
        .filter(|_| is_text)
        .ok_or_else(|| format!("Invalid provider \"{name}\". Valid options: gemini | kimi"))?;
    let model = match member("model") {
        None => None,
        Some(value) => match string(value) {
            // Whether it can name a model is the providers' to say.
            Some(model) => Some(model),
            None => return Err(format!("Invalid model \"{}\".", as_text(value)).into()),
        },
    };
    Ok((key, model))
}

/// How a value reads in an error: a text without its quotes, anything else as it came.
fn as_text(value: &RawValue) -> Cow<'_, str> {
    string(value).unwrap_or_else(|| Cow::Borrowed(value.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data: &str) -> Result<(ProviderKey, Option<String>), String> {
        let raw: &RawValue = serde_json::from_str(data).unwrap();
        wanted(Some(raw))
            .map(|(key, model)| (key, model.map(Cow::into_owned)))
            .map_err(Cow::into_owned)
    }

    #[test]
    fn what_is_no_provider() {
        for (data, name) in [
            ("null", "(none)"),
            ("5", "(none)"),
            ("[]", "(none)"),
            ("{}", "(none)"),
            (r#"{"provider":null}"#, "(none)"),
            (r#"{"provider":""}"#, "(none)"),
            (r#"{"provider":"openai"}"#, "openai"),
            (r#"{"provider":"Kimi"}"#, "Kimi"),
            (r#"{"provider":" kimi"}"#, " kimi"),
            (r#"{"provider":5}"#, "5"),
            (r#"{"provider":["kimi"]}"#, r#"["kimi"]"#),
        ] {
            let text = alloc::format!("Invalid provider \"{name}\". Valid options: gemini | kimi");
            assert_eq!(of(data), Err(text), "{data}");
        }
        assert_eq!(
            wanted(None).unwrap_err(),
            "Invalid provider \"(none)\". Valid options: gemini | kimi"
        );
        let twice = of(r#"{"provider":"kimi","provider":"gemini"}"#);
        assert_eq!(
            twice,
            Err("Invalid data: an object without repeated members is needed".to_string())
        );
    }

    #[test]
    fn models() {
        let kimi = |model: Option<&str>| Ok((ProviderKey::Kimi, model.map(String::from)));
        assert_eq!(of(r#"{"provider":"kimi"}"#), kimi(None));
        assert_eq!(of(r#"{"provider":"kimi","model":null}"#), kimi(None));
        assert_eq!(of(r#"{"x":1,"model":"m-1","provider":"kimi"}"#), kimi(Some("m-1")));
        for (model, text) in [("true", "true"), ("5", "5"), ("[\"m\"]", "[\"m\"]")] {
            let data = alloc::format!(r#"{{"provider":"kimi","model":{model}}}"#);
            assert_eq!(of(&data), Err(alloc::format!("Invalid model \"{text}\".")), "{model}");
        }
        assert!(
            of(r#"{"provider":"x","model":5}"#)
                .unwrap_err()
                .starts_with("Invalid provider")
        );
    }
}
