//! Reads steps as they are written and spells their shorthand out: `connect`, `handshake`, `req`, `res`, `err`,
//! `refused` and the like become the primitive actions of [`Action`].

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::action::{Action, ClosePattern, Frame, Payload, Request, ResponsePattern, Upgrade};
use super::{Step, TOKEN};

/// The connection that a step is about when it names none.
const USUAL_CONNECTION: &str = "c";

/// Keys that go with any verb.
const OPTIONS: [&str; 4] = ["on", "within", "padTo", "note"];

/// Reads a list of steps; `prefix` is the number of the step around them.
pub(super) fn steps(list: &[Value], prefix: &str) -> Result<Vec<Step>, String> {
    read(list, prefix, USUAL_CONNECTION)
}

fn read(list: &[Value], prefix: &str, usual: &str) -> Result<Vec<Step>, String> {
    let mut all = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let number = if prefix.is_empty() {
            format!("{}", index + 1)
        } else {
            format!("{prefix}.{}", index + 1)
        };
        let written = Written::new(value, usual).map_err(|why| format!("step {number}: {why}"))?;
        let actions = written
            .actions(&number)
            .map_err(|why| format!("step {number} ({value}): {why}"))?;
        let composite = actions.len() > 1;
        for (part, action) in actions.into_iter().enumerate() {
            all.push(Step {
                on: written.on.clone(),
                within: written.within,
                action,
                number: if composite {
                    format!("{number}.{}", part + 1)
                } else {
                    number.clone()
                },
                source: shortened(value),
            });
        }
    }
    Ok(all)
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 400 {
        text
    } else {
        text.chars().take(400).chain("...".chars()).collect()
    }
}

/// A step as it stands in the file.
struct Written<'a> {
    on: String,
    within: Option<Duration>,
    pad_to: Option<usize>,
    verb: &'a str,
    value: &'a Value,
    map: &'a Map<String, Value>,
}

impl<'a> Written<'a> {
    fn new(value: &'a Value, usual: &str) -> Result<Self, String> {
        let map = value.as_object().ok_or("a step must be an object")?;
        let mut verbs = map
            .iter()
            .filter(|(key, _)| !OPTIONS.contains(&key.as_str()) && key.as_str() != "steps");
        let (verb, verb_value) = verbs.next().ok_or("a step must have a verb")?;
        if let Some((second, _)) = verbs.next() {
            return Err(format!("a step has one verb, this one has {verb:?} and {second:?}"));
        }
        Ok(Self {
            on: map.get("on").and_then(Value::as_str).unwrap_or(usual).to_owned(),
            within: map.get("within").and_then(Value::as_u64).map(Duration::from_millis),
            pad_to: map
                .get("padTo")
                .and_then(Value::as_u64)
                .and_then(|size| usize::try_from(size).ok()),
            verb,
            value: verb_value,
            map,
        })
    }

    fn actions(&self, number: &str) -> Result<Vec<Action>, String> {
        if let Some(actions) = self.composite(number)? {
            return Ok(actions);
        }
        self.sending()
            .transpose()
            .or_else(|| self.expecting().transpose())
            .or_else(|| self.world().transpose())
            .map_or_else(
                || Err(format!("unknown verb {:?}", self.verb)),
                |action| Ok(vec![action?]),
            )
    }

    fn composite(&self, number: &str) -> Result<Option<Vec<Action>>, String> {
        Ok(Some(match self.verb {
            "websocket" => opening(self.value)?,
            "handshake" => handshake(self.value)?,
            "connect" => {
                let mut actions = handshake(self.value)?;
                actions.push(Action::Expect(match self.value.get("hello") {
                    Some(hello) => response(&frame_id(self.value), hello),
                    None => response(&frame_id(self.value), &json!({"$subset": true, "type": "hello-ok"})),
                }));
                actions
            }
            "refused" => {
                let list = array(self.value, 3)?;
                let reason = list
                    .get(2)
                    .and_then(Value::as_str)
                    .ok_or("the third item must be the message")?;
                let close = ClosePattern {
                    code: Some(1008),
                    reason: Some(reason.to_owned()),
                };
                vec![Action::Expect(error(list)), Action::ExpectClose(close), Action::End]
            }
            "repeat" => {
                let inner = self
                    .map
                    .get("steps")
                    .and_then(Value::as_array)
                    .ok_or("\"steps\" must be an array")?;
                let times = self
                    .value
                    .as_u64()
                    .and_then(|times| u32::try_from(times).ok())
                    .ok_or("must be a number")?;
                vec![Action::Repeat {
                    times,
                    steps: read(inner, number, &self.on)?,
                }]
            }
            _ => return Ok(None),
        }))
    }

    fn sending(&self) -> Result<Option<Action>, String> {
        Ok(Some(match self.verb {
            "send" => Action::Send(self.string()?.as_bytes().to_vec()),
            "sendHex" => Action::Send(unhex(self.string()?)?),
            "http" => Action::Http(request(self.value)?),
            "upgrade" => Action::Upgrade(upgrade(self.value)?),
            "json" => Action::Json(self.value.clone()),
            "req" => {
                let list = array(self.value, 2)?;
                let mut frame = json!({"type": "req", "id": list.first(), "method": list.get(1)});
                if let (Some(params), Some(frame)) = (list.get(2), frame.as_object_mut()) {
                    frame.insert("params".into(), params.clone());
                }
                Action::Json(frame)
            }
            "text" => message(1, padded(self.string()?, self.pad_to)),
            "binary" => message(2, padded(self.string()?, self.pad_to)),
            "ping" => message(9, self.string()?.to_owned()),
            "pong" => message(10, self.string()?.to_owned()),
            "close" => close(self.value)?,
            "frame" => Action::Frame(frame(self.value)?),
            _ => return Ok(None),
        }))
    }

    fn expecting(&self) -> Result<Option<Action>, String> {
        Ok(Some(match self.verb {
            "response" => Action::Response(response_pattern(self.value)?),
            "switching" => Action::Switching {
                headers: patterns(self.value),
            },
            "expect" => Action::Expect(self.value.clone()),
            "res" => {
                let list = array(self.value, 2)?;
                Action::Expect(json!({"type": "res", "id": list.first(), "ok": true, "payload": list.get(1)}))
            }
            "err" => Action::Expect(error(array(self.value, 3)?)),
            "expectText" => Action::ExpectMessage {
                text: true,
                payload: payload(self.value)?,
            },
            "expectBinary" => Action::ExpectMessage {
                text: false,
                payload: payload(self.value)?,
            },
            "expectPing" => Action::ExpectControl {
                ping: true,
                payload: self.value.as_str().map(String::from),
            },
            "expectPong" => Action::ExpectControl {
                ping: false,
                payload: self.value.as_str().map(String::from),
            },
            "expectClose" => Action::ExpectClose(close_pattern(self.value)?),
            "stream" => {
                let list = array(self.value, 3)?;
                let item = |index: usize| list.get(index).and_then(Value::as_str).unwrap_or_default().to_owned();
                Action::Stream {
                    run: list.first().cloned().unwrap_or_default(),
                    stream: item(1),
                    text: item(2),
                }
            }
            "end" => Action::End,
            "silence" => Action::Silence(self.millis()?),
            _ => return Ok(None),
        }))
    }

    fn world(&self) -> Result<Option<Action>, String> {
        let flag = || self.value.as_bool().ok_or("must be true or false");
        Ok(Some(match self.verb {
            "open" => Action::Open {
                peer: peer(self.value)?,
            },
            "wait" => Action::Wait(self.millis()?),
            "halfClose" => Action::HalfClose,
            "drop" => Action::Drop,
            "reading" => Action::Reading(flag()?),
            "manners" => Action::Manners(flag()?),
            "expectReading" => Action::ExpectReading(flag()?),
            "append" => {
                let (path, text) = self.two_texts()?;
                Action::Append { path, text }
            }
            "link" => {
                let (path, to) = self.two_texts()?;
                Action::Link { path, to }
            }
            "drain" => Action::Drain,
            "restart" => Action::Restart,
            _ => return Ok(None),
        }))
    }

    fn string(&self) -> Result<&'a str, String> {
        self.value
            .as_str()
            .ok_or_else(|| format!("{:?} takes a string", self.verb))
    }

    fn two_texts(&self) -> Result<(String, String), String> {
        match array(self.value, 2)? {
            [Value::String(one), Value::String(other)] => Ok((one.clone(), other.clone())),
            _ => Err(format!("{:?} takes two strings", self.verb)),
        }
    }

    fn millis(&self) -> Result<Duration, String> {
        self.value
            .as_u64()
            .map(Duration::from_millis)
            .ok_or_else(|| format!("{:?} takes milliseconds", self.verb))
    }
}

fn opening(value: &Value) -> Result<Vec<Action>, String> {
    let open = Action::Open { peer: peer(value)? };
    Ok(vec![
        open,
        Action::Upgrade(upgrade(value)?),
        Action::Switching { headers: Vec::new() },
    ])
}

fn handshake(value: &Value) -> Result<Vec<Action>, String> {
    let mut actions = opening(value)?;
    actions.push(Action::Expect(json!({
        "type": "event", "event": "connect.challenge", "payload": {"nonce": "$bind:nonce", "ts": "$int"}
    })));
    let params = match (value.get("paramsOnly"), value.get("params")) {
        (Some(params), _) => params.clone(),
        (None, changes) => {
            let mut params = json!({
                "minProtocol": 1, "maxProtocol": 1, "auth": {"token": TOKEN},
                "client": {"id": "conformance", "version": "1", "platform": "test", "mode": "test"}
            });
            if let Some(changes) = changes {
                merge(&mut params, changes);
            }
            params
        }
    };
    actions.push(Action::Json(json!({
        "type": "req", "id": frame_id(value), "method": "connect", "params": params
    })));
    Ok(actions)
}

fn frame_id(value: &Value) -> Value {
    value.get("id").cloned().unwrap_or_else(|| json!("connect"))
}

/// Puts `changes` over `params`; `"$absent"` takes a key away.
fn merge(params: &mut Value, changes: &Value) {
    let (Some(map), Some(changes)) = (params.as_object_mut(), changes.as_object()) else {
        *params = changes.clone();
        return;
    };
    for (key, change) in changes {
        if change == "$absent" {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

fn response(id: &Value, payload: &Value) -> Value {
    json!({"type": "res", "id": id, "ok": true, "payload": payload})
}

fn error(list: &[Value]) -> Value {
    let mut error = json!({"code": list.get(1), "message": list.get(2)});
    if let Some(extra) = list.get(3) {
        merge(&mut error, extra);
    }
    json!({"type": "res", "id": list.first(), "ok": false, "error": error})
}

fn message(opcode: u8, text: String) -> Action {
    Action::Frame(Frame {
        fin: true,
        rsv: 0,
        opcode,
        payload: Payload::Text(text),
        masked: true,
        length: None,
        length_bits: None,
    })
}

fn padded(text: &str, size: Option<usize>) -> String {
    format!("{text}{}", " ".repeat(size.unwrap_or(0).saturating_sub(text.len())))
}

fn close(value: &Value) -> Result<Action, String> {
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
    }))
}

fn frame(value: &Value) -> Result<Frame, String> {
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
    })
}

fn request(value: &Value) -> Result<Request, String> {
    let text = |key: &str, usual: &str| value.get(key).and_then(Value::as_str).unwrap_or(usual).to_owned();
    Ok(Request {
        method: text("method", "GET"),
        target: text("target", "/health"),
        headers: headers(value.get("headers"))?,
        body: text("body", ""),
    })
}

fn upgrade(value: &Value) -> Result<Upgrade, String> {
    let target = value
        .get("path")
        .and_then(Value::as_str)
        .unwrap_or("/gateway")
        .to_owned();
    Ok(Upgrade {
        target,
        headers: headers(value.get("headers"))?,
    })
}

fn headers(value: Option<&Value>) -> Result<Vec<(String, Option<String>)>, String> {
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

fn response_pattern(value: &Value) -> Result<ResponsePattern, String> {
    const KEYS: [&str; 5] = ["status", "headers", "json", "text", "head"];
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
    })
}

fn patterns(value: &Value) -> Vec<(String, Value)> {
    let pairs = value.as_object().into_iter().flatten();
    pairs
        .map(|(name, pattern)| (name.to_ascii_lowercase(), pattern.clone()))
        .collect()
}

fn close_pattern(value: &Value) -> Result<ClosePattern, String> {
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

fn payload(value: &Value) -> Result<Payload, String> {
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

fn peer(value: &Value) -> Result<Option<std::net::SocketAddr>, String> {
    let Some(peer) = value.get("peer") else { return Ok(None) };
    let text = peer.as_str().ok_or("\"peer\" must be a string")?;
    text.parse()
        .map(Some)
        .map_err(|_| format!("{text:?} is no address with a port"))
}

fn array(value: &Value, at_least: usize) -> Result<&[Value], String> {
    let list = value.as_array().ok_or("takes an array")?;
    if list.len() < at_least {
        Err(format!("takes at least {at_least} items"))
    } else {
        Ok(list)
    }
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = text.chars().filter(|character| !character.is_whitespace()).collect();
    let pairs = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16));
    pairs
        .collect::<Result<_, _>>()
        .map_err(|why| format!("hex {text:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorthand_is_spelt_out() {
        let steps = steps(
            &[json!({"connect": {"params": {"client": {"id": "x"}, "auth": "$absent"}}})],
            "",
        )
        .unwrap();
        assert_eq!(steps.len(), 6);
        assert_eq!(steps[4].number, "1.5");
        let Action::Json(frame) = &steps[4].action else {
            panic!("the fifth step sends")
        };
        assert_eq!(
            frame["params"]["client"],
            json!({"id": "x", "version": "1", "platform": "test", "mode": "test"})
        );
        assert!(frame["params"].get("auth").is_none());
    }

    #[test]
    fn mistakes_name_the_step() {
        for (step, words) in [
            (json!({"open": true, "drop": true}), "one verb"),
            (json!({"fly": true}), "unknown verb \"fly\""),
            (json!({"sendHex": "zz"}), "hex"),
            (json!({"frame": {"opcode": 1, "colour": 2}}), "\"colour\""),
        ] {
            let why = steps(&[json!({"end": true}), step], "").unwrap_err();
            assert!(why.contains("step 2") && why.contains(words), "{why}");
        }
    }
}
