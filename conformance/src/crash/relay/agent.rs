//! An agent: acknowledges handshakes over HTTP with its device's signature and writes down every message that it is sent,
//! until its connection ends.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::talk::{Body, ask, text};
use crate::client::frames::client_frame;
use crate::load::link;

/// A device and its key.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) id: String,
    pub(super) key: SigningKey,
}

impl Device {
    pub(super) fn new(id: String, seed: u64) -> Self {
        let seed: [u8; 32] = Sha256::digest(format!("{id} {seed}")).into();
        Self {
            id,
            key: SigningKey::from_bytes(&seed),
        }
    }

    pub(super) fn public_key(&self) -> String {
        STANDARD.encode(self.key.verifying_key().as_bytes())
    }
}

/// A message that an agent was sent: session, number, id.
pub(super) type Delivered = (String, u64, String);

/// Is the device's agent until the relay ends the connection or `enough` is set and nothing came for a moment.
pub(super) fn serve(
    address: SocketAddr,
    device: &Device,
    token: &str,
    enough: &AtomicBool,
) -> Result<Vec<Delivered>, String> {
    let mut delivered = Vec::new();
    let Ok(mut stream) = link::open(address) else {
        return Ok(delivered);
    };
    let upgrade = format!(
        "GET /gateway/v1/agent/connect?device_id={} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        device.id
    );
    let mut buffer = Vec::new();
    if stream.write_all(upgrade.as_bytes()).is_err() || link::skip_head(&mut stream, &mut buffer).is_err() {
        return Ok(delivered);
    }
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .map_err(|error| error.to_string())?;
    loop {
        let frame = match link::next_frame(&mut stream, &mut buffer) {
            Ok((1, payload)) => {
                serde_json::from_slice::<Value>(&payload).map_err(|why| format!("a frame is no JSON: {why}"))?
            }
            Ok((8, _)) => return Ok(delivered),
            Ok((9, content)) => {
                // A failed write shows in the next read.
                let _ = stream.write_all(&client_frame(10, &content));
                continue;
            }
            Ok(_) => continue,
            Err(why) if is_quiet(&why) && !enough.load(Ordering::Relaxed) => continue,
            Err(_) => return Ok(delivered),
        };
        match text(&frame, "type") {
            "session.handshake.request" => acknowledge(address, device, token, &frame),
            "session.message" => {
                let seq = frame.get("seq").and_then(Value::as_u64).unwrap_or(0);
                delivered.push((
                    text(&frame, "session_id").to_owned(),
                    seq,
                    text(&frame, "message_id").to_owned(),
                ));
            }
            _ => {}
        }
    }
}

/// Whether nothing came in time, as opposed to: nothing will come.
fn is_quiet(why: &str) -> bool {
    why.contains("os error 11") || why.contains("timed out")
}

fn acknowledge(address: SocketAddr, device: &Device, token: &str, request: &Value) {
    let session = text(request, "session_id");
    let handshake = text(request, "handshake_id");
    // Any point will do: nothing is sealed with it here.
    let key = STANDARD.encode(Sha256::digest(format!("{session} {}", device.id)));
    let transcript = [
        session,
        handshake,
        text(request, "client_ephemeral_public_key"),
        text(request, "client_session_nonce"),
        &key,
    ];
    let hash = Sha256::digest(transcript.join("|"));
    let proof = json!({
        "device_id": device.id,
        "handshake_id": handshake,
        "agent_ephemeral_public_key": key,
        "agent_identity_signature": STANDARD.encode(device.key.sign(&hash).to_bytes()),
        "transcript_hash": STANDARD.encode(hash),
    });
    // Whether it was taken is asked of the relay, later.
    let path = format!("/gateway/v1/sessions/{session}/handshake/agent-ack");
    let _ = ask(address, "POST", &path, Some(token), Body::Json(&proof));
}
