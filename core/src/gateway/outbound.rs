//! What the gateway asks of other servers: events of exchanges go to whoever asked, and what they cause for dialled
//! connections goes to the adapter. Dialled connections are never in the table of accepted ones.

use super::Gateway;
use crate::outbound::Asker;
use crate::outbox::Upstream;
use crate::providers::{ProviderContext, ProviderEvent, Providers};
use crate::time::Now;

impl Gateway {
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

    /// Deadlines of exchanges, and pauses of the providers.
    pub(super) fn outbound_on_time(&mut self, now: Now) {
        if self.exchanges.next_deadline().is_some_and(|at| at <= now.monotonic) {
            self.exchanges.on_deadline(now, &mut self.calls);
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
            while let Some(event) = self.providers.take_event() {
                self.provider_event(now, event);
                self.deliver(now);
            }
            let Some((asker, id, event)) = self.exchanges.take_event() else {
                return;
            };
            match asker {
                Asker::Providers => {
                    let (providers, mut cx) = self.providers(now);
                    providers.exchange_event(&mut cx, id, event);
                }
                Asker::Fetch => {}
            }
        }
    }

    fn provider_event(&mut self, now: Now, event: ProviderEvent) {
        match event {
            ProviderEvent::Chat { id, event } => {
                let (operator, mut cx) = self.operator(now);
                operator.chat_event(&mut cx, id, event);
            }
            ProviderEvent::Health { .. } => {}
        }
    }

    /// Whether somebody has something to tell.
    pub(super) fn has_outbound_events(&self) -> bool {
        self.exchanges.has_events() || self.providers.has_events()
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

    /// What is to be done with dialled connections.
    pub(super) fn outbound_outputs(&mut self) {
        while let Some(output) = self.exchanges.take_output() {
            self.outputs.push_back(output);
        }
    }
}
