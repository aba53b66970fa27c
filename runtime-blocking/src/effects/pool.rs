//! Threads for work that waits: for the disk, the resolver, a peer. A thread starts when work comes and all others are
//! busy, and ends when it has had none for a while, or when enough others have none: making a thread costs more than most
//! connections do.

use std::collections::VecDeque;
use std::io;
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
    /// Threads at most.
    most: usize,
    /// Of them, those that may wait for work.
    spare: usize,
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
    pub(crate) fn new(name: &'static str, most: usize, spare: usize) -> Arc<Self> {
        Arc::new(Self {
            name,
            most,
            spare,
            state: Mutex::default(),
            came: Condvar::new(),
        })
    }

    /// Queues work. Never waits. It fails when there is no thread for it at all and none can be started.
    pub(crate) fn run(self: &Arc<Self>, work: Work) -> io::Result<()> {
        self.queue(work, false)
    }

    /// Begins work that cannot wait for the end of other work. It fails when all threads are busy and none can be started.
    pub(crate) fn run_now(self: &Arc<Self>, work: Work) -> io::Result<()> {
        self.queue(work, true)
    }

    fn queue(self: &Arc<Self>, work: Work, now: bool) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.queue.push_back(work);
        if state.queue.len() > state.idle {
            match self.start(&state) {
                Ok(()) => state.threads += 1,
                Err(error) if now || state.threads == 0 => {
                    state.queue.pop_back();
                    return Err(error);
                }
                // Whoever is busy now comes to it.
                Err(_) => {}
            }
        }
        drop(state);
        self.came.notify_one();
        Ok(())
    }

    fn start(self: &Arc<Self>, state: &State) -> io::Result<()> {
        if state.threads >= self.most {
            return Err(io::Error::other("all threads are busy"));
        }
        let pool = Arc::clone(self);
        let builder = thread::Builder::new().name(String::from(self.name)).stack_size(STACK);
        builder.spawn(move || pool.work()).map(drop)
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
            if state.idle >= self.spare {
                state.threads -= 1;
                return;
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_is_used_again_and_work_that_cannot_wait_is_refused() {
        let pool = Pool::new("test", 1, 1);
        let (tell, told) = mpsc::channel();
        let work = |hold: mpsc::Receiver<()>| -> Work {
            let tell = tell.clone();
            Box::new(move || {
                tell.send(thread::current().id()).unwrap();
                let _ = hold.recv();
            })
        };
        let (go, hold) = mpsc::channel();
        pool.run_now(work(hold)).unwrap();
        let first = told.recv().unwrap();
        assert!(pool.run_now(work(mpsc::channel().1)).is_err());
        pool.run(work(mpsc::channel().1)).unwrap();
        drop(go);
        assert_eq!(told.recv().unwrap(), first);
    }

    #[test]
    fn threads_beyond_the_spare_ones_end_at_once() {
        let pool = Pool::new("test", 8, 2);
        let holds: Vec<_> = (0..8)
            .map(|_| {
                let (go, hold) = mpsc::channel::<()>();
                pool.run_now(Box::new(move || {
                    let _ = hold.recv();
                }))
                .unwrap();
                go
            })
            .collect();
        assert_eq!(pool.state.lock().unwrap().threads, 8);
        drop(holds);
        while pool.state.lock().unwrap().threads > 2 {
            thread::yield_now();
        }
    }
}
