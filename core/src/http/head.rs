//! From the bytes of a whole, scanned head to a [`Request`]: `httparse` splits, the rules of `framing.rs` judge.
//! What the scan and `httparse` do not both accept is refused.

use alloc::vec::Vec;
use core::mem::MaybeUninit;

use bytes::Bytes;

use super::fault::PeerFault;
use super::framing::{self, Framing};
use super::request::{Field, Headers, Method, Request, Span, TargetForm, Version};
use super::scan::{Whole, is_token};
use super::{Limits, MAX_FIELDS};

/// Splits and judges a head.
pub(super) fn parse(head: Bytes, whole: Whole, limits: &Limits) -> Result<Request, PeerFault> {
    if core::str::from_utf8(&head).is_err() {
        return Err(PeerFault::FieldValue);
    }
    let mut lines = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut split = httparse::Request::new(&mut []);
    match split.parse_with_uninit_headers(&head, &mut lines) {
        Ok(httparse::Status::Complete(len)) if len == head.len() => {}
        Ok(_) => return Err(PeerFault::RequestLine),
        Err(_) => return Err(blame(&head)),
    }
    let (Some(method), Some(target), Some(version)) = (split.method, split.path, split.version) else {
        return Err(PeerFault::RequestLine);
    };
    let version = if version == 1 { Version::Http11 } else { Version::Http10 };
    let span = |part: &[u8]| locate(&head, part);
    let mut fields = Vec::with_capacity(whole.fields);
    let mut framing = Framing::default();
    for line in split.headers.iter() {
        framing.field(line.name, line.value)?;
        fields.push(Field {
            name: span(line.name.as_bytes()),
            value: span(line.value),
        });
    }
    let method_text = span(method.as_bytes());
    let kind = Method::of(method);
    let parts = target_parts(method, target)?;
    framing.check_host(version, parts.authority)?;
    let body = framing.body(version, limits.max_body_bytes)?;
    let request = Request {
        method: kind,
        version,
        form: parts.form,
        method_text,
        authority: span(parts.authority.as_bytes()),
        path: span(parts.path.as_bytes()),
        query: parts.query.map(|query| span(query.as_bytes())),
        body,
        expects_continue: framing.expects_continue(version)?,
        keep_alive: framing.keep_alive(version),
        upgrade: framing.upgrade(version),
        headers: Headers {
            fields,
            head: Bytes::new(),
        },
    };
    Ok(request.over(head))
}

impl Request {
    fn over(mut self, head: Bytes) -> Self {
        self.headers.head = head;
        self
    }
}

/// Where a part of the head lies in it. Heads are bounded to what fits in 16 bits.
fn locate(head: &[u8], part: &[u8]) -> Span {
    let start = (part.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize);
    let end = start.wrapping_add(part.len());
    match (u16::try_from(start), u16::try_from(end)) {
        (Ok(start), Ok(end)) => Span { start, end },
        _ => Span::default(),
    }
}

/// Which rule a field line broke that `httparse` refused. Only failed heads are read twice.
pub(super) fn blame(head: &[u8]) -> PeerFault {
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        if is_token(name) || name == b"\r" {
            continue;
        }
        let spaces = |byte: &u8| matches!(byte, b' ' | b'\t');
        let trimmed = name.iter().rposition(|byte| !spaces(byte)).map_or(0, |last| last + 1);
        let before = name.get(..trimmed).unwrap_or_default();
        return if trimmed < name.len() && is_token(before) {
            PeerFault::SpaceBeforeColon
        } else {
            PeerFault::FieldName
        };
    }
    PeerFault::FieldName
}

struct TargetParts<'a> {
    form: TargetForm,
    authority: &'a str,
    path: &'a str,
    query: Option<&'a str>,
}

/// RFC 9112 section 3.2. The scan made sure that the target is visible ASCII without a fragment.
fn target_parts<'a>(method: &str, target: &'a str) -> Result<TargetParts<'a>, PeerFault> {
    if method == "CONNECT" {
        return Err(PeerFault::Connect);
    }
    if target == "*" {
        let parts = TargetParts {
            form: TargetForm::Asterisk,
            authority: "",
            path: target,
            query: None,
        };
        return if method == "OPTIONS" {
            Ok(parts)
        } else {
            Err(PeerFault::Target)
        };
    }
    let (form, authority, rest) = if target.starts_with('/') {
        (TargetForm::Origin, "", target)
    } else {
        let (scheme, rest) = target.split_once("://").ok_or(PeerFault::Target)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(PeerFault::Target);
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !framing::is_host(authority) {
            return Err(PeerFault::HostInvalid);
        }
        (TargetForm::Absolute, authority, rest)
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    Ok(TargetParts {
        form,
        authority,
        path,
        query,
    })
}
