//! One message: is it JSON, is its token good, is there such a command, may the token's holder run it. The first answer
//! that is "no" is the client's; and whoever gets too many of them in a row is closed.
//! Spec: `spec/control.md` section 4.

use alloc::borrow::Cow;
use alloc::format;

use super::commands::Command;
use super::wire::{Echo, NO_COMMAND, PARSE_ERROR, Presented, Request, write_failure};
use super::{Context, Control, Session, Stage, ledger};
use crate::auth::Verdict;
use crate::id::ConnId;
use crate::jwt::{Granted, TokenFault};
use crate::websocket::CloseCode;

/// What `cmd` says in the answer to a message whose token is good and whose `cmd` is no text.
const NONE: &str = "(none)";

impl Control {
    /// A message came. `None`: a binary message that is not UTF-8.
    pub fn message(&mut self, cx: &mut Context<'_>, conn: ConnId, session: &mut Session, text: Option<&str>) {
        if session.stage == Stage::Rejected {
            return;
        }
        session.take_message(cx.now.monotonic, &cx.settings.gateway);
        let Some(request) = text.and_then(Request::parse) else {
            if self.still_answers(cx, conn, session, "Invalid JSON") {
                cx.outbox
                    .text(conn, |out| write_failure(out, &PARSE_ERROR, None, "Invalid JSON"));
            }
            return;
        };
        match self.authenticate(cx, conn, session, &request.token) {
            Ok(granted) => self.dispatch(cx, conn, session, &granted, &request),
            Err(Unproven::Told(fault)) => {
                let error = format!("Unauthorised: {fault}");
                let cmd = request.cmd.unwrap_or(NO_COMMAND);
                if self.still_answers(cx, conn, session, &error) {
                    cx.outbox.text(conn, |out| write_failure(out, &cmd, request.id, &error));
                }
            }
            Err(Unproven::LockedOut) => close(cx, conn),
        }
    }

    /// Whether the message shows the active token. A locked-out stranger's is not looked at.
    fn authenticate(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        session: &mut Session,
        token: &Presented<'_>,
    ) -> Result<Granted, Unproven> {
        let now = cx.now.monotonic;
        let token = match token {
            Presented::Absent => return Err(Unproven::Told(TokenFault::Missing)),
            Presented::Other => Err(TokenFault::NotAString),
            Presented::Text(token) => Ok(token),
        };
        // Who is in already was let in before the lock: others behind the same address cannot lock it out.
        if !session.is_authenticated() && cx.auth.locked_for(now, session.guesser).is_some() {
            return Err(Unproven::LockedOut);
        }
        match token.and_then(|token| self.tokens.judge(cx.now.wall, token)) {
            Ok(granted) => {
                cx.auth.succeeded(session.guesser);
                if session.proven(now) {
                    ledger::authenticated(cx, conn, session.client);
                }
                Ok(granted)
            }
            Err(fault) => {
                // The answer is not held back where this machine is exempt from locks: nobody guesses a signature of 256
                // bits, and the row of bad messages is short.
                if fault.is_guess()
                    && let Verdict::Wrong { locked: Some(lock), .. } = cx.auth.failed(now, session.guesser)
                {
                    ledger::locked_out(cx, conn, session.client, session.guesser, lock);
                }
                Err(Unproven::Told(fault))
            }
        }
    }

    /// Counts a message without a good token; closes the connection after too many in a row.
    fn still_answers(&self, cx: &mut Context<'_>, conn: ConnId, session: &mut Session, reason: &str) -> bool {
        let answers = session.unproven(self.settings.max_unauthorised);
        ledger::unauthorised(cx, conn, session, reason);
        if !answers {
            close(cx, conn);
        }
        answers
    }

    fn dispatch(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        session: &mut Session,
        granted: &Granted,
        request: &Request<'_>,
    ) {
        let name = match &request.cmd {
            Some(Echo::Text(name)) => name.as_ref(),
            _ => NONE,
        };
        // "(none)" is no command, so that a client cannot mean it.
        let Some(command) = Command::parse(name) else {
            let error = format!("Unknown command: \"{name}\". Valid commands: {}", Command::NAMES);
            let cmd = Echo::Text(Cow::Borrowed(name));
            return cx.outbox.text(conn, |out| write_failure(out, &cmd, request.id, &error));
        };
        let done = match command.check(granted) {
            Ok(()) => self.run(cx, conn, session, command, request),
            Err(refused) => Err(refused),
        };
        if let Err(error) = &done {
            let cmd = Echo::Text(Cow::Borrowed(name));
            cx.outbox.text(conn, |out| write_failure(out, &cmd, request.id, error));
        }
        ledger::command(cx, conn, session.client, command, request.id, done.err());
    }
}

/// Why a message is not heard.
enum Unproven {
    /// The client is told.
    Told(TokenFault),
    /// It is not even told.
    LockedOut,
}

fn close(cx: &mut Context<'_>, conn: ConnId) {
    cx.outbox
        .close(conn, CloseCode::POLICY, "too many unauthorised messages");
}
