//! The tool `web_fetch`: its arguments, and what is made of what came. Which URLs may be fetched is decided behind the
//! fetch. Spec: `spec/hardening.md`, HD-136 to HD-138.

use alloc::borrow::Cow;
use alloc::string::String;

use bytes::{BufMut, BytesMut};

use super::body::Args;
use super::readable;
use crate::fetch::Fetched;
use crate::fields::{Reason, integer, object, optional_string, string};
use crate::json::{write_number, write_string};

/// The arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct WebArgs {
    pub(super) url: String,
    pub(super) max_chars: Option<u32>,
    mode: Mode,
}

/// What is made of the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// Text to read: HTML without its markup, anything else as it is.
    Text,
    /// JSON as it came, whole, and nothing else.
    Json,
}

impl WebArgs {
    pub(super) fn parse(args: &Args) -> Result<Self, Reason> {
        let args = object(
            args.value(),
            &["url", "maxChars", "mode"],
            "web_fetch args must be an object",
            "web_fetch args contain unknown fields",
        )?;
        let url = string(args.get("url"), "url", 1, crate::url::MAX_URL_BYTES)?.into_owned();
        let max_chars = args.get("maxChars");
        let max_chars = max_chars
            .map(|value| integer(Some(value), "maxChars", 1, 10_000_000))
            .transpose()?;
        let mode = match optional_string(args.get("mode"), "mode", 1, 20)?.as_deref() {
            None | Some("text") => Mode::Text,
            Some("json") => Mode::Json,
            Some(_) => return Err("mode must be text or json".into()),
        };
        Ok(Self { url, max_chars, mode })
    }

    /// The result, or why what came is none. `limit`: the most characters that the settings allow.
    pub(super) fn result(&self, fetched: &Fetched, limit: u32) -> Result<BytesMut, Reason> {
        let limit = self.max_chars.unwrap_or(limit).min(limit) as usize;
        let mime = fetched.mime.as_str();
        let is_text = mime.starts_with("text/") || is_json(mime) || mime.ends_with("+xml") || mime.ends_with("/xml");
        if !is_text {
            return Err(alloc::format!("Unsupported file MIME type: {mime}").into());
        }
        let text = String::from_utf8_lossy(&fetched.bytes);
        let (text, truncated) = match self.mode {
            Mode::Json => (whole_json(text, limit)?, false),
            Mode::Text if mime == "text/html" => cut(readable::text_of(&text).into(), limit),
            Mode::Text => cut(text, limit),
        };
        let mut out = BytesMut::with_capacity(text.len() + 128);
        out.put_slice(b"{\"url\":");
        write_string(&mut out, &alloc::format!("{}", fetched.url));
        out.put_slice(b",\"status\":");
        write_number(&mut out, u64::from(fetched.status));
        out.put_slice(b",\"mime\":");
        write_string(&mut out, mime);
        out.put_slice(b",\"text\":");
        write_string(&mut out, &text);
        out.put_slice(if truncated {
            b",\"truncated\":true}"
        } else {
            b",\"truncated\":false}"
        });
        Ok(out)
    }
}

fn is_json(mime: &str) -> bool {
    mime == "application/json" || mime.ends_with("+json")
}

/// JSON that was cut is none, so it is refused where it is too long.
fn whole_json(text: Cow<'_, str>, limit: usize) -> Result<Cow<'_, str>, Reason> {
    if let Err(error) = serde_json::from_str::<&serde_json::value::RawValue>(&text) {
        return Err(alloc::format!("not JSON: {error}").into());
    }
    match text.char_indices().nth(limit) {
        None => Ok(text),
        Some(_) => Err(alloc::format!("JSON longer than {limit} characters").into()),
    }
}

/// The first `limit` characters, and whether that is not all.
fn cut(text: Cow<'_, str>, limit: usize) -> (Cow<'_, str>, bool) {
    match text.char_indices().nth(limit) {
        None => (text, false),
        Some((end, _)) => (Cow::Owned(String::from(text.get(..end).unwrap_or_default())), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surfaces::tools::body::ToolRequest;
    use crate::url::Url;
    use alloc::string::ToString;

    fn parse(args: &str) -> Result<WebArgs, Reason> {
        let body = alloc::format!(r#"{{"tool":"web_fetch","args":{args}}}"#);
        WebArgs::parse(&ToolRequest::parse(body.as_bytes(), false).unwrap().args)
    }

    fn result(args: &str, mime: &str, body: &str) -> Result<String, Reason> {
        let fetched = Fetched {
            url: Url::parse("https://example.com/a?b").unwrap(),
            status: 200,
            mime: mime.into(),
            bytes: body.to_string().into(),
        };
        let out = parse(args)?.result(&fetched, 10)?;
        Ok(String::from_utf8(out.to_vec()).unwrap())
    }

    #[test]
    fn reasons_of_the_arguments() {
        for (args, reason) in [
            ("{}", "url must be a string"),
            (r#"{"url":"u","x":1}"#, "web_fetch args contain unknown fields"),
            (r#"{"url":"u","maxChars":0}"#, "maxChars must be between 1 and 10000000"),
            (r#"{"url":"u","mode":"html"}"#, "mode must be text or json"),
        ] {
            assert_eq!(parse(args).unwrap_err(), reason, "{args}");
        }
    }

    #[test]
    fn results_are_cut_at_the_smaller_limit() {
        const URL: &str = r#"{"url":"u"}"#;
        let head = r#"{"url":"https://example.com/a?b","status":200,"mime":"text/plain","text":"#;
        for (args, text, truncated) in [
            (URL, "0123456789", false),
            (URL, "ä123456789x", true),
            (r#"{"url":"u","maxChars":3}"#, "0123", true),
            (r#"{"url":"u","maxChars":99}"#, "0123456789x", true),
        ] {
            let kept: String = text.chars().take(if args.contains(":3") { 3 } else { 10 }).collect();
            let expected = alloc::format!("{head}\"{kept}\",\"truncated\":{truncated}}}");
            assert_eq!(result(args, "text/plain", text).unwrap(), expected, "{args} {text}");
        }
    }

    #[test]
    fn each_mode_takes_what_it_can_read() {
        const URL: &str = r#"{"url":"u"}"#;
        const JSON: &str = r#"{"url":"u","mode":"json"}"#;
        assert!(
            result(URL, "text/html", "<p>a<b>b</b></p>")
                .unwrap()
                .contains(r#""text":"ab""#)
        );
        assert!(
            result(JSON, "text/plain", " [1]\n")
                .unwrap()
                .contains(r#""text":" [1]\n""#)
        );
        assert!(
            result(JSON, "application/json", "[1")
                .unwrap_err()
                .starts_with("not JSON: ")
        );
        assert_eq!(
            result(JSON, "application/json", "[1,2,3,4,5]").unwrap_err(),
            "JSON longer than 10 characters"
        );
        assert_eq!(
            result(URL, "application/pdf", "%PDF").unwrap_err(),
            "Unsupported file MIME type: application/pdf"
        );
    }
}
