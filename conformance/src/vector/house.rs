//! Reads steps about the gateway's own house: its files, its log, its tokens, its settings and its end.

use portcullis_core::machine::DrainHow;
use serde_json::{Value, json};

use super::action::{Action, FilePattern, Mint, Signature};
use super::program::{self, texts};
use super::upstream::known;

pub(super) fn drain(value: &Value) -> Result<DrainHow, String> {
    match value.as_str() {
        None if *value == json!(true) => Ok(DrainHow::Stop),
        Some("stop") => Ok(DrainHow::Stop),
        Some("restart") => Ok(DrainHow::Restart),
        Some("quick") => Ok(DrainHow::Quick),
        _ => Err("\"drain\" takes true, \"stop\", \"restart\" or \"quick\"".into()),
    }
}

pub(super) fn file(value: &Value) -> Result<FilePattern, String> {
    known(value, &["path", "has", "lacks", "json", "text", "mode", "absent"])?;
    let mode = value.get("mode").and_then(Value::as_str);
    Ok(FilePattern {
        path: string(value, "path")?,
        json: value.get("json").cloned(),
        text: value.get("text").cloned(),
        mode: mode.map(program::mode).transpose()?,
        absent: value.get("absent") == Some(&json!(true)),
        has: value.get("has").and_then(Value::as_array).cloned().unwrap_or_default(),
        lacks: texts(value, "lacks")?,
    })
}

pub(super) fn log(value: &Value) -> Result<Action, String> {
    known(value, &["has", "lacks"])?;
    Ok(Action::ExpectLog {
        has: texts(value, "has")?,
        lacks: texts(value, "lacks")?,
    })
}

pub(super) fn device(value: &Value) -> Result<Action, String> {
    known(value, &["bind", "text", "offset"])?;
    Ok(Action::Device {
        bind: string(value, "bind")?,
        text: string(value, "text")?,
        offset: value.get("offset").and_then(Value::as_i64).unwrap_or(0),
    })
}

pub(super) fn mint(value: &Value) -> Result<Mint, String> {
    known(value, &["bind", "header", "claims", "raw", "secret", "signature"])?;
    let raw = match value.get("raw").and_then(Value::as_array).map(Vec::as_slice) {
        None => None,
        Some([Value::String(header), Value::String(payload)]) => Some((header.clone(), payload.clone())),
        Some(_) => return Err("\"raw\" takes two texts: header and payload".into()),
    };
    Ok(Mint {
        bind: string(value, "bind")?,
        header: value.get("header").cloned().unwrap_or_else(|| json!({})),
        claims: value.get("claims").cloned().unwrap_or_else(|| json!({})),
        raw,
        secret: value.get("secret").and_then(Value::as_str).map(String::from),
        signature: match value.get("signature").and_then(Value::as_str) {
            None | Some("hs256") => Signature::Hs256,
            Some("hs512") => Signature::Hs512,
            Some("empty") => Signature::Empty,
            Some("altered") => Signature::Altered,
            Some(_) => return Err("\"signature\" is hs256, hs512, empty or altered".into()),
        },
    })
}

fn string(value: &Value, key: &str) -> Result<String, String> {
    let text = value.get(key).and_then(Value::as_str);
    text.map(String::from)
        .ok_or_else(|| format!("{key:?} must be a string"))
}
