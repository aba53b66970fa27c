//! Begins effects: each on the threads that suit it. The outcome comes back through the hub.

use std::sync::Arc;
use std::thread;

use portcullis_core::effect::{Completion, Effect, Fault, FaultKind, Outcome};
use portcullis_core::id::EffectId;
use portcullis_core::machine::{Input, Machine};
use portcullis_core::store::Batch;

use super::hub::Hub;
use super::peers;
use crate::effects::control::Control;
use crate::effects::fault::fault;
use crate::effects::pool::{Pool, Work};
use crate::effects::{files, resolve, signature, spawn};

/// Readers that wait for the next connection.
const SPARE_READERS: usize = 32;

/// The threads. Names and files have their own, so that a slow resolver holds up no file.
pub(super) struct Pools {
    /// For accepted connections; whoever fills it bounds it.
    pub(super) readers: Arc<Pool>,
    files: Arc<Pool>,
    names: Arc<Pool>,
}

impl Pools {
    pub(super) fn new() -> Self {
        Self {
            readers: Pool::new("reader", usize::MAX, SPARE_READERS),
            files: Pool::new("files", 4, 4),
            names: Pool::new("names", 8, 8),
        }
    }
}

/// Begins an effect. Called without the machine's lock.
pub(super) fn begin<M: Machine + Send + 'static>(
    hub: &Arc<Hub<M>>,
    effect: EffectId,
    what: Effect,
    control: Arc<Control>,
) {
    let begun = match what {
        Effect::VerifySignature(check) => {
            hub.completed(effect, Ok(Completion::Verified(signature::verify(&check))));
            Ok(())
        }
        Effect::Store(batch) => store(hub, effect, batch).map_err(|fault| fault.detail),
        Effect::Resolve { host } => in_pool(hub, &hub.pools.names, effect, move || resolve::lookup(&host)),
        Effect::ReadFile { .. }
        | Effect::WriteFile { .. }
        | Effect::Append { .. }
        | Effect::Rename { .. }
        | Effect::Remove { .. }
        | Effect::RealPath { .. } => in_pool(hub, &hub.pools.files, effect, move || files::run(&what)),
        Effect::Dial(dial) => match hub.threads.enter() {
            None => Err(String::from("no thread is left for another connection")),
            Some(alive) => on_thread(hub, "dial", move |hub| {
                let _alive = alive;
                peers::dialled(hub, effect, &dial);
            }),
        },
        Effect::Spawn(spawn) => on_thread(hub, "spawn", move |hub| {
            let tell = |progress| {
                if !hub.tell_effect(effect, Input::Progress { effect, progress }) {
                    control.cancel();
                }
            };
            let outcome = spawn::run(&spawn, &control, &tell);
            hub.completed(effect, outcome);
        }),
    };
    if let Err(why) = begun {
        hub.completed(effect, Err(fault(FaultKind::Unavailable, why)));
    }
}

/// Hands a batch to the store: at once and in order, also under the machine's lock, because it never waits and never
/// answers on this thread.
pub(super) fn store<M: Machine + Send + 'static>(
    hub: &Arc<Hub<M>>,
    effect: EffectId,
    batch: Batch,
) -> Result<(), Fault> {
    let back = Arc::clone(hub);
    let done = Box::new(move |outcome| back.completed(effect, outcome));
    hub.host.store.offer(batch, done).map_err(|(_, fault)| fault)
}

fn in_pool<M: Machine + Send + 'static>(
    hub: &Arc<Hub<M>>,
    pool: &Arc<Pool>,
    effect: EffectId,
    run: impl FnOnce() -> Outcome + Send + 'static,
) -> Result<(), String> {
    let back = Arc::clone(hub);
    let work: Work = Box::new(move || back.completed(effect, run()));
    pool.run(work).map_err(|error| format!("no thread is left: {error}"))
}

fn on_thread<M: Machine + Send + 'static>(
    hub: &Arc<Hub<M>>,
    name: &str,
    run: impl FnOnce(&Arc<Hub<M>>) + Send + 'static,
) -> Result<(), String> {
    let back = Arc::clone(hub);
    let builder = thread::Builder::new().name(String::from(name)).stack_size(peers::STACK);
    builder
        .spawn(move || run(&back))
        .map(drop)
        .map_err(|error| error.to_string())
}
