//! An answer on its way: from the events of one exchange to pieces of text and an end. It keeps no more than one event of
//! a stream, or one body of bounded size.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::fault::Trouble;
use super::sse::Sse;
use super::{Usage, backoff, gemini, kimi};
use crate::outbound::ClientResponse;
use crate::settings::ProviderKey;

/// The most bytes of a refusal that are read.
const MAX_REFUSAL: usize = 16_384;

/// What is expected of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expected {
    /// Text.
    Text,
    /// Nothing but that it comes: a probe of the list of models.
    AnyAnswer,
}

/// A part of an answer, as the providers' JSON tells it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) finish: Option<Finish>,
    pub(super) usage: Option<Usage>,
}

/// How an answer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Finish {
    /// In order, also when it was cut at the most tokens.
    Good,
    /// It is not to be used.
    Blocked,
}

/// Why there is no answer, and when the server wants to be asked again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NoAnswer {
    pub(super) trouble: Trouble,
    pub(super) asked: Option<Duration>,
}

impl From<Trouble> for NoAnswer {
    fn from(trouble: Trouble) -> Self {
        Self { trouble, asked: None }
    }
}

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Answer {
    key: ProviderKey,
    expected: Expected,
    state: State,
    told: Told,
}

#[derive(Debug)]
enum State {
    Head,
    Stream(Sse),
    Whole(Vec<u8>),
    Refusal {
        status: u16,
        asked: Option<Duration>,
        body: Vec<u8>,
    },
}

/// What the answer told so far.
#[derive(Debug, Default)]
struct Told {
    has_text: bool,
    finished: bool,
    done: bool,
    usage: Option<Usage>,
}

impl Answer {
    pub(super) fn new(key: ProviderKey, expected: Expected) -> Self {
        Self {
            key,
            expected,
            state: State::Head,
            told: Told::default(),
        }
    }

    pub(super) fn head(&mut self, head: &ClientResponse) -> Result<(), NoAnswer> {
        self.state = match head.status {
            200..=299 => {
                let is_stream = head
                    .header("content-type")
                    .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"));
                if is_stream {
                    State::Stream(Sse::default())
                } else {
                    State::Whole(Vec::new())
                }
            }
            status @ 300..=399 => return Err(Trouble::Redirect(status).into()),
            status => State::Refusal {
                status,
                asked: backoff::asked(head),
                body: Vec::new(),
            },
        };
        Ok(())
    }

    /// A piece of the body; texts go to `tell`. `true`: nothing more is awaited.
    pub(super) fn body(&mut self, bytes: &[u8], mut tell: impl FnMut(String)) -> Result<bool, NoAnswer> {
        let (key, told) = (self.key, &mut self.told);
        match &mut self.state {
            State::Head => {}
            State::Whole(body) => body.extend_from_slice(bytes),
            State::Refusal { body, .. } => {
                let room = MAX_REFUSAL.saturating_sub(body.len());
                body.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            }
            State::Stream(sse) => {
                let mut result = Ok(());
                let pushed = sse.push(bytes, |data| {
                    result = told.event(key, data, &mut tell);
                    result.is_ok() && !told.done
                });
                result?;
                pushed.map_err(|_| Trouble::Unreadable)?;
            }
        }
        Ok(self.told.done)
    }

    /// The body is complete, or (`cut`) will not be.
    pub(super) fn end(mut self, cut: Option<Trouble>, mut tell: impl FnMut(String)) -> Result<Option<Usage>, NoAnswer> {
        let (key, told) = (self.key, &mut self.told);
        match (self.state, cut) {
            // What the status says does not depend on how the body ends.
            (State::Refusal { status, asked, body }, _) => {
                if self.expected == Expected::AnyAnswer && matches!(status, 404 | 405) {
                    return Ok(None);
                }
                let trouble = refusal(key, status, &body);
                Err(NoAnswer { trouble, asked })
            }
            (_, Some(trouble)) => Err(trouble.into()),
            (_, None) if self.expected == Expected::AnyAnswer => Ok(None),
            (State::Stream(mut sse), None) => {
                let mut result = Ok(());
                sse.end(|data| {
                    result = told.event(key, data, &mut tell);
                    result.is_ok() && !told.done
                });
                result?;
                if told.done || told.finished {
                    told.whole(key)
                } else {
                    Err(Trouble::EndedEarly.into())
                }
            }
            (State::Whole(body), None) => {
                told.piece(read(key, &body)?, &mut tell)?;
                told.whole(key)
            }
            (State::Head, None) => Err(Trouble::Unreadable.into()),
        }
    }

    /// The answer said itself that it is complete.
    pub(super) fn done(self) -> Result<Option<Usage>, NoAnswer> {
        self.told.whole(self.key)
    }
}

impl Told {
    /// An event of a stream.
    fn event(&mut self, key: ProviderKey, data: &[u8], tell: &mut impl FnMut(String)) -> Result<(), NoAnswer> {
        if key == ProviderKey::Kimi && data.trim_ascii() == kimi::DONE {
            self.done = true;
            return Ok(());
        }
        self.piece(read(key, data)?, tell)
    }

    fn piece(&mut self, piece: Piece, tell: &mut impl FnMut(String)) -> Result<(), NoAnswer> {
        if piece.finish == Some(Finish::Blocked) {
            return Err(Trouble::Blocked.into());
        }
        self.finished |= piece.finish.is_some();
        self.usage = piece.usage.or(self.usage);
        if !piece.text.is_empty() {
            self.has_text = true;
            tell(piece.text);
        }
        Ok(())
    }

    /// Everything came: is it an answer?
    fn whole(&self, key: ProviderKey) -> Result<Option<Usage>, NoAnswer> {
        if key == ProviderKey::Kimi && !self.has_text {
            return Err(Trouble::Empty.into());
        }
        Ok(self.usage)
    }
}

fn read(key: ProviderKey, json: &[u8]) -> Result<Piece, Trouble> {
    match key {
        ProviderKey::Kimi => kimi::read(json),
        ProviderKey::Gemini => gemini::read(json),
    }
}

/// What a status of 400 and above means.
fn refusal(key: ProviderKey, status: u16, body: &[u8]) -> Trouble {
    let told = match key {
        ProviderKey::Kimi => kimi::refusal(status, body),
        ProviderKey::Gemini => gemini::refusal(body),
    };
    told.unwrap_or(match status {
        401 => Trouble::KeyRefused,
        403 => Trouble::Forbidden,
        404 => Trouble::ModelUnavailable,
        429 => Trouble::RateLimited,
        500.. => Trouble::Failing(status),
        _ => Trouble::Rejected(status),
    })
}
