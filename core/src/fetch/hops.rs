//! One fetch, from URL to bytes, as a machine: what came in, what to do next out. It starts nothing itself, so that every
//! way through it can be tried without a network.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use bytes::BytesMut;

use super::media::{self, SNIFFED_BYTES};
use super::sources::mime_of;
use super::{FetchFault, Fetched, SourceKind};
use crate::outbound::{ClientResponse, ExchangeEvent, ExchangeFault};
use crate::policy::ssrf::{self, Denial};
use crate::settings::{FetchSettings, SourceSettings};
use crate::url::{Host, Url};

/// What to do next.
#[derive(Debug)]
pub(super) enum Step {
    /// Wait for what comes.
    Wait,
    /// Ask for the addresses of this name.
    Resolve(String),
    /// Ask the server of [`Hops::url`] at these addresses; an exchange that is under way is not needed any more.
    Ask(Vec<SocketAddr>),
    /// It is over.
    Done(Box<Result<Fetched, FetchFault>>),
}

/// One fetch.
#[derive(Debug)]
pub(super) struct Hops {
    kind: SourceKind,
    /// Where it is now.
    url: Url,
    /// Where it was, bounded by the limit of redirects.
    visited: Vec<Url>,
    /// The head that the body belongs to: status and declared media type.
    head: Option<(u16, Option<String>)>,
    body: BytesMut,
}

/// Why a URL of a kind that is switched off is refused.
pub(super) fn disabled(kind: SourceKind) -> FetchFault {
    FetchFault::Denied {
        record: crate::audit::AuditEvent::UrlDenied,
        target: None,
        text: alloc::format!("{} URL sources are disabled by config", kind.name()),
    }
}

impl Hops {
    /// Reads and judges a URL.
    pub(super) fn begin(kind: SourceKind, text: &str, settings: &SourceSettings) -> Result<Self, FetchFault> {
        if !settings.allow_url || settings.max_url_parts == 0 {
            return Err(disabled(kind));
        }
        let url = Url::parse(text).map_err(|fault| FetchFault::denied(&Denial::Url(fault), None))?;
        ssrf::judge_url(&url, settings).map_err(|denial| FetchFault::denied(&denial, Some(&url)))?;
        Ok(Self {
            kind,
            url,
            visited: Vec::new(),
            head: None,
            body: BytesMut::new(),
        })
    }

    pub(super) const fn kind(&self) -> SourceKind {
        self.kind
    }

    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    /// The first step of a hop: its URL is judged.
    pub(super) fn first(&self) -> Step {
        match (&self.url.host, ssrf::literal(&self.url)) {
            (_, Some(address)) => Step::Ask(alloc::vec![address]),
            (Host::Name(name), None) => Step::Resolve(name.clone()),
            (Host::Address(_), None) => self.unresolved(),
        }
    }

    /// The name has these addresses.
    pub(super) fn resolved(&self, answers: &[IpAddr]) -> Step {
        if answers.is_empty() {
            return self.unresolved();
        }
        match ssrf::judge_answers(answers, self.url.port) {
            Ok(addresses) => Step::Ask(addresses),
            Err(denial) => failed(FetchFault::denied(&denial, Some(&self.url))),
        }
    }

    /// The name has none.
    pub(super) fn unresolved(&self) -> Step {
        failed(self.not_resolved())
    }

    pub(super) fn not_resolved(&self) -> FetchFault {
        self.rejected(alloc::format!("Unable to resolve hostname: {}", self.url.host))
    }

    pub(super) fn timed_out(&self, settings: &FetchSettings) -> FetchFault {
        let limit = self.kind.settings(settings).timeout.as_millis();
        self.rejected(alloc::format!("Failed to fetch: timed out after {limit} ms"))
    }

    pub(super) fn rejected(&self, text: impl Into<String>) -> FetchFault {
        FetchFault::rejected(text, Some(&self.url))
    }

    /// The exchange of this hop tells something.
    pub(super) fn told(&mut self, event: ExchangeEvent, settings: &FetchSettings) -> Step {
        let source = self.kind.settings(settings);
        let told = match event {
            ExchangeEvent::Head(response) if is_redirect(response.status) => return self.redirected(&response, source),
            ExchangeEvent::Head(response) => self.headed(&response, source),
            ExchangeEvent::Body(bytes) => self.grown(&bytes, source),
            ExchangeEvent::End => return Step::Done(Box::new(self.ended(source))),
            ExchangeEvent::Failed(fault) => Err(self.broken(&fault, settings)),
        };
        told.map_or_else(failed, |()| Step::Wait)
    }

    fn redirected(&mut self, response: &ClientResponse, source: &SourceSettings) -> Step {
        let Some(location) = response.header("location").filter(|location| !location.is_empty()) else {
            let text = alloc::format!("Redirect missing location header ({})", response.status);
            return failed(self.rejected(text));
        };
        let limit = source.max_redirects;
        if self.visited.len() >= limit as usize {
            return failed(self.rejected(alloc::format!("Too many redirects (limit: {limit})")));
        }
        let url = match ssrf::judge_redirect(&self.url, location, source) {
            Ok(url) => url,
            Err(denial) => {
                let target = self.url.join(location).ok();
                return failed(FetchFault::denied(&denial, target.as_ref()));
            }
        };
        if url == self.url || self.visited.contains(&url) {
            return failed(self.rejected("Redirect loop detected"));
        }
        self.visited.push(core::mem::replace(&mut self.url, url));
        self.first()
    }

    fn headed(&mut self, response: &ClientResponse, source: &SourceSettings) -> Result<(), FetchFault> {
        let status = response.status;
        if !(200..300).contains(&status) {
            let reason: String = response.reason.chars().filter(|c| !c.is_control()).take(100).collect();
            let text = alloc::format!("Failed to fetch: {status} {reason}");
            return Err(self.rejected(text.trim_end()));
        }
        let announced = response.header("content-length").and_then(|length| length.parse().ok());
        if let Some(announced) = announced.filter(|length: &u64| *length > source.max_bytes) {
            return Err(self.too_large(announced, source));
        }
        let declared = response.header("content-type").and_then(media::declared);
        // What an image is shows in its bytes; of anything else the head tells all that there is to know.
        if self.kind != SourceKind::Image {
            self.checked_mime(declared.as_deref(), source)?;
        }
        self.head = Some((status, declared));
        Ok(())
    }

    fn grown(&mut self, bytes: &[u8], source: &SourceSettings) -> Result<(), FetchFault> {
        let limit = source.max_bytes;
        if (self.body.len() as u64).saturating_add(bytes.len() as u64) > limit {
            // How much more was on its way is chance: the first byte too many is told.
            return Err(self.too_large(limit.saturating_add(1), source));
        }
        let was_sniffed = self.body.len() >= SNIFFED_BYTES;
        self.body.extend_from_slice(bytes);
        if self.kind == SourceKind::Image && !was_sniffed && self.body.len() >= SNIFFED_BYTES {
            let declared = self.head.as_ref().and_then(|(_, declared)| declared.clone());
            self.checked_mime(declared.as_deref(), source)?;
        }
        Ok(())
    }

    fn ended(&mut self, source: &SourceSettings) -> Result<Fetched, FetchFault> {
        let Some((status, declared)) = self.head.take() else {
            return Err(self.rejected("Failed to fetch: no response"));
        };
        let mime = self.checked_mime(declared.as_deref(), source)?;
        Ok(Fetched {
            url: self.url.clone(),
            status,
            mime,
            bytes: core::mem::take(&mut self.body).freeze(),
        })
    }

    fn checked_mime(&self, declared: Option<&str>, source: &SourceSettings) -> Result<String, FetchFault> {
        let start = self.body.get(..SNIFFED_BYTES).unwrap_or(&self.body);
        let mime = mime_of(self.kind, declared, start).map_err(|text| self.rejected(text))?;
        media::check(self.kind, &mime, &source.allowed_mimes).map_err(|text| self.rejected(text))?;
        Ok(mime)
    }

    fn too_large(&self, bytes: u64, source: &SourceSettings) -> FetchFault {
        let limit = source.max_bytes;
        self.rejected(alloc::format!(
            "Content too large: {bytes} bytes (limit: {limit} bytes)"
        ))
    }

    fn broken(&self, fault: &ExchangeFault, settings: &FetchSettings) -> FetchFault {
        let source = self.kind.settings(settings);
        match fault {
            ExchangeFault::Unresolved => self.not_resolved(),
            ExchangeFault::TimedOut => self.timed_out(settings),
            ExchangeFault::TooLarge { announced, .. } => {
                let first_too_many = source.max_bytes.saturating_add(1);
                self.too_large(announced.unwrap_or(first_too_many), source)
            }
            // What the system says of a connection can hold the address.
            ExchangeFault::Unreachable(_) => self.rejected("Failed to fetch: cannot connect"),
            ExchangeFault::Tls(_) => self.rejected("Failed to fetch: the server's certificate or TLS is no good"),
            ExchangeFault::Malformed(rule) => self.rejected(alloc::format!("Failed to fetch: not HTTP: {rule}")),
            ExchangeFault::Cut { .. } => self.rejected("Failed to fetch: the connection ended too early"),
            ExchangeFault::Cancelled => self.rejected("Failed to fetch: cancelled"),
            ExchangeFault::Busy => self.rejected("Too many fetches at the same time; try again later"),
        }
    }
}

const fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

fn failed(fault: FetchFault) -> Step {
    Step::Done(Box::new(Err(fault)))
}
