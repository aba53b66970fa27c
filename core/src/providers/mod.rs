//! The AI providers: chats with whichever one is chosen, health checks, and the choice itself. This page is the language
//! and the front door; each provider's own JSON is in `kimi.rs` and `gemini.rs`, the course of one request in `call.rs`.
//! Keys travel in one header to the one server that the settings name, and are in no text. Spec: `spec/providers.md`.

mod answer;
mod backoff;
mod call;
mod choice;
mod endpoint;
mod fault;
mod gemini;
mod health;
mod kimi;
mod sse;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use call::{Call, Purpose, Work};
use choice::Choice;
pub use choice::{Active, Switched};
pub use endpoint::{NotConfigured, Unconfigured, is_model};
pub use fault::{ProviderFault, Trouble};
use health::Health;
pub use health::{HealthReport, ProviderHealth};

use crate::calls::Calls;
use crate::id::{ChatId, ExchangeId};
use crate::outbound::Exchanges;
use crate::random::Random;
use crate::settings::{ProviderKey, ProviderSettings};
use crate::time::{Instant, Now};

/// Chats at the same time; a further one fails at once.
pub const MAX_CHATS: usize = 256;

/// What the providers may use while they handle one input.
pub struct ProviderContext<'a> {
    /// The time.
    pub now: Now,
    /// The settings in force.
    pub settings: &'a ProviderSettings,
    /// For the pauses between two attempts.
    pub random: &'a mut Random,
    /// Where effects are started.
    pub calls: &'a mut Calls,
    /// Where requests go.
    pub exchanges: &'a mut Exchanges,
}

/// What is asked of a provider.
#[derive(Clone, PartialEq, Debug)]
pub struct Chat {
    /// Which one; `None`: the active one, judged now: a later switch does not move a chat that has begun.
    pub provider: Option<ProviderKey>,
    /// Which of its models; `None`: the chosen one.
    pub model: Option<String>,
    /// How the model is told to behave. Where it is given, system messages do not count for a provider that takes only one.
    pub system_prompt: Option<String>,
    /// The conversation, oldest first.
    pub messages: Vec<ChatMessage>,
    /// The most tokens of the answer.
    pub max_tokens: Option<u32>,
    /// How much chance there is in the answer.
    pub temperature: Option<f64>,
    /// Whether the answer is asked for piece by piece.
    pub stream: bool,
}

/// A message of a conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChatMessage {
    /// Whose it is.
    pub role: Role,
    /// What it says and shows.
    pub parts: Vec<ChatPart>,
}

impl ChatMessage {
    /// A message that is only text.
    #[must_use]
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            parts: alloc::vec![ChatPart::Text(text.into())],
        }
    }

    /// All its text.
    #[must_use]
    pub fn all_text(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            ChatPart::Text(text) => Some(text.as_str()),
            ChatPart::Inline { .. } => None,
        });
        texts.collect()
    }
}

/// Whose message it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Instructions.
    System,
    /// The person's.
    User,
    /// The model's.
    Assistant,
}

/// A part of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChatPart {
    /// Text.
    Text(String),
    /// An image or file.
    Inline {
        /// Its media type.
        mime: String,
        /// Its content.
        bytes: Bytes,
    },
}

/// What there is to tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProviderEvent {
    /// Of a chat.
    Chat {
        /// Which one.
        id: ChatId,
        /// What happened.
        event: ChatEvent,
    },
    /// A health check is finished.
    Health {
        /// Of the request.
        ticket: u64,
        /// What it found.
        report: HealthReport,
    },
}

/// The course of a chat: any number of pieces, then one end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChatEvent {
    /// The next piece of the answer: at least one character.
    Delta(String),
    /// The answer is complete. Nothing follows.
    Done(ChatDone),
    /// There is no (further) answer. Nothing follows.
    Failed(ProviderFault),
}

/// The end of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChatDone {
    /// Who answered.
    pub provider: ProviderKey,
    /// With which model.
    pub model: String,
    /// What it cost, where the provider says so.
    pub usage: Option<Usage>,
}

/// Counters of tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Of the conversation.
    pub prompt_tokens: u64,
    /// Of the answer.
    pub completion_tokens: u64,
    /// Both.
    pub total_tokens: u64,
}

/// The providers of one machine.
#[derive(Debug)]
pub struct Providers {
    choice: Choice,
    next: ChatId,
    calls: BTreeMap<ChatId, Call>,
    exchanges: BTreeMap<ExchangeId, ChatId>,
    /// When a call goes on, or must be over.
    deadlines: BTreeSet<(Instant, ChatId)>,
    health: Health,
    events: VecDeque<ProviderEvent>,
}

impl Providers {
    /// Nothing is under way, and the choice is the settings'.
    #[must_use]
    pub fn new(settings: &ProviderSettings) -> Self {
        Self {
            choice: Choice::new(settings),
            next: ChatId::FIRST,
            calls: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            health: Health::default(),
            events: VecDeque::new(),
        }
    }

    /// Takes new settings. What was switched stays switched where the settings still say what they said before.
    pub fn reconfigure(&mut self, settings: &ProviderSettings) {
        self.choice.reconfigure(settings);
        self.health.forget();
    }

    /// The active provider and its model.
    #[must_use]
    pub fn active<'a>(&'a self, settings: &'a ProviderSettings) -> Active<'a> {
        self.choice.active(settings)
    }

    /// Switches to a provider and, if one is named, a model of it; otherwise to the model that was chosen for it last. What
    /// is needed to ask it is put together first: on an error nothing has changed. Chats under way stay where they are.
    ///
    /// # Errors
    /// The model is no name of one, or the provider cannot be asked with these settings.
    pub fn switch(
        &mut self,
        settings: &ProviderSettings,
        to: ProviderKey,
        model: Option<&str>,
    ) -> Result<Switched, NotConfigured> {
        let switched = self.choice.switch(settings, to, model)?;
        self.health.forget();
        Ok(switched)
    }

    /// Checks every provider that is configured; the answer comes as an event with this ticket. It joins a check that is
    /// under way, and what was found less than ten seconds ago is told again.
    pub fn check_health(&mut self, cx: &mut ProviderContext<'_>, ticket: u64) {
        if let Some(report) = self.health.ask(cx.now.monotonic, ticket) {
            self.events.push_back(ProviderEvent::Health { ticket, report });
        } else if self.health.begin(cx.now.monotonic) {
            for key in ProviderKey::ALL {
                let model = self.choice.model(cx.settings, key).into();
                match self.choice.endpoint(cx.settings, key, None) {
                    Ok(endpoint) => {
                        self.health.under_way(key, model);
                        let work = Work::probe(endpoint, cx.settings);
                        self.begin(cx, work, Purpose::Probe(key));
                    }
                    Err(error) => self.health.unconfigured(key, model, &error),
                }
            }
            self.finish_health(cx.now.monotonic);
        }
    }

    /// Begins a chat. Its events come from [`Self::take_event`].
    pub fn chat(&mut self, cx: &mut ProviderContext<'_>, chat: Chat) -> ChatId {
        let key = chat.provider.unwrap_or_else(|| self.choice.key());
        let work = if self.calls.len() >= MAX_CHATS {
            Err(ProviderFault::new(key, Trouble::Busy))
        } else {
            self.choice
                .endpoint(cx.settings, key, chat.model.as_deref())
                .map_err(|error| ProviderFault::new(key, Trouble::NotConfigured(error)))
                .and_then(|endpoint| Work::chat(endpoint, cx.settings, &chat))
        };
        match work {
            Ok(work) => self.begin(cx, work, Purpose::Chat),
            Err(fault) => {
                let id = self.name();
                self.tell(id, ChatEvent::Failed(fault));
                id
            }
        }
    }

    /// Ends a chat early. `Failed(Cancelled)` comes, unless its end was told already.
    pub fn cancel(&mut self, cx: &mut ProviderContext<'_>, id: ChatId) {
        if let Some(key) = self.calls.get(&id).map(|call| call.work.endpoint.key) {
            self.finish(cx, id, Err(ProviderFault::new(key, Trouble::Cancelled)));
        }
    }

    /// Tells nothing more of the answer until [`Self::proceed`].
    pub fn hold(&self, exchanges: &mut Exchanges, id: ChatId) {
        if let Some(exchange) = self.exchange_of(id) {
            exchanges.hold(exchange);
        }
    }

    /// Goes on telling.
    pub fn proceed(&self, exchanges: &mut Exchanges, id: ChatId) {
        if let Some(exchange) = self.exchange_of(id) {
            exchanges.proceed(exchange);
        }
    }

    /// Chats and probes under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether [`Self::take_event`] has something.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next thing there is to tell.
    pub fn take_event(&mut self) -> Option<ProviderEvent> {
        self.events.pop_front()
    }

    /// When [`Self::on_deadline`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn name(&mut self) -> ChatId {
        let id = self.next;
        self.next = id.next();
        id
    }

    fn tell(&mut self, id: ChatId, event: ChatEvent) {
        self.events.push_back(ProviderEvent::Chat { id, event });
    }
}

/// Tells a piece of an answer. Pieces that nobody has taken yet are joined: what one read brought makes one message.
fn tell_piece(events: &mut VecDeque<ProviderEvent>, to: ChatId, text: String) {
    match events.back_mut() {
        Some(ProviderEvent::Chat {
            id,
            event: ChatEvent::Delta(before),
        }) if *id == to => before.push_str(&text),
        _ => {
            let event = ChatEvent::Delta(text);
            events.push_back(ProviderEvent::Chat { id: to, event });
        }
    }
}
