//! Handshakes over HTTP: a client begins one, looks how far it is, and an agent answers it.

use alloc::collections::BTreeMap;
use alloc::string::String;

use bytes::{BufMut, BytesMut};

use super::frame::Frame;
use super::proof::{self, Taken};
use super::record::{AgentProof, Kept, Session, Status as State};
use super::{SessionKey, Sessions, bad, refused};
use crate::audit::AuditEvent;
use crate::http::Status;
use crate::json::{Object, write_string};
use crate::store::Durability;
use crate::surfaces::relay::agents::Agents;
use crate::surfaces::relay::context::RelayContext;
use crate::surfaces::relay::devices::Devices;
use crate::surfaces::relay::http::{Answer, Caller, Reply, Request};
use crate::surfaces::relay::ids::{ConversationId, DeviceId, HandshakeId, SessionId};
use crate::surfaces::relay::transcript::{self, ProofFault};
use crate::surfaces::relay::{body, stamp};

/// The longest nonce: published clients have 32 characters at most.
const MAX_NONCE: usize = 256;

/// An answer that says which transcript was signed.
#[derive(serde::Serialize)]
struct Versioned<'a> {
    #[serde(flatten)]
    answer: BTreeMap<&'static str, &'a str>,
    transcript_version: u8,
}

/// What a client asks for.
struct Init {
    session: SessionId,
    device: DeviceId,
    handshake: HandshakeId,
    conversation: ConversationId,
    key: String,
    nonce: String,
    knows_bound: bool,
}

impl Sessions {
    /// `POST …/handshake/client-init`.
    pub(super) fn client_init(
        &mut self,
        cx: &mut RelayContext<'_>,
        devices: &Devices,
        caller: &Caller,
        request: &Request<'_>,
        id: &str,
    ) -> Result<Reply, Answer> {
        let init = read_init(request, id)?;
        // To a stranger a device that is not his is one that is not there.
        if devices.standing(cx, caller, &init.device).is_none() {
            return Err(refused(Status::NOT_FOUND, "device not found"));
        }
        let key = SessionKey::new(&init.session, &caller.uid);
        match self.sessions.get(&key) {
            Some(session) => repeats(session, &init)?,
            // Agents know sessions by their ids alone; who may use the device is no stranger to what is on it.
            None if self.on_device(&init.device, init.session.as_str()).is_some() => return Err(other_payload()),
            None => self.begin(cx, caller, &init)?,
        }
        let Some(session) = self.sessions.get_mut(&key) else {
            return Err(refused(Status::NOT_FOUND, "session not found"));
        };
        let done = session.kept.status == State::AgentAcknowledged;
        if !done {
            offer(cx, &mut self.agents, session);
            session.keep(cx.ledger, Durability::Durable);
        }
        let kept = &session.kept;
        let relay_status = match kept.status {
            State::AgentAcknowledged => "already_acknowledged",
            State::PendingAgentConnection => "pending_agent_connection",
            State::PendingAgentAck | State::AgentError => "forwarded_to_agent",
        };
        let mut answer = ids(session);
        answer.insert("status", kept.status.name());
        answer.insert("relay_status", relay_status);
        answer.insert("device_id", kept.device.as_str());
        answer.insert("deviceId", kept.device.as_str());
        answer.insert("client_ephemeral_public_key", &kept.client_key);
        answer.insert("client_session_nonce", &kept.client_nonce);
        if !kept.last_error.is_empty() {
            answer.insert("last_error", &kept.last_error);
            if kept.status == State::PendingAgentConnection {
                answer.insert("relay_error", &kept.last_error);
            }
        }
        cx.ledger
            .answer(cx.now, request.conn, Answer::json(Status::ACCEPTED, &answer));
        Ok(Reply::Later)
    }

    fn begin(&mut self, cx: &mut RelayContext<'_>, caller: &Caller, init: &Init) -> Result<(), Answer> {
        if self.common.holding(&caller.uid).sessions >= cx.relay.limits.sessions_per_user {
            return Err(refused(Status::TOO_MANY_REQUESTS, "too many sessions").with("Retry-After", "60"));
        }
        let now = cx.now.wall;
        let kept = Kept {
            device: init.device.clone(),
            initiator: caller.uid.clone(),
            handshake: init.handshake.clone(),
            conversation: init.conversation.clone(),
            client_key: init.key.clone(),
            client_nonce: init.nonce.clone(),
            knows_bound: init.knows_bound,
            proof: AgentProof::default(),
            status: State::PendingAgentConnection,
            last_error: String::new(),
            from_client: 0,
            from_agent: 0,
            created_at: now,
            updated_at: now,
        };
        self.insert(Session::new(init.session.clone(), kept, now));
        Ok(())
    }

    /// `GET …/handshake/{handshake_id}`: a pending request that the agent has not answered is sent again.
    pub(super) fn handshake(
        &mut self,
        cx: &mut RelayContext<'_>,
        devices: &Devices,
        caller: &Caller,
        id: &str,
        handshake: &str,
    ) -> Result<Reply, Answer> {
        let id = SessionId::parse(id).map_err(|fault| bad(&fault.text("session_id")))?;
        let handshake = HandshakeId::parse(handshake).map_err(|fault| bad(&fault.text("handshake_id")))?;
        let key = self.member(cx, devices, caller, &id)?.0;
        let session = self.sessions.get_mut(&key);
        let session = session.filter(|session| session.kept.handshake == handshake);
        let session = session.ok_or_else(|| refused(Status::NOT_FOUND, "handshake not found"))?;
        if session.kept.status.is_pending() {
            let before = (session.kept.status, session.kept.last_error.clone());
            offer(cx, &mut self.agents, session);
            if before != (session.kept.status, session.kept.last_error.clone()) {
                self.common.touch(cx.now.monotonic, session);
            }
        }
        let kept = &session.kept;
        let (created, updated) = (stamp::text(kept.created_at), stamp::text(kept.updated_at));
        let mut answer = ids(session);
        answer.insert("device_id", kept.device.as_str());
        answer.insert("deviceId", kept.device.as_str());
        answer.insert("status", kept.status.name());
        answer.insert("last_error", &kept.last_error);
        answer.insert("client_ephemeral_public_key", &kept.client_key);
        answer.insert("agent_ephemeral_public_key", &kept.proof.key);
        answer.insert("agent_identity_signature", &kept.proof.signature);
        answer.insert("transcript_hash", &kept.proof.hash);
        answer.insert("created_at", &created);
        answer.insert("updated_at", &updated);
        if kept.proof.is_bound {
            return Ok(Reply::Now(Answer::json(
                Status::OK,
                &Versioned {
                    answer,
                    transcript_version: 2,
                },
            )));
        }
        Ok(Reply::Now(Answer::json(Status::OK, &answer)))
    }

    /// `POST …/handshake/agent-ack`.
    pub(super) fn agent_ack(
        &mut self,
        cx: &mut RelayContext<'_>,
        devices: &Devices,
        caller: &Caller,
        request: &Request<'_>,
        id: &str,
    ) -> Result<Reply, Answer> {
        let id = SessionId::parse(id).map_err(|fault| bad(&fault.text("session_id")))?;
        let object = body::object(request).map_err(|_| bad("invalid request body"))?;
        let (device, handshake) = (device_of(&object)?, handshake_of(&object)?);
        let proof = read_proof(&object);
        transcript::ephemeral_key(&proof.key).map_err(|_| bad("invalid ephemeral public key"))?;
        let not_found = || refused(Status::NOT_FOUND, "handshake not found");
        let key = devices
            .get(&device)
            .filter(|device| device.kept.owner == caller.uid)
            .and_then(|device| device.key)
            .ok_or_else(|| refused(Status::NOT_FOUND, "device identity not found"))?;
        let own = SessionKey::new(&id, &caller.uid);
        let elsewhere = self
            .sessions
            .get(&own)
            .filter(|session| session.kept.device != device && session.kept.handshake == handshake);
        let is_elsewhere = elsewhere.is_some();
        let here = self.on_device(&device, id.as_str());
        let session = here.and_then(|here| self.sessions.get_mut(&here));
        let Some(session) = session.filter(|session| session.kept.handshake == handshake) else {
            return Err(if is_elsewhere {
                bad("device_id mismatch for handshake")
            } else {
                not_found()
            });
        };
        let who = (request.conn, request.client);
        let refusal = AuditEvent::HandshakeRefused;
        proof::check(session, &key, &proof).map_err(|fault| {
            let (answer, why) = match fault {
                ProofFault::Hash => (bad("transcript hash mismatch"), "transcript hash"),
                ProofFault::SignatureForm | ProofFault::Signature => {
                    let answer = refused(Status::UNAUTHORIZED, "signature verification failed");
                    (answer, "signature")
                }
            };
            let what = alloc::format!("{why}: agent of {device}");
            cx.record_refusal(&mut self.common.refusals, refusal, who, what);
            answer
        })?;
        match proof::take(cx, session, proof) {
            Taken::First => proof::tell(cx, &mut self.common, session, Frame::default()),
            Taken::Again => {}
            Taken::TooLate => {
                let what = alloc::format!("a second proof: agent of {device}");
                cx.record_refusal(&mut self.common.refusals, refusal, who, what);
                return Err(refused(Status::CONFLICT, "handshake already acknowledged"));
            }
        }
        let mut answer = ids(session);
        answer.insert("status", session.kept.status.name());
        cx.ledger
            .answer(cx.now, request.conn, Answer::json(Status::ACCEPTED, &answer));
        Ok(Reply::Later)
    }
}

/// Sends the handshake request to the agent, if it is there and has not just had it.
pub(super) fn offer(cx: &mut RelayContext<'_>, agents: &mut Agents, session: &mut Session) {
    let before = session.kept.status;
    match agents.taking(cx, &session.kept.device) {
        Ok(conn) => {
            if session.may_send_on(conn, cx.now.monotonic) {
                agents.send(cx, conn, 512, |out| write_request(out, session));
                session.sent_on(conn, cx.now.monotonic);
                session.kept.updated_at = cx.now.wall;
            }
            session.kept.status = State::PendingAgentAck;
            session.kept.last_error.clear();
        }
        Err(fault) => {
            agents.owe(&session.kept.device);
            session.kept.status = State::PendingAgentConnection;
            session.kept.last_error = fault.text().into();
        }
    }
    if before != session.kept.status {
        session.kept.updated_at = cx.now.wall;
    }
}

fn write_request(out: &mut BytesMut, session: &Session) {
    let kept = &session.kept;
    for (lead, text) in [
        (&b"{\"client_ephemeral_public_key\":"[..], &kept.client_key[..]),
        (b",\"client_session_nonce\":", &kept.client_nonce),
        (b",\"conversation_id\":", kept.conversation.as_str()),
        (b",\"device_id\":", kept.device.as_str()),
        (b",\"handshake_id\":", kept.handshake.as_str()),
        (b",\"session_id\":", session.id.as_str()),
    ] {
        out.put_slice(lead);
        write_string(out, text);
    }
    if kept.knows_bound {
        out.put_slice(b",\"transcript_version\":2");
    }
    out.put_slice(b",\"type\":\"session.handshake.request\"}");
}

/// The three ids of a session, each in both spellings.
fn ids(session: &Session) -> BTreeMap<&'static str, &str> {
    let (handshake, conversation) = (session.kept.handshake.as_str(), session.kept.conversation.as_str());
    BTreeMap::from([
        ("session_id", session.id.as_str()),
        ("sessionId", session.id.as_str()),
        ("handshake_id", handshake),
        ("handshakeId", handshake),
        ("conversation_id", conversation),
        ("conversationId", conversation),
    ])
}

fn device_of(object: &Object<'_>) -> Result<DeviceId, Answer> {
    let text = body::first(object, &["device_id", "deviceId"]).unwrap_or_default();
    DeviceId::parse(&text).map_err(|fault| bad(&fault.text("device_id")))
}

fn handshake_of(object: &Object<'_>) -> Result<HandshakeId, Answer> {
    let text = body::first(object, &["handshake_id", "handshakeId"]).unwrap_or_default();
    HandshakeId::parse(&text).map_err(|fault| bad(&fault.text("handshake_id")))
}

/// The proof fields, in either spelling.
pub(super) fn read_proof(object: &Object<'_>) -> AgentProof {
    let text = |names: [&str; 2]| body::first(object, &names).map(String::from).unwrap_or_default();
    AgentProof {
        key: text(["agent_ephemeral_public_key", "agentEphemeralPublicKey"]),
        signature: text(["agent_identity_signature", "agentIdentitySignature"]),
        hash: text(["transcript_hash", "transcriptHash"]),
        is_bound: is_version_2(object),
    }
}

/// `transcript_version: 2`
fn is_version_2(object: &Object<'_>) -> bool {
    object.get("transcript_version").is_some_and(|value| value.get() == "2")
}

fn read_init(request: &Request<'_>, id: &str) -> Result<Init, Answer> {
    let session = SessionId::parse(id).map_err(|fault| bad(&fault.text("session_id")))?;
    let object = body::object(request).map_err(|_| bad("invalid request body"))?;
    let text = |names: [&str; 2]| body::first(&object, &names).map(String::from);
    let device = device_of(&object)?;
    let nonce = text(["client_session_nonce", "clientSessionNonce"]);
    let nonce = nonce.ok_or_else(|| bad("device_id, handshake_id, and client_session_nonce are required"))?;
    if nonce.len() > MAX_NONCE {
        return Err(bad("invalid client_session_nonce"));
    }
    let handshake = handshake_of(&object)?;
    let conversation = match text(["conversation_id", "conversationId"]) {
        None => ConversationId::of(&session),
        Some(given) => ConversationId::parse_in(&session, &given).map_err(|_| bad("invalid conversation_id"))?,
    };
    let key = text(["client_ephemeral_public_key", "clientEphemeralPublicKey"]).unwrap_or_default();
    transcript::ephemeral_key(&key).map_err(|_| bad("invalid ephemeral public key"))?;
    Ok(Init {
        session,
        device,
        handshake,
        conversation,
        key,
        nonce,
        knows_bound: is_version_2(&object),
    })
}

fn other_payload() -> Answer {
    refused(Status::CONFLICT, "handshake_id already exists with different payload")
}

/// Whether a request repeats the one with which the session began.
fn repeats(session: &Session, init: &Init) -> Result<(), Answer> {
    let kept = &session.kept;
    let same = kept.device == init.device
        && kept.handshake == init.handshake
        && kept.client_key == init.key
        && kept.client_nonce == init.nonce
        && kept.knows_bound == init.knows_bound;
    if !same {
        return Err(other_payload());
    }
    if kept.conversation != init.conversation {
        let text = "handshake_id already exists with different conversation_id";
        return Err(refused(Status::CONFLICT, text));
    }
    Ok(())
}
