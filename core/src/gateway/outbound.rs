//! What the gateway asks of other servers: events of exchanges go to whoever asked, and what they cause for dialled
//! connections goes to the adapter. Dialled connections are never in the table of accepted ones.

use super::Gateway;
use crate::fetch::{FetchAsker, FetchContext, FetchFault, Fetched, Fetches};
use crate::id::FetchId;
use crate::outbound::{Asker, ExchangeEvent};
use crate::outbox::Upstream;
use crate::providers::{ProviderContext, ProviderEvent, Providers};
use crate::surfaces::relay::Relay;
use crate::surfaces::tools::{Context, Tools};
use crate::time::Now;

impl Gateway {
    /// Does something with the tools surface.
    pub(super) fn with_tools<R>(&mut self, now: Now, act: impl FnOnce(&mut Tools, &mut Context<'_>) -> R) -> R {
        let mut cx = Context {
            now,
            settings: &self.settings,
            random: &mut self.random,
            calls: &mut self.calls,
            fetches: &mut self.fetches,
            exchanges: &mut self.exchanges,
            reports: &mut self.reports,
            audit: &mut self.audit,
        };
        act(&mut self.tools, &mut cx)
    }

    /// Does something with the fetches.
    pub(super) fn with_fetches<R>(
        &mut self,
        now: Now,
        act: impl FnOnce(&mut Fetches, &mut FetchContext<'_>) -> R,
    ) -> R {
        let mut cx = FetchContext {
            now,
            settings: &self.settings.fetch,
            calls: &mut self.calls,
            exchanges: &mut self.exchanges,
        };
        act(&mut self.fetches, &mut cx)
    }

    /// The providers and what they may use.
    pub(super) fn providers(&mut self, now: Now) -> (&mut Providers, ProviderContext<'_>) {
        let context = ProviderContext {
            now,
            settings: &self.settings.providers,
            random: &mut self.random,
            calls: &mut self.calls,
            exchanges: &mut self.exchanges,
        };
        (&mut self.providers, context)
    }

    /// Deadlines of exchanges, fetches and tools, and pauses of the providers.
    pub(super) fn outbound_on_time(&mut self, now: Now) {
        if self.exchanges.next_deadline().is_some_and(|at| at <= now.monotonic) {
            self.exchanges.on_deadline(now, &mut self.calls);
        }
        if self.fetches.next_deadline().is_some_and(|at| at <= now.monotonic) {
            self.with_fetches(now, Fetches::on_deadline);
        }
        if self.tools.next_deadline().is_some_and(|at| at <= now.monotonic) {
            self.with_tools(now, Tools::on_deadline);
        }
        if self.providers.next_deadline().is_some_and(|at| at <= now.monotonic) {
            let (providers, mut cx) = self.providers(now);
            providers.on_deadline(&mut cx);
        }
    }

    /// Hands every event to whoever asked. What one of them causes is delivered before the next is asked for, so that a
    /// client that has no room holds back what streams to it.
    pub(super) fn outbound_events(&mut self, now: Now) {
        loop {
            if let Some(event) = self.providers.take_event() {
                self.provider_event(now, event);
                self.deliver(now);
            } else if let Some((asker, exchange, event)) = self.exchanges.take_event() {
                self.count_exchange(asker, &event);
                match asker {
                    Asker::Fetch => {
                        self.with_fetches(now, |fetches, cx| fetches.exchange_event(cx, exchange, event));
                    }
                    Asker::Providers => {
                        let (providers, mut cx) = self.providers(now);
                        providers.exchange_event(&mut cx, exchange, event);
                    }
                    Asker::Relay => self.relay_exchange_event(now, exchange, event),
                }
            } else if let Some((asker, fetch, result)) = self.fetches.take_event() {
                self.fetched(now, asker, fetch, result);
            } else {
                return;
            }
        }
    }

    fn provider_event(&mut self, now: Now, event: ProviderEvent) {
        match event {
            ProviderEvent::Chat { id, event } => {
                let (operator, mut cx) = self.operator(now);
                operator.chat_event(&mut cx, id, event);
            }
            ProviderEvent::Health { ticket, report } => {
                self.with_control(now, |control, cx| control.health_checked(cx, ticket, &report));
            }
        }
    }

    /// Whether somebody has something to tell.
    pub(super) fn has_outbound_events(&self) -> bool {
        self.exchanges.has_events()
            || self.providers.has_events()
            || self.fetches.has_events()
            || self.tools.has_answers()
            || self.relay.as_ref().is_some_and(Relay::has_output)
    }

    /// What streams to a client without room waits.
    pub(super) fn hold(&mut self, upstream: Upstream) {
        match upstream {
            // It waits for leave anyway.
            Upstream::Effect(_) => {}
            Upstream::Chat(id) => self.providers.hold(&mut self.exchanges, id),
        }
    }

    /// What streams to a client goes on.
    pub(super) fn proceed(&mut self, upstream: Upstream) {
        match upstream {
            Upstream::Effect(effect) => self.calls.proceed(effect),
            Upstream::Chat(id) => self.providers.proceed(&mut self.exchanges, id),
        }
    }

    const fn count_exchange(&mut self, asker: Asker, event: &ExchangeEvent) {
        let outcome = match event {
            ExchangeEvent::End => 0,
            ExchangeEvent::Failed(_) => 1,
            _ => return,
        };
        let [fetches, providers, relay] = &mut self.metrics.exchanges;
        match asker {
            Asker::Fetch => fetches.add(outcome, 1),
            Asker::Providers => providers.add(outcome, 1),
            Asker::Relay => relay.add(outcome, 1),
        }
    }

    fn fetched(&mut self, now: Now, asker: FetchAsker, fetch: FetchId, result: Result<Fetched, FetchFault>) {
        match asker {
            FetchAsker::Tools => self.with_tools(now, |tools, cx| tools.fetch_event(cx, fetch, result)),
            FetchAsker::Operator => {
                let (operator, mut cx) = self.operator(now);
                operator.fetch_event(&mut cx, fetch, result);
            }
        }
    }

    /// What is to be done with dialled connections.
    pub(super) fn outbound_outputs(&mut self) {
        while let Some(output) = self.exchanges.take_output() {
            self.outputs.push_back(output);
        }
    }
}
