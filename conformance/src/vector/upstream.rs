//! Reads steps about the other servers that the gateway dials: what it dials and asks, and what they answer.

use serde_json::{Value, json};

use super::action::{Action, Body, DialAnswer, DialPattern, Framing, RequestPattern, Respond};
use super::parts::{headers, patterns};

/// `expectDial`: the name of an upstream or an address, or an object with more about it.
pub(super) fn dial(value: &Value) -> Result<DialPattern, String> {
    known(value, &["to", "tls", "answer", "as"])?;
    let to = value.as_str().or_else(|| value.get("to").and_then(Value::as_str));
    let answer = match (value.get("answer").and_then(Value::as_str), value.get("as")) {
        (None | Some("accept"), None) => DialAnswer::Accept,
        (None, Some(peer)) => {
            let peer = peer.as_str().and_then(|peer| peer.parse().ok());
            DialAnswer::AcceptAs(peer.ok_or("\"as\" must be an address with a port")?)
        }
        (Some("refuse"), None) => DialAnswer::Refuse,
        (Some("untrusted"), None) => DialAnswer::Untrusted,
        (Some("ignore"), None) => DialAnswer::Ignore,
        _ => return Err("\"answer\" is accept, refuse, untrusted or ignore; \"as\" an address".into()),
    };
    Ok(DialPattern {
        to: to
            .ok_or("takes an upstream's name, or an address with a port")?
            .to_owned(),
        tls: value.get("tls").cloned().unwrap_or_else(|| json!("$any")),
        answer,
    })
}

/// `expectRequest`.
pub(super) fn request(value: &Value) -> Result<RequestPattern, String> {
    known(value, &["method", "target", "headers", "json", "text"])?;
    Ok(RequestPattern {
        method: text(value, "method").unwrap_or("GET").to_owned(),
        target: value.get("target").cloned().unwrap_or_else(|| json!("$any")),
        headers: value.get("headers").map(patterns).unwrap_or_default(),
        json: value.get("json").cloned(),
        text: text(value, "text").map(String::from),
    })
}

/// `respond`: the response, and the end of the connection where it asks for one.
pub(super) fn respond(value: &Value) -> Result<Vec<Action>, String> {
    const KEYS: [&str; 9] = [
        "status", "reason", "version", "headers", "json", "text", "gzip", "chunks", "close",
    ];
    known(value, &KEYS)?;
    let status = value.get("status").and_then(Value::as_u64).unwrap_or(200);
    let reason = text(value, "reason").unwrap_or("Reason");
    let minor = if text(value, "version") == Some("1.0") { 0 } else { 1 };
    let body = match (value.get("json"), text(value, "text")) {
        (Some(json), None) => Body::Json(json.clone()),
        (None, text) => Body::Text(text.unwrap_or_default().to_owned()),
        _ => return Err("a body is \"json\" or \"text\", not both".into()),
    };
    let close = value.get("close").and_then(Value::as_bool).unwrap_or(false);
    let framing = match value.get("chunks").and_then(Value::as_u64) {
        Some(size) => Framing::Chunked(usize::try_from(size).map_err(|_| "a chunk is too large")?.max(1)),
        None if minor == 0 => Framing::Close,
        None => Framing::Length,
    };
    let respond = Action::Respond(Respond {
        status_line: format!("{minor} {status} {reason}"),
        headers: headers(value.get("headers"))?,
        body,
        gzip: value.get("gzip").and_then(Value::as_bool).unwrap_or(false),
        framing,
    });
    Ok(if close || framing == Framing::Close {
        vec![respond, Action::HalfClose]
    } else {
        vec![respond]
    })
}

/// `serve`: `expectDial`, `expectRequest` and `respond` in one.
pub(super) fn serve(value: &Value) -> Result<Vec<Action>, String> {
    known(value, &["dial", "request", "respond"])?;
    let part = |key: &str| value.get(key).ok_or_else(|| format!("{key:?} is missing"));
    let mut actions = vec![
        Action::ExpectDial(dial(part("dial")?)?),
        Action::ExpectRequest(request(part("request")?)?),
    ];
    actions.extend(respond(part("respond")?)?);
    Ok(actions)
}

/// Refuses keys of an object that it does not know.
pub(super) fn known(value: &Value, keys: &[&str]) -> Result<(), String> {
    let unknown = value
        .as_object()
        .and_then(|map| map.keys().find(|key| !keys.contains(&key.as_str())));
    unknown.map_or(Ok(()), |key| {
        Err(format!("unknown key {key:?} (known: {})", keys.join(", ")))
    })
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}
