//! Frames from agents: what concerns the connection, then what concerns a session. A frame that an agent may not send is
//! told to it and goes nowhere; an `agent.error` is never answered.

use alloc::string::String;

use bytes::{BufMut, BytesMut};

use super::frame::Frame;
use super::handshake::read_proof;
use super::proof::{self, Taken};
use super::record::{Session, Status as State};
use super::{SessionKey, Sessions};
use crate::audit::AuditEvent;
use crate::id::ConnId;
use crate::json::Object;
use crate::store::Durability;
use crate::surfaces::relay::agents::{Agent, Shown, wire};
use crate::surfaces::relay::body;
use crate::surfaces::relay::context::RelayContext;
use crate::surfaces::relay::devices::Devices;
use crate::surfaces::relay::envelope::{self, Direction};
use crate::surfaces::relay::transcript::{self, KeyFault, ProofFault};

/// What is sealed for the client.
const SEALED: [&str; 4] = ["session.progress", "session.result", "session.error", "session.message"];
/// What goes to the client in clear: nothing but ids.
const CLEAR: &str = "session.cancelled";
/// What an agent says that does not know the session.
const NO_KEYS: &str = "handshake_not_established";
/// Members that are between the agent and the relay.
const OURS: [&str; 4] = ["transport_token", "t_seq", "connection_id", "event"];
/// The longest text of an agent's that is kept as a session's last error.
const MAX_ERROR: usize = 512;

impl Sessions {
    /// A text message of an agent.
    pub fn agent_message(&mut self, cx: &mut RelayContext<'_>, devices: &mut Devices, conn: ConnId, text: &str) {
        let Some(agent) = self.agents.get_mut(conn) else { return };
        if agent.heard(cx.now) {
            devices.seen(cx.now, &agent.device);
        }
        let Ok(frame) = Object::parse(text) else {
            return self.complain(cx, conn, "invalid_json", &[]);
        };
        let kind = body::first(&frame, &["type", "event"]).unwrap_or_default();
        match &*kind {
            "heartbeat" | "agent.error" => {}
            "ping" => {
                let at = cx.now.wall;
                self.tell_agent(cx, conn, |out, agent| wire::heartbeat(out, agent, at));
            }
            "agent.hello" => {
                if announces_tokens(&frame) {
                    agent.proof.announced();
                }
            }
            kind => {
                let strict = cx.relay.strict_transport;
                let device = agent.device.as_str();
                match agent.proof.check(cx.now, &self.secret, device, strict, &frame) {
                    Shown::Good => self.session_frame(cx, devices, conn, kind, &frame, text.len()),
                    Shown::Tell(violation) => {
                        self.complain(cx, conn, "transport_violation", &[("violation", violation)]);
                    }
                    Shown::Drop => {}
                }
            }
        }
    }

    fn session_frame(
        &mut self,
        cx: &mut RelayContext<'_>,
        devices: &Devices,
        conn: ConnId,
        kind: &str,
        frame: &Object<'_>,
        size: usize,
    ) {
        let Some(id) = body::first(frame, &["session_id", "sessionId"]) else {
            return;
        };
        let Some(device) = self.agents.get(conn).map(|agent| &agent.device) else {
            return;
        };
        let handshake = body::first(frame, &["handshake_id", "handshakeId"]);
        let key = self.on_device(device, &id);
        let session = key.as_ref().and_then(|key| self.sessions.get_mut(key));
        let session = session.filter(|session| {
            let given = handshake.as_ref();
            given.is_none_or(|given| given == session.kept.handshake.as_str())
        });
        if kind == "session.handshake.ack" {
            if let (Some(_), Some(key)) = (session, &key) {
                self.handshake_ack(cx, devices, conn, key, frame);
            }
            return;
        }
        let Some(session) = session.filter(|session| session.kept.status == State::AgentAcknowledged) else {
            let handshake = handshake.unwrap_or_default();
            let ids = [("handshake_id", &*handshake), ("session_id", &*id)];
            return self.complain(cx, conn, "unauthorized_session_frame", &ids);
        };
        if kind == CLEAR {
            let conversation = session.kept.conversation.clone();
            let (session_id, handshake) = (session.id.clone(), session.kept.handshake.clone());
            let message = body::first(frame, &["message_id", "messageId"]);
            let mut clear = Frame::default();
            clear.set("type", kind);
            clear.set("session_id", session_id.as_str());
            clear.set("handshake_id", handshake.as_str());
            clear.set("conversation_id", conversation.as_str());
            if let Some(message) = &message {
                clear.set("message_id", message);
            }
            return self.common.append(cx, session, 512, |out| clear.write(out));
        }
        if kind == "session.error" && says_no_keys(frame) {
            let key = session.key();
            return self.pass_no_keys(cx, conn, &key, frame);
        }
        if !SEALED.contains(&kind) {
            return self.complain(cx, conn, "unsupported_type", &[("session_id", &id)]);
        }
        match envelope::check(frame, Direction::AgentToClient) {
            // A repetition is not relayed twice; the agent need not know.
            Ok(seq) if seq <= session.kept.from_agent => return,
            Ok(seq) => session.kept.from_agent = seq,
            Err(violation) if cx.relay.require_encrypted_frames => {
                let more = [("session_id", &*id), ("violation", violation.text())];
                return self.complain(cx, conn, "encryption_required", &more);
            }
            Err(_) => {}
        }
        let conversation = session.kept.conversation.clone();
        let mut relayed = Frame::of(frame, &OURS);
        relayed.set("type", kind);
        relayed.set("session_id", &id);
        relayed.set("conversation_id", conversation.as_str());
        relayed.replace("sessionId", &id);
        relayed.replace("conversationId", conversation.as_str());
        self.common.append(cx, session, size, |out| relayed.write(out));
        if let Some(message) = body::first(frame, &["message_id", "messageId"]) {
            self.shows(cx, conn, &id, &message);
        }
    }

    /// An agent that was started anew has no keys of this session any more and says so, in clear: there is nothing that it
    /// could seal it with. The client is told just that, and begins a new session.
    fn pass_no_keys(&mut self, cx: &mut RelayContext<'_>, conn: ConnId, key: &SessionKey, frame: &Object<'_>) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let conversation = session.kept.conversation.clone();
        let (session_id, handshake) = (session.id.clone(), session.kept.handshake.clone());
        let message = body::first(frame, &["message_id", "messageId"]);
        let mut clear = Frame::default();
        clear.set("type", "session.error");
        clear.set("error", NO_KEYS);
        clear.set("session_id", session_id.as_str());
        clear.set("handshake_id", handshake.as_str());
        clear.set("conversation_id", conversation.as_str());
        if let Some(message) = &message {
            clear.set("message_id", message);
        }
        self.common.append(cx, session, 512, |out| clear.write(out));
        if let Some(message) = &message {
            self.shows(cx, conn, key.id.as_str(), message);
        }
    }

    fn handshake_ack(
        &mut self,
        cx: &mut RelayContext<'_>,
        devices: &Devices,
        conn: ConnId,
        key: &SessionKey,
        frame: &Object<'_>,
    ) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let mut proof = read_proof(frame);
        let fault = if body::first(frame, &["status"]).as_deref() == Some("error") {
            let error = body::first(frame, &["error", "details", "message"]);
            error.map_or_else(|| "agent handshake error".into(), |error| cut(&error).into())
        } else {
            match judge(devices, session, &proof) {
                Ok(()) => String::new(),
                Err(fault) => fault,
            }
        };
        if fault.is_empty() {
            match proof::take(cx, session, core::mem::take(&mut proof)) {
                Taken::First => {}
                Taken::Again => return,
                Taken::TooLate => {
                    let what = alloc::format!("a second proof: agent of {}", session.kept.device);
                    let refusals = &mut self.common.refusals;
                    cx.record_refusal(refusals, AuditEvent::HandshakeRefused, (conn, None), what);
                    let ids = [("session_id", key.id.as_str())];
                    return self.complain(cx, conn, "handshake_already_acknowledged", &ids);
                }
            }
        } else {
            // What was acknowledged stays: a late error takes nobody's session away.
            let what = alloc::format!("agent of {}", session.kept.device);
            let refusals = &mut self.common.refusals;
            cx.record_refusal(refusals, AuditEvent::HandshakeRefused, (conn, None), what);
            // Nor does an agent that repeats itself have anything written or told again.
            let is_known = session.kept.status == State::AgentError && session.kept.last_error == fault;
            if session.kept.status == State::AgentAcknowledged || is_known {
                return;
            }
            session.kept.status = State::AgentError;
            session.kept.last_error = fault;
            session.kept.updated_at = cx.now.wall;
            session.keep(cx.ledger, Durability::Durable);
        }
        proof::tell(cx, &mut self.common, session, Frame::of(frame, &OURS));
    }

    /// Tells an agent what was wrong with its frame.
    fn complain(&mut self, cx: &mut RelayContext<'_>, conn: ConnId, error: &str, more: &[(&str, &str)]) {
        self.tell_agent(cx, conn, |out, _| wire::error(out, error, more));
    }

    /// Sends an agent a frame about its connection.
    pub(super) fn tell_agent(
        &mut self,
        cx: &mut RelayContext<'_>,
        conn: ConnId,
        write: impl FnOnce(&mut BytesMut, &Agent),
    ) {
        let Some(agent) = self.agents.get(conn) else { return };
        let mut frame = BytesMut::with_capacity(256);
        write(&mut frame, agent);
        self.agents.send(cx, conn, frame.len() + 8, |out| out.put_slice(&frame));
    }
}

fn judge(devices: &Devices, session: &Session, proof: &super::record::AgentProof) -> Result<(), String> {
    if proof.key.is_empty() || proof.signature.is_empty() || proof.hash.is_empty() {
        return Err("missing handshake ack fields from agent websocket frame".into());
    }
    let device = devices.get(&session.kept.device);
    let key = device
        .and_then(|device| device.key)
        .ok_or("device identity not found")?;
    transcript::ephemeral_key(&proof.key).map_err(|fault| match fault {
        KeyFault::Encoding => "invalid x25519 public key encoding: not padded standard base64".into(),
        KeyFault::Length(got) => alloc::format!("invalid x25519 public key length: got {got} want 32"),
        KeyFault::LowOrder => "invalid x25519 public key: a point of low order".into(),
    })?;
    proof::check(session, &key, proof).map_err(|fault| match fault {
        ProofFault::Hash => "transcript hash mismatch".into(),
        ProofFault::SignatureForm => "signature verification failed: not 64 bytes in base64".into(),
        ProofFault::Signature => "signature verification failed: not the device's signature".into(),
    })
}

/// Whether an agent says in clear that it has no keys of the session.
fn says_no_keys(frame: &Object<'_>) -> bool {
    frame.get("encrypted").is_none() && body::first(frame, &["error", "code"]).as_deref() == Some(NO_KEYS)
}

/// `capabilities.transport_token: true`
fn announces_tokens(hello: &Object<'_>) -> bool {
    let capabilities = hello.get("capabilities").map(|value| Object::parse(value.get()));
    let Some(Ok(capabilities)) = capabilities else {
        return false;
    };
    capabilities
        .get("transport_token")
        .is_some_and(|value| value.get() == "true")
}

/// The start of an agent's text, ending at a character.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_ERROR)).unwrap_or_default()
}
