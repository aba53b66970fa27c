//! Media types: what a server says that a body is, and what its first bytes say. Only signatures are looked at; nothing
//! is decoded.

use alloc::string::String;

use super::SourceKind;

/// So many first bytes are enough for every signature.
pub(super) const SNIFFED_BYTES: usize = 64;

/// A `Content-Type` without its parameters, in lower case, cut to a bearable length.
pub(super) fn declared(content_type: &str) -> Option<String> {
    let mime = content_type.split(';').next().unwrap_or_default().trim();
    (!mime.is_empty()).then(|| mime.chars().take(100).collect::<String>().to_ascii_lowercase())
}

/// What the first bytes of a body say that it is, where they say anything.
pub(super) fn sniffed(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [_, _, _, _, b'f', b't', b'y', b'p', a, b, c, d, ..] => container([*a, *b, *c, *d]),
        [b'%', b'P', b'D', b'F', b'-', ..] => Some("application/pdf"),
        _ => markup(bytes),
    }
}

/// The ISO base media file format (ISO/IEC 23008-12) tells by its brand.
const fn container(brand: [u8; 4]) -> Option<&'static str> {
    match &brand {
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => Some("image/heic"),
        b"mif1" | b"msf1" | b"heif" => Some("image/heif"),
        b"avif" | b"avis" => Some("image/avif"),
        _ => None,
    }
}

/// A page or a drawing with scripts in it is no image, whatever it is declared as.
fn markup(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let starts = |with: &str| {
        text.get(..with.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
    };
    if starts("<!doctype html") || starts("<html") {
        Some("text/html")
    } else if starts("<svg") {
        Some("image/svg+xml")
    } else if starts("<?xml") {
        Some("application/xml")
    } else {
        None
    }
}

/// Whether the type may be taken; an empty list takes any.
pub(super) fn check(kind: SourceKind, mime: &str, allowed: &[String]) -> Result<(), String> {
    if allowed.is_empty() || allowed.iter().any(|one| one == mime) {
        return Ok(());
    }
    let what = match kind {
        SourceKind::Image => "image",
        SourceKind::File | SourceKind::Web => "file",
    };
    Err(alloc::format!("Unsupported {what} MIME type: {mime}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures() {
        for (bytes, mime) in [
            (&b"\xff\xd8\xff\xe0rest"[..], Some("image/jpeg")),
            (b"\x89PNG\r\n\x1a\n....", Some("image/png")),
            (b"GIF87a..", Some("image/gif")),
            (b"GIF89a", Some("image/gif")),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\0\0\0\0WAVE", None),
            (b"\0\0\0\x18ftypheic", Some("image/heic")),
            (b"\0\0\0\x18ftypmif1", Some("image/heif")),
            (b"\0\0\0\x18ftypavif", Some("image/avif")),
            (b"\0\0\0\x18ftypisom", None),
            (b"%PDF-1.7", Some("application/pdf")),
            (b"\xef\xbb\xbf <!DOCTYPE HTML>", Some("text/html")),
            (b"\n<svg xmlns=", Some("image/svg+xml")),
            (b"<?xml version=", Some("application/xml")),
            (b"plain", None),
            (b"", None),
        ] {
            assert_eq!(sniffed(bytes), mime, "{bytes:?}");
        }
    }

    #[test]
    fn declarations() {
        assert_eq!(declared("Text/HTML; charset=utf-8").as_deref(), Some("text/html"));
        assert_eq!(declared(" ; x"), None);
        assert_eq!(declared(&"x".repeat(500)).map(|mime| mime.len()), Some(100));
    }
}
