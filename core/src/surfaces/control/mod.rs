//! The control plane: commands as JSON over WebSocket, each with a token of its own. This page is its front door: what
//! the gateway calls, and what all its connections share. It never sees a socket: messages come in as text, answers go
//! out through the outbox; and it never talks to a provider: it steers. Spec: `spec/control.md`.

mod access;
mod commands;
mod ledger;
mod messages;
mod session;
mod steering;
#[cfg(test)]
mod tests;
mod tokens;
mod wire;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

pub use access::Refusal;
use access::Rejections;
use commands::Asked;
use session::{Alarm, Stage};
pub use session::{Due, Session};
pub use steering::{ActiveProvider, ProviderAccess, Steering};
use tokens::{TokenFile, Tokens};

use crate::audit::AuditRecord;
use crate::auth::Authenticator;
use crate::calls::Calls;
use crate::effect::Outcome;
use crate::id::{ConnId, EffectId};
use crate::limits::lockout::{Guesser, Scope};
use crate::outbox::Outbox;
use crate::policy::forwarded::Client;
use crate::policy::origin;
use crate::random::Random;
use crate::report::{Issued, Report};
use crate::settings::{ControlSettings, Settings};
use crate::time::Now;
use crate::websocket::CloseCode;

/// Every other connection's close code after a rotation, where the settings want that.
const TOKEN_ROTATED: CloseCode = CloseCode(4001);

/// What the surface may use while it handles one input.
pub struct Context<'a> {
    /// The time.
    pub now: Now,
    /// The settings in force.
    pub settings: &'a Arc<Settings>,
    /// Randomness.
    pub random: &'a mut Random,
    /// The lock on the door: it counts who guesses.
    pub auth: &'a mut Authenticator,
    /// Where answers go.
    pub outbox: &'a mut Outbox,
    /// Where effects are started.
    pub calls: &'a mut Calls,
    /// Where facts for the log go.
    pub reports: &'a mut Vec<Report>,
    /// Where records for the audit journal go.
    pub audit: &'a mut Vec<AuditRecord>,
    /// The AI providers.
    pub providers: &'a mut dyn Steering,
}

/// The control surface: what all its connections share.
#[derive(Debug)]
pub struct Control {
    settings: ControlSettings,
    started: Now,
    tokens: Tokens,
    token_file: TokenFile,
    rejections: Rejections,
    open: BTreeSet<ConnId>,
    /// Health checks under way, by their tickets.
    checks: BTreeMap<u64, Asked>,
    last_ticket: u64,
    /// Connections whose command is answered and that may send the next message.
    released: VecDeque<ConnId>,
    draining: bool,
}

impl Control {
    /// A surface without clients and with a fresh token; `None`: the settings have no control plane.
    #[must_use]
    pub fn new(
        settings: &Settings,
        now: Now,
        random: &mut Random,
        calls: &mut Calls,
        reports: &mut Vec<Report>,
        audit: &mut Vec<AuditRecord>,
    ) -> Option<Self> {
        let own = settings.control.clone()?;
        let mut control = Self {
            started: now,
            tokens: Tokens::new(&own, now.wall, random),
            settings: own,
            token_file: TokenFile::default(),
            rejections: Rejections::default(),
            open: BTreeSet::new(),
            checks: BTreeMap::new(),
            last_ticket: 0,
            released: VecDeque::new(),
            draining: false,
        };
        if control.tokens.is_ephemeral() {
            ledger::ephemeral_secret(reports);
        }
        control.store_token(calls);
        ledger::issued(
            reports,
            audit,
            &control.settings,
            &control.tokens.active,
            Issued::Started,
            None,
        );
        Some(control)
    }

    /// The settings that this surface goes by.
    #[must_use]
    pub const fn settings(&self) -> &ControlSettings {
        &self.settings
    }

    /// Whether the client's address may connect at all. For one that may not, nothing else is looked at.
    #[must_use]
    pub fn trusts(&self, client: Client) -> bool {
        access::is_trusted(client, &self.settings.trusted_clients)
    }

    /// Whether an upgrade may take place, judged by whom it comes from, before anything else is looked at.
    ///
    /// # Errors
    /// How to answer it instead.
    pub fn judge(&mut self, cx: &mut Context<'_>, client: Client, origin: Option<&str>) -> Result<(), Refusal> {
        if !self.trusts(client) {
            if !self.settings.refuse_before_upgrade {
                // It is told after the upgrade, as clients of the original expect.
                return Ok(());
            }
            self.reject(cx, None, client);
            return Err(Refusal::ADDRESS);
        }
        if !access::is_listed(origin, &cx.settings.gateway.allowed_origins) {
            ledger::origin_rejected(cx, client, origin.unwrap_or_default());
            return Err(Refusal::ORIGIN);
        }
        match cx.auth.locked_for(cx.now.monotonic, guesser(client, origin)) {
            Some(left) => Err(Refusal::locked(left)),
            None => Ok(()),
        }
    }

    /// A connection was upgraded. Nothing is said first; a stranger is told to go.
    pub fn opened(&mut self, cx: &mut Context<'_>, conn: ConnId, client: Client, origin: Option<&str>) -> Session {
        let patience = cx.settings.gateway.handshake_timeout;
        let who = guesser(client, origin);
        let session = |stage| Session::new(cx.now.monotonic, client, who, stage, patience);
        if !self.trusts(client) {
            let session = session(Stage::Rejected);
            cx.outbox.close(conn, CloseCode::POLICY, "IP not permitted");
            self.reject(cx, Some(conn), client);
            return session;
        }
        let session = session(Stage::Unproven);
        self.open.insert(conn);
        ledger::connected(cx, conn, client);
        session
    }

    fn reject(&mut self, cx: &mut Context<'_>, conn: Option<ConnId>, client: Client) {
        let told = self.rejections.tell(cx.now.monotonic, client);
        ledger::rejected(cx, conn, client, told);
    }

    /// The protocol failed on this connection: a fault of the client, or of the network.
    pub fn failed(&mut self, cx: &mut Context<'_>, conn: ConnId, session: &Session, reason: &str) {
        if session.stage != Stage::Rejected {
            ledger::failed(cx, conn, session.client, reason);
        }
    }

    /// A session's time has come ([`Session::deadline`]).
    pub fn due(&mut self, cx: &mut Context<'_>, conn: ConnId, session: &mut Session) -> Due {
        match session.alarm(cx.now.monotonic) {
            Alarm::Nothing => {}
            Alarm::Silent => cx.outbox.close(conn, CloseCode::POLICY, "authentication timeout"),
            Alarm::Ping => cx.outbox.ping(conn),
            Alarm::Gone => {
                ledger::failed(cx, conn, session.client, "no answer to pings");
                return Due::Drop;
            }
        }
        Due::Keep
    }

    /// A connection is gone.
    pub fn closed(&mut self, cx: &mut Context<'_>, conn: ConnId, session: &Session) {
        if self.open.remove(&conn) {
            self.checks.retain(|_, asked| asked.conn != conn);
            ledger::disconnected(cx, conn, session);
        }
    }

    /// An effect of this surface is over: the token is in its file, or cannot be put there.
    pub fn completed(&mut self, cx: &mut Context<'_>, effect: EffectId, outcome: Outcome) {
        let Some((stored, is_stale)) = self.token_file.written(effect) else {
            return;
        };
        ledger::stored(cx.reports, stored, outcome);
        if is_stale {
            self.store_token(cx.calls);
        }
    }

    /// A connection whose command is answered: [`Session::released`], and its messages may be taken again.
    pub fn take_released(&mut self) -> Option<ConnId> {
        self.released.pop_front()
    }

    /// Takes the new settings of the context. The token stays good unless it has expired, or secret or lifetime are
    /// others: then there is a new one. Without a control plane in them the old settings stay in force.
    pub fn reconfigure(&mut self, cx: &mut Context<'_>) {
        let Some(new) = &cx.settings.control else { return };
        let has_moved = self.settings.token_file != new.token_file;
        self.settings = new.clone();
        if self.tokens.reconfigure(&self.settings, cx.now.wall, cx.random) {
            self.renew(cx);
        } else if has_moved {
            self.store_token(cx.calls);
        }
    }

    /// Draws a new token for whoever runs the gateway.
    pub fn renew(&mut self, cx: &mut Context<'_>) {
        self.replace_token(cx, None, Issued::Renewed);
    }

    /// Replaces the token at once for everybody; `by`: whose connection asked for it.
    fn replace_token(&mut self, cx: &mut Context<'_>, by: Option<ConnId>, why: Issued) {
        let old = self.tokens.replace(cx.now.wall, cx.random);
        self.store_token(cx.calls);
        ledger::issued(
            cx.reports,
            cx.audit,
            &self.settings,
            &self.tokens.active,
            why,
            Some(old),
        );
        if self.settings.close_on_rotate {
            for conn in self.open.iter().filter(|conn| Some(**conn) != by) {
                cx.outbox.close(*conn, TOKEN_ROTATED, "token rotated");
            }
        }
    }

    fn store_token(&mut self, calls: &mut Calls) {
        let path = self.settings.token_file.as_ref();
        self.token_file.write(path, &self.tokens.active, calls);
    }

    /// No command that takes long is begun from now on.
    pub const fn drain(&mut self) {
        self.draining = true;
    }

    /// The grace is over: commands that have no answer yet are answered that there will be none.
    pub fn stop(&mut self, cx: &mut Context<'_>) {
        for (_, asked) in core::mem::take(&mut self.checks) {
            commands::stopped(cx, &asked);
            self.released.push_back(asked.conn);
        }
    }

    /// Commands that have no answer yet.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        self.checks.len()
    }

    /// Clients that are connected.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.open.len()
    }

    /// The id of the token that is good now.
    #[must_use]
    pub fn token_id(&self) -> &String {
        &self.tokens.active.id
    }
}

/// Who is counted when a token is wrong.
fn guesser(client: Client, origin: Option<&str>) -> Guesser {
    Guesser::of(Scope::ControlJwt, client, origin::present(origin))
}
