//! `POST …/messages`: a client's sealed message on its way to the agent. It is handed to the agent's socket, or kept on
//! disk for an agent that is away; then, and not before, it is acknowledged.

use alloc::collections::BTreeMap;
use alloc::string::String;

use bytes::{BufMut, BytesMut};

use super::answers::{Stored, fingerprint};
use super::common::MAX_QUEUED_BYTES;
use super::frame::write_raw;
use super::key::SessionKey;
use super::record::{KeptMessage, Session, Status as State, UNDELIVERED, Undelivered};
use super::{Sessions, bad, refused};
use crate::http::Status;
use crate::json::{Object, write_string};
use crate::store::Durability;
use crate::surfaces::relay::agents::Handed;
use crate::surfaces::relay::context::RelayContext;
use crate::surfaces::relay::devices::{Devices, Role};
use crate::surfaces::relay::envelope::{self, Direction};
use crate::surfaces::relay::http::{Answer, Caller, Reply, Request};
use crate::surfaces::relay::ids::SessionId;
use crate::surfaces::relay::ledger::Change;
use crate::surfaces::relay::{body, records, stamp};
use crate::time::UnixMillis;

/// The longest key and the longest id of a message.
const MAX_KEY: usize = 256;
/// About how many bytes a message gains on its way: who asks.
const GAINED: usize = 512;

impl Sessions {
    pub(super) fn message(
        &mut self,
        cx: &mut RelayContext<'_>,
        devices: &Devices,
        caller: &Caller,
        request: &Request<'_>,
        id: &str,
    ) -> Result<Reply, Answer> {
        let id = SessionId::parse(id).map_err(|fault| bad(&fault.text("session_id")))?;
        let object = body::object(request);
        let named = object
            .as_ref()
            .ok()
            .and_then(|object| body::first(object, &["message_id", "messageId"]));
        let key = key(request, named.as_deref())?;
        let object = object.map_err(|_| bad("invalid request body"))?;
        let (of, role) = self.member(cx, devices, caller, &id)?;
        let Some(session) = self.sessions.get_mut(&of) else {
            return Err(refused(Status::NOT_FOUND, "session not found"));
        };
        let print = fingerprint(request.body);
        if let Some(stored) = session.answers.get(key, cx.now.wall) {
            if stored.fingerprint != print {
                let more = [("session_id", id.as_str())];
                return Err(told(Status::CONFLICT, "duplicate_request", &more));
            }
            let answer = accepted(session, &stored.message_id, stored.queued);
            cx.ledger.answer(cx.now, request.conn, answer);
            return Ok(Reply::Later);
        }
        let seq = check(cx, session, &object)?;
        if named.as_ref().is_some_and(|named| named.len() > MAX_KEY) {
            return Err(bad("invalid message_id"));
        }
        let message_id = named.as_deref().map_or_else(
            || alloc::format!("msg_{:032x}", u128::from_be_bytes(cx.random.bytes())),
            String::from,
        );
        let accepted = Accepted {
            key,
            fingerprint: print,
            message_id,
            until: cx.now.wall.plus(cx.relay.idempotency_ttl),
            seq,
        };
        let relayed = Relayed {
            caller,
            role: &role,
            message_id: &accepted.message_id,
            object: &object,
            is_sealed: seq.is_some(),
        };
        match self.agents.taking(cx, &session.kept.device) {
            Ok(conn) if session.undelivered.is_empty() => {
                let mut frame = BytesMut::with_capacity(request.body.len() + GAINED);
                relayed.write(&mut frame, session, cx.now.wall);
                let (place, message_id) = (session.take_place(), accepted.message_id.clone());
                let answer = self.remember(cx, &of, accepted, false)?;
                let handed = Handed {
                    session: of,
                    place,
                    message_id,
                    frame: frame.freeze(),
                    reply: Some((request.conn, answer)),
                    is_kept: false,
                };
                self.hand(cx, conn, handed);
                Ok(Reply::Later)
            }
            _ => {
                let mut frame = BytesMut::with_capacity(request.body.len() + GAINED);
                relayed.write(&mut frame, session, cx.now.wall);
                self.queue(cx, &of, &accepted, frame)?;
                let answer = self.remember(cx, &of, accepted, true)?;
                cx.ledger.answer(cx.now, request.conn, answer);
                Ok(Reply::Later)
            }
        }
    }

    /// A message is on its way: its number and its key are used up. The answer.
    fn remember(
        &mut self,
        cx: &mut RelayContext<'_>,
        of: &SessionKey,
        message: Accepted<'_>,
        queued: bool,
    ) -> Result<Answer, Answer> {
        let Some(session) = self.sessions.get_mut(of) else {
            return Err(refused(Status::NOT_FOUND, "session not found"));
        };
        session.kept.from_client = message.seq.unwrap_or(session.kept.from_client);
        session.kept.updated_at = cx.now.wall;
        let answer = accepted(session, &message.message_id, queued);
        let stored = Stored::new(message.fingerprint, message.message_id, queued, message.until);
        let before = session.answers.len();
        let limit = self.common.room_for_answers(cx, &session.kept.initiator, before);
        session.answers.insert(message.key.into(), stored, cx.now.wall, limit);
        let after = session.answers.len();
        self.common.hold(&session.kept.initiator, |holding| {
            holding.answers = (holding.answers + after).saturating_sub(before);
        });
        self.common.touch(cx.now.monotonic, session);
        if queued {
            session.keep(cx.ledger, Durability::Durable);
        }
        Ok(answer)
    }

    /// Keeps a message for an agent that is away, or that does not take what it was sent.
    fn queue(
        &mut self,
        cx: &mut RelayContext<'_>,
        of: &SessionKey,
        message: &Accepted<'_>,
        frame: BytesMut,
    ) -> Result<(), Answer> {
        let Some(session) = self.sessions.get_mut(of) else {
            return Err(refused(Status::NOT_FOUND, "session not found"));
        };
        let held = self.common.holding(&session.kept.initiator).queued_bytes;
        let all = self.common.all.queued_bytes;
        let has_room =
            held + frame.len() <= MAX_QUEUED_BYTES && all + frame.len() <= cx.relay.limits.queued_bytes as usize;
        let is_full = session.undelivered.len() >= cx.relay.limits.undelivered_per_session as usize;
        let text = core::str::from_utf8(&frame).ok();
        let Some(text) = text.filter(|_| !is_full && has_room) else {
            let ids = [
                ("session_id", of.id.as_str()),
                ("conversation_id", session.kept.conversation.as_str()),
            ];
            return Err(told(Status::SERVICE_UNAVAILABLE, "agent_unavailable", &ids).with("Retry-After", "5"));
        };
        let kept = KeptMessage {
            key: message.key.into(),
            fingerprint: message.fingerprint,
            message_id: message.message_id.clone(),
            until: message.until,
            frame: text.into(),
        };
        let change = Change::Put {
            value: records::write(&kept),
            expires_at: None,
        };
        let place = session.take_place();
        cx.ledger
            .change(UNDELIVERED, of.record_of(place), change, Durability::Durable);
        let length = frame.len();
        let frame = frame.freeze();
        session.undelivered.push_back(Undelivered {
            place,
            message_id: message.message_id.clone(),
            frame,
        });
        self.common
            .hold(&session.kept.initiator, |holding| holding.queued_bytes += length);
        let device = session.kept.device.clone();
        self.owe(cx, &device);
        Ok(())
    }
}

/// A message that is right in every respect.
struct Accepted<'a> {
    key: &'a str,
    fingerprint: u64,
    message_id: String,
    /// How long its answer is kept.
    until: UnixMillis,
    /// Its number, if it is sealed.
    seq: Option<u64>,
}

/// The key of a request: some published clients send none; the id of the message serves as well.
fn key<'a>(request: &Request<'a>, named: Option<&'a str>) -> Result<&'a str, Answer> {
    let header = request.headers.get("x-idempotency-key").map(str::trim);
    let key = header.filter(|key| !key.is_empty()).or(named);
    let key = key.ok_or_else(|| bad("missing X-Idempotency-Key header"))?;
    if key.len() > MAX_KEY {
        return Err(bad("invalid X-Idempotency-Key header"));
    }
    Ok(key)
}

/// What must be right about the session and the message; the message's number, if it is sealed.
fn check(cx: &RelayContext<'_>, session: &Session, object: &Object<'_>) -> Result<Option<u64>, Answer> {
    let kept = &session.kept;
    let session_id = ("session_id", session.id.as_str());
    let handshake_id = ("handshake_id", kept.handshake.as_str());
    let conversation_id = ("conversation_id", kept.conversation.as_str());
    if kept.status != State::AgentAcknowledged {
        let more = [
            ("status", kept.status.name()),
            session_id,
            handshake_id,
            conversation_id,
        ];
        return Err(told(Status::CONFLICT, "handshake_not_ready", &more));
    }
    let conversation = body::first(object, &["conversation_id", "conversationId"]);
    if conversation.is_some_and(|given| given != kept.conversation.as_str()) {
        let more = [session_id, handshake_id, conversation_id];
        return Err(told(Status::CONFLICT, "conversation_mismatch", &more));
    }
    match envelope::check(object, Direction::ClientToAgent) {
        Ok(seq) if seq > kept.from_client => Ok(Some(seq)),
        Ok(_) => {
            let more = [("violation", "replay_detected"), session_id, conversation_id];
            Err(told(Status::CONFLICT, "replay_detected", &more))
        }
        Err(violation) if cx.relay.require_encrypted_frames => {
            let more = [("violation", violation.text()), session_id, conversation_id];
            Err(told(Status::BAD_REQUEST, "encryption_required", &more))
        }
        Err(_) => Ok(None),
    }
}

/// `{"error":…}` with further texts.
pub(super) fn told(status: Status, error: &str, more: &[(&str, &str)]) -> Answer {
    let mut members: BTreeMap<&str, &str> = more.iter().copied().collect();
    members.insert("error", error);
    Answer::json(status, &members)
}

/// The 202.
pub(super) fn accepted(session: &Session, message_id: &str, queued: bool) -> Answer {
    let kept = &session.kept;
    let mut out = BytesMut::with_capacity(512);
    for (lead, text) in [
        (&b"{\"conversationId\":"[..], kept.conversation.as_str()),
        (b",\"conversation_id\":", kept.conversation.as_str()),
        (b",\"handshakeId\":", kept.handshake.as_str()),
        (b",\"handshake_id\":", kept.handshake.as_str()),
        (b",\"messageId\":", message_id),
        (b",\"message_id\":", message_id),
        (b",\"sessionId\":", session.id.as_str()),
        (b",\"session_id\":", session.id.as_str()),
    ] {
        out.put_slice(lead);
        write_string(&mut out, text);
    }
    out.put_slice(if queued {
        b",\"status\":\"queued_for_agent\"}"
    } else {
        b",\"status\":\"forwarded_to_agent\"}"
    });
    Answer {
        status: Status::ACCEPTED,
        content_type: "application/json; charset=utf-8",
        headers: alloc::vec::Vec::new(),
        body: out.freeze(),
    }
}

/// A message as its agent gets it.
struct Relayed<'a> {
    caller: &'a Caller,
    role: &'a Role,
    message_id: &'a str,
    object: &'a Object<'a>,
    is_sealed: bool,
}

impl Relayed<'_> {
    /// Writes the frame: who asks is from our own records, what is sealed as it was written, and of the rest nothing.
    fn write(&self, out: &mut BytesMut, session: &Session, at: UnixMillis) {
        let (caller, kept) = (self.caller, &session.kept);
        // Agents trust this as our word: an e-mail that nobody vouched for is none.
        let email = caller.email_written.as_deref().filter(|_| caller.email_verified);
        out.put_slice(b"{\"type\":\"session.message\"");
        for (lead, text) in [
            (&b",\"session_id\":"[..], session.id.as_str()),
            (b",\"handshake_id\":", kept.handshake.as_str()),
            (b",\"conversation_id\":", kept.conversation.as_str()),
            (b",\"message_id\":", self.message_id),
            (b",\"received_at\":", &stamp::text(at)),
            (b",\"requester_uid\":", &caller.uid.0),
        ] {
            out.put_slice(lead);
            write_string(out, text);
        }
        out.put_slice(b",\"requester_email\":");
        write_or_null(out, email);
        out.put_slice(b",\"requester_display_name\":");
        write_or_null(out, caller.name.as_deref());
        out.put_slice(b",\"requester\":{\"uid\":");
        write_string(out, &caller.uid.0);
        out.put_slice(b",\"email\":");
        write_or_null(out, email);
        out.put_slice(b",\"display_name\":");
        write_or_null(out, caller.name.as_deref());
        match self.role {
            Role::Owner => out.put_slice(b"},\"requester_role\":\"owner\""),
            Role::Collaborator { grant } => {
                out.put_slice(b"},\"requester_role\":\"collaborator\",\"grant_status\":\"active\",\"grant_id\":");
                write_string(out, &grant.0);
            }
        }
        if self.is_sealed {
            for name in envelope::FIELDS {
                if let Some(value) = self.object.get(name) {
                    write_member(out, name, value.get());
                }
            }
        } else {
            // Nothing is sealed, and the settings allow that: what the client wrote goes along, but for what agents
            // take for our own word.
            for (name, value) in self.object.members().filter(|(name, _)| !is_ours(name)) {
                write_member(out, name, value.get());
            }
        }
        out.put_u8(b'}');
    }
}

fn is_ours(name: &str) -> bool {
    const OURS: [&str; 16] = [
        "type",
        "event",
        "session_id",
        "sessionId",
        "handshake_id",
        "handshakeId",
        "conversation_id",
        "conversationId",
        "message_id",
        "messageId",
        "received_at",
        "device_id",
        "deviceId",
        "transport_token",
        "t_seq",
        "connection_id",
    ];
    OURS.contains(&name)
        || ["requester", "role", "grant"]
            .iter()
            .any(|start| name.starts_with(start))
}

fn write_member(out: &mut BytesMut, name: &str, value: &str) {
    out.put_u8(b',');
    write_string(out, name);
    out.put_u8(b':');
    write_raw(out, value);
}

fn write_or_null(out: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => write_string(out, text),
        None => out.put_slice(b"null"),
    }
}
