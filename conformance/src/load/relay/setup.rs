//! What comes before the messages: a login, a device, its agent's connection, a handshake, an event stream; on blocking
//! sockets, one after the other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::load::link;

/// The verifier and the challenge of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// How long the relay may take to be ready.
const START: Duration = Duration::from_secs(10);
const REDIRECT: &str = "http://localhost:61696/callback";
/// A point that is nobody's key and not of low order: nothing is ever sealed with it.
const EPHEMERAL: [u8; 32] = {
    let mut point = [0; 32];
    point[0] = 9;
    point
};

/// An agent's connection: what it was sent beyond its first frames is in the buffer.
#[derive(Debug)]
pub(super) struct AgentLink {
    pub(super) stream: TcpStream,
    pub(super) buffer: Vec<u8>,
    pub(super) token: String,
}

/// A client's names of its session.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) session: String,
    pub(super) handshake: String,
    pub(super) conversation: String,
}

/// Who a device belongs to, and its key.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) id: String,
    pub(super) access: String,
    key: SigningKey,
}

/// Waits until the relay has read its records.
pub(super) fn ready(address: SocketAddr) -> Result<(), String> {
    let until = Instant::now() + START;
    loop {
        match call(&mut link::open(address)?, address, ("GET", "/readyz"), None, "") {
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            answered => return answered.map(drop),
        }
    }
}

/// Logs a user in; the access token.
pub(super) fn login(address: SocketAddr, user: &str) -> Result<String, String> {
    let mut stream = link::open(address)?;
    let asked = format!(
        "/oauth/authorize?response_mode=json&redirect_uri={REDIRECT}&code_challenge={CHALLENGE}\
         &code_challenge_method=S256&demo_email={user}@example.com&demo_name={user}"
    );
    let answer = call(&mut stream, address, ("GET", &asked), None, "")?;
    let code = text(&answer, "code")?;
    let form = format!("grant_type=authorization_code&code={code}&redirect_uri={REDIRECT}&code_verifier={VERIFIER}");
    text(
        &call(&mut stream, address, ("POST", "/oauth/token"), None, &form)?,
        "access_token",
    )
}

impl Device {
    /// Registers a device with its key.
    pub(super) fn register(
        stream: &mut TcpStream,
        address: SocketAddr,
        id: String,
        access: &str,
    ) -> Result<Self, String> {
        let key = SigningKey::from_bytes(&Sha256::digest(id.as_bytes()).into());
        let body = json!({ "public_key": STANDARD.encode(key.verifying_key().as_bytes()) }).to_string();
        let path = format!("/gateway/v1/devices/{id}/identity-key");
        call(stream, address, ("PUT", &path), Some(access), &body)?;
        let access = access.to_owned();
        Ok(Self { id, access, key })
    }

    /// Connects its agent.
    pub(super) fn connect(&self, address: SocketAddr) -> Result<AgentLink, String> {
        let mut stream = link::open(address)?;
        let head = format!(
            "GET /gateway/v1/agent/connect?device_id={} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
             Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n",
            self.id, self.access
        );
        stream.write_all(head.as_bytes()).map_err(|error| error.to_string())?;
        let mut buffer = Vec::new();
        link::skip_head(&mut stream, &mut buffer)?;
        loop {
            let frame = link::next_text(&mut stream, &mut buffer)?;
            let frame: Value = serde_json::from_slice(&frame).map_err(|error| error.to_string())?;
            if frame.get("type").is_some_and(|kind| kind == "transport.init") {
                let token = text(&frame, "transport_token")?;
                return Ok(AgentLink { stream, buffer, token });
            }
        }
    }

    /// A handshake of this device's owner with its agent.
    pub(super) fn shake(
        &self,
        client: &mut TcpStream,
        address: SocketAddr,
        agent: &mut AgentLink,
    ) -> Result<Names, String> {
        let names = Names {
            session: format!("s-{}", self.id),
            handshake: format!("h-{}", self.id),
            conversation: format!("conv_s-{}", self.id),
        };
        let (ephemeral, nonce) = (STANDARD.encode(EPHEMERAL), STANDARD.encode([7; 24]));
        let access = Some(self.access.as_str());
        let body = json!({
            "device_id": self.id, "handshake_id": names.handshake, "conversation_id": names.conversation,
            "client_ephemeral_public_key": ephemeral, "client_session_nonce": nonce,
        });
        let path = |last: &str| format!("/gateway/v1/sessions/{}/handshake/{last}", names.session);
        call(
            client,
            address,
            ("POST", &path("client-init")),
            access,
            &body.to_string(),
        )?;
        link::next_text(&mut agent.stream, &mut agent.buffer)
            .map_err(|why| format!("waiting for the handshake: {why}"))?;
        let transcript = format!("{}|{}|{ephemeral}|{nonce}|{ephemeral}", names.session, names.handshake);
        let hash: [u8; 32] = Sha256::digest(transcript.as_bytes()).into();
        let body = json!({
            "device_id": self.id, "handshake_id": names.handshake, "agent_ephemeral_public_key": ephemeral,
            "agent_identity_signature": STANDARD.encode(self.key.sign(&hash).to_bytes()),
            "transcript_hash": STANDARD.encode(hash),
        });
        call(client, address, ("POST", &path("agent-ack")), access, &body.to_string())?;
        Ok(names)
    }

    /// Opens the event stream of a session and reads to the end of what has happened so far.
    pub(super) fn listen(&self, address: SocketAddr, names: &Names) -> Result<TcpStream, String> {
        let mut stream = link::open(address)?;
        let head = format!(
            "GET /gateway/v1/sessions/{}/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
             Accept: text/event-stream\r\n\r\n",
            names.session, self.access
        );
        stream.write_all(head.as_bytes()).map_err(|error| error.to_string())?;
        let mut seen = Vec::new();
        let ack = b"\"type\":\"session.handshake.ack\"";
        while !seen.windows(ack.len()).any(|window| window == ack) || !seen.ends_with(b"\n\n\r\n") {
            let mut chunk = [0; 4_096];
            match stream.read(&mut chunk) {
                Ok(0) => return Err(format!("no event stream: {:?}", String::from_utf8_lossy(&seen))),
                Ok(size) => seen.extend_from_slice(chunk.get(..size).unwrap_or_default()),
                Err(error) => {
                    let seen = String::from_utf8_lossy(&seen);
                    return Err(format!("the handshake is no event: {error}, after {seen:?}"));
                }
            }
        }
        Ok(stream)
    }
}

/// One request and its answer, which must be a good one.
pub(super) fn call(
    stream: &mut TcpStream,
    address: SocketAddr,
    (method, path): (&str, &str),
    access: Option<&str>,
    body: &str,
) -> Result<Value, String> {
    let bearer = access.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let kind = if body.starts_with('{') {
        "application/json"
    } else {
        "application/x-www-form-urlencoded"
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{bearer}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let failed = |error: std::io::Error| format!("{method} {path}: {error}");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 4_096]);
    while link::Answer::Http.size(&answer).is_none() {
        match stream.read(&mut chunk).map_err(failed)? {
            0 => return Err(format!("{method} {path}: the relay ended the connection")),
            size => answer.extend_from_slice(chunk.get(..size).unwrap_or_default()),
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    if !head.starts_with("HTTP/1.1 2") {
        return Err(format!(
            "{method} {path}: {}, {body}",
            head.lines().next().unwrap_or_default()
        ));
    }
    Ok(serde_json::from_str(body).unwrap_or(Value::Null))
}

fn text(value: &Value, name: &str) -> Result<String, String> {
    let text = value.get(name).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| format!("no {name:?} in {value}"))
}
