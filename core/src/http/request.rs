//! A request as the layers above see it: one shared piece of bytes and offsets into it. Nothing here is copied, and
//! nothing here judges; a `Request` exists only after every rule of `head.rs` and `framing.rs` held.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

/// A request head. The body, if there is one, follows as events.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    pub(super) headers: Headers,
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) form: TargetForm,
    pub(super) method_text: Span,
    pub(super) authority: Span,
    pub(super) path: Span,
    pub(super) query: Option<Span>,
    pub(super) body: BodyKind,
    pub(super) expects_continue: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

impl Request {
    /// The method.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The method as it was written.
    #[must_use]
    pub fn method_name(&self) -> &str {
        self.headers.text(self.method_text)
    }

    /// What is asked for.
    #[must_use]
    pub fn target(&self) -> Target<'_> {
        Target {
            form: self.form,
            path: if self.path.is_empty() {
                "/"
            } else {
                self.headers.text(self.path)
            },
            query: self.query.map(|query| self.headers.text(query)),
        }
    }

    /// The host and port asked for: the `Host` field, or the authority of an absolute target (they never differ).
    /// `None` only in HTTP/1.0.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        if self.authority.is_empty() {
            self.headers.get("host")
        } else {
            Some(self.headers.text(self.authority))
        }
    }

    /// The version of the peer's message.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The fields.
    #[must_use]
    pub const fn headers(&self) -> &Headers {
        &self.headers
    }

    /// How the body is framed.
    #[must_use]
    pub const fn body(&self) -> BodyKind {
        self.body
    }

    /// Whether `Event::Body` (none when the body turns out empty) and then `Event::BodyEnd` follow.
    #[must_use]
    pub const fn has_body(&self) -> bool {
        !matches!(self.body, BodyKind::None)
    }

    /// The peer waits for `100 Continue` before it sends the body. The layer writes it in the `poll` after this
    /// request, unless a response has begun by then.
    #[must_use]
    pub const fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// The connection can serve another request after this one.
    #[must_use]
    pub const fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// The peer offers to speak `protocol` instead: `Upgrade` names it, `Connection` names `upgrade`, the version is
    /// 1.1 (RFC 9110 section 7.8). Versions after a slash are compared too, letters in any case.
    #[must_use]
    pub fn wants_upgrade(&self, protocol: &str) -> bool {
        self.upgrade && self.headers.has_token("upgrade", protocol)
    }
}

/// Field values may be secrets, so they are not shown.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method_name())
            .field("target", &self.target())
            .field("version", &self.version)
            .field("headers", &self.headers)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// A request method (RFC 9110 section 9, RFC 5789). Methods are case-sensitive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// `PATCH`
    Patch,
    /// Any other token; [`Request::method_name`] has it.
    Other,
}

impl Method {
    pub(super) fn of(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            "PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }
}

/// A protocol version that is spoken here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// The form of a target (RFC 9112 section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TargetForm {
    /// A path, and perhaps a query.
    Origin,
    /// A whole `http` or `https` URI.
    Absolute,
    /// `*`: the server itself. Only with `OPTIONS`.
    Asterisk,
}

/// What a request asks for, raw: nothing is decoded and no dot segment is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<'a> {
    form: TargetForm,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Its form.
    #[must_use]
    pub const fn form(&self) -> TargetForm {
        self.form
    }

    /// The path, from `/` up to the first `?`; `*` in asterisk form.
    #[must_use]
    pub const fn path(&self) -> &'a str {
        self.path
    }

    /// What follows the first `?`; `None` without one.
    #[must_use]
    pub const fn query(&self) -> Option<&'a str> {
        self.query
    }
}

/// How a request body is framed (RFC 9112 section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyKind {
    /// There is none, or its length is zero.
    None,
    /// `Content-Length`: this many bytes, at least one.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// A piece of the head. Heads are never longer than [`MAX_HEAD`](super::MAX_HEAD), so that two small offsets do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Span {
    pub(super) start: u16,
    pub(super) end: u16,
}

impl Span {
    const fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// A field line: where its name and its trimmed value are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Field {
    pub(super) name: Span,
    pub(super) value: Span,
}

/// The fields of a head, in the order in which they came. At most [`Limits::max_headers`](super::Limits).
#[derive(Clone, PartialEq, Eq)]
pub struct Headers {
    pub(super) head: Bytes,
    pub(super) fields: Vec<Field>,
}

impl Headers {
    /// The value of the first field with this name (in any case), trimmed. See [`Self::get_only`] for fields whose
    /// repetition means trouble.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|field| self.is_named(field, name))
            .map(|field| self.text(field.value))
    }

    /// The value of a field that may come only once: `Err` when it was repeated.
    pub fn get_only(&self, name: &str) -> Result<Option<&str>, Repeated> {
        let mut all = self.get_all(name);
        match (all.next(), all.next()) {
            (first, None) => Ok(first),
            (_, Some(_)) => Err(Repeated),
        }
    }

    /// The values of all fields with this name (in any case), trimmed.
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.fields
            .iter()
            .filter(move |field| self.is_named(field, name))
            .map(|field| self.text(field.value))
    }

    /// Whether a comma-separated field has this element, letters in any case.
    #[must_use]
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.get_all(name)
            .any(|value| list(value).any(|element| element.eq_ignore_ascii_case(token)))
    }

    /// Names, as they were written, and trimmed values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .map(|field| (self.text(field.name), self.text(field.value)))
    }

    /// Whether a field's name begins with one of these letters, in any case: a quick look before a close one.
    #[must_use]
    pub fn any_begins_with(&self, letters: &[u8]) -> bool {
        self.fields.iter().any(|field| {
            let first = self.bytes(field.name).first();
            first.is_some_and(|first| letters.contains(&first.to_ascii_lowercase()))
        })
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    fn is_named(&self, field: &Field, name: &str) -> bool {
        self.bytes(field.name).eq_ignore_ascii_case(name.as_bytes())
    }

    pub(super) fn bytes(&self, span: Span) -> &[u8] {
        self.head
            .get(usize::from(span.start)..usize::from(span.end))
            .unwrap_or_default()
    }

    /// The head was found to be UTF-8 and fields are cut at ASCII characters, so the empty text never comes up.
    pub(super) fn text(&self, span: Span) -> &str {
        core::str::from_utf8(self.bytes(span)).unwrap_or_default()
    }
}

/// Field values may be secrets, so that only the names are shown.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// A field came more than once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repeated;

impl fmt::Display for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header field that may come only once was repeated")
    }
}

impl core::error::Error for Repeated {}

/// The elements of a comma-separated value, trimmed; empty ones are left out (RFC 9110 section 5.6.1.2).
pub(super) fn list(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(|element| element.trim_matches([' ', '\t']))
        .filter(|element| !element.is_empty())
}
