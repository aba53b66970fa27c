//! What the gateway asks of other servers: events of exchanges go to whoever asked, and what they cause for dialled
//! connections goes to the adapter. Dialled connections are never in the table of accepted ones.

use super::Gateway;
use crate::effect::Outcome;
use crate::fetch::{FetchAsker, FetchContext, Fetches};
use crate::id::EffectId;
use crate::outbound::Asker;
use crate::time::Now;

impl Gateway {
    /// Deadlines of exchanges and fetches.
    pub(super) fn outbound_on_time(&mut self, now: Now) {
        if self.exchanges.next_deadline().is_some_and(|at| at <= now.monotonic) {
            self.exchanges.on_deadline(now, &mut self.calls);
        }
        if self.fetches.next_deadline().is_some_and(|at| at <= now.monotonic) {
            let (fetches, mut cx) = self.fetching(now);
            fetches.on_deadline(&mut cx);
        }
    }

    /// An effect of a fetch is over.
    pub(super) fn fetch_effect(&mut self, now: Now, effect: EffectId, outcome: Outcome) {
        let (fetches, mut cx) = self.fetching(now);
        fetches.completed(&mut cx, effect, outcome);
    }

    /// Hands every event to whoever asked. What that causes may have events of its own: they are handed over too.
    pub(super) fn outbound_events(&mut self, now: Now) {
        loop {
            if let Some((asker, exchange, event)) = self.exchanges.take_event() {
                match asker {
                    Asker::Fetch => {
                        let (fetches, mut cx) = self.fetching(now);
                        fetches.exchange_event(&mut cx, exchange, event);
                    }
                    Asker::Providers => {}
                }
            } else if let Some((asker, fetch, event)) = self.fetches.take_event() {
                match asker {
                    FetchAsker::Operator => {
                        let (operator, mut cx) = self.operator(now);
                        operator.fetch_event(&mut cx, fetch, event);
                    }
                    FetchAsker::Tools => {}
                }
            } else {
                return;
            }
        }
    }

    fn fetching(&mut self, now: Now) -> (&mut Fetches, FetchContext<'_>) {
        let context = FetchContext {
            now,
            settings: &self.settings.fetch,
            calls: &mut self.calls,
            exchanges: &mut self.exchanges,
        };
        (&mut self.fetches, context)
    }

    /// What is to be done with dialled connections.
    pub(super) fn outbound_outputs(&mut self) {
        while let Some(output) = self.exchanges.take_output() {
            self.outputs.push_back(output);
        }
    }
}
