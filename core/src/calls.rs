//! Effects under way and who waits for them. It names effects, hands their starts out, and gives back the owner when the
//! outcome comes; what an outcome means is the owner's business. Spec: `spec/contract.md`.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};

use crate::effect::Effect;
use crate::id::EffectId;
use crate::machine::Output;

/// The part of the gateway that waits for an effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The operator surface.
    Operator,
    /// The control surface.
    Control,
    /// The layer that asks other servers.
    Outbound,
    /// The tools.
    Tools,
    /// What fetches URLs that clients name.
    Fetch,
    /// The audit journal.
    Journal,
    /// The relay.
    Relay,
}

/// The effects of one machine.
#[derive(Debug)]
pub struct Calls {
    next: EffectId,
    owners: BTreeMap<EffectId, Owner>,
    /// Starts and cancels that the machine has not handed out yet.
    pending: VecDeque<Output>,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            next: EffectId::FIRST,
            owners: BTreeMap::new(),
            pending: VecDeque::new(),
        }
    }
}

impl Calls {
    /// Starts an effect.
    pub fn start(&mut self, what: Effect, owner: Owner) -> EffectId {
        let effect = self.next;
        self.next = effect.next();
        self.owners.insert(effect, owner);
        self.pending.push_back(Output::Start {
            effect,
            what: Box::new(what),
        });
        effect
    }

    /// Asks for an early end; the outcome still comes.
    pub fn cancel(&mut self, effect: EffectId) {
        if self.owners.contains_key(&effect) {
            self.pending.push_back(Output::Cancel { effect });
        }
    }

    /// Lets the effect tell more.
    pub fn proceed(&mut self, effect: EffectId) {
        if self.owners.contains_key(&effect) {
            self.pending.push_back(Output::Continue { effect });
        }
    }

    /// Who waits for this effect; `None` for one that is unknown or over.
    #[must_use]
    pub fn owner(&self, effect: EffectId) -> Option<Owner> {
        self.owners.get(&effect).copied()
    }

    /// The effect is over: who waited for it.
    pub fn finish(&mut self, effect: EffectId) -> Option<Owner> {
        self.owners.remove(&effect)
    }

    /// The next start or cancel to hand out.
    pub fn take_output(&mut self) -> Option<Output> {
        self.pending.pop_front()
    }
}
