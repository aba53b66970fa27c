//! The sources of one request before any is fetched: how many there are, and those whose bytes came with the request.

use alloc::string::String;

use super::media;
use super::{FetchFault, SourceKind};
use crate::settings::FetchSettings;

/// Judges how many URL sources a request has.
///
/// # Errors
/// [`FetchFault::Rejected`] when there are too many; [`FetchFault::Denied`] when URLs are not taken at all.
pub fn check_count(files: usize, images: usize, settings: &FetchSettings) -> Result<(), FetchFault> {
    for (kind, count) in [(SourceKind::File, files), (SourceKind::Image, images)] {
        if count > 0 {
            check_enabled(kind, settings)?;
        }
    }
    let of_kind = |kind: SourceKind| kind.settings(settings).max_url_parts;
    for (count, limit) in [
        (files.saturating_add(images), settings.max_url_parts),
        (files, of_kind(SourceKind::File)),
        (images, of_kind(SourceKind::Image)),
    ] {
        if count > limit as usize {
            let text = alloc::format!("Too many URL-based input sources: {count} (limit: {limit})");
            return Err(FetchFault::rejected(text, None));
        }
    }
    Ok(())
}

fn check_enabled(kind: SourceKind, settings: &FetchSettings) -> Result<(), FetchFault> {
    let is_enabled = |source: &crate::settings::SourceSettings| source.allow_url && source.max_url_parts > 0;
    if is_enabled(kind.settings(settings)) && settings.max_url_parts > 0 {
        Ok(())
    } else {
        Err(super::hops::disabled(kind))
    }
}

/// Judges a URL without fetching it: every rule that can be judged before its name is resolved.
///
/// # Errors
/// What [`super::Fetches::start`] would tell.
pub fn check_url(kind: SourceKind, url: &str, settings: &FetchSettings) -> Result<(), FetchFault> {
    super::hops::Hops::begin(kind, url, kind.settings(settings)).map(drop)
}

/// Judges a source whose bytes came with the request, and tells its media type: of an image what its bytes are.
///
/// # Errors
/// [`FetchFault::Rejected`].
pub fn check_inline(
    kind: SourceKind,
    declared: Option<&str>,
    bytes: &[u8],
    settings: &FetchSettings,
) -> Result<String, FetchFault> {
    let source = kind.settings(settings);
    let rejected = |text: String| FetchFault::rejected(text, None);
    if bytes.len() as u64 > source.max_bytes {
        let what = match kind {
            SourceKind::Image => "Image",
            SourceKind::File | SourceKind::Web => "File",
        };
        let (count, limit) = (bytes.len(), source.max_bytes);
        return Err(rejected(alloc::format!(
            "{what} too large: {count} bytes (limit: {limit} bytes)"
        )));
    }
    let mime = mime_of(kind, declared, bytes).map_err(rejected)?;
    media::check(kind, &mime, &source.allowed_mimes).map_err(rejected)?;
    Ok(mime)
}

/// The media type of a body by what was declared and, for an image, by what its bytes are.
pub(super) fn mime_of(kind: SourceKind, declared: Option<&str>, bytes: &[u8]) -> Result<String, String> {
    let declared = declared.and_then(media::declared);
    if kind == SourceKind::Image {
        let sniffed = media::sniffed(bytes).map(String::from);
        return Ok(sniffed
            .or(declared)
            .unwrap_or_else(|| String::from("application/octet-stream")));
    }
    declared.ok_or_else(|| alloc::format!("{} missing media type", kind.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn told<T>(result: Result<T, FetchFault>) -> String {
        result.err().map(|fault| fault.to_string()).unwrap_or_default()
    }

    #[test]
    fn counts() {
        let mut settings = FetchSettings::default();
        assert_eq!(told(check_count(4, 4, &settings)), "");
        assert_eq!(
            told(check_count(5, 4, &settings)),
            "Too many URL-based input sources: 9 (limit: 8)"
        );
        settings.files.max_url_parts = 5;
        settings.images.max_url_parts = 3;
        assert_eq!(
            told(check_count(6, 0, &settings)),
            "Too many URL-based input sources: 6 (limit: 5)"
        );
        assert_eq!(
            told(check_count(1, 4, &settings)),
            "Too many URL-based input sources: 4 (limit: 3)"
        );
        settings.files.max_url_parts = 0;
        assert_eq!(
            told(check_count(1, 0, &settings)),
            "input_file URL sources are disabled by config"
        );
        assert_eq!(told(check_count(0, 1, &settings)), "");
        settings.images.allow_url = false;
        assert_eq!(
            told(check_count(0, 1, &settings)),
            "input_image URL sources are disabled by config"
        );
        settings = FetchSettings::default();
        settings.max_url_parts = 0;
        assert_eq!(
            told(check_count(0, 1, &settings)),
            "input_image URL sources are disabled by config"
        );
        assert_eq!(told(check_count(0, 0, &settings)), "");
    }

    #[test]
    fn bytes_that_came_along() {
        let mut settings = FetchSettings::default();
        settings.files.max_bytes = 4;
        settings.images.max_bytes = 8;
        let check = |kind, mime, bytes: &[u8]| {
            let result = check_inline(kind, mime, bytes, &settings);
            result.unwrap_or_else(|fault| fault.to_string())
        };
        let (file, image) = (SourceKind::File, SourceKind::Image);
        assert_eq!(check(file, Some("Text/Plain; charset=x"), b"1234"), "text/plain");
        assert_eq!(
            check(file, Some("text/plain"), b"12345"),
            "File too large: 5 bytes (limit: 4 bytes)"
        );
        assert_eq!(
            check(image, None, b"123456789"),
            "Image too large: 9 bytes (limit: 8 bytes)"
        );
        assert_eq!(check(file, None, b"1"), "input_file missing media type");
        assert_eq!(
            check(file, Some("video/mp4"), b"1"),
            "Unsupported file MIME type: video/mp4"
        );
        assert_eq!(check(image, Some("image/png"), b"GIF89a"), "image/gif");
        assert_eq!(
            check(image, Some("image/png"), b"%PDF-1"),
            "Unsupported image MIME type: application/pdf"
        );
    }
}
