//! The work of an agent that is a provider: the session's earlier turns and the message make a conversation, and the answer
//! streams to the caller as a program's output would. Which provider it is is decided when the chat begins.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::work::stream;
use super::{Flow, Run, RunKey, Step, Stop};
use crate::effect::{Completion, Effect, ExitStatus, FaultKind, Outcome, OutputStream};
use crate::id::ChatId;
use crate::outbox::Upstream;
use crate::providers::{Chat, ChatEvent, ChatMessage, ProviderFault, Role};
use crate::sessions::transcript::{self, Speaker};
use crate::settings::AgentKind;
use crate::surfaces::operator::wire::WireError;
use crate::surfaces::operator::{Context, Operator};

/// When a run whose provider failed may be asked for again.
const RETRY: Duration = Duration::from_secs(1);

impl Operator {
    /// Begins: with what the session's transcript holds, if there is a session.
    pub(super) fn ask_provider(&mut self, cx: &mut Context<'_>, run: &mut Run, max_history_bytes: usize) -> Flow {
        let max_bytes = u32::try_from(max_history_bytes).unwrap_or(u32::MAX);
        match &run.session {
            Some(session) if max_bytes > 0 => {
                let path = session.record.transcript_path.clone();
                self.start_for(cx, run, Step::ReadingHistory, Effect::ReadFile { path, max_bytes })
            }
            _ => self.begin_chat(cx, run, Vec::new()),
        }
    }

    pub(super) fn history_read(&mut self, cx: &mut Context<'_>, run: &mut Run, outcome: Outcome) -> Flow {
        match outcome {
            Ok(Completion::File { bytes, size }) => {
                let is_cut = size > bytes.len() as u64;
                self.begin_chat(cx, run, history(&bytes, is_cut))
            }
            // The first turn of the session: its transcript is written when it is done.
            Err(fault) if fault.kind == FaultKind::NotFound => self.begin_chat(cx, run, Vec::new()),
            Err(fault) => {
                self.clear_deadline(run);
                Flow::fail(alloc::format!("the session's transcript cannot be read: {fault}"))
            }
            Ok(_) => {
                self.clear_deadline(run);
                Flow::fail("the session's transcript cannot be read")
            }
        }
    }

    fn begin_chat(&mut self, cx: &mut Context<'_>, run: &mut Run, mut messages: Vec<ChatMessage>) -> Flow {
        let AgentKind::Provider {
            provider,
            model,
            system_prompt,
            ..
        } = run.agent.kind.clone()
        else {
            return Flow::fail("the agent is no provider");
        };
        // A prompt of the settings wins over system messages; what stands for earlier turns must not be lost to it.
        let summary = messages.first().filter(|first| first.role == Role::System).cloned();
        let system_prompt = match (system_prompt, summary) {
            (Some(prompt), Some(summary)) => {
                messages.remove(0);
                Some(alloc::format!("{prompt}\n\n{}", summary.all_text()))
            }
            (prompt, _) => prompt,
        };
        messages.push(run.chat_message());
        let chat = Chat {
            provider,
            model: run.params.model.clone().or(model),
            system_prompt,
            messages,
            max_tokens: None,
            temperature: None,
            stream: true,
        };
        let (providers, mut context) = cx.providers();
        let id = providers.chat(&mut context, chat);
        run.step = Step::Working;
        run.chat = Some(id);
        self.runs.chats.insert(id, run.key);
        Flow::Wait
    }

    /// A chat of a run tells something.
    pub fn chat_event(&mut self, cx: &mut Context<'_>, id: ChatId, event: ChatEvent) {
        let Some(key) = self.runs.chats.get(&id).copied() else {
            return;
        };
        match event {
            ChatEvent::Delta(text) => self.chat_told(cx, key, id, &text),
            ChatEvent::Done(_) => self.chat_ended(cx, key, id, None),
            ChatEvent::Failed(fault) => self.chat_ended(cx, key, id, Some(fault)),
        }
    }

    fn chat_told(&mut self, cx: &mut Context<'_>, key: RunKey, id: ChatId, text: &str) {
        let Some(run) = self.runs.live.get_mut(&key).filter(|run| run.stop.is_none()) else {
            return;
        };
        if run.output.bytes.saturating_add(text.len()) > cx.settings.agents.max_output_bytes {
            self.stop_run(cx, key, Stop::TooMuchOutput);
            return;
        }
        let chunk = run.output.push(OutputStream::Stdout, text.as_bytes());
        stream(cx, run.caller, &run.run_id, OutputStream::Stdout, chunk);
        cx.outbox.proceed_when_taken(run.caller, Upstream::Chat(id));
    }

    /// A provider that refuses is to a run what a program is that says why on its error output and exits with 1. One that
    /// may answer later has not done the run: nothing of it is kept, and the same request runs again.
    fn chat_ended(&mut self, cx: &mut Context<'_>, key: RunKey, id: ChatId, failure: Option<ProviderFault>) {
        self.runs.chats.remove(&id);
        self.drive(cx, key, |operator, cx, run| {
            run.chat = None;
            operator.clear_deadline(run);
            if let Some(stop) = run.stop {
                return Flow::End(Err(stop.error(cx)));
            }
            if let Some(fault) = failure.as_ref().filter(|fault| fault.may_pass()) {
                return Flow::End(Err(WireError::unavailable(fault.to_string()).retry_after(RETRY)));
            }
            run.exit = Some(ExitStatus::Code(i32::from(failure.is_some())));
            if let Some(fault) = failure {
                let text = fault.to_string();
                let chunk = run.output.push(OutputStream::Stderr, text.as_bytes());
                stream(cx, run.caller, &run.run_id, OutputStream::Stderr, chunk);
            }
            operator.record(cx, run)
        });
    }
}

/// The conversation so far. A summary stands for everything before it; a message without an answer is left out, because
/// nobody answers it any more, and so is the rest of a turn that was cut off at the beginning.
fn history(transcript: &[u8], is_cut: bool) -> Vec<ChatMessage> {
    let mut messages: Vec<ChatMessage> = Vec::new();
    let mut asked: Option<String> = None;
    for (speaker, content) in transcript::spoken(transcript, is_cut) {
        match speaker {
            Speaker::Summary => {
                asked = None;
                messages.clear();
                messages.push(ChatMessage::text(Role::System, content));
            }
            Speaker::User => asked = Some(content),
            Speaker::Assistant if !content.is_empty() => {
                if let Some(question) = asked.take() {
                    messages.push(ChatMessage::text(Role::User, question));
                    messages.push(ChatMessage::text(Role::Assistant, content));
                }
            }
            Speaker::Assistant => asked = None,
        }
    }
    messages
}
