//! The desk of [`crate::fetching`] over the real fetches: what a surface asks for reaches [`Fetches`] with the settings
//! and the dialling layer of the moment.

use super::{Asking, FetchAsker, FetchContext, Fetches, SourceKind};
use crate::calls::Calls;
use crate::fetching::Fetching;
use crate::id::FetchId;
use crate::settings::FetchSettings;
use crate::time::Now;

/// Takes requests for fetches and starts them.
pub struct FetchDesk<'a> {
    /// The fetches of the machine.
    pub fetches: &'a mut Fetches,
    /// The limits and lists.
    pub settings: &'a FetchSettings,
    /// Where servers are asked.
    pub exchanges: &'a mut dyn Asking,
}

impl FetchDesk<'_> {
    fn split<'a>(&'a mut self, now: Now, calls: &'a mut Calls) -> (&'a mut Fetches, FetchContext<'a>) {
        let cx = FetchContext {
            now,
            settings: self.settings,
            calls,
            exchanges: self.exchanges,
        };
        (self.fetches, cx)
    }
}

impl Fetching for FetchDesk<'_> {
    fn start(&mut self, now: Now, calls: &mut Calls, kind: SourceKind, url: &str, asker: FetchAsker) -> FetchId {
        let (fetches, mut cx) = self.split(now, calls);
        fetches.start(&mut cx, kind, url, asker)
    }

    fn cancel(&mut self, now: Now, calls: &mut Calls, fetch: FetchId) {
        let (fetches, mut cx) = self.split(now, calls);
        fetches.cancel(&mut cx, fetch);
    }
}
