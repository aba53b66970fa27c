//! Tokens on their way to a client: their login is being written, and until that is done nobody has them. When they reach
//! nobody, because the disk took too long or the client left, what they were asked for with is good again: a client that
//! tries again must not look like a thief. Spec: `spec/relay.md`, RL-163.

use alloc::string::String;

use super::codes::Code;
use super::logins::Login;
use super::refresh::LoginId;
use super::{OAuth, seconds};
use crate::http::Status;
use crate::id::ConnId;
use crate::surfaces::relay::context::RelayContext;

/// Tokens that were made and are with nobody yet.
#[derive(Debug)]
pub(super) struct Handing {
    pub(super) login: LoginId,
    pub(super) generation: u32,
    pub(super) before: Before,
}

/// What they were asked for with, as it was.
#[derive(Debug)]
pub(super) enum Before {
    /// A code, and its digest.
    Code(String, Code),
    /// A refresh token of a login.
    Login(Login),
}

impl OAuth {
    /// A request was answered.
    pub fn answered(&mut self, conn: ConnId, status: Status) {
        if let Some(handing) = self.handing.remove(&conn)
            && status == Status::SERVICE_UNAVAILABLE
        {
            self.undo.push(handing);
        }
    }

    /// Makes good again what led to tokens that nobody got.
    pub fn take_back(&mut self, cx: &mut RelayContext<'_>) {
        for Handing {
            login: id,
            generation,
            before,
        } in core::mem::take(&mut self.undo)
        {
            let now = seconds(cx.now);
            // What was ended meanwhile stays so.
            if self
                .logins
                .get(id, now)
                .is_none_or(|login| login.generation != generation)
            {
                continue;
            }
            match before {
                Before::Login(login) => {
                    self.logins.put(cx.ledger, id, login, usize::MAX);
                }
                Before::Code(digest, code) => {
                    self.logins.end(cx.ledger, id);
                    if now < code.expires_at {
                        self.codes.insert(cx.ledger, digest, code);
                    }
                }
            }
        }
    }
}
