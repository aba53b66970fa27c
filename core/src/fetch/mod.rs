//! Fetches of what URLs hold that clients name: judge, resolve, judge the answers, ask one of exactly those addresses, and
//! the same again for each redirect. Nothing is dialled before the verdict, no name is resolved twice for one hop, and
//! no credential is ever sent. How one fetch goes on is decided in `hops.rs`; here is who is under way and who waits.
//! Spec: `spec/hardening.md`.

mod fault;
mod hops;
mod media;
mod sources;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;

pub use self::fault::FetchFault;
use self::hops::{Hops, Step};
pub use self::sources::{check_count, check_inline, check_url};
use crate::calls::{Calls, Owner};
use crate::effect::{Completion, Effect, Outcome};
use crate::http::Method;
use crate::id::{EffectId, ExchangeId, FetchId};
use crate::outbound::{Asker, ClientRequest, Destination, Exchange, ExchangeEvent, ExchangeLimits, Exchanges};
use crate::settings::{FetchSettings, SourceSettings};
use crate::time::{Instant, Now};
use crate::url::Url;

/// How long a name may take to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Fetches that wait for their turn; further ones are refused.
pub const MAX_WAITING: usize = 256;
/// What servers see as our name.
const USER_AGENT: &str = "OpenClaw-Gateway/1.0";

/// What a URL is fetched for: which limits hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SourceKind {
    /// `input_file`.
    File,
    /// `input_image`.
    Image,
    /// The tool `web_fetch`.
    Web,
}

impl SourceKind {
    /// What requests and answers call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "input_file",
            Self::Image => "input_image",
            Self::Web => "web_fetch",
        }
    }

    /// Its limits.
    #[must_use]
    pub const fn settings(self, settings: &FetchSettings) -> &SourceSettings {
        match self {
            Self::File => &settings.files,
            Self::Image => &settings.images,
            Self::Web => &settings.web,
        }
    }
}

/// Who gets a fetch's event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchAsker {
    /// `POST /tools/invoke`.
    Tools,
    /// The operator surface.
    Operator,
}

/// What a URL holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// The last hop.
    pub url: Url,
    /// Its status, 200 to 299.
    pub status: u16,
    /// The media type: lower case, without parameters; of an image what its bytes are.
    pub mime: String,
    /// The body, decoded.
    pub bytes: Bytes,
}

/// The layer that asks other servers, as it is used here.
pub trait Asking {
    /// Begins an exchange; its events come later.
    fn start(&mut self, now: Now, calls: &mut Calls, exchange: Exchange) -> ExchangeId;

    /// Ends one early.
    fn cancel(&mut self, calls: &mut Calls, exchange: ExchangeId);
}

impl Asking for Exchanges {
    fn start(&mut self, now: Now, calls: &mut Calls, exchange: Exchange) -> ExchangeId {
        Self::start(self, now, calls, exchange, Asker::Fetch)
    }

    fn cancel(&mut self, calls: &mut Calls, exchange: ExchangeId) {
        Self::cancel(self, calls, exchange);
    }
}

/// What a fetch may use.
pub struct FetchContext<'a> {
    /// The time.
    pub now: Now,
    /// The limits and lists; a reload holds from the next hop on.
    pub settings: &'a FetchSettings,
    /// Where names are resolved (owner: [`Owner::Fetch`]).
    pub calls: &'a mut Calls,
    /// Where servers are asked.
    pub exchanges: &'a mut dyn Asking,
}

/// The fetches of one machine.
#[derive(Debug)]
pub struct Fetches {
    next: FetchId,
    live: BTreeMap<FetchId, Live>,
    waiting: VecDeque<FetchId>,
    effects: BTreeMap<EffectId, FetchId>,
    exchanges: BTreeMap<ExchangeId, FetchId>,
    events: VecDeque<(FetchAsker, FetchId, Result<Fetched, FetchFault>)>,
}

#[derive(Debug)]
struct Live {
    asker: FetchAsker,
    hops: Box<Hops>,
    /// For the whole fetch, from the moment it was asked for.
    until: Instant,
    at: At,
}

/// What a fetch waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Turn,
    Name { effect: EffectId, until: Instant },
    Server(ExchangeId),
}

impl Default for Fetches {
    fn default() -> Self {
        Self {
            next: FetchId::FIRST,
            live: BTreeMap::new(),
            waiting: VecDeque::new(),
            effects: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            events: VecDeque::new(),
        }
    }
}

impl Fetches {
    /// Fetches under way and waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Begins a fetch. Its one event comes from [`Self::take_event`], never before this returns.
    pub fn start(&mut self, cx: &mut FetchContext<'_>, kind: SourceKind, url: &str, asker: FetchAsker) -> FetchId {
        let id = self.next;
        self.next = id.next();
        let settings = kind.settings(cx.settings);
        let hops = match Hops::begin(kind, url, settings) {
            Ok(hops) => Box::new(hops),
            Err(fault) => {
                self.events.push_back((asker, id, Err(fault)));
                return id;
            }
        };
        let is_full = self.under_way() >= cx.settings.max_concurrent.max(1) as usize;
        if is_full && self.waiting.len() >= MAX_WAITING {
            let fault = hops.rejected("Too many fetches at the same time; try again later");
            self.events.push_back((asker, id, Err(fault)));
            return id;
        }
        let until = cx.now.monotonic.plus(settings.timeout);
        let live = Live {
            asker,
            hops,
            until,
            at: At::Turn,
        };
        self.live.insert(id, live);
        self.waiting.push_back(id);
        self.take_turns(cx);
        id
    }

    /// Gives a fetch up: nothing more is told of it.
    pub fn cancel(&mut self, cx: &mut FetchContext<'_>, id: FetchId) {
        if let Some(live) = self.live.remove(&id) {
            self.leave(cx, id, live.at);
        }
        self.events.retain(|(_, of, _)| *of != id);
        self.take_turns(cx);
    }

    /// The next fetch that is over.
    pub fn take_event(&mut self) -> Option<(FetchAsker, FetchId, Result<Fetched, FetchFault>)> {
        self.events.pop_front()
    }

    /// Whether [`Self::take_event`] has one.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// An effect of [`Owner::Fetch`] ended.
    pub fn completed(&mut self, cx: &mut FetchContext<'_>, effect: EffectId, outcome: Outcome) {
        let Some(id) = self.effects.remove(&effect) else { return };
        let Some(live) = self.live.get_mut(&id) else { return };
        live.at = At::Turn;
        let step = match outcome {
            Ok(Completion::Resolved(answers)) => live.hops.resolved(&answers),
            Ok(_) | Err(_) => live.hops.unresolved(),
        };
        self.go_on(cx, id, step);
    }

    /// An exchange that was started here tells something.
    pub fn exchange_event(&mut self, cx: &mut FetchContext<'_>, exchange: ExchangeId, event: ExchangeEvent) {
        let Some(&id) = self.exchanges.get(&exchange) else {
            return;
        };
        let is_over = matches!(event, ExchangeEvent::End | ExchangeEvent::Failed(_));
        let Some(live) = self.live.get_mut(&id) else { return };
        let step = live.hops.told(event, cx.settings);
        if is_over || !matches!(step, Step::Wait) {
            self.exchanges.remove(&exchange);
            live.at = At::Turn;
        }
        if !is_over && !matches!(step, Step::Wait) {
            cx.exchanges.cancel(cx.calls, exchange);
        }
        self.go_on(cx, id, step);
    }

    /// When [`Self::on_deadline`] is to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.live.values().map(Live::deadline).min()
    }

    /// Ends what took too long.
    pub fn on_deadline(&mut self, cx: &mut FetchContext<'_>) {
        let now = cx.now.monotonic;
        let late: Vec<FetchId> = self
            .live
            .iter()
            .filter(|(_, live)| live.deadline() <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            if let Some(live) = self.live.get(&id) {
                let fault = if live.until <= now {
                    live.hops.timed_out(cx.settings)
                } else {
                    live.hops.not_resolved()
                };
                self.finish(cx, id, Err(fault));
            }
        }
        self.take_turns(cx);
    }

    fn under_way(&self) -> usize {
        self.live.len().saturating_sub(self.waiting.len())
    }

    /// Begins those that wait, as far as there is room.
    fn take_turns(&mut self, cx: &mut FetchContext<'_>) {
        while self.under_way() < cx.settings.max_concurrent.max(1) as usize
            && let Some(id) = self.waiting.pop_front()
        {
            if let Some(live) = self.live.get(&id) {
                let step = live.hops.first();
                self.act(cx, id, step);
            }
        }
    }

    fn go_on(&mut self, cx: &mut FetchContext<'_>, id: FetchId, step: Step) {
        self.act(cx, id, step);
        self.take_turns(cx);
    }

    fn act(&mut self, cx: &mut FetchContext<'_>, id: FetchId, step: Step) {
        match step {
            Step::Wait => {}
            Step::Resolve(host) => {
                let effect = cx.calls.start(Effect::Resolve { host }, Owner::Fetch);
                self.effects.insert(effect, id);
                let until = cx.now.monotonic.plus(RESOLVE_TIMEOUT);
                self.set(id, At::Name { effect, until });
            }
            Step::Ask(addresses) => {
                let Some(live) = self.live.get(&id) else { return };
                let exchange = exchange(cx, live, addresses);
                let exchange = cx.exchanges.start(cx.now, cx.calls, exchange);
                self.exchanges.insert(exchange, id);
                self.set(id, At::Server(exchange));
            }
            Step::Done(result) => self.finish(cx, id, *result),
        }
    }

    fn set(&mut self, id: FetchId, at: At) {
        if let Some(live) = self.live.get_mut(&id) {
            live.at = at;
        }
    }

    fn finish(&mut self, cx: &mut FetchContext<'_>, id: FetchId, result: Result<Fetched, FetchFault>) {
        if let Some(live) = self.live.remove(&id) {
            self.leave(cx, id, live.at);
            self.events.push_back((live.asker, id, result));
        }
    }

    /// Ends what a fetch that is over was waiting for. What still comes of it has no owner here and is passed over.
    fn leave(&mut self, cx: &mut FetchContext<'_>, id: FetchId, at: At) {
        match at {
            At::Turn => self.waiting.retain(|waiting| *waiting != id),
            At::Name { effect, .. } => {
                self.effects.remove(&effect);
                cx.calls.cancel(effect);
            }
            At::Server(exchange) => {
                self.exchanges.remove(&exchange);
                cx.exchanges.cancel(cx.calls, exchange);
            }
        }
    }
}

impl Live {
    fn deadline(&self) -> Instant {
        match self.at {
            At::Name { until, .. } => until.min(self.until),
            At::Turn | At::Server(_) => self.until,
        }
    }
}

/// The request of one hop: GET, no credentials, to these addresses only, in what is left of the time.
fn exchange(cx: &FetchContext<'_>, live: &Live, addresses: Vec<SocketAddr>) -> Exchange {
    let left = live.until.since(cx.now.monotonic);
    Exchange {
        to: Destination::Pinned(addresses),
        request: ClientRequest {
            method: Method::Get,
            url: live.hops.url().clone(),
            headers: alloc::vec![
                ("User-Agent", String::from(USER_AGENT)),
                ("Accept", String::from("*/*"))
            ],
            credentials: Vec::new(),
            body: Bytes::new(),
        },
        limits: ExchangeLimits {
            resolve: RESOLVE_TIMEOUT.min(left),
            connect: left,
            head: left,
            total: left,
            max_body_bytes: live.hops.kind().settings(cx.settings).max_bytes,
        },
    }
}

#[cfg(test)]
mod over_links;
#[cfg(test)]
mod tests;
