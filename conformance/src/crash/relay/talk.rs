//! Requests of relay clients, each on a connection of its own, so that a kill leaves no half of another request behind.

use std::io::{Read, Write};
use std::net::SocketAddr;

use serde_json::Value;

use crate::client::responses;
use crate::load::link;

/// An answer: its status and its body as JSON.
pub(super) type Answer = (u16, Value);

/// Sends a request; `None`: the relay is gone, and nobody knows whether it did what was asked.
pub(super) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Body<'_>,
) -> Option<Answer> {
    let (kind, body) = match body {
        Body::None => (None, String::new()),
        Body::Json(value) => (Some("application/json"), value.to_string()),
        Body::Form(fields) => (Some("application/x-www-form-urlencoded"), form(fields)),
    };
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    if let Some(token) = token {
        head.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    if let Some(kind) = kind {
        head.push_str(&format!("Content-Type: {kind}\r\n"));
    }
    let mut stream = link::open(address).ok()?;
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).ok()?;
    let mut buffer = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        if let Ok(Some(response)) = responses::next(&mut buffer, false, false) {
            return Some((
                response.status,
                serde_json::from_slice(&response.body).unwrap_or_default(),
            ));
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(size) => buffer.extend_from_slice(chunk.get(..size).unwrap_or_default()),
        }
    }
}

/// The body of a request.
pub(super) enum Body<'a> {
    None,
    Json(&'a Value),
    Form(&'a [(&'a str, &'a str)]),
}

fn form(fields: &[(&str, &str)]) -> String {
    let encoded = |text: &str| -> String {
        let byte = |byte: u8| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    let pairs = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// A text of an answer.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
