//! Reads steps of relay vectors and spells their shorthand out: logins, devices, agents, sessions, calls and event streams.
//! Each part of a composite step names its own connection.

use serde_json::{Map, Value, json};

use super::action::{Action, Body, Jwt, Made, Request, Upgrade};
use super::parts::{headers, patterns, request, response_pattern};
use super::upstream::known;

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const OUT_OF_BAND: &str = "urn:ietf:wg:oauth:2.0:oob";

/// The connection that a step is about when it names none.
pub(super) fn usual_connection(verb: &str) -> Option<&'static str> {
    match verb {
        "agent" => Some("agent"),
        "events" | "event" | "comment" | "streamEnd" => Some("events"),
        _ => None,
    }
}

type Parts = Vec<(String, Action)>;

/// The parts of a composite step; `None`: it is none of these.
pub(super) fn composite(verb: &str, on: &str, value: &Value) -> Result<Option<Parts>, String> {
    let parts = match verb {
        "login" => login(value)?,
        "call" => call(value)?,
        "device" => device(value)?,
        "agent" => agent(value)?,
        "events" => events(value)?,
        "established" => return established(on, value).map(Some),
        _ => return Ok(None),
    };
    Ok(Some(parts.into_iter().map(|action| (on.to_owned(), action)).collect()))
}

/// A step that is one action; `None`: it is none of these.
pub(super) fn single(verb: &str, value: &Value) -> Result<Option<Action>, String> {
    Ok(Some(match verb {
        "jwt" => Action::Jwt(jwt(value)?),
        "jwtOf" => {
            known(value, &["token", "header", "claims"])?;
            let part = |key: &str| value.get(key).cloned().unwrap_or_else(|| json!("$any"));
            Action::JwtOf {
                token: text(value, "token").ok_or("a token is needed")?.to_owned(),
                header: part("header"),
                claims: part("claims"),
            }
        }
        "event" => Action::Event(event(value)),
        "comment" => Action::Comment(value.clone()),
        "streamEnd" => Action::StreamEnd,
        _ => return Ok(None),
    }))
}

/// `jwt`: a token that an Ed25519 key signs, or another one with one character changed.
fn jwt(value: &Value) -> Result<Jwt, String> {
    known(value, &["bind", "key", "sign", "header", "claims", "raw", "of", "flip"])?;
    let bind = text(value, "bind").ok_or("a token needs a name")?.to_owned();
    let part = |key: &str| value.get(key).cloned().unwrap_or_else(|| json!({}));
    let raw = value.get("raw").and_then(Value::as_array).map(Vec::as_slice);
    let made = match (text(value, "of"), raw) {
        (Some(of), _) => Made::Altered {
            of: of.to_owned(),
            at: value.get("flip").and_then(Value::as_i64).unwrap_or(-1),
        },
        (None, Some(raw)) if raw.len() != 2 => return Err("\"raw\" takes two texts: header and claims".into()),
        (None, raw) => Made::Signed {
            key: text(value, "key").unwrap_or("D").to_owned(),
            how: text(value, "sign").unwrap_or("eddsa").to_owned(),
            header: part("header"),
            claims: part("claims"),
            raw: raw.and_then(|raw| match raw {
                [Value::String(header), Value::String(claims)] => Some((header.clone(), claims.clone())),
                _ => None,
            }),
        },
    };
    Ok(Jwt { bind, made })
}

/// `login`: a user of demo mode by name, or an object with more about it.
fn login(value: &Value) -> Result<Vec<Action>, String> {
    known(value, &["as", "email", "name", "uid", "scope", "client"])?;
    let name = value
        .as_str()
        .or_else(|| text(value, "as"))
        .ok_or("a login needs a name")?;
    let email = format!("{name}@example.com");
    let mut who = json!({
        "response_type": "code", "response_mode": "json", "redirect_uri": OUT_OF_BAND,
        "code_challenge": CHALLENGE, "code_challenge_method": "S256",
    });
    let mut with = |key: &str, value: &str| who.as_object_mut().map(|who| who.insert(key.into(), value.into()));
    match text(value, "uid") {
        Some(uid) => with("demo_uid", uid),
        None => with("demo_email", text(value, "email").unwrap_or(&email)),
    };
    with("demo_name", text(value, "name").unwrap_or(name));
    with("scope", text(value, "scope").unwrap_or_default());
    with("client_id", text(value, "client").unwrap_or_default());
    let exchange = json!({
        "grant_type": "authorization_code", "code": format!("${{{name}.code}}"), "redirect_uri": OUT_OF_BAND,
        "code_verifier": VERIFIER, "client_id": text(value, "client").unwrap_or_default(),
    });
    let answers = json!({
        "$subset": true, "access_token": format!("$bind:{name}"), "refresh_token": format!("$bind:{name}.refresh"),
    });
    Ok(vec![
        post_form("/oauth/authorize", who),
        expect(200, &json!({"$subset": true, "code": format!("$bind:{name}.code")}))?,
        post_form("/oauth/token", exchange),
        expect(200, &answers)?,
        Action::Claims(name.to_owned()),
    ])
}

/// `call`: a request and the response to it.
fn call(value: &Value) -> Result<Vec<Action>, String> {
    const ASKED: [&str; 7] = ["as", "json", "form", "body", "headers", "bearer", "key"];
    const METHODS: [&str; 4] = ["get", "put", "post", "delete"];
    const ANSWERED: [&str; 7] = ["status", "is", "error", "text", "has", "contains", "lacks"];
    let keys: Vec<&str> = ASKED.iter().chain(&METHODS).chain(&ANSWERED).copied().collect();
    known(value, &keys)?;
    let method = METHODS.iter().find_map(|method| Some((*method, text(value, method)?)));
    let (method, target) = method.ok_or("a call needs \"get\", \"put\", \"post\" or \"delete\" with its path")?;
    let mut asked = picked(value, &["as", "json", "form", "body", "headers", "bearer"]);
    asked.insert("method".into(), method.to_uppercase().into());
    asked.insert("target".into(), target.into());
    let mut request = request(&Value::Object(asked))?;
    if let Some(key) = text(value, "key") {
        request.headers.push(("X-Idempotency-Key".into(), Some(key.into())));
    }
    let mut answered = picked(value, &["status", "text", "contains", "lacks"]);
    if let Some(is) = value.get("is") {
        answered.insert("json".into(), is.clone());
    }
    if let Some(error) = value.get("error") {
        answered.insert("json".into(), json!({"error": error}));
    }
    if let Some(has) = value.get("has") {
        answered.insert("headers".into(), has.clone());
    }
    Ok(vec![
        Action::Http(request),
        Action::Response(response_pattern(&Value::Object(answered))?),
    ])
}

/// `device`: registers the key with the name `identity` for a device.
fn device(value: &Value) -> Result<Vec<Action>, String> {
    known(value, &["as", "id", "identity", "name"])?;
    let (user, id) = (
        text(value, "as").unwrap_or("alice"),
        text(value, "id").unwrap_or("dev_01"),
    );
    let identity = text(value, "identity").unwrap_or("D");
    let mut body = json!({"algorithm": "ed25519", "public_key": format!("$ed25519:{identity}")});
    if let (Some(name), Some(body)) = (value.get("name"), body.as_object_mut()) {
        body.insert("display_name".into(), name.clone());
    }
    call(&json!({"as": user, "put": format!("/gateway/v1/devices/{id}/identity-key"), "json": body, "status": 204}))
}

/// `agent`: a device's socket, up to its transport token, which is bound to `AGENT.token`.
fn agent(value: &Value) -> Result<Vec<Action>, String> {
    known(value, &["as", "device", "name", "headers"])?;
    let (user, id) = (
        text(value, "as").unwrap_or("alice"),
        text(value, "device").unwrap_or("dev_01"),
    );
    let name = text(value, "name").unwrap_or("agent");
    let mut own = headers(value.get("headers"))?;
    own.push(bearer(user));
    let upgrade = Upgrade {
        target: format!("/gateway/v1/agent/connect?device_id={id}"),
        headers: own,
    };
    let init = json!({
        "type": "transport.init", "device_id": id, "connection_id": format!("$bind:{name}.connection"), "at": "$second",
        "transport_token": format!("$bind:{name}.token"), "expires_in": "$int",
    });
    Ok(vec![
        Action::Open { peer: None },
        Action::Upgrade(upgrade),
        Action::Switching { headers: Vec::new() },
        Action::Expect(json!({"type": "gateway.connected", "device_id": id, "at": "$second"})),
        Action::Expect(init),
    ])
}

/// `events`: a stream of events up to its first comment, on a connection of its own.
fn events(value: &Value) -> Result<Vec<Action>, String> {
    known(value, &["as", "session", "target", "after", "headers", "has"])?;
    let session = text(value, "session").unwrap_or("s-01");
    let usual = format!("/gateway/v1/sessions/{session}/events");
    let mut own = headers(value.get("headers"))?;
    own.push(bearer(text(value, "as").unwrap_or("alice")));
    if let Some(after) = text(value, "after") {
        own.push(("Last-Event-ID".into(), Some(after.into())));
    }
    let request = Request {
        method: "GET".into(),
        target: text(value, "target").unwrap_or(&usual).to_owned(),
        headers: own,
        body: Body::Text(String::new()),
    };
    let has = value.get("has").map(patterns).unwrap_or_default();
    Ok(vec![
        Action::Open { peer: None },
        Action::Http(request),
        Action::Streaming { headers: has },
        Action::Comment(json!("connected")),
    ])
}

/// `established`: a session that its agent has acknowledged: client-init, the request to the agent, agent-ack over HTTP.
fn established(on: &str, value: &Value) -> Result<Parts, String> {
    const KEYS: [&str; 9] = [
        "as",
        "owner",
        "device",
        "agent",
        "session",
        "handshake",
        "client",
        "nonce",
        "key",
    ];
    known(value, &KEYS)?;
    let of = |key: &str, usual: &str| text(value, key).unwrap_or(usual).to_owned();
    let (user, device, agent) = (of("as", "alice"), of("device", "dev_01"), of("agent", "agent"));
    let (session, handshake, nonce) = (of("session", "s-01"), of("handshake", "h-01"), of("nonce", "nonce-1"));
    let (client, key) = (of("client", "C"), of("key", "A"));
    let init = json!({
        "device_id": device, "handshake_id": handshake, "client_session_nonce": nonce,
        "client_ephemeral_public_key": format!("$x25519:{client}"),
    });
    let proof = json!({"session": session, "handshake": handshake, "client": client, "nonce": nonce, "agent": key});
    let ack = json!({"device_id": device, "handshake_id": handshake, "$proof": proof});
    let path = |end: &str| format!("/gateway/v1/sessions/{session}/handshake/{end}");
    let mut parts: Parts = Vec::new();
    let mut told = |actions: Vec<Action>| parts.extend(actions.into_iter().map(|action| (on.to_owned(), action)));
    told(call(&json!({
        "as": user, "post": path("client-init"), "json": init, "status": 202,
        "is": {"$subset": true, "status": "pending_agent_ack"}
    }))?);
    let acked = call(&json!({
        "as": of("owner", &user), "post": path("agent-ack"), "json": ack, "status": 202,
        "is": {"$subset": true, "status": "agent_acknowledged"}
    }))?;
    let request = json!({"$subset": true, "type": "session.handshake.request", "session_id": session});
    parts.push((agent, Action::Expect(request)));
    parts.extend(acked.into_iter().map(|action| (on.to_owned(), action)));
    Ok(parts)
}

/// What an event must be; one of a session when it is not said otherwise.
fn event(value: &Value) -> Value {
    let mut pattern = match value {
        Value::Object(map) if ["id", "event", "data"].iter().any(|key| map.contains_key(*key)) => map.clone(),
        data => [("data".to_owned(), data.clone())].into_iter().collect(),
    };
    let name = pattern.entry("event").or_insert_with(|| json!("session.event"));
    let id = if name == "session.event" { "$digits" } else { "$absent" };
    pattern.entry("id").or_insert_with(|| json!(id));
    Value::Object(pattern)
}

/// The header with the token of a user's login.
pub(super) fn bearer(user: &str) -> (String, Option<String>) {
    ("Authorization".into(), Some(format!("Bearer ${{{user}}}")))
}

fn post_form(target: &str, form: Value) -> Action {
    Action::Http(Request {
        method: "POST".into(),
        target: target.into(),
        headers: Vec::new(),
        body: Body::Form(match form {
            Value::Object(map) => map,
            _ => Map::new(),
        }),
    })
}

fn expect(status: u16, json: &Value) -> Result<Action, String> {
    response_pattern(&json!({"status": status, "json": json})).map(Action::Response)
}

fn picked(value: &Value, keys: &[&str]) -> Map<String, Value> {
    let members = value.as_object().into_iter().flatten();
    let members = members.filter(|(key, _)| keys.contains(&key.as_str()));
    members.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}
