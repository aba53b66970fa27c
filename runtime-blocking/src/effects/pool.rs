//! A few threads for short work that waits for the disk or the resolver. A thread starts when work comes and all others
//! are busy, and ends when it has had none for a while.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

const IDLE: Duration = Duration::from_secs(10);
/// The system's resolver reads configuration files with large buffers on its stack.
const STACK: usize = 256 * 1024;

pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// Threads that share a queue. Whoever fills the queue bounds it.
pub(crate) struct Pool {
    name: &'static str,
    most: usize,
    state: Mutex<State>,
    came: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Work>,
    threads: usize,
    idle: usize,
}

impl Pool {
    pub(crate) fn new(name: &'static str, most: usize) -> Arc<Self> {
        Arc::new(Self {
            name,
            most,
            state: Mutex::default(),
            came: Condvar::new(),
        })
    }

    /// Queues work. Never waits. Gives the work back when there is no thread for it and none can be started.
    pub(crate) fn run(self: &Arc<Self>, work: Work) -> Result<(), Work> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.queue.push_back(work);
        if state.queue.len() > state.idle && state.threads < self.most {
            let pool = Arc::clone(self);
            let builder = thread::Builder::new().name(String::from(self.name)).stack_size(STACK);
            if builder.spawn(move || pool.work()).is_ok() {
                state.threads += 1;
            } else if state.threads == 0 {
                return state.queue.pop_back().map_or(Ok(()), Err);
            }
        }
        drop(state);
        self.came.notify_one();
        Ok(())
    }

    fn work(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(work) = state.queue.pop_front() {
                drop(state);
                work();
                state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.idle += 1;
            let waited = self
                .came
                .wait_timeout_while(state, IDLE, |state| state.queue.is_empty());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
            if state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}
