//! A way for other threads to speak to a machine that is being served, and for the machine's runtime to say that it serves.
//! Both runtimes use it; it knows neither of them.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_core::machine::{DrainHow, Input};
use portcullis_core::settings::Settings;

/// Speaks to a machine that is being served (or will be). Clones speak to the same one.
#[derive(Clone, Default)]
pub struct Remote(Arc<Mutex<Line>>);

#[derive(Default)]
struct Line {
    /// What was asked before there was anybody to hear it. Without a bound: only people ask, by hand.
    waiting: Vec<Request>,
    hear: Option<Box<dyn Fn(Request) + Send>>,
}

/// What may be asked.
#[derive(Clone, Debug)]
pub enum Request {
    /// Finish.
    Drain(DrainHow),
    /// Go on with new settings.
    Reconfigure(Arc<Settings>),
}

impl Request {
    /// How a machine is asked.
    #[must_use]
    pub fn into_input(self) -> Input<'static> {
        match self {
            Self::Drain(how) => Input::Drain { how },
            Self::Reconfigure(settings) => Input::Reconfigured { settings },
        }
    }
}

impl Remote {
    /// Asks the machine to finish, as a signal does.
    pub fn drain(&self, how: DrainHow) {
        self.ask(Request::Drain(how));
    }

    /// Hands the machine new settings.
    pub fn reconfigure(&self, settings: Arc<Settings>) {
        self.ask(Request::Reconfigure(settings));
    }

    fn ask(&self, request: Request) {
        let mut line = self.line();
        match &line.hear {
            Some(hear) => hear(request),
            None => line.waiting.push(request),
        }
    }

    /// For a runtime: `hear` is told what was asked already and what will be, in order. It must not ask anything itself.
    pub fn connect(&self, hear: impl Fn(Request) + Send + 'static) {
        let mut line = self.line();
        line.waiting.drain(..).for_each(&hear);
        line.hear = Some(Box::new(hear));
    }

    /// For a runtime: nobody hears any more.
    pub fn disconnect(&self) {
        self.line().hear = None;
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

/// What to do once connections are taken and signals are heeded: for example to tell the URL. By default nothing.
#[derive(Default)]
pub struct Ready(Mutex<Option<Hook>>);

type Hook = Box<dyn FnOnce() -> io::Result<()> + Send>;

impl Ready {
    /// Calls `act` once, on the thread that serves. An error ends the service.
    pub fn new(act: impl FnOnce() -> io::Result<()> + Send + 'static) -> Self {
        Self(Mutex::new(Some(Box::new(act))))
    }

    /// For a runtime: it is time.
    ///
    /// # Errors
    /// What the hook failed with.
    pub fn tell(&self) -> io::Result<()> {
        let hook = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        hook.map_or(Ok(()), |act| act())
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ready")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn what_was_asked_early_is_heard_first_and_nothing_after_the_end() {
        let (tell, heard) = mpsc::channel();
        let remote = Remote::default();
        remote.reconfigure(Arc::default());
        remote.connect(move |request| tell.send(request).unwrap());
        remote.clone().drain(DrainHow::Restart);
        remote.disconnect();
        remote.drain(DrainHow::Stop);
        assert!(matches!(heard.recv(), Ok(Request::Reconfigure(_))));
        assert!(matches!(heard.recv(), Ok(Request::Drain(DrainHow::Restart))));
        assert!(heard.recv().is_err());
    }

    #[test]
    fn readiness_is_told_once_and_its_error_is_handed_on() {
        let ready = Ready::new(|| Err(io::ErrorKind::BrokenPipe.into()));
        assert_eq!(ready.tell().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(ready.tell().is_ok());
        assert!(Ready::default().tell().is_ok());
    }
}
