//! What may be fetched from URLs that clients name. The address table cannot be opened by any setting. Spec: `spec/hardening.md`.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::policy::hosts::HostPattern;

/// Limits and allow lists for URL sources.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchSettings {
    /// `input_file`.
    pub files: SourceSettings,
    /// `input_image`.
    pub images: SourceSettings,
    /// The tool `web_fetch`.
    pub web: SourceSettings,
    /// The most URL sources in one request, files and images together.
    pub max_url_parts: u32,
    /// Fetches at the same time; further ones wait.
    pub max_concurrent: u32,
    /// A blocked URL is answered 403 with type `ssrf_blocked` over HTTP, instead of 400.
    pub answer_forbidden: bool,
}

/// One kind of source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceSettings {
    /// Whether URLs are taken at all.
    pub allow_url: bool,
    /// The hosts that may be asked; `None`: every public one. Empty: none.
    pub url_allowlist: Option<Vec<HostPattern>>,
    /// Hosts with ports that may be asked besides ports 80 and 443.
    pub ports: Vec<(HostPattern, u16)>,
    /// Media types (lower case, without parameters); empty: any.
    pub allowed_mimes: Vec<String>,
    /// The largest body, decoded.
    pub max_bytes: u64,
    /// The most characters of text that are taken over; the rest is cut.
    pub max_chars: u32,
    /// How many redirects are followed.
    pub max_redirects: u32,
    /// For the whole fetch, redirects included.
    pub timeout: Duration,
    /// The most sources of this kind in one request; 0 switches URLs off.
    pub max_url_parts: u32,
    /// The most segments in a URL's path; `None`: any number.
    pub max_path_segments: Option<u32>,
}

impl SourceSettings {
    fn of(mimes: &[&str], max_bytes: u64) -> Self {
        Self {
            allow_url: true,
            url_allowlist: None,
            ports: Vec::new(),
            allowed_mimes: mimes.iter().map(|mime| String::from(*mime)).collect(),
            max_bytes,
            max_chars: 60_000,
            max_redirects: 3,
            timeout: Duration::from_secs(10),
            max_url_parts: 8,
            max_path_segments: None,
        }
    }
}

impl Default for FetchSettings {
    fn default() -> Self {
        const FILES: [&str; 6] = [
            "text/plain",
            "text/markdown",
            "text/html",
            "text/csv",
            "application/json",
            "application/pdf",
        ];
        const IMAGES: [&str; 6] = [
            "image/jpeg",
            "image/png",
            "image/gif",
            "image/webp",
            "image/heic",
            "image/heif",
        ];
        Self {
            files: SourceSettings::of(&FILES, 5_242_880),
            images: SourceSettings::of(&IMAGES, 10_485_760),
            web: SourceSettings::of(&FILES, 5_242_880),
            max_url_parts: 8,
            max_concurrent: 16,
            answer_forbidden: false,
        }
    }
}
