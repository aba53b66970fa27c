//! What `agent.run` takes besides a message: files and images, in the request itself or behind a URL. This page reads the
//! items and judges what came; it fetches nothing. Spec: `spec/operator.md` section 9, `spec/hardening.md`.

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
use crate::settings::{FetchSettings, SourceSettings};
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
    pub(super) kind: InputKind,
    /// Made harmless: no control characters, not long.
    pub(super) filename: Option<String>,
    pub(super) source: Source,
}

/// `input_file` or `input_image`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum InputKind {
    File,
    Image,
}

/// Where the content is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Source {
    Url(String),
    Data { mime: Option<String>, bytes: Bytes },
}

impl InputKind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::File => "input_file",
            Self::Image => "input_image",
        }
    }

    pub(super) const fn source(self) -> SourceKind {
        match self {
            Self::File => SourceKind::File,
            Self::Image => SourceKind::Image,
        }
    }

    const fn noun(self) -> (&'static str, &'static str) {
        match self {
            Self::File => ("File", "file"),
            Self::Image => ("Image", "image"),
        }
    }

    pub(super) const fn settings(self, settings: &FetchSettings) -> &SourceSettings {
        match self {
            Self::File => &settings.files,
            Self::Image => &settings.images,
        }
    }
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
        Some("input_file") => InputKind::File,
        Some("input_image") => InputKind::Image,
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
                mime: mime.as_deref().map(essence),
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

/// Whether so many URLs may be asked for: all together, then of each kind.
pub(super) fn judge_counts(inputs: &[Input], settings: &FetchSettings) -> Result<(), Reason> {
    let urls = |kind: Option<InputKind>| {
        let urls = inputs.iter().filter(|input| matches!(input.source, Source::Url(_)));
        urls.filter(|input| kind.is_none_or(|kind| kind == input.kind)).count()
    };
    for kind in [InputKind::File, InputKind::Image] {
        let of_kind = kind.settings(settings);
        let disabled = !of_kind.allow_url || of_kind.max_url_parts == 0 || settings.max_url_parts == 0;
        if disabled && urls(Some(kind)) > 0 {
            return Err(alloc::format!("{} URL sources are disabled by config", kind.name()).into());
        }
    }
    let counts = [
        (None, settings.max_url_parts),
        (Some(InputKind::File), settings.files.max_url_parts),
        (Some(InputKind::Image), settings.images.max_url_parts),
    ];
    for (kind, limit) in counts {
        let count = urls(kind);
        if count > limit as usize {
            return Err(alloc::format!("Too many URL-based input sources: {count} (limit: {limit})").into());
        }
    }
    Ok(())
}

/// The media type of a content that may be taken: size, then type. What an image says about itself wins over what was said
/// about it.
pub(super) fn judge(
    kind: InputKind,
    declared: Option<&str>,
    bytes: &[u8],
    settings: &FetchSettings,
) -> Result<String, Reason> {
    let limits = kind.settings(settings);
    let (noun, lower) = kind.noun();
    if bytes.len() as u64 > limits.max_bytes {
        let (size, limit) = (bytes.len(), limits.max_bytes);
        return Err(alloc::format!("{noun} too large: {size} bytes (limit: {limit} bytes)").into());
    }
    let sniffed = sniff(bytes).filter(|_| kind == InputKind::Image);
    let declared = declared.filter(|mime| !mime.is_empty());
    let mime = sniffed
        .or(declared)
        .ok_or_else(|| alloc::format!("{} missing media type", kind.name()))?;
    if !limits.allowed_mimes.is_empty() && !limits.allowed_mimes.iter().any(|allowed| allowed == mime) {
        return Err(alloc::format!("Unsupported {lower} MIME type: {mime}").into());
    }
    Ok(mime.into())
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

/// The media type that the first bytes tell.
fn sniff(bytes: &[u8]) -> Option<&'static str> {
    let brand = bytes.get(8..12);
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    if starts(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if starts(b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if starts(b"GIF87a") || starts(b"GIF89a") {
        Some("image/gif")
    } else if starts(b"RIFF") && brand == Some(b"WEBP") {
        Some("image/webp")
    } else if starts(b"%PDF-") {
        Some("application/pdf")
    } else if bytes.get(4..8) == Some(b"ftyp") {
        match brand? {
            b"heic" | b"heix" | b"hevc" | b"hevx" => Some("image/heic"),
            b"mif1" | b"msf1" | b"heim" | b"heis" => Some("image/heif"),
            b"avif" | b"avis" => Some("image/avif"),
            _ => None,
        }
    } else {
        None
    }
}

/// A media type without its parameters, in lower case.
fn essence(written: &str) -> String {
    let essence = written.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
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
    use alloc::string::ToString;

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
                kind: InputKind::File,
                filename: Some("a_b".into()),
                source: Source::Data {
                    mime: Some("text/plain".into()),
                    bytes: Bytes::from_static(b"hi"),
                },
            }]
        );
    }

    #[test]
    fn counts_of_urls() {
        let counted = |files: usize, images: usize, settings: &FetchSettings| {
            let all = [alloc::vec![URL; files], alloc::vec![IMAGE_URL; images]]
                .concat()
                .join(",");
            let inputs = parse(Some(raw(&alloc::format!("[{all}]")))).unwrap();
            judge_counts(&inputs, settings).map_err(|reason| reason.to_string())
        };
        let mut settings = FetchSettings::default();
        assert_eq!(counted(4, 4, &settings), Ok(()));
        let nine = "Too many URL-based input sources: 9 (limit: 8)";
        assert_eq!(counted(5, 4, &settings), Err(nine.into()));
        settings.images.max_url_parts = 1;
        let two = "Too many URL-based input sources: 2 (limit: 1)";
        assert_eq!(counted(2, 2, &settings), Err(two.into()));
        settings.images.max_url_parts = 0;
        let images = "input_image URL sources are disabled by config";
        assert_eq!(counted(2, 1, &settings), Err(images.into()));
        assert_eq!(counted(2, 0, &settings), Ok(()));
        settings.files.allow_url = false;
        let files = "input_file URL sources are disabled by config";
        assert_eq!(counted(1, 0, &settings), Err(files.into()));
        settings.files.allow_url = true;
        settings.max_url_parts = 0;
        assert_eq!(counted(1, 0, &settings), Err(files.into()));
        assert_eq!(counted(0, 0, &settings), Ok(()));
    }

    #[test]
    fn sizes_and_types() {
        let mut settings = FetchSettings::default();
        settings.files.max_bytes = 4;
        settings.images.max_bytes = 8;
        let png: &[u8] = b"\x89PNG\r\n\x1a\n";
        let judged = |kind, declared, bytes: &[u8]| judge(kind, declared, bytes, &settings).map_err(Cow::into_owned);
        let (file, image) = (InputKind::File, InputKind::Image);
        assert_eq!(judged(file, Some("text/plain"), b"1234"), Ok("text/plain".into()));
        for (kind, declared, bytes, expected) in [
            (
                file,
                Some("text/plain"),
                &b"12345"[..],
                "File too large: 5 bytes (limit: 4 bytes)",
            ),
            (image, None, b"123456789", "Image too large: 9 bytes (limit: 8 bytes)"),
            (file, None, b"x", "input_file missing media type"),
            (image, None, b"x", "input_image missing media type"),
            (file, Some("text/x"), b"x", "Unsupported file MIME type: text/x"),
            (
                image,
                Some("image/tiff"),
                b"x",
                "Unsupported image MIME type: image/tiff",
            ),
            (
                image,
                Some("image/png"),
                b"%PDF-",
                "Unsupported image MIME type: application/pdf",
            ),
        ] {
            assert_eq!(judged(kind, declared, bytes), Err(expected.into()));
        }
        assert_eq!(
            judged(image, Some("text/html"), png),
            Ok("image/png".into()),
            "what it is wins"
        );
        assert_eq!(judged(image, Some("image/gif"), b"x"), Ok("image/gif".into()));
    }

    #[test]
    fn images_are_known_by_their_first_bytes() {
        for (bytes, mime) in [
            (&b"\xff\xd8\xff\xe0"[..], Some("image/jpeg")),
            (b"GIF89a", Some("image/gif")),
            (b"RIFF....WEBP", Some("image/webp")),
            (b"....ftypheic", Some("image/heic")),
            (b"....ftypmif1", Some("image/heif")),
            (b"....ftypmp42", None),
            (b"....ftyp", None),
            (b"<svg", None),
            (b"", None),
        ] {
            assert_eq!(sniff(bytes), mime);
        }
    }
}
