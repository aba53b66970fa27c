//! Google's generateContent: what is sent, and what is read from the answers. Spec: `spec/providers.md`.

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};

use super::answer::{Finish, Piece};
use super::fault::Trouble;
use super::{Chat, ChatMessage, ChatPart, Role, Usage};
use crate::json::{write_number, write_string, write_value};

pub(super) const MODELS_PATH: &str = "/v1beta/models";

/// Where a model is asked.
pub(super) fn chat_path(model: &str, stream: bool) -> String {
    let folder = if model.contains('/') { "" } else { "models/" };
    let method = if stream {
        "streamGenerateContent?alt=sse"
    } else {
        "generateContent"
    };
    alloc::format!("/v1beta/{folder}{model}:{method}")
}

/// The body of a request.
pub(super) fn body(chat: &Chat) -> Result<Vec<u8>, Trouble> {
    let spoken: Vec<&ChatMessage> = chat
        .messages
        .iter()
        .filter(|message| message.role != Role::System)
        .collect();
    if spoken.last().is_none_or(|last| last.role != Role::User) {
        return Err(Trouble::LastMessage);
    }
    let mut out = BytesMut::new();
    out.put_slice(b"{\"safetySettings\":[],\"generationConfig\":{");
    if let Some(most) = chat.max_tokens {
        out.put_slice(b"\"maxOutputTokens\":");
        write_number(&mut out, most.into());
    }
    if let Some(temperature) = chat.temperature.filter(|value| value.is_finite()) {
        out.put_slice(if chat.max_tokens.is_some() {
            b",\"temperature\":"
        } else {
            b"\"temperature\":"
        });
        write_value(&mut out, &temperature);
    }
    out.put_u8(b'}');
    if let Some(prompt) = system_prompt(chat) {
        out.put_slice(b",\"systemInstruction\":{\"role\":\"system\",\"parts\":[{\"text\":");
        write_string(&mut out, &prompt);
        out.put_slice(b"}]}");
    }
    out.put_slice(b",\"contents\":[");
    for (index, message) in spoken.into_iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        write_message(&mut out, message);
    }
    out.put_slice(b"]}");
    Ok(out.to_vec())
}

/// An explicit prompt wins over the system messages, which are joined line by line.
fn system_prompt(chat: &Chat) -> Option<String> {
    if let Some(prompt) = &chat.system_prompt {
        return Some(prompt.clone());
    }
    let system = chat.messages.iter().filter(|message| message.role == Role::System);
    let texts: Vec<String> = system.map(ChatMessage::all_text).collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

fn write_message(out: &mut BytesMut, message: &ChatMessage) {
    out.put_slice(match message.role {
        Role::Assistant => b"{\"role\":\"model\",\"parts\":[".as_slice(),
        Role::User | Role::System => b"{\"role\":\"user\",\"parts\":[",
    });
    for (index, part) in message.parts.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        match part {
            ChatPart::Text(text) => {
                out.put_slice(b"{\"text\":");
                write_string(out, text);
                out.put_u8(b'}');
            }
            ChatPart::Inline { mime, bytes } => {
                out.put_slice(b"{\"inline_data\":{\"mime_type\":");
                write_string(out, mime);
                out.put_slice(b",\"data\":\"");
                out.put_slice(STANDARD.encode(bytes).as_bytes());
                out.put_slice(b"\"}}");
            }
        }
    }
    out.put_slice(b"]}");
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Generated {
    candidates: Option<Vec<Candidate>>,
    prompt_feedback: Option<Feedback>,
    usage_metadata: Option<RawUsage>,
    error: Option<serde::de::IgnoredAny>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    content: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(serde::Deserialize)]
struct Content {
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(serde::Deserialize)]
struct Part {
    text: Option<String>,
    /// What the model thought, which is no part of the answer.
    #[serde(default)]
    thought: bool,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawUsage {
    #[serde(default)]
    prompt_token_count: u64,
    #[serde(default)]
    candidates_token_count: u64,
    #[serde(default)]
    total_token_count: u64,
}

#[derive(serde::Deserialize)]
struct Failure {
    error: ApiError,
}

#[derive(serde::Deserialize)]
struct ApiError {
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(serde::Deserialize)]
struct Detail {
    reason: Option<String>,
}

/// Finish reasons that mean that the answer is not to be used.
const BLOCKED: &[&str] = &[
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
];

/// Reads a whole answer, or a chunk of one.
pub(super) fn read(json: &[u8]) -> Result<Piece, Trouble> {
    let generated: Generated = serde_json::from_slice(json).map_err(|_| Trouble::Unreadable)?;
    if generated.error.is_some() {
        return Err(Trouble::Failing(500));
    }
    if generated
        .prompt_feedback
        .and_then(|feedback| feedback.block_reason)
        .is_some()
    {
        return Err(Trouble::Blocked);
    }
    let usage = generated.usage_metadata.map(|raw| Usage {
        prompt_tokens: raw.prompt_token_count,
        completion_tokens: raw.candidates_token_count,
        total_tokens: raw.total_token_count,
    });
    // A chunk may tell nothing but the cost.
    let candidate = match generated.candidates.and_then(|all| all.into_iter().next()) {
        Some(candidate) => candidate,
        None if usage.is_some() => Candidate {
            content: None,
            finish_reason: None,
        },
        None => return Err(Trouble::Unreadable),
    };
    let parts = candidate.content.map(|content| content.parts).unwrap_or_default();
    let spoken = parts.into_iter().filter(|part| !part.thought);
    Ok(Piece {
        text: spoken.filter_map(|part| part.text).collect(),
        finish: candidate.finish_reason.map(|reason| {
            if BLOCKED.contains(&reason.as_str()) {
                Finish::Blocked
            } else {
                Finish::Good
            }
        }),
        usage,
    })
}

/// What a refusal means, as far as its body says more than its status: a bad key is a 400 here.
pub(super) fn refusal(body: &[u8]) -> Option<Trouble> {
    let failure: Failure = serde_json::from_slice(body).ok()?;
    let mut reasons = failure.error.details.into_iter().filter_map(|detail| detail.reason);
    reasons
        .any(|reason| reason == "API_KEY_INVALID")
        .then_some(Trouble::KeyRefused)
}
