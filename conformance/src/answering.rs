//! What a vector that plays a server writes, and how it judges the requests that the gateway sends it.

use serde_json::{Map, Value, json};

use crate::client::gzip;
use crate::client::requests::Request;
use crate::pattern::Bindings;
use crate::vector::{Body, Framing, RequestPattern, Respond};

/// The bytes of a response.
///
/// # Errors
/// When it refers to something that was never bound.
pub(crate) fn response(respond: &Respond, bindings: &Bindings) -> Result<Vec<u8>, String> {
    let (mut body, kind) = body(&respond.body, bindings)?;
    let mut headers = vec![("Content-Type", kind.map(String::from))];
    if respond.gzip {
        body = gzip::compress(&body);
        headers.push(("Content-Encoding", Some("gzip".into())));
    }
    match respond.framing {
        Framing::Length => headers.push(("Content-Length", Some(body.len().to_string()))),
        Framing::Chunked(size) => {
            headers.push(("Transfer-Encoding", Some("chunked".into())));
            body = chunked(&body, size);
        }
        Framing::Close => headers.push(("Connection", Some("close".into()))),
    }
    let mut text = format!("HTTP/1.{}\r\n", respond.status_line);
    for (name, value) in headers {
        let own = respond.headers.iter().any(|header| header.0.eq_ignore_ascii_case(name));
        if let (Some(value), false) = (value, own) {
            text += &format!("{name}: {value}\r\n");
        }
    }
    for (name, value) in &respond.headers {
        if let Some(value) = value {
            text += &format!("{name}: {}\r\n", bindings.fill_text(value));
        }
    }
    Ok([text.as_bytes(), b"\r\n", &body].concat())
}

/// The bytes of a body, and its media type where it says one by itself.
///
/// # Errors
/// When it refers to something that was never bound.
pub(crate) fn body(body: &Body, bindings: &Bindings) -> Result<(Vec<u8>, Option<&'static str>), String> {
    Ok(match body {
        Body::Text(text) => (bindings.fill_text(text).into_bytes(), None),
        Body::Json(value) => (bindings.fill(value)?.to_string().into_bytes(), Some("application/json")),
        Body::Form(form) => (
            form_of(form, bindings)?.into_bytes(),
            Some("application/x-www-form-urlencoded"),
        ),
    })
}

/// Whether a request is what the vector expects.
///
/// # Errors
/// Says what is otherwise.
pub(crate) fn check(pattern: &RequestPattern, came: &Request, bindings: &mut Bindings) -> Result<(), String> {
    let described = |why: String| format!("{why}\n    came     {came}");
    if came.method != pattern.method {
        return Err(described(format!("expected {}, came {}", pattern.method, came.method)));
    }
    bindings
        .check(&pattern.target, &json!(came.target))
        .map_err(|why| described(format!("target: {why}")))?;
    for (name, value) in &pattern.headers {
        let actual = came
            .header(name)
            .map_or_else(|| json!({}), |header| json!({ name.as_str(): header }));
        bindings
            .check(&json!({ name.as_str(): value }), &actual)
            .map_err(|why| described(format!("header {why}")))?;
    }
    if let Some(pattern) = &pattern.json {
        let body = serde_json::from_slice(&came.body);
        let body = body.map_err(|why| described(format!("the body is no JSON: {why}")))?;
        bindings
            .check(pattern, &body)
            .map_err(|why| described(format!("body: {why}")))?;
    }
    match &pattern.text {
        Some(text) if bindings.fill_text(text).as_bytes() != came.body => {
            Err(described(format!("expected the body {text:?}")))
        }
        _ => Ok(()),
    }
}

/// A form as it is sent; an empty value is left out.
fn form_of(form: &Map<String, Value>, bindings: &Bindings) -> Result<String, String> {
    let mut pairs = Vec::new();
    for (name, value) in form {
        let value = bindings.fill(value)?;
        let text = value.as_str().map_or_else(|| value.to_string(), String::from);
        if !text.is_empty() {
            pairs.push(format!("{}={}", escaped(name), escaped(&text)));
        }
    }
    Ok(pairs.join("&"))
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let bytes = text.bytes().map(|byte| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    });
    bytes.collect()
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}
