//! Moonshot's chat completions: what is sent, and what is read from the answers. Spec: `spec/providers.md`.

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};

use super::answer::{Finish, Piece};
use super::fault::Trouble;
use super::{Chat, ChatMessage, ChatPart, Role, Usage};
use crate::json::{write_number, write_string, write_value};

pub(super) const CHAT_PATH: &str = "/chat/completions";
pub(super) const MODELS_PATH: &str = "/models";
/// What ends a stream.
pub(super) const DONE: &[u8] = b"[DONE]";

/// The body of a request. What is not given is left out.
pub(super) fn body(model: &str, chat: &Chat) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_slice(b"{\"model\":");
    write_string(&mut out, model);
    out.put_slice(b",\"messages\":[");
    let prompt = chat.system_prompt.as_deref();
    if let Some(prompt) = prompt {
        out.put_slice(b"{\"role\":\"system\",\"content\":");
        write_string(&mut out, prompt);
        out.put_u8(b'}');
    }
    for (index, message) in chat.messages.iter().enumerate() {
        if index > 0 || prompt.is_some() {
            out.put_u8(b',');
        }
        write_message(&mut out, message);
    }
    out.put_u8(b']');
    if let Some(most) = chat.max_tokens {
        out.put_slice(b",\"max_tokens\":");
        write_number(&mut out, most.into());
    }
    if let Some(temperature) = chat.temperature.filter(|value| value.is_finite()) {
        out.put_slice(b",\"temperature\":");
        write_value(&mut out, &temperature);
    }
    out.put_slice(if chat.stream { b",\"stream\":true}" } else { b"}" });
    out.to_vec()
}

fn write_message(out: &mut BytesMut, message: &ChatMessage) {
    out.put_slice(b"{\"role\":\"");
    out.put_slice(match message.role {
        Role::System => b"system",
        Role::User => b"user",
        Role::Assistant => b"assistant",
    });
    out.put_slice(b"\",\"content\":");
    // Only what holds more than text is written as a list: every server that speaks this API reads a plain string.
    if message.parts.iter().all(|part| matches!(part, ChatPart::Text(_))) {
        write_string(out, &message.all_text());
    } else {
        for (index, part) in message.parts.iter().enumerate() {
            out.put_u8(if index == 0 { b'[' } else { b',' });
            match part {
                ChatPart::Text(text) => {
                    out.put_slice(b"{\"type\":\"text\",\"text\":");
                    write_string(out, text);
                    out.put_u8(b'}');
                }
                ChatPart::Inline { mime, bytes } => {
                    let url = alloc::format!("data:{mime};base64,{}", STANDARD.encode(bytes));
                    out.put_slice(b"{\"type\":\"image_url\",\"image_url\":{\"url\":");
                    write_string(out, &url);
                    out.put_slice(b"}}");
                }
            }
        }
        out.put_u8(b']');
    }
    out.put_u8(b'}');
}

#[derive(serde::Deserialize)]
struct Completion {
    choices: Option<Vec<Choice>>,
    usage: Option<RawUsage>,
    error: Option<ApiError>,
}

#[derive(serde::Deserialize)]
struct Choice {
    /// A whole answer.
    message: Option<Content>,
    /// A piece of one.
    delta: Option<Content>,
    finish_reason: Option<String>,
    /// This provider tells the cost of a stream here.
    usage: Option<RawUsage>,
}

#[derive(serde::Deserialize)]
struct Content {
    content: Option<String>,
}

#[derive(serde::Deserialize)]
struct RawUsage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    #[serde(default)]
    total_tokens: u64,
}

#[derive(serde::Deserialize)]
struct Failure {
    error: ApiError,
}

#[derive(serde::Deserialize)]
struct ApiError {
    r#type: Option<String>,
}

impl From<RawUsage> for Usage {
    fn from(raw: RawUsage) -> Self {
        Self {
            prompt_tokens: raw.prompt_tokens,
            completion_tokens: raw.completion_tokens,
            total_tokens: raw.total_tokens,
        }
    }
}

/// Reads a whole answer, or a chunk of one.
pub(super) fn read(json: &[u8]) -> Result<Piece, Trouble> {
    let completion: Completion = serde_json::from_slice(json).map_err(|_| Trouble::Unreadable)?;
    if let Some(error) = completion.error {
        return Err(trouble(400, error.r#type.as_deref()).unwrap_or(Trouble::Unreadable));
    }
    let choices = completion.choices.ok_or(Trouble::Unreadable)?;
    let mut piece = Piece {
        usage: completion.usage.map(Usage::from),
        ..Piece::default()
    };
    if let Some(choice) = choices.into_iter().next() {
        let content = choice.message.or(choice.delta).and_then(|content| content.content);
        piece.text = content.unwrap_or_default();
        piece.usage = piece.usage.or_else(|| choice.usage.map(Usage::from));
        piece.finish = choice.finish_reason.map(|reason| match reason.as_str() {
            "content_filter" => Finish::Blocked,
            _ => Finish::Good,
        });
    }
    Ok(piece)
}

/// What a refusal means, as far as its body says more than its status.
pub(super) fn refusal(status: u16, body: &[u8]) -> Option<Trouble> {
    let failure: Failure = serde_json::from_slice(body).ok()?;
    trouble(status, failure.error.r#type.as_deref())
}

fn trouble(status: u16, kind: Option<&str>) -> Option<Trouble> {
    Some(match kind? {
        "content_filter" => Trouble::Blocked,
        "exceeded_current_quota_error" => Trouble::QuotaUsedUp,
        "rate_limit_reached_error" | "engine_overloaded_error" => Trouble::RateLimited,
        "invalid_authentication_error" | "incorrect_api_key_error" => Trouble::KeyRefused,
        "resource_not_found_error" => Trouble::ModelUnavailable,
        "server_error" => Trouble::Failing(status.max(500)),
        _ => return None,
    })
}
