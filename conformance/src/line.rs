//! One client connection of a vector: turns actions into bytes and bytes into what the vector expects.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::answering;
use crate::client::frames::{self, Arrival, Frames};
use crate::client::requests;
use crate::client::responses::{self, Response};
use crate::client::sse::{self, Events};
use crate::pattern::Bindings;
use crate::vector::{Action, ClosePattern, Payload, Request, ResponsePattern, Upgrade};
use crate::world::Taken;

/// The `Host` header of every request that does not bring its own.
const HOST: &str = "127.0.0.1:18789";
/// The key of RFC 6455 section 1.3 and the answer to it that the RFC gives.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The state of one connection, seen from the client.
#[derive(Debug)]
pub(crate) struct Line {
    buffer: Vec<u8>,
    /// Frames are read from here on; before, HTTP.
    frames: Option<Frames>,
    arrivals: VecDeque<Arrival>,
    /// Server-sent events are read from here on.
    events: Option<Events>,
    ended: bool,
    told_end: bool,
    manners: bool,
    close_sent: bool,
    skip_ticks: bool,
}

impl Line {
    /// A connection that was just opened.
    #[must_use]
    pub(crate) fn new(skip_ticks: bool) -> Self {
        Self {
            buffer: Vec::new(),
            frames: None,
            arrivals: VecDeque::new(),
            events: None,
            ended: false,
            told_end: false,
            manners: true,
            close_sent: false,
            skip_ticks,
        }
    }

    /// The bytes that an action sends; `None` when it sends nothing.
    ///
    /// # Errors
    /// When the action refers to something that was never bound.
    pub(crate) fn outgoing(&mut self, action: &Action, bindings: &Bindings) -> Result<Option<Vec<u8>>, String> {
        Ok(Some(match action {
            Action::Send(bytes) => match str::from_utf8(bytes) {
                Ok(text) if text.starts_with("$repeat:") || text.contains("${") => {
                    bindings.fill_text(text).into_bytes()
                }
                _ => bytes.clone(),
            },
            Action::Http(request) => http_request(request, bindings)?,
            Action::Respond(respond) => answering::response(respond, bindings)?,
            Action::Upgrade(upgrade) => bindings.fill_text(&upgrade_request(upgrade)).into_bytes(),
            Action::Json(value) => frames::client_frame(1, bindings.fill(value)?.to_string().as_bytes()),
            Action::Frame(frame) => {
                let mut payload = match &frame.payload {
                    Payload::Text(text) => bindings.fill_text(text).into_bytes(),
                    Payload::Bytes(bytes) => bytes.clone(),
                };
                payload.resize(payload.len().max(frame.pad_to), b' ');
                self.close_sent |= frame.opcode == 8;
                let first = if frame.fin { 0x80 } else { 0 } | frame.rsv << 4 | frame.opcode;
                frames::encode(first, &payload, frame.masked, frame.length, frame.length_bits)
            }
            Action::Manners(manners) => {
                self.manners = *manners;
                Vec::new()
            }
            _ => return Ok(None),
        }))
    }

    /// Takes in what has come; returns the replies that a client with manners owes.
    ///
    /// # Errors
    /// Says which rule of RFC 6455 the server broke.
    pub(crate) fn incoming(&mut self, taken: Taken) -> Result<Vec<u8>, String> {
        self.buffer.extend(taken.bytes);
        self.ended |= taken.ended;
        if let Some(events) = &mut self.events {
            events.take(&mut self.buffer)?;
        }
        let mut replies = Vec::new();
        while let Some(frames) = &mut self.frames {
            let Some(arrival) = frames.next(&mut self.buffer)? else {
                break;
            };
            match &arrival {
                Arrival::Ping(payload) if self.manners => replies.extend(frames::client_frame(10, payload)),
                Arrival::Close(code, _) if self.manners && !self.close_sent => {
                    self.close_sent = true;
                    let code = code.map(u16::to_be_bytes);
                    replies.extend(frames::client_frame(8, code.as_ref().map_or(&[], <[u8; 2]>::as_slice)));
                }
                _ => {}
            }
            if !(self.skip_ticks && is_tick(&arrival)) {
                self.arrivals.push_back(arrival);
            }
        }
        Ok(replies)
    }

    /// Whether what the action expects has come: `None` when it has not come yet.
    pub(crate) fn expected(&mut self, action: &Action, bindings: &mut Bindings) -> Option<Result<(), String>> {
        match action {
            Action::Response(pattern) => self
                .response(pattern.head)
                .map(|came| came.and_then(|came| check_response(pattern, &came, bindings))),
            Action::Switching { headers } => self.switching(headers, bindings),
            Action::ExpectRequest(pattern) => match requests::next(&mut self.buffer) {
                Ok(came) => came.map(|came| answering::check(pattern, &came, bindings)),
                Err(why) => Some(Err(why)),
            },
            Action::Expect(pattern) => self.message().map(|arrival| check_json(pattern, &arrival, bindings)),
            Action::ExpectMessage { text, payload } => self
                .message()
                .map(|arrival| check_message(*text, payload, &arrival, bindings)),
            Action::ExpectControl { ping, payload } => self
                .control(*ping)
                .map(|arrival| check_control(payload.as_deref(), &arrival)),
            Action::ExpectClose(pattern) => self.message().map(|arrival| check_close(pattern, &arrival)),
            Action::End => self.end(),
            Action::Streaming { headers } => self.streaming(headers, bindings),
            Action::Event(pattern) => self.event(pattern, bindings),
            Action::Comment(pattern) => self.comment(pattern, bindings),
            Action::StreamEnd => self.stream_end(),
            _ => Some(Err("this step neither sends nor expects".into())),
        }
    }

    /// Takes one `agent.stream` event and adds its chunk to `so_far`.
    pub(crate) fn chunk(
        &mut self,
        run: &Value,
        stream: &str,
        so_far: &mut String,
        bindings: &mut Bindings,
    ) -> Option<Result<(), String>> {
        let arrival = self.message()?;
        let payload = json!({"runId": run, "stream": stream, "chunk": "$bind:chunk"});
        let pattern = json!({"type": "event", "event": "agent.stream", "payload": payload});
        Some(check_json(&pattern, &arrival, bindings).and_then(|()| {
            let chunk = bindings.fill(&json!("$ref:chunk"))?;
            chunk
                .as_str()
                .map(|chunk| so_far.push_str(chunk))
                .ok_or_else(|| format!("the chunk is {chunk}, no string"))
        }))
    }

    fn response(&mut self, head: bool) -> Option<Result<Response, String>> {
        responses::next(&mut self.buffer, head, self.ended).transpose()
    }

    fn switching(&mut self, headers: &[(String, Value)], bindings: &mut Bindings) -> Option<Result<(), String>> {
        let response = match self.response(false)? {
            Ok(response) => response,
            Err(why) => return Some(Err(why)),
        };
        let mut patterns = vec![
            ("upgrade".to_owned(), json!("websocket")),
            ("connection".to_owned(), json!("Upgrade")),
            ("sec-websocket-accept".to_owned(), json!(ACCEPT)),
            ("sec-websocket-extensions".to_owned(), json!("$absent")),
        ];
        patterns.retain(|(name, _)| !headers.iter().any(|header| header.0 == *name));
        patterns.extend_from_slice(headers);
        let pattern = ResponsePattern {
            status: 101,
            headers: patterns,
            json: None,
            text: None,
            head: true,
            contains: Vec::new(),
            lacks: Vec::new(),
        };
        let verdict = check_response(&pattern, &response, bindings);
        self.frames = Some(Frames::default());
        // Frames may have come in the same segment.
        Some(verdict.and_then(|()| self.incoming(Taken::default()).map(drop)))
    }

    fn streaming(&mut self, headers: &[(String, Value)], bindings: &mut Bindings) -> Option<Result<(), String>> {
        let response = match self.response(true)? {
            Ok(response) => response,
            Err(why) => return Some(Err(why)),
        };
        let usual = [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache"),
            ("x-accel-buffering", "no"),
            ("transfer-encoding", "chunked"),
        ];
        let usual = usual.map(|(name, value)| (name.to_owned(), json!(value)));
        let pattern = ResponsePattern {
            status: 200,
            headers: [&usual, headers].concat(),
            json: None,
            text: None,
            head: true,
            contains: Vec::new(),
            lacks: Vec::new(),
        };
        let verdict = check_response(&pattern, &response, bindings);
        self.events = Some(Events::default());
        // Events may have come in the same segment.
        Some(verdict.and_then(|()| self.incoming(Taken::default()).map(drop)))
    }

    /// The next arrival on the stream of events.
    fn streamed(&mut self, passes: impl Fn(&sse::Arrival) -> bool) -> Option<Result<sse::Arrival, String>> {
        let Some(events) = &mut self.events else {
            return Some(Err("there is no stream of events on this connection".into()));
        };
        while events.arrivals.front().is_some_and(&passes) {
            events.arrivals.pop_front();
        }
        match events.arrivals.pop_front() {
            Some(arrival) => Some(Ok(arrival)),
            None => events.ended.then(|| Err("the stream has ended".into())),
        }
    }

    fn event(&mut self, pattern: &Value, bindings: &mut Bindings) -> Option<Result<(), String>> {
        let arrival = self.streamed(is_heartbeat)?;
        Some(arrival.and_then(|arrival| check_event(pattern, &arrival, bindings)))
    }

    fn comment(&mut self, pattern: &Value, bindings: &mut Bindings) -> Option<Result<(), String>> {
        Some(match self.streamed(|_| false)? {
            Ok(sse::Arrival::Comment(text)) => bindings.check(pattern, &json!(text)),
            Ok(other) => Err(format!("expected the comment {pattern}, came {other}")),
            Err(why) => Err(why),
        })
    }

    fn stream_end(&mut self) -> Option<Result<(), String>> {
        match self.streamed(is_heartbeat) {
            Some(Ok(came)) => Some(Err(format!("expected the end of the stream of events, came {came}"))),
            Some(Err(why)) => match self.events.take() {
                Some(_) => Some(Ok(())),
                None => Some(Err(why)),
            },
            None => None,
        }
    }

    /// The next arrival that is no ping or pong which the client deals with by itself.
    fn message(&mut self) -> Option<Arrival> {
        while let Some(arrival) = self.arrivals.pop_front() {
            if !(self.manners && matches!(arrival, Arrival::Ping(_))) {
                return Some(arrival);
            }
        }
        None
    }

    /// The next arrival, unless it is a ping and a pong is expected.
    fn control(&mut self, ping: bool) -> Option<Result<Vec<u8>, String>> {
        while let Some(arrival) = self.arrivals.pop_front() {
            match arrival {
                Arrival::Ping(payload) if ping => return Some(Ok(payload)),
                Arrival::Pong(payload) if !ping => return Some(Ok(payload)),
                Arrival::Ping(_) if self.manners => {}
                other => {
                    return Some(Err(format!(
                        "expected a {}, came {other}",
                        if ping { "ping" } else { "pong" }
                    )));
                }
            }
        }
        None
    }

    fn end(&mut self) -> Option<Result<(), String>> {
        match self.pending() {
            Some(came) => Some(Err(format!("expected the end of the stream, came {came}"))),
            None => self.ended.then_some(Ok(())),
        }
    }

    /// Something that has come and was not expected yet, in words.
    pub(crate) fn pending(&mut self) -> Option<String> {
        if self.manners {
            self.arrivals.retain(|arrival| !matches!(arrival, Arrival::Ping(_)));
        }
        let events = self.events.as_ref().is_some_and(|events| !events.arrivals.is_empty());
        let anything = events || !self.arrivals.is_empty() || !self.buffer.is_empty();
        anything.then(|| self.unread())
    }

    /// What has come and was not expected yet, in words.
    #[must_use]
    pub(crate) fn unread(&self) -> String {
        let mut parts: Vec<String> = self.arrivals.iter().take(3).map(ToString::to_string).collect();
        if self.arrivals.len() > 3 {
            parts.push(format!("{} more messages", self.arrivals.len() - 3));
        }
        let events = self.events.iter().flat_map(|events| &events.arrivals);
        parts.extend(events.take(3).map(ToString::to_string));
        if !self.buffer.is_empty() {
            parts.push(format!(
                "bytes {:?}",
                String::from_utf8_lossy(self.buffer.get(..300).unwrap_or(&self.buffer))
            ));
        }
        if self.ended {
            parts.push("the end of the stream".into());
        }
        if parts.is_empty() {
            "nothing".into()
        } else {
            parts.join("; ")
        }
    }

    /// Whether nothing further will come and everything was looked at.
    #[must_use]
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the end has come since this was last asked.
    pub(crate) fn just_ended(&mut self) -> bool {
        self.ended && !std::mem::replace(&mut self.told_end, self.ended)
    }
}

fn is_tick(arrival: &Arrival) -> bool {
    matches!(arrival, Arrival::Text(text) if serde_json::from_str::<Value>(text).is_ok_and(|frame| frame.get("event") == Some(&json!("tick"))))
}

fn check_json(pattern: &Value, arrival: &Arrival, bindings: &mut Bindings) -> Result<(), String> {
    let Arrival::Text(text) = arrival else {
        return Err(format!("expected {pattern}, came {arrival}"));
    };
    let value: Value = serde_json::from_str(text).map_err(|why| format!("what came is no JSON ({why}): {text}"))?;
    bindings
        .check(pattern, &value)
        .map_err(|why| format!("{why}\n    expected {pattern}\n    came     {text}"))
}

fn is_heartbeat(arrival: &sse::Arrival) -> bool {
    matches!(arrival, sse::Arrival::Comment(text) if text == "heartbeat")
}

fn check_event(pattern: &Value, arrival: &sse::Arrival, bindings: &mut Bindings) -> Result<(), String> {
    let sse::Arrival::Event { id, name, data } = arrival else {
        return Err(format!("expected the event {pattern}, came {arrival}"));
    };
    let data: Value = serde_json::from_str(data).map_err(|why| format!("the data is no JSON ({why}): {data}"))?;
    let mut came = json!({"event": name, "data": data});
    if let (Some(id), Some(came)) = (id, came.as_object_mut()) {
        came.insert("id".into(), json!(id));
    }
    bindings
        .check(pattern, &came)
        .map_err(|why| format!("{why}\n    expected {pattern}\n    came     {came}"))
}

fn check_message(text: bool, payload: &Payload, arrival: &Arrival, bindings: &Bindings) -> Result<(), String> {
    let expected = match payload {
        Payload::Text(text) => bindings.fill_text(text).into_bytes(),
        Payload::Bytes(bytes) => bytes.clone(),
    };
    let came = match arrival {
        Arrival::Text(came) if text => came.as_bytes(),
        Arrival::Binary(came) if !text => came,
        other => {
            return Err(format!(
                "expected a {} message, came {other}",
                if text { "text" } else { "binary" }
            ));
        }
    };
    if came == expected {
        return Ok(());
    }
    let show = |bytes: &[u8]| String::from_utf8_lossy(bytes.get(..200).unwrap_or(bytes)).into_owned();
    Err(format!(
        "expected {} bytes {:?}, came {} bytes {:?}",
        expected.len(),
        show(&expected),
        came.len(),
        show(came)
    ))
}

fn check_control(payload: Option<&str>, came: &Result<Vec<u8>, String>) -> Result<(), String> {
    let came = came.as_ref().map_err(Clone::clone)?;
    match payload {
        Some(payload) if payload.as_bytes() != came => Err(format!(
            "expected the payload {payload:?}, came {:?}",
            String::from_utf8_lossy(came)
        )),
        _ => Ok(()),
    }
}

fn check_close(pattern: &ClosePattern, arrival: &Arrival) -> Result<(), String> {
    match arrival {
        Arrival::Close(code, reason)
            if *code == pattern.code && pattern.reason.as_ref().is_none_or(|text| text == reason) =>
        {
            Ok(())
        }
        came => Err(format!(
            "expected {}, came {came}",
            Arrival::Close(pattern.code, pattern.reason.clone().unwrap_or_default())
        )),
    }
}

fn check_response(pattern: &ResponsePattern, came: &Response, bindings: &mut Bindings) -> Result<(), String> {
    let described = |why: String| format!("{why}\n    came     {came}");
    if came.status != pattern.status {
        return Err(described(format!(
            "expected status {}, came {}",
            pattern.status, came.status
        )));
    }
    for (name, value) in &pattern.headers {
        let header = came.header(name).map(Value::String);
        let (pattern, actual) = (
            json!({ name.as_str(): value }),
            match header {
                Some(header) => json!({ name.as_str(): header }),
                None => json!({}),
            },
        );
        bindings
            .check(&pattern, &actual)
            .map_err(|why| described(format!("header {why}")))?;
    }
    if let Some(pattern) = &pattern.json {
        let body =
            serde_json::from_slice(&came.body).map_err(|why| described(format!("the body is no JSON: {why}")))?;
        bindings
            .check(pattern, &body)
            .map_err(|why| described(format!("body: {why}")))?;
    }
    let body = String::from_utf8_lossy(&came.body);
    let text = |text: &String| bindings.fill_text(text);
    if let Some(missing) = pattern.contains.iter().find(|part| !body.contains(&text(part))) {
        return Err(described(format!("{missing:?} is not in the body")));
    }
    if let Some(there) = pattern.lacks.iter().find(|part| body.contains(&text(part))) {
        return Err(described(format!("{there:?} is in the body")));
    }
    let Some(text) = &pattern.text else { return Ok(()) };
    bindings
        .check(&json!(text), &json!(body))
        .map_err(|why| described(format!("body: {why}")))
}

fn http_request(request: &Request, bindings: &Bindings) -> Result<Vec<u8>, String> {
    let (body, kind) = answering::body(&request.body, bindings)?;
    let length = (!body.is_empty()).then(|| body.len().to_string());
    let usual = [
        ("Host", Some(HOST)),
        ("Content-Length", length.as_deref()),
        ("Content-Type", kind),
    ];
    let target = bindings.fill_text(&request.target);
    let head = bindings.fill_text(&head(&request.method, &target, &usual, &request.headers));
    Ok([head.as_bytes(), &body].concat())
}

fn upgrade_request(upgrade: &Upgrade) -> String {
    let usual = [
        ("Host", Some(HOST)),
        ("Upgrade", Some("websocket")),
        ("Connection", Some("Upgrade")),
        ("Sec-WebSocket-Key", Some(KEY)),
        ("Sec-WebSocket-Version", Some("13")),
    ];
    head("GET", &upgrade.target, &usual, &upgrade.headers)
}

fn head(method: &str, target: &str, usual: &[(&str, Option<&str>)], own: &[(String, Option<String>)]) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    for (name, value) in usual {
        if let (Some(value), false) = (value, own.iter().any(|header| header.0.eq_ignore_ascii_case(name))) {
            text += &format!("{name}: {value}\r\n");
        }
    }
    for (name, value) in own {
        if let Some(value) = value {
            text += &format!("{name}: {value}\r\n");
        }
    }
    text + "\r\n"
}
