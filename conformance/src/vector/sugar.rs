//! Reads steps as they are written and spells their shorthand out: `connect`, `handshake`, `req`, `res`, `err`,
//! `refused` and the like become the primitive actions of [`Action`].

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::action::{Action, ClosePattern};
use super::parts::{
    array, close, close_pattern, frame, message, padded, patterns, payload, peer, request, response_pattern, unhex,
    upgrade,
};
use super::{Step, TOKEN, house, program, relay, upstream};

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
            .parts(&number)
            .map_err(|why| format!("step {number} ({value}): {why}"))?;
        let composite = actions.len() > 1;
        for (part, (on, action)) in actions.into_iter().enumerate() {
            all.push(Step {
                on,
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
        let usual = relay::usual_connection(verb).unwrap_or(usual);
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

    /// The actions that the step is, each with its connection.
    fn parts(&self, number: &str) -> Result<Vec<(String, Action)>, String> {
        if let Some(parts) = relay::composite(self.verb, &self.on, self.value)? {
            return Ok(parts);
        }
        let actions = self.actions(number)?.into_iter();
        Ok(actions.map(|action| (self.on.clone(), action)).collect())
    }

    fn actions(&self, number: &str) -> Result<Vec<Action>, String> {
        if let Some(actions) = self.composite(number)? {
            return Ok(actions);
        }
        self.sending()
            .transpose()
            .or_else(|| self.expecting().transpose())
            .or_else(|| self.world().transpose())
            .or_else(|| self.house().transpose())
            .or_else(|| relay::single(self.verb, self.value).transpose())
            .map_or_else(
                || Err(format!("unknown verb {:?}", self.verb)),
                |action| Ok(vec![action?]),
            )
    }

    fn composite(&self, number: &str) -> Result<Option<Vec<Action>>, String> {
        Ok(Some(match self.verb {
            "websocket" => opening(self.value)?,
            "handshake" => handshake(self.value)?,
            "respond" => upstream::respond(self.value)?,
            "serve" => upstream::serve(self.value)?,
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
            "text" => padded(1, self.string()?.to_owned(), self.pad_to),
            "binary" => padded(2, self.string()?.to_owned(), self.pad_to),
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
            "reset" => Action::Reset,
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
            "write" => {
                let (path, text) = self.two_texts()?;
                Action::Write { path, text }
            }
            "mode" => {
                let (path, mode) = self.two_texts()?;
                let mode = program::mode(&mode)?;
                Action::Mode { path, mode }
            }
            "remove" => Action::Remove(self.string()?.to_owned()),
            "run" => program::run(self.value)?,
            "restart" => Action::Restart,
            _ => return Ok(None),
        }))
    }

    fn house(&self) -> Result<Option<Action>, String> {
        Ok(Some(match self.verb {
            "drain" => Action::Drain(house::drain(self.value)?),
            "reload" => Action::Reload(self.value.as_object().ok_or("takes an object of settings")?.clone()),
            "expectExit" => {
                let code = self.value.as_i64().and_then(|code| i32::try_from(code).ok());
                Action::ExpectExit(code.ok_or("takes an exit code")?)
            }
            "expectDial" => Action::ExpectDial(upstream::dial(self.value)?),
            "expectNoDial" => Action::ExpectNoDial,
            "expectLookups" => Action::ExpectLookups(self.value.as_object().ok_or("takes an object")?.clone()),
            "expectRequest" => Action::ExpectRequest(upstream::request(self.value)?),
            "expectFile" => Action::ExpectFile(house::file(self.value)?),
            "expectLog" => house::log(self.value)?,
            "token" => Action::Token(self.string()?.to_owned()),
            "sign" => house::device(self.value)?,
            "mint" => Action::Mint(house::mint(self.value)?),
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
