//! From the challenge to `hello-ok`: the checks of section 3 in their order; the first that fails decides.
//! Spec: `spec/operator.md` section 3.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;

use super::Context;
use super::connect::ConnectParams;
use super::scope::{EVENTS, METHODS};
use super::session::{Awaiting, Ready};
use super::shutdown;
use super::wire::{
    ErrorCode, Hello, HelloFeatures, HelloPolicy, HelloServer, HelloSnapshot, PROTOCOL, RequestFrame, WireError,
};
use crate::auth::{Authenticator, Verdict, guesser};
use crate::limits::window::SlidingWindow;
use crate::machine::Peer;
use crate::policy::{address, origin};
use crate::report::Report;
use crate::secret::digest;
use crate::settings::Settings;
use crate::time::Now;
use crate::websocket::CloseCode;

/// A handshake that failed: what the client is told, and with which reason the connection is closed.
pub(super) struct Refused {
    pub(super) id: String,
    pub(super) error: WireError,
    pub(super) report: Option<Report>,
}

impl Refused {
    fn new(id: &str, error: WireError) -> Box<Self> {
        Box::new(Self {
            id: id.into(),
            error,
            report: None,
        })
    }
}

impl Refused {
    /// How the connection is closed after the answer: with the same text, but for a client that is to come back.
    pub(super) fn close(&self) -> (CloseCode, Cow<'static, str>) {
        if self.error.code == ErrorCode::Unavailable {
            (CloseCode::TRY_AGAIN_LATER, "gateway restart in progress".into())
        } else {
            (CloseCode::POLICY, self.error.message.clone())
        }
    }

    fn with_report(id: &str, (error, report): (WireError, Option<Report>)) -> Box<Self> {
        Box::new(Self {
            id: id.into(),
            error,
            report,
        })
    }
}

/// A handshake that succeeded.
pub(super) struct Accepted {
    pub(super) id: String,
    pub(super) client: String,
    pub(super) ready: Ready,
}

/// Judges a client's first message.
pub(super) fn judge(
    cx: &mut Context<'_>,
    peer: Peer,
    awaiting: &Awaiting,
    text: &str,
    draining: bool,
) -> Result<Accepted, Box<Refused>> {
    let (now, settings, auth) = (cx.now, &**cx.settings, &mut *cx.auth);
    let frame = RequestFrame::parse(text).map_err(|reason| Refused::new("invalid", WireError::invalid(reason)))?;
    let refused = |error| Refused::new(&frame.id, error);
    if frame.method != "connect" {
        return Err(refused(WireError::invalid("first request must be connect")));
    }
    if draining {
        return Err(refused(shutdown::unavailable("connect")));
    }
    let params = ConnectParams::parse(frame.params).map_err(|reason| refused(WireError::invalid(reason)))?;
    if params.min_protocol > PROTOCOL || params.max_protocol < PROTOCOL {
        return Err(refused(WireError::new(
            ErrorCode::ProtocolMismatch,
            "protocol mismatch",
        )));
    }
    check_token(now, peer, awaiting, &params, auth).map_err(|fault| Refused::with_report(&frame.id, *fault))?;
    check_nonce(peer, awaiting, &params).map_err(|reason| refused(WireError::new(ErrorCode::Unauthorized, reason)))?;
    if !origin::is_allowed(
        awaiting.origin.as_deref(),
        awaiting.host.as_deref(),
        &settings.gateway.allowed_origins,
    ) {
        return Err(refused(WireError::new(ErrorCode::Forbidden, "origin not allowed")));
    }
    let token = if auth.is_required() {
        params.token.as_deref().unwrap_or_default()
    } else {
        ""
    };
    let instance = params.instance_id.as_deref().unwrap_or("unknown");
    let ready = Ready {
        identity: digest(&[params.client_id.as_bytes(), instance.as_bytes(), token.as_bytes()]),
        scopes: params.scopes.granted(),
        connected_at: awaiting.connected_at,
        requests: SlidingWindow::default(),
        in_flight: 0,
    };
    Ok(Accepted {
        id: frame.id.into_owned(),
        client: params.client_id.into_owned(),
        ready,
    })
}

fn check_token(
    now: Now,
    peer: Peer,
    awaiting: &Awaiting,
    params: &ConnectParams<'_>,
    auth: &mut Authenticator,
) -> Result<(), Box<(WireError, Option<Report>)>> {
    if !auth.is_required() {
        return Ok(());
    }
    let unauthorized = |message: &'static str| WireError::new(ErrorCode::Unauthorized, message);
    let Some(token) = &params.token else {
        return Err(Box::new((unauthorized("missing auth token"), None)));
    };
    let origin = origin::present(awaiting.origin.as_deref());
    let who = guesser(peer, origin);
    match auth.verify(now.monotonic, who, token) {
        Verdict::Right => Ok(()),
        Verdict::Missing | Verdict::NotConfigured | Verdict::Wrong { locked: None, .. } => {
            Err(Box::new((unauthorized("invalid auth token"), None)))
        }
        Verdict::Wrong {
            locked: Some(lockout), ..
        } => {
            let report = Report::LockedOut {
                who: who.name(origin),
                seconds: lockout.as_secs(),
            };
            Err(Box::new((unauthorized("invalid auth token"), Some(report))))
        }
        Verdict::LockedOut(left) => {
            let error = WireError {
                details: Some(
                    r#"{"code":"AUTH_RATE_LIMITED","authReason":"rate_limited","recommendedNextStep":"wait_then_retry"}"#,
                ),
                ..WireError::invalid("unauthorized: too many failed authentication attempts (retry later)")
            };
            Err(Box::new((error.retry_after(left), None)))
        }
    }
}

fn check_nonce(peer: Peer, awaiting: &Awaiting, params: &ConnectParams<'_>) -> Result<(), &'static str> {
    match &params.nonce {
        None if address::is_loopback(peer) => Ok(()),
        None => Err("nonce is required for non-loopback clients"),
        Some(nonce) if *nonce == awaiting.nonce => Ok(()),
        Some(_) => Err("nonce mismatch"),
    }
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
