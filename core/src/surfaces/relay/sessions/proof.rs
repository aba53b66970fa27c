//! An agent's proof, however it comes: what makes it good, and what a good one changes. The first good one wins.

use bytes::BytesMut;

use super::common::Common;
use super::frame::Frame;
use super::record::{AgentProof, Session, Status};
use crate::store::Durability;
use crate::surfaces::relay::context::RelayContext;
use crate::surfaces::relay::stamp;
use crate::surfaces::relay::transcript::{BoundTranscript, ProofFault};

/// What became of a good proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// It is the session's.
    First,
    /// It was the session's already.
    Again,
    /// The session has another one.
    TooLate,
}

/// Checks a proof against the device's key.
pub(super) fn check(session: &Session, identity_key: &[u8; 32], proof: &AgentProof) -> Result<(), ProofFault> {
    let exchanged = session.transcript(&proof.key);
    if !proof.is_bound {
        return exchanged.verify(identity_key, &proof.hash, &proof.signature);
    }
    // A client that has not said that it knows the other transcript could not check it.
    if !session.kept.knows_bound {
        return Err(ProofFault::Hash);
    }
    let bound = BoundTranscript {
        exchanged,
        device_id: session.kept.device.as_str(),
    };
    bound.verify(identity_key, &proof.hash, &proof.signature)
}

/// Takes a good proof, unless the session has one.
pub(super) fn take(cx: &mut RelayContext<'_>, session: &mut Session, proof: AgentProof) -> Taken {
    if session.kept.status == Status::AgentAcknowledged {
        return if session.kept.proof == proof {
            Taken::Again
        } else {
            Taken::TooLate
        };
    }
    session.kept.proof = proof;
    session.kept.status = Status::AgentAcknowledged;
    session.kept.last_error.clear();
    session.kept.updated_at = cx.now.wall;
    session.keep(cx.ledger, Durability::Durable);
    Taken::First
}

/// Tells listeners that the session is acknowledged; `frame` holds what the agent said beside its proof.
pub(super) fn tell(cx: &mut RelayContext<'_>, common: &mut Common, session: &mut Session, frame: Frame<'_>) {
    let kept = session.kept.clone();
    let (id, at) = (session.id.clone(), stamp::text(kept.updated_at));
    let mut frame: Frame<'_> = frame;
    frame.set("type", "session.handshake.ack");
    frame.set("session_id", id.as_str());
    frame.set("handshake_id", kept.handshake.as_str());
    frame.set("conversation_id", kept.conversation.as_str());
    frame.set("device_id", kept.device.as_str());
    frame.set("status", kept.status.name());
    frame.set("updated_at", &at);
    if kept.status == Status::AgentAcknowledged {
        frame.set("agent_ephemeral_public_key", &kept.proof.key);
        frame.set("agent_identity_signature", &kept.proof.signature);
        frame.set("transcript_hash", &kept.proof.hash);
        frame.set_version(kept.proof.is_bound);
    } else {
        frame.set("error", &kept.last_error);
    }
    common.append(cx, session, 1_024, |out: &mut BytesMut| frame.write(out));
}
