//! What the gateway does for a relay, in a build without one: nothing.

use core::marker::PhantomData;

use super::Gateway;
use super::answers::Answer;
use super::connection::Connection;
use super::exchange::Exchange;
use super::http::Routed;
use crate::http::{PeerFault, Request};
use crate::id::{ConnId, ExchangeId};
use crate::outbound::ExchangeEvent;
use crate::surfaces::relay::{Context, Relay};
use crate::time::Now;

/// There are no requests for it.
#[derive(Debug)]
pub(super) enum RelayRequest {}

impl RelayRequest {
    pub(super) fn push(&mut self, _: &[u8]) {
        match *self {}
    }
}

/// Nothing is asked of it.
#[derive(Clone, Debug)]
pub(super) enum Asked {}

impl Gateway {
    pub(super) fn with_relay<R>(&mut self, _: Now, act: impl FnOnce(&mut Relay, &mut Context<'_>) -> R) -> Option<R> {
        self.relay.as_mut().map(|relay| act(relay, &mut PhantomData))
    }

    pub(super) fn relay_request(&mut self, now: Now, id: ConnId, connection: &mut Connection, _: &Request) -> Routed {
        self.answer(now, id, connection, &Answer::not_found());
        Routed::Answered
    }

    pub(super) fn relay_body_complete(&mut self, _: Now, _: ConnId, _: &mut Connection, request: RelayRequest) {
        match request {}
    }

    pub(super) fn serve_relay(&mut self, _: Now) {}

    pub(super) fn relay_left(&mut self, _: ConnId, _: &Exchange) {}

    pub(super) fn close_relay(&mut self, _: Now, _: ConnId, _: &mut Connection) {}

    pub(super) fn relay_fault(&mut self, _: Now, _: ConnId, _: &mut Connection, _: &Exchange, _: PeerFault) -> bool {
        false
    }

    pub(super) fn relay_exchange_event(&mut self, _: Now, _: ExchangeId, _: ExchangeEvent) {}

    pub(super) fn relay_handed(&mut self, _: ConnId, _: &Connection, _: usize) {}

    pub(super) fn relay_sent(&mut self, _: Now, _: ConnId, _: usize) {}
}
