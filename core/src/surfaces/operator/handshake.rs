//! From the challenge to `hello-ok`: the checks of section 3 in their order; the first that fails decides.
//! Spec: `spec/operator.md` section 3.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use core::time::Duration;

use super::Context;
use super::connect::ConnectParams;
use super::dialect;
use super::scope::{EVENTS, METHODS};
use super::session::{Awaiting, Ready};
use super::shutdown;
use super::wire::{
    ErrorCode, Hello, HelloFeatures, HelloPolicy, HelloServer, HelloSnapshot, PROTOCOL, RequestFrame, WireError,
};
use crate::audit::{AuditEvent, AuditOutcome, AuditRecord, Surface};
use crate::auth::Verdict;
use crate::id::ConnId;
use crate::limits::lockout::{Guesser, Scope};
use crate::limits::window::SlidingWindow;
use crate::policy::origin;
use crate::report::Report;
use crate::secret::digest;
use crate::settings::Settings;
use crate::websocket::CloseCode;

/// A handshake that failed: what the client is told, and with which reason the connection is closed.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) id: String,
    pub(super) error: WireError,
    /// How the connection is closed after the answer.
    pub(super) close: (CloseCode, Cow<'static, str>),
    /// The answer is held back for so long: whoever guesses is slowed down.
    pub(super) delay: Duration,
}

impl Refused {
    fn new(id: &str, error: WireError) -> Box<Self> {
        Box::new(Self {
            id: id.into(),
            close: (CloseCode::POLICY, error.message.clone()),
            error,
            delay: Duration::ZERO,
        })
    }
}

/// A handshake that succeeded.
pub(super) struct Accepted {
    pub(super) id: String,
    pub(super) client_id: String,
    pub(super) ready: Ready,
}

/// Judges a client's first message.
pub(super) fn judge(
    cx: &mut Context<'_>,
    conn: ConnId,
    awaiting: &Awaiting,
    text: &str,
    draining: bool,
) -> Result<Accepted, Box<Refused>> {
    let frame = RequestFrame::parse(text, cx.settings.doors.openclaw_compat)
        .map_err(|reason| Refused::new("invalid", WireError::invalid(reason)))?;
    let refused = |error| Refused::new(&frame.id, error);
    if frame.method != "connect" {
        return Err(refused(WireError::invalid("first request must be connect")));
    }
    if draining {
        return Err(Box::new(Refused {
            close: (CloseCode::TRY_AGAIN_LATER, "gateway restart in progress".into()),
            ..*refused(shutdown::unavailable("connect"))
        }));
    }
    let ours = || ConnectParams::parse(frame.params);
    let params = if cx.settings.doors.openclaw_compat {
        dialect::parse(frame.params).unwrap_or_else(ours)
    } else {
        ours()
    };
    // The switch loosens nothing for those who speak our own protocol.
    if frame.is_traced && !matches!(&params, Ok(params) if params.dialect.is_some()) {
        return Err(Refused::new("invalid", WireError::invalid("frame has unknown fields")));
    }
    let params = params.map_err(|reason| refused(WireError::invalid(reason)))?;
    check_version(&params, &refused)?;
    check_credential(cx, conn, awaiting, &params).map_err(|(error, delay)| {
        Box::new(Refused {
            delay,
            ..*refused(error)
        })
    })?;
    check_freshness(cx, awaiting, &params).map_err(&refused)?;
    if !origin::is_allowed(
        awaiting.origin.as_deref(),
        awaiting.host.as_deref(),
        &cx.settings.gateway.allowed_origins,
    ) {
        return Err(refused(WireError::new(ErrorCode::Forbidden, "origin not allowed")));
    }
    let token = if cx.auth.is_required() {
        params.token.as_deref().unwrap_or_default()
    } else {
        ""
    };
    let instance = params.instance_id.as_deref().unwrap_or("unknown");
    let ready = Ready {
        identity: digest(&[params.client_id.as_bytes(), instance.as_bytes(), token.as_bytes()]),
        ip: awaiting.client.address(),
        scopes: match &params.dialect {
            // The dialect has said already what is granted.
            Some(_) => params.scopes,
            None => params.scopes.granted(),
        },
        connected_at: awaiting.connected_at,
        dialect: params.dialect.as_ref().and_then(|dialect| dialect.version),
        requests: SlidingWindow::default(),
        in_flight: 0,
    };
    if cx.settings.records(AuditEvent::AuthOk) {
        cx.audit.push(AuditRecord {
            client: Some(params.client_name()),
            ..record(conn, awaiting, AuditEvent::AuthOk, AuditOutcome::Ok)
        });
    }
    Ok(Accepted {
        id: frame.id.into_owned(),
        client_id: params.client_id.into_owned(),
        ready,
    })
}

/// Whether the client speaks a version that is spoken here.
fn check_version(params: &ConnectParams<'_>, refused: &impl Fn(WireError) -> Box<Refused>) -> Result<(), Box<Refused>> {
    match &params.dialect {
        Some(dialect) if dialect.version.is_none() => Err(Box::new(Refused {
            close: (CloseCode::PROTOCOL_ERROR, "protocol mismatch".into()),
            ..*refused(dialect::mismatch(params))
        })),
        Some(_) => Ok(()),
        None if params.min_protocol > PROTOCOL || params.max_protocol < PROTOCOL => Err(refused(WireError::new(
            ErrorCode::ProtocolMismatch,
            "protocol mismatch",
        ))),
        None => Ok(()),
    }
}

/// A record about this connection.
fn record(conn: ConnId, awaiting: &Awaiting, event: AuditEvent, outcome: AuditOutcome) -> AuditRecord {
    AuditRecord::new(event, outcome)
        .on(conn, Surface::Ws)
        .from_ip(awaiting.client.address())
}

/// Checks the token; with a refusal comes for how long it is to be held back.
fn check_credential(
    cx: &mut Context<'_>,
    conn: ConnId,
    awaiting: &Awaiting,
    params: &ConnectParams<'_>,
) -> Result<(), (WireError, Duration)> {
    let presented = params.token.as_deref();
    // Whom a trusted proxy vouches for needs no token.
    if !cx.auth.is_required() || (presented.is_none() && awaiting.vouched_for) {
        return Ok(());
    }
    let origin = origin::counted(
        awaiting.origin.as_deref(),
        awaiting.host.as_deref(),
        &cx.settings.gateway.allowed_origins,
    );
    let who = Guesser::of(Scope::SharedSecret, awaiting.client, origin);
    let verdict = match presented {
        Some(_) => cx.auth.judge(cx.now.monotonic, who, presented),
        // What is missing is told before a lock, as the protocol orders its checks.
        None => Verdict::Missing,
    };
    let Some(reason) = verdict.reason(cx.settings.auth.credential) else {
        return Ok(());
    };
    cx.metrics.auth_failures.add(0, 1);
    cx.audit.push(AuditRecord {
        client: Some(params.client_name()),
        ..record(conn, awaiting, AuditEvent::AuthFailed, AuditOutcome::Denied).because(reason)
    });
    let unauthorized = |message: &'static str| WireError::new(ErrorCode::Unauthorized, message);
    let mut held = Duration::ZERO;
    let error = match verdict {
        Verdict::Missing => unauthorized("missing auth token"),
        Verdict::Wrong { locked, delay } => {
            held = delay;
            if let Some(lockout) = locked {
                cx.audit
                    .push(record(conn, awaiting, AuditEvent::AuthLocked, AuditOutcome::Denied));
                cx.reports.push(Report::LockedOut {
                    who: who.name(origin),
                    seconds: lockout.as_secs(),
                });
            }
            unauthorized("invalid auth token")
        }
        Verdict::LockedOut(left) => locked_out(left),
        Verdict::Right | Verdict::NotConfigured => unauthorized("invalid auth token"),
    };
    let error = match &params.dialect {
        Some(_) => dialect::unauthorized(verdict, cx.settings.auth.credential).unwrap_or(error),
        None => error,
    };
    Err((error, held))
}

fn locked_out(left: Duration) -> WireError {
    let details = r#"{"code":"AUTH_RATE_LIMITED","authReason":"rate_limited","recommendedNextStep":"wait_then_retry"}"#;
    WireError {
        details: Some(details.into()),
        ..WireError::invalid("unauthorized: too many failed authentication attempts (retry later)").retry_after(left)
    }
}

/// Whether what the client says was said on this connection: by the nonce, or by a device's proof over it.
fn check_freshness(cx: &Context<'_>, awaiting: &Awaiting, params: &ConnectParams<'_>) -> Result<(), WireError> {
    if let Some(dialect) = &params.dialect {
        dialect.check_device(params, awaiting, cx.now.wall)?;
    }
    let reason = match &params.nonce {
        None if awaiting.client.is_local() => return Ok(()),
        None => "nonce is required for non-loopback clients",
        Some(nonce) if *nonce == awaiting.nonce => return Ok(()),
        Some(_) => "nonce mismatch",
    };
    let error = WireError::new(ErrorCode::Unauthorized, reason);
    Err(match &params.dialect {
        Some(_) => dialect::in_words(error),
        None => error,
    })
}

/// The payload of a successful `connect`.
pub(super) fn hello<'a>(
    settings: &Settings,
    conn_id: &'a str,
    started_at_ms: u64,
    uptime_ms: u64,
    connected_clients: u32,
) -> Hello<'a> {
    let gateway = &settings.gateway;
    Hello {
        r#type: "hello-ok",
        protocol: PROTOCOL,
        server: HelloServer {
            version: env!("CARGO_PKG_VERSION"),
            conn_id,
            started_at_ms,
        },
        features: HelloFeatures {
            methods: METHODS,
            events: EVENTS,
            optional_gateway: true,
        },
        policy: HelloPolicy {
            max_payload: gateway.max_payload_bytes,
            max_buffered_bytes: gateway.max_buffered_bytes,
            handshake_timeout_ms: gateway.handshake_timeout.as_millis(),
            tick_interval_ms: gateway.tick_interval.as_millis(),
            rate_limit_per_minute: gateway.rate_limit_per_minute,
            idempotency_ttl_ms: settings.operator.idempotency_ttl.as_millis(),
        },
        snapshot: HelloSnapshot {
            connected_clients,
            uptime_ms,
        },
    }
}
