//! Effects: work outside the machine. Each is started by name, may be cancelled, and completes exactly once. What blocks
//! (names, files, the store) runs on other threads; everything comes back to the machine's thread.

mod control;
mod dial;
mod spawn;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

use portcullis_blocking::effects::fault::{doing, fault};
use portcullis_blocking::effects::{files, resolve, signature};
use portcullis_blocking::store::Store;
use portcullis_blocking::tls::ClientTls;
use portcullis_core::effect::{Completion, Effect, Fault, FaultKind, Outcome};
use portcullis_core::id::EffectId;
use portcullis_core::machine::{Input, Machine};
use smol::channel::{Receiver, Sender};

use self::control::Control;
use crate::driver::Driver;

/// Effects under way at most; further ones fail at once.
const UNDER_WAY_MAX: usize = 1024;

/// What came to an end on another thread.
pub(crate) type Done = (EffectId, Outcome);

/// The effects under way and what they are carried out with.
pub(crate) struct Effects {
    store: Store,
    tls: ClientTls,
    under_way: RefCell<HashMap<EffectId, Option<Rc<Control>>>>,
    done: Sender<Done>,
    /// One thread for all files: what was asked for first happens first, and a slow disk holds up nobody else.
    files: OnceCell<mpsc::Sender<(EffectId, Effect)>>,
}

impl Effects {
    /// What ends on other threads is told to `done`.
    pub(crate) fn new(store: Store, tls: ClientTls, done: Sender<Done>) -> Self {
        Self {
            store,
            tls,
            under_way: RefCell::default(),
            done,
            files: OnceCell::new(),
        }
    }

    /// Starts an effect that completes later.
    ///
    /// # Errors
    /// When it cannot even be started; it is completed with that.
    pub(crate) fn start<M: Machine + 'static>(
        driver: &Rc<Driver<M>>,
        effect: EffectId,
        what: Effect,
    ) -> Result<(), Fault> {
        let effects = &driver.effects;
        let control = effects.register(effect, &what)?;
        match (what, control) {
            (Effect::Store(batch), _) => {
                let done = effects.done.clone();
                effects.store.submit(batch, move |outcome| tell(&done, effect, outcome));
            }
            (Effect::VerifySignature(check), _) => {
                tell(
                    &effects.done,
                    effect,
                    Ok(Completion::Verified(signature::verify(&check))),
                );
            }
            (Effect::Resolve { host }, Some(control)) => {
                let lookup = smol::unblock(move || resolve::lookup(&host));
                effects.run(driver, effect, async move { control.or_cancelled(lookup).await });
            }
            (Effect::Dial(dial), Some(control)) => self::dial::start(driver, effect, dial, control),
            (Effect::Spawn(spawn), Some(control)) => {
                effects.run(driver, effect, self::spawn::run(driver.clone(), effect, spawn, control));
            }
            (file, _) => effects
                .start_on_file(effect, file)
                .inspect_err(|_| effects.forget(effect))?,
        }
        Ok(())
    }

    fn register(&self, effect: EffectId, what: &Effect) -> Result<Option<Rc<Control>>, Fault> {
        let mut under_way = self.under_way.borrow_mut();
        if under_way.len() >= UNDER_WAY_MAX {
            return Err(fault(
                FaultKind::Unavailable,
                format!("{UNDER_WAY_MAX} effects are under way already"),
            ));
        }
        // What only waits for a disk is over soon and must not be half done: it has nothing to control.
        let control = matches!(what, Effect::Resolve { .. } | Effect::Dial(_) | Effect::Spawn(_)).then(Rc::default);
        match under_way.entry(effect) {
            Entry::Occupied(_) => Err(fault(FaultKind::Invalid, format!("{effect} is under way already"))),
            Entry::Vacant(free) => Ok(free.insert(control).clone()),
        }
    }

    fn run<M: Machine + 'static>(
        &self,
        driver: &Rc<Driver<M>>,
        effect: EffectId,
        work: impl Future<Output = Outcome> + 'static,
    ) {
        let completing = driver.clone();
        // Boxed by the executor when large; such effects are few.
        let task = driver.spawn(async move {
            let outcome = work.await;
            completing.effects.forget(effect);
            completing.turn(None, Input::Completed { effect, outcome });
        });
        if let Some(task) = task {
            task.detach();
        }
    }

    fn start_on_file(&self, effect: EffectId, what: Effect) -> Result<(), Fault> {
        if self.files.get().is_none() {
            let thread = start_file_thread(self.done.clone()).map_err(|error| doing("a thread for files", &error))?;
            // Nobody else sets it: there is one thread here.
            let _ = self.files.set(thread);
        }
        let sent = self.files.get().is_some_and(|files| files.send((effect, what)).is_ok());
        if sent {
            Ok(())
        } else {
            Err(fault(FaultKind::Unavailable, "the thread for files has ended"))
        }
    }

    fn forget(&self, effect: EffectId) {
        self.under_way.borrow_mut().remove(&effect);
    }

    /// The last progress is dealt with.
    pub(crate) fn proceed(&self, effect: EffectId) {
        if let Some(Some(control)) = self.under_way.borrow().get(&effect) {
            control.proceed();
        }
    }

    /// End it early.
    pub(crate) fn cancel(&self, effect: EffectId) {
        if let Some(Some(control)) = self.under_way.borrow().get(&effect) {
            control.cancel();
        }
    }
}

/// Hands what ended on other threads to the machine.
pub(crate) async fn take_in<M: Machine + 'static>(driver: Rc<Driver<M>>, completions: Receiver<Done>) {
    while let Ok((effect, outcome)) = completions.recv().await {
        driver.effects.forget(effect);
        driver.turn(None, Input::Completed { effect, outcome });
    }
}

fn start_file_thread(done: Sender<Done>) -> io::Result<mpsc::Sender<(EffectId, Effect)>> {
    let (jobs, arriving) = mpsc::channel::<(EffectId, Effect)>();
    thread::Builder::new()
        .name(String::from("files"))
        .stack_size(256 * 1024)
        .spawn(move || {
            for (effect, what) in arriving {
                tell(&done, effect, files::run(&what));
            }
        })?;
    Ok(jobs)
}

fn tell(done: &Sender<Done>, effect: EffectId, outcome: Outcome) {
    // The channel has no bound of its own: there is one message at most for each effect under way. It is closed only
    // when the machine is gone.
    let _ = done.try_send((effect, outcome));
}
