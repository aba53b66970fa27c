//! The desk at which surfaces ask for what a URL holds: they name the kind of source and take the event later. It is a
//! trait, so that a surface can be tried without the layers that dial; which URLs may be fetched is decided behind it.
//! Spec: `spec/hardening.md`.

use crate::calls::Calls;
use crate::fetch::{FetchAsker, SourceKind};
use crate::id::FetchId;
use crate::time::Now;

/// Takes requests for fetches.
pub trait Fetching {
    /// Begins a fetch. Its event comes later, never from within this call.
    fn start(&mut self, now: Now, calls: &mut Calls, kind: SourceKind, url: &str, asker: FetchAsker) -> FetchId;

    /// Gives a fetch up. An event that is on its way may still come.
    fn cancel(&mut self, now: Now, calls: &mut Calls, fetch: FetchId);
}
