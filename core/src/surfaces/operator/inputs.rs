//! What `agent.run` takes besides a message: files and images, in the request itself or behind a URL. This page reads the
//! items; it judges no content and fetches nothing. Spec: `spec/operator.md` section 9, `spec/hardening.md`.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde_json::value::RawValue;

use crate::fetch::SourceKind;
use crate::fields::{Reason, is_null, object, optional_string, string};
use crate::json::{self, Object};
use crate::url::MAX_URL_BYTES;

/// The most items of one request.
const MAX_INPUTS: usize = 32;
/// The most bytes of all items of one request together.
pub(super) const MAX_TOTAL_BYTES: u64 = 20 * 1_048_576;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Input {
    pub(super) kind: SourceKind,
    /// Made harmless: no control characters, not long.
    pub(super) filename: Option<String>,
    pub(super) source: Source,
}

/// Where the content is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Source {
    Url(String),
    Data { mime: Option<String>, bytes: Bytes },
}

/// Reads the member `inputs`; absent and `null` are the same.
pub(super) fn parse(value: Option<&RawValue>) -> Result<Vec<Input>, Reason> {
    let Some(value) = value.filter(|value| !is_null(value)) else {
        return Ok(Vec::new());
    };
    let items: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|_| "inputs must be an array")?;
    if items.len() > MAX_INPUTS {
        return Err(alloc::format!("Too many inputs: {} (limit: {MAX_INPUTS})", items.len()).into());
    }
    items.into_iter().map(parse_item).collect()
}

fn parse_item(item: &RawValue) -> Result<Input, Reason> {
    let keys = &["type", "source", "filename"];
    let item = object(
        Some(item),
        keys,
        "inputs[] must be an object",
        "inputs[] contains unknown fields",
    )?;
    let kind = match item.get("type").and_then(json::string).as_deref() {
        Some("input_file") => SourceKind::File,
        Some("input_image") => SourceKind::Image,
        _ => return Err("inputs[].type must be input_file or input_image".into()),
    };
    let name = kind.name();
    let missing = || alloc::format!("{name} must have 'source.url' or 'source.data'");
    let source = item.get("source").ok_or_else(missing)?;
    let source = match Object::parse(source.get()) {
        Ok(source) => source,
        Err(json::ObjectFault::NotAnObject) => return Err(missing().into()),
        Err(json::ObjectFault::Malformed) => return Err(crate::fields::INVALID_JSON.into()),
    };
    if !source.has_only(&["type", "url", "media_type", "data", "filename"]) {
        return Err("inputs[].source contains unknown fields".into());
    }
    let filename = item.get("filename").filter(|value| !is_null(value));
    let filename = optional_string(filename.or_else(|| source.get("filename")), "filename", 1, 1_024)?;
    let text = |member: &str| {
        source
            .get(member)
            .filter(|value| json::string(value).is_some_and(|text| !text.is_empty()))
    };
    let source = match source.get("type").and_then(json::string).as_deref() {
        Some("url") => {
            let url = text("url").ok_or_else(missing)?;
            Source::Url(string(Some(url), "source.url", 1, MAX_URL_BYTES)?.into_owned())
        }
        Some("base64") => {
            let data = text("data").and_then(json::string).ok_or_else(missing)?;
            let bytes = BASE64.decode(data.as_bytes());
            let bytes = bytes.map_err(|_| alloc::format!("{name} has a 'source.data' that is not base64"))?;
            let mime = optional_string(source.get("media_type"), "source.media_type", 1, 200)?;
            Source::Data {
                mime: mime.map(Cow::into_owned),
                bytes: Bytes::from(bytes),
            }
        }
        _ => return Err(missing().into()),
    };
    Ok(Input {
        kind,
        filename: filename.map(|name| harmless(&name)),
        source,
    })
}

impl Input {
    /// What makes two requests ask for the same thing.
    pub(super) fn digest_parts(&self) -> [&[u8]; 4] {
        let name = self.filename.as_deref().unwrap_or_default().as_bytes();
        match &self.source {
            Source::Url(url) => [self.kind.name().as_bytes(), name, b"\xffurl", url.as_bytes()],
            Source::Data { mime, bytes } => [
                self.kind.name().as_bytes(),
                name,
                mime.as_deref().unwrap_or_default().as_bytes(),
                bytes,
            ],
        }
    }
}

/// How many URLs of files and of images there are.
pub(super) fn count_urls(inputs: &[Input]) -> (usize, usize) {
    let of_kind = |kind: SourceKind| {
        let of_kind = inputs.iter().filter(|input| input.kind == kind);
        of_kind.filter(|input| matches!(input.source, Source::Url(_))).count()
    };
    (of_kind(SourceKind::File), of_kind(SourceKind::Image))
}

/// Whether a file of this type is read as text and put into the message.
pub(super) fn is_text(mime: &str) -> bool {
    mime.starts_with("text/") || mime == "application/json" || mime.ends_with("+json") || mime.ends_with("+xml")
}

/// A file name's ending for a media type.
pub(super) fn extension(mime: &str) -> &'static str {
    match mime {
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/heic" => "heic",
        "image/heif" => "heif",
        "application/pdf" => "pdf",
        _ => "bin",
    }
}

/// A name that can stand in a line of text without ending it.
fn harmless(name: &str) -> String {
    let is_odd = |c: char| {
        c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let name: Cow<'_, str> = if name.contains(is_odd) {
        Cow::Owned(name.replace(is_odd, "_"))
    } else {
        Cow::Borrowed(name)
    };
    name.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    fn reason(inputs: &str) -> String {
        parse(Some(raw(inputs))).unwrap_err().into_owned()
    }

    const URL: &str = r#"{"type":"input_file","source":{"type":"url","url":"https://a.example/f"}}"#;
    const IMAGE_URL: &str = r#"{"type":"input_image","source":{"type":"url","url":"https://a.example/i"}}"#;

    #[test]
    fn reasons_in_the_order_of_the_checks() {
        const NO_SOURCE: &str = "input_image must have 'source.url' or 'source.data'";
        for (inputs, expected) in [
            ("{}", "inputs must be an array"),
            ("[1]", "inputs[] must be an object"),
            (r#"[{"x":1}]"#, "inputs[] contains unknown fields"),
            (
                r#"[{"type":"file"}]"#,
                "inputs[].type must be input_file or input_image",
            ),
            (r#"[{"type":"input_image"}]"#, NO_SOURCE),
            (r#"[{"type":"input_image","source":"x"}]"#, NO_SOURCE),
            (r#"[{"type":"input_image","source":{}}]"#, NO_SOURCE),
            (
                r#"[{"type":"input_image","source":{"type":"url","data":"x"}}]"#,
                NO_SOURCE,
            ),
            (
                r#"[{"type":"input_image","source":{"type":"url","url":""}}]"#,
                NO_SOURCE,
            ),
            (
                r#"[{"type":"input_image","source":{"type":"base64","data":7}}]"#,
                NO_SOURCE,
            ),
            (
                r#"[{"type":"input_file","source":{"type":"url"}}]"#,
                "input_file must have 'source.url' or 'source.data'",
            ),
            (
                r#"[{"type":"input_file","source":{"kind":1}}]"#,
                "inputs[].source contains unknown fields",
            ),
            (
                r#"[{"type":"input_file","source":{"url":1,"url":1}}]"#,
                "invalid json frame",
            ),
            (
                r#"[{"type":"input_file","filename":1,"source":{"type":"url","url":"u"}}]"#,
                "filename must be a string",
            ),
            (
                r#"[{"type":"input_file","source":{"type":"base64","data":"?"}}]"#,
                "input_file has a 'source.data' that is not base64",
            ),
        ] {
            assert_eq!(reason(inputs), expected, "{inputs}");
        }
        let many = alloc::format!("[{}]", alloc::vec![URL; 33].join(","));
        assert_eq!(reason(&many), "Too many inputs: 33 (limit: 32)");
        assert_eq!(parse(None), Ok(Vec::new()));
        assert_eq!(parse(Some(raw("null"))), Ok(Vec::new()));
    }

    #[test]
    fn what_is_read() {
        let inputs = r#"[{"type":"input_file","filename":"a\nb","source":{"type":"base64","media_type":"Text/Plain; charset=x","data":"aGk","filename":"other"}}]"#;
        let read = parse(Some(raw(inputs))).unwrap();
        assert_eq!(
            read,
            [Input {
                kind: SourceKind::File,
                filename: Some("a_b".into()),
                source: Source::Data {
                    mime: Some("Text/Plain; charset=x".into()),
                    bytes: Bytes::from_static(b"hi"),
                },
            }]
        );
    }

    #[test]
    fn urls_are_counted_by_kind() {
        let both = alloc::format!("[{URL},{IMAGE_URL},{URL}]");
        assert_eq!(count_urls(&parse(Some(raw(&both))).unwrap()), (2, 1));
    }
}
