//! Reads the parts of steps: frames, requests, responses and their patterns, as they are written in vectors.

use serde_json::{Value, json};

use super::TOKEN;
use super::action::{Action, Body, ClosePattern, Frame, Payload, Request, ResponsePattern, Upgrade};
use super::relay::bearer;
use super::upstream::known;

pub(super) fn message(opcode: u8, text: String) -> Action {
    padded(opcode, text, None)
}

/// A message that is filled with spaces up to so many bytes.
pub(super) fn padded(opcode: u8, text: String, pad_to: Option<usize>) -> Action {
    Action::Frame(Frame {
        pad_to: pad_to.unwrap_or(0),
        fin: true,
        rsv: 0,
        opcode,
        payload: Payload::Text(text),
        masked: true,
        length: None,
        length_bits: None,
    })
}

pub(super) fn close(value: &Value) -> Result<Action, String> {
    let mut bytes = Vec::new();
    if let Some(code) = value.get("code").and_then(Value::as_u64) {
        bytes.extend(
            u16::try_from(code)
                .map_err(|_| "a close code has 16 bits")?
                .to_be_bytes(),
        );
    }
    bytes.extend(
        value
            .get("reason")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .as_bytes(),
    );
    let payload = Payload::Bytes(bytes);
    Ok(Action::Frame(Frame {
        fin: true,
        rsv: 0,
        opcode: 8,
        payload,
        masked: true,
        length: None,
        length_bits: None,
        pad_to: 0,
    }))
}

pub(super) fn frame(value: &Value) -> Result<Frame, String> {
    const KEYS: [&str; 9] = [
        "fin",
        "rsv",
        "opcode",
        "text",
        "hex",
        "repeat",
        "masked",
        "length",
        "lengthBits",
    ];
    let map = value.as_object().ok_or("a frame must be an object")?;
    if let Some(unknown) = map.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("unknown key {unknown:?} (known: {})", KEYS.join(", ")));
    }
    let number = |key: &str| map.get(key).and_then(Value::as_u64);
    let small = |key: &str| number(key).and_then(|number| u8::try_from(number).ok());
    let flag = |key: &str| map.get(key).and_then(Value::as_bool).unwrap_or(true);
    let once = match (map.get("text"), map.get("hex")) {
        (Some(text), None) => text.as_str().ok_or("\"text\" must be a string")?.as_bytes().to_vec(),
        (None, Some(hex)) => unhex(hex.as_str().ok_or("\"hex\" must be a string")?)?,
        _ => Vec::new(),
    };
    let times = number("repeat")
        .and_then(|times| usize::try_from(times).ok())
        .unwrap_or(1);
    Ok(Frame {
        fin: flag("fin"),
        rsv: small("rsv").unwrap_or(0),
        opcode: small("opcode").ok_or("\"opcode\" must be a number")?,
        payload: Payload::Bytes(once.repeat(times)),
        masked: flag("masked"),
        length: number("length"),
        length_bits: small("lengthBits"),
        pad_to: 0,
    })
}

pub(super) fn request(value: &Value) -> Result<Request, String> {
    known(
        value,
        &["method", "target", "headers", "body", "json", "form", "bearer", "as"],
    )?;
    let text = |key: &str, usual: &str| value.get(key).and_then(Value::as_str).unwrap_or(usual).to_owned();
    let mut headers = headers(value.get("headers"))?;
    match value.get("bearer") {
        None | Some(Value::Bool(false)) => {}
        Some(Value::Bool(true)) => headers.push(("Authorization".into(), Some(format!("Bearer {TOKEN}")))),
        Some(Value::String(token)) => headers.push(("Authorization".into(), Some(format!("Bearer {token}")))),
        Some(_) => return Err("\"bearer\" is true or a token".into()),
    }
    headers.extend(value.get("as").and_then(Value::as_str).map(bearer));
    Ok(Request {
        method: text("method", "GET"),
        target: text("target", "/health"),
        headers,
        body: match (value.get("json"), value.get("form")) {
            (Some(json), _) => Body::Json(json.clone()),
            (None, Some(Value::Object(form))) => Body::Form(form.clone()),
            (None, _) => Body::Text(text("body", "")),
        },
    })
}

pub(super) fn upgrade(value: &Value) -> Result<Upgrade, String> {
    let target = value
        .get("path")
        .and_then(Value::as_str)
        .unwrap_or("/gateway")
        .to_owned();
    let mut headers = headers(value.get("headers"))?;
    headers.extend(value.get("as").and_then(Value::as_str).map(bearer));
    Ok(Upgrade { target, headers })
}

pub(super) fn headers(value: Option<&Value>) -> Result<Vec<(String, Option<String>)>, String> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let map = value.as_object().ok_or("\"headers\" must be an object")?;
    map.iter()
        .map(|(name, value)| match value {
            Value::Null => Ok((name.clone(), None)),
            Value::String(text) => Ok((name.clone(), Some(text.clone()))),
            _ => Err(format!("header {name:?} must be a string or null")),
        })
        .collect()
}

pub(super) fn response_pattern(value: &Value) -> Result<ResponsePattern, String> {
    const KEYS: [&str; 7] = ["status", "headers", "json", "text", "head", "contains", "lacks"];
    let map = value.as_object().ok_or("a response must be an object")?;
    if let Some(unknown) = map.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("unknown key {unknown:?} (known: {})", KEYS.join(", ")));
    }
    let status = map
        .get("status")
        .and_then(Value::as_u64)
        .and_then(|status| u16::try_from(status).ok());
    Ok(ResponsePattern {
        status: status.ok_or("\"status\" must be a number")?,
        headers: map.get("headers").map(patterns).unwrap_or_default(),
        json: map.get("json").cloned(),
        text: map.get("text").and_then(Value::as_str).map(String::from),
        head: map.get("head").and_then(Value::as_bool).unwrap_or(false),
        contains: super::program::texts(value, "contains")?,
        lacks: super::program::texts(value, "lacks")?,
    })
}

pub(super) fn patterns(value: &Value) -> Vec<(String, Value)> {
    let pairs = value.as_object().into_iter().flatten();
    pairs
        .map(|(name, pattern)| (name.to_ascii_lowercase(), pattern.clone()))
        .collect()
}

pub(super) fn close_pattern(value: &Value) -> Result<ClosePattern, String> {
    let list = value.as_array().ok_or("takes [code, reason], [code] or []")?;
    let code = match list.first() {
        None => None,
        Some(code) => Some(
            code.as_u64()
                .and_then(|code| u16::try_from(code).ok())
                .ok_or("the code must be a number")?,
        ),
    };
    Ok(ClosePattern {
        code,
        reason: list.get(1).and_then(Value::as_str).map(String::from),
    })
}

pub(super) fn payload(value: &Value) -> Result<Payload, String> {
    match value {
        Value::String(text) => Ok(Payload::Text(text.clone())),
        Value::Object(_) => Ok(frame(&with_opcode(value))?.payload),
        _ => Err("takes a string or {\"text\" or \"hex\", \"repeat\"}".into()),
    }
}

fn with_opcode(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(map) = value.as_object_mut() {
        map.insert("opcode".into(), json!(0));
    }
    value
}

pub(super) fn peer(value: &Value) -> Result<Option<std::net::SocketAddr>, String> {
    let Some(peer) = value.get("peer") else { return Ok(None) };
    let text = peer.as_str().ok_or("\"peer\" must be a string")?;
    text.parse()
        .map(Some)
        .map_err(|_| format!("{text:?} is no address with a port"))
}

pub(super) fn array(value: &Value, at_least: usize) -> Result<&[Value], String> {
    let list = value.as_array().ok_or("takes an array")?;
    if list.len() < at_least {
        Err(format!("takes at least {at_least} items"))
    } else {
        Ok(list)
    }
}

pub(super) fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = text.chars().filter(|character| !character.is_whitespace()).collect();
    let pairs = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16));
    pairs
        .collect::<Result<_, _>>()
        .map_err(|why| format!("hex {text:?}: {why}"))
}
