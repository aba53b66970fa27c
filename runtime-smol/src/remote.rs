//! A way for other threads to speak to a machine that is being served: finish, and take new settings.

use std::sync::Arc;

use portcullis_core::settings::Settings;
use smol::channel::{Receiver, Sender, unbounded};

/// What may be asked.
#[derive(Debug)]
pub(crate) enum Request {
    Drain,
    Reconfigure(Arc<Settings>),
}

/// Speaks to a machine that is being served (or will be). Clones speak to the same one.
#[derive(Clone, Debug)]
pub struct Remote {
    // Without a bound: only people ask, by hand.
    requests: Sender<Request>,
    asked: Receiver<Request>,
}

impl Remote {
    /// Asks the machine to finish, as SIGTERM does.
    pub fn drain(&self) {
        self.ask(Request::Drain);
    }

    /// Hands the machine new settings.
    pub fn reconfigure(&self, settings: Arc<Settings>) {
        self.ask(Request::Reconfigure(settings));
    }

    fn ask(&self, request: Request) {
        // The channel is never full and, with both of its ends here, never closed.
        let _ = self.requests.try_send(request);
    }

    /// The next thing asked for.
    pub(crate) async fn next(&self) -> Option<Request> {
        self.asked.recv().await.ok()
    }
}

impl Default for Remote {
    fn default() -> Self {
        let (requests, asked) = unbounded();
        Self { requests, asked }
    }
}
