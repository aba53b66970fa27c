//! What the gateway asks of other servers: events of exchanges go to whoever asked, and what they cause for dialled
//! connections goes to the adapter. Dialled connections are never in the table of accepted ones.

use super::Gateway;
use crate::outbound::Asker;
use crate::time::Now;

impl Gateway {
    /// Deadlines of exchanges.
    pub(super) fn outbound_on_time(&mut self, now: Now) {
        if self.exchanges.next_deadline().is_some_and(|at| at <= now.monotonic) {
            self.exchanges.on_deadline(now, &mut self.calls);
        }
    }

    /// Hands every event to whoever asked. What that causes may have events of its own: they are handed over too.
    pub(super) fn outbound_events(&mut self, _now: Now) {
        while let Some((asker, _id, _event)) = self.exchanges.take_event() {
            match asker {
                Asker::Fetch | Asker::Providers => {}
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
