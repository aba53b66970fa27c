//! The desk at which surfaces ask for what a URL holds: they name the kind of source and take the event later. It is a
//! trait, so that a surface can be tried without the layers that dial; which URLs may be fetched is decided behind it.
//! Spec: `spec/hardening.md`.

use alloc::collections::VecDeque;
use alloc::string::String;

use crate::audit::AuditEvent;
use crate::calls::Calls;
use crate::fetch::{FetchAsker, FetchFault, SourceKind};
use crate::id::FetchId;
use crate::time::Now;

/// Takes requests for fetches.
pub trait Fetching {
    /// Begins a fetch. Its event comes later, never from within this call.
    fn start(&mut self, now: Now, calls: &mut Calls, kind: SourceKind, url: &str, asker: FetchAsker) -> FetchId;

    /// Gives a fetch up. An event that is on its way may still come.
    fn cancel(&mut self, now: Now, calls: &mut Calls, fetch: FetchId);
}

/// A desk behind which nobody fetches: every URL is denied.
#[derive(Debug)]
pub struct Unserved {
    next: FetchId,
    asked: VecDeque<(FetchAsker, FetchId)>,
}

impl Default for Unserved {
    fn default() -> Self {
        Self {
            next: FetchId::FIRST,
            asked: VecDeque::new(),
        }
    }
}

impl Unserved {
    /// The next event.
    pub fn take_event(&mut self) -> Option<(FetchAsker, FetchId, FetchFault)> {
        let (asker, fetch) = self.asked.pop_front()?;
        let (record, text) = (AuditEvent::UrlDenied, String::from("URLs cannot be fetched here"));
        Some((asker, fetch, FetchFault::Denied { record, text }))
    }
}

impl Fetching for Unserved {
    fn start(&mut self, _: Now, _: &mut Calls, _: SourceKind, _: &str, asker: FetchAsker) -> FetchId {
        let fetch = self.next;
        self.next = fetch.next();
        self.asked.push_back((asker, fetch));
        fetch
    }

    fn cancel(&mut self, _: Now, _: &mut Calls, fetch: FetchId) {
        self.asked.retain(|(_, asked)| *asked != fetch);
    }
}
