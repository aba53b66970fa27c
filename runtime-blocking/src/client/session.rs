//! One session with a gateway: challenge, `connect`, then requests one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_core::random::Random;
use portcullis_core::secret::Secret;
use rustls::ClientConfig;
use serde_json::{Value, json};
use tungstenite::handshake::HandshakeError;
use tungstenite::{Message, WebSocket};

use super::error::{ClientError, from_websocket, printable};
use super::link::Link;
use super::url::GatewayUrl;

/// How to connect.
pub struct ConnectOptions {
    /// The shared token, if the gateway wants one.
    pub token: Option<Secret>,
    /// From the first packet to the gateway's hello.
    pub timeout: Duration,
    /// What to be allowed.
    pub scope: Scope,
    /// What TLS trusts; `None`: the public web's anchors.
    pub tls: Option<Arc<ClientConfig>>,
}

/// What a session asks to be allowed: no more than its request needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// `operator.read`
    Read,
    /// `operator.write`
    Write,
    /// `operator.admin`
    Admin,
}

impl Scope {
    /// What `method` needs; a method that is not known here may need everything.
    #[must_use]
    pub fn of_method(method: &str) -> Self {
        match method {
            "health" | "agent.list" | "session.list" | "session.history" => Self::Read,
            "agent.run" | "agent.cancel" => Self::Write,
            _ => Self::Admin,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Read => "operator.read",
            Self::Write => "operator.write",
            Self::Admin => "operator.admin",
        }
    }
}

/// A connected, authenticated client.
pub struct Client {
    websocket: WebSocket<Link>,
    /// A gateway sends something at least this often; after silence this long it is taken for dead.
    silence: Duration,
    /// Names requests: a run is named by its request, so no two clients may use the same names.
    random: Random,
}

impl Client {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// Why it did not work.
    pub fn connect(url: &GatewayUrl, options: &ConnectOptions) -> Result<Self, ClientError> {
        let until = deadline(options.timeout);
        let seed = crate::entropy::seed().map_err(|error| ClientError::Unreachable(error.to_string()))?;
        let link = Link::open(url, options.tls.clone(), until)?;
        let websocket = match tungstenite::client(url.to_string(), link) {
            Ok((websocket, _)) => websocket,
            Err(HandshakeError::Failure(error)) => return Err(from_websocket(error, "the WebSocket upgrade")),
            Err(HandshakeError::Interrupted(_)) => return Err(ClientError::TimedOut("the WebSocket upgrade")),
        };
        let mut client = Self {
            websocket,
            silence: Duration::from_secs(90),
            random: Random::new(seed),
        };
        let nonce = client.challenge()?;
        let hello = client.exchange(
            "connect",
            Some(connect_params(options, &nonce)),
            Some(until),
            "the hello",
            &mut |_| {},
        )?;
        if hello.get("type").and_then(Value::as_str) != Some("hello-ok") || hello.get("protocol") != Some(&json!(1)) {
            return Err(ClientError::NotAGateway("its hello is not of protocol 1".into()));
        }
        if let Some(tick) = hello.pointer("/policy/tickIntervalMs").and_then(Value::as_u64) {
            client.silence = Duration::from_millis(tick.min(86_400_000))
                .saturating_mul(3)
                .max(Duration::from_secs(30));
        }
        Ok(client)
    }

    /// Sends a request and waits for its response, at most `timeout` long when one is given. `on_frame` sees every frame
    /// that comes meanwhile, the response included.
    ///
    /// # Errors
    /// The gateway's refusal, or why no answer came.
    pub fn request(
        &mut self,
        method: &str,
        params: Option<Value>,
        timeout: Option<Duration>,
        on_frame: &mut dyn FnMut(&Value),
    ) -> Result<Value, ClientError> {
        self.exchange(method, params, timeout.map(deadline), "the answer", on_frame)
    }

    /// Says goodbye. The gateway's own goodbye is not waited for.
    pub fn close(mut self) {
        self.websocket
            .get_mut()
            .set_deadline(Some(deadline(Duration::from_secs(1))));
        // Whether it arrives or not, this end is done.
        let _ = self.websocket.close(None);
        let _ = self.websocket.flush();
    }

    fn challenge(&mut self) -> Result<String, ClientError> {
        let frame = self.frame("the challenge")?;
        let is_challenge = frame.get("event").and_then(Value::as_str) == Some("connect.challenge");
        let nonce = frame
            .pointer("/payload/nonce")
            .and_then(Value::as_str)
            .filter(|_| is_challenge);
        nonce
            .map(str::to_owned)
            .ok_or_else(|| ClientError::NotAGateway("its first frame is not connect.challenge".into()))
    }

    fn exchange(
        &mut self,
        method: &str,
        params: Option<Value>,
        until: Option<Instant>,
        what: &'static str,
        on_frame: &mut dyn FnMut(&Value),
    ) -> Result<Value, ClientError> {
        let id = self.random.uuid();
        let mut request = json!({"type": "req", "id": id, "method": method});
        if let (Some(params), Value::Object(fields)) = (params, &mut request) {
            fields.insert("params".into(), params);
        }
        self.set_deadline(until);
        self.websocket
            .send(Message::text(request.to_string()))
            .map_err(|error| from_websocket(error, what))?;
        loop {
            self.set_deadline(until);
            let frame = self.frame(what)?;
            let is_response = frame.get("type").and_then(Value::as_str) == Some("res");
            let its_id = frame.get("id").and_then(Value::as_str);
            on_frame(&frame);
            if is_response && (its_id == Some(&id) || its_id == Some("invalid")) {
                return response(frame);
            }
        }
    }

    /// The deadline given, or else that of a gateway that has gone silent.
    fn set_deadline(&mut self, until: Option<Instant>) {
        let until = until.unwrap_or_else(|| deadline(self.silence));
        self.websocket.get_mut().set_deadline(Some(until));
    }

    fn frame(&mut self, what: &'static str) -> Result<Value, ClientError> {
        loop {
            let text = match self.websocket.read().map_err(|error| from_websocket(error, what))? {
                Message::Text(text) => text,
                Message::Binary(bytes) => bytes.try_into().map_err(|_| not_json())?,
                Message::Close(frame) => {
                    let code = frame.as_ref().map_or(1005, |frame| frame.code.into());
                    let reason = frame.map(|frame| printable(&frame.reason)).unwrap_or_default();
                    return Err(ClientError::Closed {
                        code: Some(code),
                        reason,
                    });
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            let frame: Value = serde_json::from_str(&text).map_err(|_| not_json())?;
            return if frame.is_object() { Ok(frame) } else { Err(not_json()) };
        }
    }
}

fn not_json() -> ClientError {
    ClientError::NotAGateway("it sent a message that is no JSON object".into())
}

fn response(mut frame: Value) -> Result<Value, ClientError> {
    match frame.get("ok").and_then(Value::as_bool) {
        Some(true) => Ok(frame.get_mut("payload").map(Value::take).unwrap_or_default()),
        Some(false) => {
            let error = frame.get("error");
            let text = |name| {
                error
                    .and_then(|error| error.get(name))
                    .and_then(Value::as_str)
                    .map(printable)
            };
            let retry_after = error
                .and_then(|error| error.get("retryAfterMs"))
                .and_then(Value::as_u64);
            Err(ClientError::Refused {
                code: text("code").unwrap_or_else(|| "UNKNOWN".into()),
                message: text("message").unwrap_or_else(|| "the gateway gave no reason".into()),
                retry_after: retry_after.map(Duration::from_millis),
            })
        }
        None => Err(ClientError::NotAGateway("its response has no ok".into())),
    }
}

fn connect_params(options: &ConnectOptions, nonce: &str) -> Value {
    let mut client = json!({
        "id": "portcullis-cli",
        "version": env!("CARGO_PKG_VERSION"),
        "platform": std::env::consts::OS,
        "mode": "cli",
    });
    let mut params = json!({
        "minProtocol": 1,
        "maxProtocol": 1,
        "role": "operator",
        "scopes": [options.scope.name()],
        "nonce": nonce,
    });
    if let (Some(machine), Value::Object(fields)) = (machine_name(), &mut client) {
        fields.insert("instanceId".into(), machine.into());
    }
    if let Value::Object(fields) = &mut params {
        fields.insert("client".into(), client);
        if let Some(token) = &options.token {
            fields.insert("auth".into(), json!({"token": token.reveal()}));
        }
    }
    params
}

/// The machine's name: a second call from here with the same idempotencyKey is then the same caller's.
fn machine_name() -> Option<String> {
    let name: String = rustix::system::uname()
        .nodename()
        .to_str()
        .ok()?
        .trim()
        .chars()
        .take(60)
        .collect();
    Some(name).filter(|name| !name.is_empty())
}

/// The point in time `timeout` from now; a time-out too long to count is a year.
fn deadline(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout)
        .unwrap_or_else(|| now + Duration::from_secs(365 * 86_400))
}
