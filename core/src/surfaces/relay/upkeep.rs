//! What the relay does besides requests: agents' messages, the outcomes of effects, deadlines, connections that end, and what
//! one part has to tell another. Answers and events that come later are taken out here. Spec: `spec/relay.md` section 6.

use alloc::string::String;

use super::context::RelayContext;
use super::http::{Answer, Caller};
use super::ids::DeviceId;
use super::streams::StreamOutput;
use super::{Context, Parts, Relay};
use crate::effect::Outcome;
use crate::id::{ConnId, EffectId, ExchangeId};
use crate::outbound::ExchangeEvent;
use crate::report::Report;
use crate::settings::RelaySettings;
use crate::time::Instant;
use crate::websocket::CloseCode;

impl Relay {
    /// Completes the start: the OAuth server's records, and its identity provider.
    pub fn load(&mut self, cx: &mut Context<'_>) {
        let (parts, mut cx) = self.split(cx);
        parts.oauth.load(&mut cx);
    }

    /// Whether all records are read.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let Parts {
            oauth,
            devices,
            sessions,
        } = &self.parts;
        oauth.is_ready() && devices.is_ready() && sessions.is_ready()
    }

    /// Takes new settings. The keys stay those of the start.
    pub fn reconfigure(&mut self, cx: &mut Context<'_>, config: &RelaySettings) {
        self.config = RelaySettings {
            signing_key: self.config.signing_key.clone(),
            transport_token_secret: self.config.transport_token_secret.clone(),
            ..config.clone()
        };
        self.known.clear();
        let (parts, mut cx) = self.split(cx);
        parts.oauth.reconfigure(&mut cx);
    }

    /// The gateway goes away: no new requests are taken.
    pub const fn drain(&mut self) {
        self.is_draining = true;
    }

    /// What may wait a moment is written now: nothing follows.
    pub fn flush(&mut self, cx: &mut Context<'_>) {
        let (parts, mut cx) = self.split(cx);
        parts.sessions.flush(&mut cx);
        cx.ledger.flush(cx.calls);
    }

    /// Whether everything is on disk.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.ledger.is_idle()
    }

    /// An effect that was started here is over.
    pub fn completed(&mut self, cx: &mut Context<'_>, effect: EffectId, outcome: Outcome) {
        if self.ledger.owns(effect) {
            return self.ledger.completed(cx.now, cx.reports, outcome);
        }
        self.part_completed(cx, effect, outcome);
        // Whoever started the process waits for this, not for the sockets alone.
        if !self.is_told && self.is_ready() {
            self.is_told = true;
            cx.reports.push(Report::RelayReady);
        }
    }

    fn part_completed(&mut self, cx: &mut Context<'_>, effect: EffectId, outcome: Outcome) {
        let (parts, mut cx) = self.split(cx);
        if parts.oauth.owns(effect) {
            parts.oauth.completed(&mut cx, effect, outcome);
        } else if parts.devices.owns(effect) {
            parts.devices.completed(cx.now, cx.reports, effect, outcome);
        } else if parts.sessions.owns(effect) {
            parts.sessions.completed(cx.relay, cx.now, cx.reports, effect, outcome);
        }
    }

    /// An exchange with another server tells something.
    pub fn exchange_event(&mut self, cx: &mut Context<'_>, exchange: ExchangeId, event: ExchangeEvent) {
        let (parts, mut cx) = self.split(cx);
        parts.oauth.exchange_event(&mut cx, exchange, event);
    }

    /// When [`Self::on_deadline`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let Parts {
            oauth,
            devices,
            sessions,
        } = &self.parts;
        [
            oauth.next_deadline(),
            devices.next_deadline(),
            sessions.next_deadline(),
            self.ledger.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// A deadline passed.
    pub fn on_deadline(&mut self, cx: &mut Context<'_>) {
        let (parts, mut cx) = self.split(cx);
        parts.oauth.on_deadline(&mut cx);
        parts.devices.on_deadline(&mut cx);
        parts.sessions.on_deadline(&mut cx, &mut parts.devices);
        cx.ledger.on_deadline(cx.now);
    }

    /// A connection was upgraded to an agent's.
    pub fn agent_opened(&mut self, cx: &mut Context<'_>, conn: ConnId, caller: &Caller, device: DeviceId) {
        let (parts, mut cx) = self.split(cx);
        parts
            .sessions
            .agent_opened(&mut cx, &mut parts.devices, conn, caller, device);
    }

    /// A message of an agent.
    pub fn agent_message(&mut self, cx: &mut Context<'_>, conn: ConnId, text: &str) {
        let (parts, mut cx) = self.split(cx);
        parts.sessions.agent_message(&mut cx, &mut parts.devices, conn, text);
    }

    /// Bytes for an agent are on their way to its socket.
    pub fn agent_handed(&mut self, conn: ConnId, bytes: usize) {
        self.parts.sessions.agent_handed(conn, bytes);
    }

    /// An agent answered a ping.
    pub fn agent_pong(&mut self, cx: &mut Context<'_>, conn: ConnId, content: &[u8]) {
        let (parts, mut cx) = self.split(cx);
        parts.sessions.agent_pong(&mut cx, conn, content);
    }

    /// An agent's socket took bytes.
    pub fn agent_sent(&mut self, cx: &mut Context<'_>, conn: ConnId, bytes: usize) {
        let (parts, mut cx) = self.split(cx);
        parts.sessions.agent_sent(&mut cx, conn, bytes);
    }

    /// An agent's connection ends.
    pub fn agent_closed(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.open.remove(conn);
        let (parts, mut cx) = self.split(cx);
        parts.sessions.agent_closed(&mut cx, &mut parts.devices, conn);
    }

    /// A stream's head and first events were handed over: so many bytes.
    pub fn stream_began(&mut self, conn: ConnId, bytes: usize) {
        self.streams.began(conn, bytes);
    }

    /// Bytes around a stream's own were handed over.
    pub fn stream_framed(&mut self, conn: ConnId, bytes: usize) {
        self.streams.framed(conn, bytes);
    }

    /// A stream's socket took bytes.
    pub fn stream_sent(&mut self, conn: ConnId, bytes: usize) {
        self.streams.sent(conn, bytes);
        let limit = self.config.limits.stream_buffer_bytes as usize;
        self.parts.sessions.listen_on(&mut self.streams, limit, conn);
    }

    /// Nobody waits for an answer or for events on this connection any more.
    pub fn closed(&mut self, conn: ConnId) {
        self.open.remove(conn);
        self.parts.oauth.closed(conn);
        self.parts.devices.closed(conn);
        self.parts.sessions.closed(conn);
        self.streams.closed(conn);
    }

    /// Tells the parts what others of them decided, and begins to write what changed. Called at the end of every input,
    /// and again when its outcome caused more.
    pub fn settle(&mut self, cx: &mut Context<'_>) {
        while let Some(login) = self.parts.oauth.take_ended() {
            self.end_login(cx, &login);
        }
        let (parts, mut cx) = self.split(cx);
        parts.oauth.take_back(&mut cx);
        while let Some((device, uid)) = parts.devices.take_revoked() {
            parts.sessions.revoked(&mut cx, &device, &uid);
        }
        while let Some(device) = parts.devices.take_removed() {
            parts.sessions.removed(&mut cx, &mut parts.devices, &device);
        }
        cx.ledger.flush(cx.calls);
    }

    /// A login was ended: so are the streams and sockets that it opened.
    fn end_login(&mut self, cx: &mut Context<'_>, login: &str) {
        for conn in self.open.of_login(login) {
            self.open.remove(conn);
            let (parts, mut cx) = self.split(cx);
            if cx.streams.is_open(conn) {
                cx.streams.push(conn, b":authorization_revoked\n\n");
                cx.streams.end(conn);
                parts.devices.closed(conn);
                parts.sessions.closed(conn);
            } else {
                end_agent(parts, &mut cx, conn);
            }
        }
    }

    /// The next answer to a request that waits for one.
    pub fn take_answer(&mut self) -> Option<(ConnId, Answer)> {
        let Parts { oauth, sessions, .. } = &mut self.parts;
        let answer = sessions.take_answer().or_else(|| self.ledger.take_answer());
        if let Some((conn, answer)) = &answer {
            oauth.answered(*conn, answer.status);
        }
        answer.or_else(|| oauth.take_answer())
    }

    /// The next thing to do for an event stream.
    pub fn take_stream(&mut self) -> Option<(ConnId, StreamOutput)> {
        self.streams.take_output()
    }

    /// Whether there is something to take out.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.streams.has_output()
    }

    /// Event streams that are open.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }
}

fn end_agent(parts: &mut Parts, cx: &mut RelayContext<'_>, conn: ConnId) {
    cx.outbox.close(conn, CloseCode::POLICY, String::from("login ended"));
    parts.sessions.agent_closed(cx, &mut parts.devices, conn);
}
