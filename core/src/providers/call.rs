//! The course of one request to a provider: an attempt, perhaps a pause and another, and one end. Nothing is asked again
//! once a piece of the answer was told.

use core::time::Duration;

use super::answer::{Answer, Expected, NoAnswer};
use super::endpoint::Endpoint;
use super::fault::Trouble;
use super::{
    Chat, ChatDone, ChatEvent, ChatMessage, ProviderContext, ProviderFault, Providers, Role, Usage, backoff, gemini,
    kimi,
};
use crate::id::{ChatId, ExchangeId};
use crate::outbound::{Asker, ClientRequest, Exchange, ExchangeEvent, ExchangeFault, ExchangeLimits};
use crate::settings::{HealthProbe, ProviderKey, ProviderSettings};
use crate::time::Instant;

/// The largest conversation, as JSON.
pub(super) const MAX_REQUEST: usize = 20 * 1_048_576;
/// The most bytes of an answer to a probe.
const MAX_PROBE: u64 = 262_144;
/// How long one attempt of a probe may take.
const PROBE_ATTEMPT: Duration = Duration::from_secs(10);
/// How long a probe may take with all its attempts.
pub(super) const PROBE_TOTAL: Duration = Duration::from_secs(15);
/// How long a name may take to resolve, and a connection to be made, where the whole attempt may take longer.
const RESOLVE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(15);

/// What is asked, for one attempt or several.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) endpoint: Endpoint,
    request: ClientRequest,
    expected: Expected,
    timeout: Duration,
    max_body_bytes: u64,
    retries: u32,
    /// For everything, pauses included.
    total: Option<Duration>,
}

/// Whom it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Chat,
    /// A health check.
    Probe(ProviderKey),
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) work: Work,
    purpose: Purpose,
    answer: Answer,
    /// `None` during a pause.
    exchange: Option<ExchangeId>,
    /// When the pause is over.
    pause: Option<Instant>,
    /// Repetitions so far.
    attempt: u32,
    /// A piece of the answer was told.
    told: bool,
    until: Option<Instant>,
}

impl Work {
    /// A chat.
    pub(super) fn chat(endpoint: Endpoint, settings: &ProviderSettings, chat: &Chat) -> Result<Self, ProviderFault> {
        let key = endpoint.key;
        let fault = |trouble| ProviderFault::new(key, trouble);
        let (path, body) = match key {
            ProviderKey::Kimi => (kimi::CHAT_PATH.into(), kimi::body(&endpoint.model, chat)),
            ProviderKey::Gemini => {
                let body = gemini::body(chat).map_err(fault)?;
                (gemini::chat_path(&endpoint.model, chat.stream), body)
            }
        };
        if body.len() > MAX_REQUEST {
            return Err(fault(Trouble::Rejected(413)));
        }
        Ok(Self {
            request: endpoint.post(&path, body),
            expected: Expected::Text,
            timeout: endpoint.provider.timeout,
            max_body_bytes: settings.max_response_bytes,
            retries: endpoint.provider.retries,
            total: None,
            endpoint,
        })
    }

    /// A probe of a provider's health.
    pub(super) fn probe(endpoint: Endpoint, settings: &ProviderSettings) -> Self {
        let chat = Chat {
            provider: None,
            model: None,
            system_prompt: None,
            messages: alloc::vec![ChatMessage::text(Role::User, "Respond with OK")],
            max_tokens: Some(5),
            temperature: None,
            stream: false,
        };
        let (request, expected) = match (settings.health, endpoint.key) {
            (HealthProbe::Models, ProviderKey::Kimi) => (endpoint.get(kimi::MODELS_PATH), Expected::AnyAnswer),
            (HealthProbe::Models, ProviderKey::Gemini) => (endpoint.get(gemini::MODELS_PATH), Expected::AnyAnswer),
            (HealthProbe::Completion, ProviderKey::Kimi) => {
                let body = kimi::body(&endpoint.model, &chat);
                (endpoint.post(kimi::CHAT_PATH, body), Expected::Text)
            }
            (HealthProbe::Completion, ProviderKey::Gemini) => {
                // The only message is the user's, so the body is always there.
                let body = gemini::body(&chat).unwrap_or_default();
                (
                    endpoint.post(&gemini::chat_path(&endpoint.model, false), body),
                    Expected::Text,
                )
            }
        };
        Self {
            request,
            expected,
            timeout: PROBE_ATTEMPT,
            max_body_bytes: MAX_PROBE,
            retries: 1,
            total: Some(PROBE_TOTAL),
            endpoint,
        }
    }

    fn answer(&self) -> Answer {
        Answer::new(self.endpoint.key, self.expected)
    }
}

impl Call {
    /// Whether it may be asked again after this.
    fn goes_on_after(&self, trouble: &Trouble) -> bool {
        let may_pass = match self.purpose {
            Purpose::Chat => trouble.may_pass(),
            // A check must end soon: what took too long once is not tried a second time.
            Purpose::Probe(_) => {
                trouble.may_pass()
                    && !matches!(
                        trouble,
                        Trouble::Rejected(_) | Trouble::Outbound(ExchangeFault::TimedOut)
                    )
            }
        };
        may_pass && !self.told && self.attempt < self.work.retries
    }
}

impl Providers {
    pub(super) fn begin(&mut self, cx: &mut ProviderContext<'_>, work: Work, purpose: Purpose) -> ChatId {
        let id = self.name();
        let call = Call {
            answer: work.answer(),
            until: work.total.map(|total| cx.now.monotonic.plus(total)),
            work,
            purpose,
            exchange: None,
            pause: None,
            attempt: 0,
            told: false,
        };
        self.calls.insert(id, call);
        self.attempt(cx, id);
        id
    }

    /// Asks, for the first time or again.
    fn attempt(&mut self, cx: &mut ProviderContext<'_>, id: ChatId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let left = call.until.map(|until| until.since(cx.now.monotonic));
        let timeout = left.map_or(call.work.timeout, |left| left.min(call.work.timeout));
        let exchange = Exchange {
            to: call.work.endpoint.destination(),
            request: call.work.request.clone(),
            limits: ExchangeLimits {
                resolve: timeout.min(RESOLVE),
                connect: timeout.min(CONNECT),
                head: timeout,
                total: timeout,
                max_body_bytes: call.work.max_body_bytes,
            },
        };
        call.answer = call.work.answer();
        let exchange = cx.exchanges.start(cx.now, cx.calls, exchange, Asker::Providers);
        call.exchange = Some(exchange);
        self.exchanges.insert(exchange, id);
    }

    /// An exchange of [`Asker::Providers`] tells something.
    pub fn exchange_event(&mut self, cx: &mut ProviderContext<'_>, exchange: ExchangeId, event: ExchangeEvent) {
        let Some(id) = self.exchanges.get(&exchange).copied() else {
            return;
        };
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (events, told, is_chat) = (&mut self.events, &mut call.told, call.purpose == Purpose::Chat);
        let tell = |text| {
            if is_chat {
                *told = true;
                super::tell_piece(events, id, text);
            }
        };
        let cut = match event {
            ExchangeEvent::Head(head) => match call.answer.head(&head) {
                Ok(()) => return,
                Err(none) => return self.no_answer(cx, id, none),
            },
            ExchangeEvent::Body(bytes) => match call.answer.body(&bytes, tell) {
                Ok(false) => return,
                Ok(true) => {
                    let ended = core::mem::replace(&mut call.answer, call.work.answer()).done();
                    return self.ended(cx, id, ended);
                }
                Err(none) => return self.no_answer(cx, id, none),
            },
            ExchangeEvent::End => None,
            ExchangeEvent::Failed(fault) => Some(Trouble::Outbound(fault)),
        };
        call.exchange = None;
        let ended = core::mem::replace(&mut call.answer, call.work.answer()).end(cut, tell);
        self.exchanges.remove(&exchange);
        self.ended(cx, id, ended);
    }

    fn ended(&mut self, cx: &mut ProviderContext<'_>, id: ChatId, ended: Result<Option<Usage>, NoAnswer>) {
        match ended {
            Ok(usage) => self.finish(cx, id, Ok(usage)),
            Err(none) => self.no_answer(cx, id, none),
        }
    }

    /// There is no answer to this attempt: another one after a pause, or the end.
    fn no_answer(&mut self, cx: &mut ProviderContext<'_>, id: ChatId, none: NoAnswer) {
        self.let_go(cx, id);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let NoAnswer { trouble, asked } = none;
        if call.goes_on_after(&trouble) {
            let at = cx
                .now
                .monotonic
                .plus(backoff::pause(call.attempt + 1, asked, cx.random));
            if call.until.is_none_or(|until| at < until) {
                call.attempt += 1;
                call.pause = Some(at);
                self.deadlines.insert((at, id));
                return;
            }
        }
        let fault = ProviderFault::new(call.work.endpoint.key, trouble);
        self.finish(cx, id, Err(fault));
    }

    /// The exchange of a call, if there is one, is not needed any more.
    fn let_go(&mut self, cx: &mut ProviderContext<'_>, id: ChatId) {
        let exchange = self.calls.get_mut(&id).and_then(|call| call.exchange.take());
        if let Some(exchange) = exchange {
            self.exchanges.remove(&exchange);
            cx.exchanges.cancel(cx.calls, exchange);
        }
    }

    /// The one end of a call.
    pub(super) fn finish(
        &mut self,
        cx: &mut ProviderContext<'_>,
        id: ChatId,
        result: Result<Option<Usage>, ProviderFault>,
    ) {
        self.let_go(cx, id);
        let Some(call) = self.calls.remove(&id) else { return };
        if let Some(at) = call.pause {
            self.deadlines.remove(&(at, id));
        }
        match call.purpose {
            Purpose::Chat => {
                let done = |usage| ChatDone {
                    provider: call.work.endpoint.key,
                    model: call.work.endpoint.model,
                    usage,
                };
                let event = result.map_or_else(ChatEvent::Failed, |usage| ChatEvent::Done(done(usage)));
                self.tell(id, event);
            }
            Purpose::Probe(key) => {
                self.health.found(key, cx.now.monotonic, result.err().as_ref());
                self.finish_health(cx.now.monotonic);
            }
        }
    }

    /// Pauses that are over.
    pub fn on_deadline(&mut self, cx: &mut ProviderContext<'_>) {
        while let Some((at, id)) = self.deadlines.first().copied()
            && at <= cx.now.monotonic
        {
            self.deadlines.pop_first();
            if let Some(call) = self.calls.get_mut(&id) {
                call.pause = None;
                self.attempt(cx, id);
            }
        }
    }

    pub(super) fn exchange_of(&self, id: ChatId) -> Option<ExchangeId> {
        self.calls.get(&id).and_then(|call| call.exchange)
    }
}
