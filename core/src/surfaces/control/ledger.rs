//! What the control plane tells of itself: each fact once for the log and, where it is about who did what, once for the
//! audit journal. Never a token, never a message. It decides nothing.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::commands::Command;
use super::session::Session;
use super::tokens::{Active, Stored};
use super::{Context, Stage};
use crate::audit::{AuditEvent, AuditOutcome, AuditRecord, Surface};
use crate::effect::Outcome;
use crate::id::ConnId;
use crate::limits::lockout::Guesser;
use crate::policy::forwarded::Client;
use crate::providers::{HealthReport, Switched};
use crate::report::{ControlFact, Issued, Report};
use crate::settings::ControlSettings;

/// The most characters of a text that a peer chose.
const MAX_TEXT: usize = 200;
/// A longer id of a message is not written down: it could be a token.
const MAX_ID: usize = 64;

pub(super) fn ephemeral_secret(reports: &mut Vec<Report>) {
    reports.push(Report::Control(ControlFact::EphemeralSecret));
}

pub(super) fn issued(
    reports: &mut Vec<Report>,
    audit: &mut Vec<AuditRecord>,
    settings: &ControlSettings,
    active: &Active,
    why: Issued,
    replaces: Option<String>,
) {
    let (event, text) = match &replaces {
        None => (AuditEvent::TokenGenerated, alloc::format!("jti {}", active.id)),
        Some(old) => (AuditEvent::TokenRotated, alloc::format!("jti {old} to {}", active.id)),
    };
    let mut record = AuditRecord::new(event, AuditOutcome::Ok).because(text);
    record.surface = Some(Surface::Control);
    audit.push(record);
    reports.push(Report::Control(ControlFact::TokenIssued {
        id: active.id.clone(),
        expires_at: active.expires_at(),
        why,
        replaces,
        token: settings.hand_out_token.then(|| active.token.clone()),
    }));
}

pub(super) fn stored(reports: &mut Vec<Report>, stored: Stored, outcome: Outcome) {
    let Stored { path, id, expires_at } = stored;
    reports.push(match outcome {
        Ok(_) => Report::Control(ControlFact::TokenStored { path, id, expires_at }),
        Err(fault) => Report::EffectFailed {
            what: "the control token cannot be written to its file",
            detail: alloc::format!("{path}: {fault}"),
        },
    });
}

pub(super) fn connected(cx: &mut Context<'_>, conn: ConnId, client: Client) {
    cx.audit
        .push(record(AuditEvent::ConnOpen, AuditOutcome::Ok, conn, client));
    fact(cx, ControlFact::Connected { conn, client });
}

/// `told`: how many of the address were left out of the log before this one, if this one is in it.
pub(super) fn rejected(cx: &mut Context<'_>, conn: Option<ConnId>, client: Client, told: Option<u32>) {
    if let Some(untold) = told {
        let mut record = refusal(conn, client, "address not permitted");
        record.count = (untold > 0).then_some(u64::from(untold));
        cx.audit.push(record);
        fact(cx, ControlFact::Rejected { client, untold });
    }
}

/// For the log. The journal hears of it from the gateway, which knows the whole request.
pub(super) fn origin_rejected(cx: &mut Context<'_>, client: Client, origin: &str) {
    let origin = short(origin);
    fact(cx, ControlFact::OriginRejected { client, origin });
}

pub(super) fn authenticated(cx: &mut Context<'_>, conn: ConnId, client: Client) {
    cx.audit
        .push(record(AuditEvent::AuthOk, AuditOutcome::Ok, conn, client));
    fact(cx, ControlFact::Authenticated { conn, client });
}

/// The first one of a connection is told at once, the others are counted.
pub(super) fn unauthorised(cx: &mut Context<'_>, conn: ConnId, session: &Session, reason: &str) {
    let client = session.client;
    let failed = record(AuditEvent::AuthFailed, AuditOutcome::Denied, conn, client);
    cx.audit.push(failed.because(String::from(reason)));
    if session.unauthorised_in_all == 1 {
        let reason = short(reason);
        fact(cx, ControlFact::Unauthorised { conn, client, reason });
    }
}

pub(super) fn locked_out(cx: &mut Context<'_>, conn: ConnId, client: Client, guesser: Guesser, lock: Duration) {
    cx.audit
        .push(record(AuditEvent::AuthLocked, AuditOutcome::Denied, conn, client));
    cx.reports.push(Report::LockedOut {
        who: guesser.name(None),
        seconds: lock.as_secs(),
    });
}

pub(super) fn failed(cx: &mut Context<'_>, conn: ConnId, client: Client, reason: &str) {
    let reason = short(reason);
    fact(cx, ControlFact::Failed { conn, client, reason });
}

pub(super) fn disconnected(cx: &mut Context<'_>, conn: ConnId, session: &Session) {
    let client = session.client;
    // The first was told when it came.
    if session.unauthorised_in_all > 1 {
        let count = session.unauthorised_in_all - 1;
        fact(cx, ControlFact::UnauthorisedMore { conn, count });
    }
    debug_assert!(
        session.stage != Stage::Rejected,
        "a stranger is not among the open ones"
    );
    cx.audit
        .push(record(AuditEvent::ConnClose, AuditOutcome::Ok, conn, client));
    fact(cx, ControlFact::Disconnected { conn, client });
}

pub(super) fn command(
    cx: &mut Context<'_>,
    conn: ConnId,
    client: Client,
    command: Command,
    id: Option<&str>,
    refused: Option<Cow<'static, str>>,
) {
    let outcome = match &refused {
        None => AuditOutcome::Ok,
        Some(why) if why.starts_with("Forbidden") => AuditOutcome::Denied,
        Some(_) => AuditOutcome::Failed,
    };
    let mut request = record(AuditEvent::Request, outcome, conn, client).because(command.name());
    request.request_id = id.filter(|id| id.len() <= MAX_ID).map(String::from);
    cx.audit.push(request);
    let refused = refused.map(|why| short(&why));
    let command = command.name();
    fact(
        cx,
        ControlFact::Command {
            conn,
            client,
            command,
            refused,
        },
    );
}

pub(super) fn switched(cx: &mut Context<'_>, conn: ConnId, client: Client, token_id: &str, switched: &Switched) {
    let (from, to) = (switched.previous, switched.active);
    let model = &switched.model;
    let what = alloc::format!("{from} to {to}, model {model}, jti {token_id}");
    cx.audit
        .push(record(AuditEvent::ProviderSwitched, AuditOutcome::Ok, conn, client).because(what));
    fact(
        cx,
        ControlFact::ProviderSwitched {
            client,
            token_id: token_id.into(),
            from,
            to,
            model: model.clone(),
        },
    );
}

pub(super) fn checked(cx: &mut Context<'_>, report: &HealthReport) {
    let configured = report.providers.iter().filter(|health| health.configured);
    let providers = configured.map(|health| {
        let why = health.error.clone().unwrap_or_default();
        (health.provider, if health.ok { Ok(()) } else { Err(why) })
    });
    let providers = providers.collect();
    fact(cx, ControlFact::HealthChecked { providers });
}

fn fact(cx: &mut Context<'_>, fact: ControlFact) {
    cx.reports.push(Report::Control(fact));
}

fn record(event: AuditEvent, outcome: AuditOutcome, conn: ConnId, client: Client) -> AuditRecord {
    AuditRecord::new(event, outcome)
        .on(conn, Surface::Control)
        .from_ip(client.address())
}

fn refusal(conn: Option<ConnId>, client: Client, why: &'static str) -> AuditRecord {
    let mut record = AuditRecord::new(AuditEvent::ConnRejected, AuditOutcome::Denied)
        .because(why)
        .from_ip(client.address());
    record.conn_id = conn;
    record.surface = Some(Surface::Control);
    record
}

fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
