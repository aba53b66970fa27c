//! Both providers against a server that is played by hand, in virtual time.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::*;
use crate::effect::{Completion, DialTo, Effect, Fault, FaultKind};
use crate::id::{ConnId, EffectId};
use crate::machine::{GoneReason, Output, Peer};
use crate::random::Seed;
use crate::secret::Secret;
use crate::settings::HealthProbe;
use crate::time::UnixMillis;
use crate::url::Url;

const KEY: &str = "sk-hunter2";

struct Play {
    providers: Providers,
    exchanges: Exchanges,
    calls: Calls,
    random: Random,
    settings: ProviderSettings,
    now: Now,
    conns: u64,
    /// Everything that was told, in words.
    told: Vec<String>,
}

fn settings() -> ProviderSettings {
    let mut settings = ProviderSettings::default();
    settings.kimi.base_url = Url::parse("http://127.0.0.1:1/v1").unwrap();
    settings.kimi.api_key = Some(Secret::new(KEY.into()));
    settings.gemini.base_url = Url::parse("http://[::1]:2").unwrap();
    settings.gemini.api_key = Some(Secret::new(KEY.into()));
    settings
}

impl Play {
    fn new(settings: ProviderSettings) -> Self {
        Self {
            providers: Providers::new(&settings),
            exchanges: Exchanges::default(),
            calls: Calls::default(),
            random: Random::new(Seed([5; 32])),
            settings,
            now: Now {
                monotonic: Instant::from_millis(1_000),
                wall: UnixMillis(0),
            },
            conns: 0,
            told: Vec::new(),
        }
    }

    fn with<R>(&mut self, act: impl FnOnce(&mut Providers, &mut ProviderContext<'_>) -> R) -> R {
        let mut cx = ProviderContext {
            now: self.now,
            settings: &self.settings,
            random: &mut self.random,
            calls: &mut self.calls,
            exchanges: &mut self.exchanges,
        };
        let result = act(&mut self.providers, &mut cx);
        self.pump();
        result
    }

    fn pump(&mut self) {
        while let Some((asker, exchange, event)) = self.exchanges.take_event() {
            assert_eq!(asker, crate::outbound::Asker::Providers);
            let mut cx = ProviderContext {
                now: self.now,
                settings: &self.settings,
                random: &mut self.random,
                calls: &mut self.calls,
                exchanges: &mut self.exchanges,
            };
            self.providers.exchange_event(&mut cx, exchange, event);
        }
        while let Some(event) = self.providers.take_event() {
            let text = match event {
                ProviderEvent::Chat { event, .. } => match event {
                    ChatEvent::Delta(text) => format!("+{text}"),
                    ChatEvent::Done(done) => {
                        let usage = done.usage.map_or(0, |usage| usage.total_tokens);
                        format!("done {} {} {usage}", done.provider, done.model)
                    }
                    ChatEvent::Failed(fault) => fault.to_string(),
                },
                ProviderEvent::Health { ticket, report } => {
                    format!("{ticket} {}", serde_json::to_string(&report.providers).unwrap())
                }
            };
            assert!(!text.contains("hunter2"), "a key in {text:?}");
            self.told.push(text);
        }
        assert!(
            !format!("{:?}{:?}", self.providers, self.exchanges).contains("hunter2"),
            "a key in debug output"
        );
    }

    fn chat(&mut self, chat: Chat) -> ChatId {
        self.with(|providers, cx| providers.chat(cx, chat))
    }

    fn started(&mut self) -> Option<(EffectId, Effect)> {
        loop {
            match self.calls.take_output()? {
                Output::Start { effect, what } => return Some((effect, *what)),
                _ => continue,
            }
        }
    }

    /// The next connection that is dialled, and the request on it.
    fn served(&mut self) -> (ConnId, String) {
        let (effect, what) = self.started().expect("nobody is dialled");
        let Effect::Dial(dial) = what else { panic!("{what:?}") };
        let DialTo::Tcp(address) = dial.to else {
            panic!("{dial:?}")
        };
        self.conns += 1;
        let (conn, peer) = (ConnId::new(self.conns).unwrap(), Peer::Tcp(address));
        self.calls.finish(effect);
        let outcome = Ok(Completion::Dialled { conn, peer });
        self.exchanges.completed(self.now, &mut self.calls, effect, outcome);
        let mut sent = Vec::new();
        while let Some(output) = self.exchanges.take_output() {
            if let Output::Transmit { bytes, .. } = output {
                sent.extend_from_slice(&bytes);
            }
        }
        (conn, String::from_utf8(sent).unwrap())
    }

    fn body(request: &str) -> &str {
        request.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    fn receive(&mut self, conn: ConnId, text: &str) {
        self.exchanges.received(self.now, conn, &mut text.as_bytes().to_vec());
        self.pump();
    }

    fn respond(&mut self, conn: ConnId, status: u16, fields: &str, body: &str) {
        let length = body.len();
        self.receive(
            conn,
            &format!("HTTP/1.1 {status} X\r\n{fields}Content-Length: {length}\r\n\r\n{body}"),
        );
    }

    fn wait(&mut self, millis: u64) {
        self.now.monotonic = self.now.monotonic.plus(Duration::from_millis(millis));
        self.exchanges.on_deadline(self.now, &mut self.calls);
        self.with(|providers, cx| providers.on_deadline(cx));
    }

    fn told(&mut self) -> Vec<String> {
        core::mem::take(&mut self.told)
    }

    /// Answers the attempt that is due with this, as often as it comes; how often it came.
    fn attempts(&mut self, status: u16, fields: &str, body: &str) -> usize {
        for attempt in 0..10 {
            if self.providers.is_empty() {
                return attempt;
            }
            let (conn, _) = self.served();
            self.respond(conn, status, fields, body);
            self.wait(60_000);
        }
        panic!("it never gives up");
    }
}

fn ask(provider: ProviderKey, text: &str) -> Chat {
    Chat {
        provider: Some(provider),
        model: None,
        system_prompt: None,
        messages: alloc::vec![ChatMessage::text(Role::User, text)],
        max_tokens: None,
        temperature: None,
        stream: false,
    }
}

const KIMI_OK: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"moonshot-v1-8k","choices":[{"index":0,"message":{"role":"assistant","content":"OK"},"finish_reason":"length"}],"usage":{"prompt_tokens":8,"completion_tokens":1,"total_tokens":9}}"#;
const GEMINI_OK: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"O"},{"text":"K"}]},"finishReason":"MAX_TOKENS","index":0}],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":1,"totalTokenCount":5},"modelVersion":"other"}"#;

#[test]
fn kimi_is_asked_and_answers() {
    let mut play = Play::new(settings());
    play.chat(Chat {
        system_prompt: Some("be \"brief\"".into()),
        max_tokens: Some(5),
        temperature: Some(0.5),
        ..ask(ProviderKey::Kimi, "hi")
    });
    let (conn, request) = play.served();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:1\r\n";
    assert!(request.starts_with(head), "{request}");
    for field in [
        "Accept: application/json\r\n",
        "Content-Type: application/json\r\n",
        "Authorization: Bearer sk-hunter2\r\n",
        concat!("User-Agent: Portcullis/", env!("CARGO_PKG_VERSION"), "\r\n"),
    ] {
        assert!(request.contains(field), "{field} in {request}");
    }
    assert_eq!(
        Play::body(&request),
        r#"{"model":"moonshot-v1-8k","messages":[{"role":"system","content":"be \"brief\""},{"role":"user","content":"hi"}],"max_tokens":5,"temperature":0.5}"#
    );
    play.respond(conn, 200, "Content-Type: application/json\r\n", KIMI_OK);
    assert_eq!(play.told(), ["+OK", "done kimi moonshot-v1-8k 9"]);
}

#[test]
fn gemini_is_asked_and_answers() {
    let mut play = Play::new(settings());
    let text = |role, text| ChatMessage::text(role, text);
    play.chat(Chat {
        temperature: Some(0.2),
        messages: alloc::vec![
            text(Role::System, "A"),
            text(Role::User, "u1"),
            text(Role::Assistant, "a1"),
            text(Role::User, "u2")
        ],
        ..ask(ProviderKey::Gemini, "")
    });
    let (conn, request) = play.served();
    let head = "POST /v1beta/models/gemini-1.5-pro:generateContent HTTP/1.1\r\nHost: [::1]:2\r\n";
    assert!(request.starts_with(head), "{request}");
    assert!(request.contains("x-goog-api-key: sk-hunter2\r\n"));
    assert_eq!(
        Play::body(&request),
        r#"{"safetySettings":[],"generationConfig":{"temperature":0.2},"systemInstruction":{"role":"system","parts":[{"text":"A"}]},"contents":[{"role":"user","parts":[{"text":"u1"}]},{"role":"model","parts":[{"text":"a1"}]},{"role":"user","parts":[{"text":"u2"}]}]}"#
    );
    play.respond(conn, 200, "", GEMINI_OK);
    assert_eq!(play.told(), ["+OK", "done gemini gemini-1.5-pro 5"]);
    play.chat(Chat {
        system_prompt: Some("B".into()),
        messages: alloc::vec![text(Role::System, "A"), text(Role::System, "C"), text(Role::User, "u")],
        model: Some("tunedModels/x".into()),
        ..ask(ProviderKey::Gemini, "")
    });
    let (_, request) = play.served();
    assert!(
        request.starts_with("POST /v1beta/tunedModels/x:generateContent "),
        "{request}"
    );
    assert!(request.contains(r#""systemInstruction":{"role":"system","parts":[{"text":"B"}]}"#));
    play.chat(Chat {
        messages: alloc::vec![text(Role::User, "u"), text(Role::Assistant, "a")],
        ..ask(ProviderKey::Gemini, "")
    });
    assert_eq!(play.told(), ["GeminiProvider: last message must be a user message"]);
}

#[test]
fn images_travel_inside_the_message() {
    let mut play = Play::new(settings());
    let parts = alloc::vec![
        ChatPart::Text("see".into()),
        ChatPart::Inline {
            mime: "image/png".into(),
            bytes: Bytes::from_static(b"\x89PNG"),
        },
    ];
    let message = ChatMessage {
        role: Role::User,
        parts,
    };
    for (key, expected) in [
        (
            ProviderKey::Kimi,
            r#"[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw=="}}]"#,
        ),
        (
            ProviderKey::Gemini,
            r#"[{"text":"see"},{"inline_data":{"mime_type":"image/png","data":"iVBORw=="}}]"#,
        ),
    ] {
        play.chat(Chat {
            messages: alloc::vec![message.clone()],
            ..ask(key, "")
        });
        let (_, request) = play.served();
        assert!(request.contains(expected), "{request}");
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(Play::body(&request)).is_ok());
    }
}

#[test]
fn streams_are_told_piece_by_piece() {
    let mut play = Play::new(settings());
    play.chat(Chat {
        stream: true,
        ..ask(ProviderKey::Kimi, "hi")
    });
    let (conn, request) = play.served();
    assert!(request.ends_with(r#"],"stream":true}"#), "{request}");
    play.receive(
        conn,
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n",
    );
    play.receive(conn, "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\ndata: {\"choi");
    assert_eq!(play.told(), [""; 0]);
    play.receive(
        conn,
        "ces\":[{\"delta\":{\"content\":\"He\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"y\"}}]}\n\n",
    );
    assert_eq!(play.told(), ["+Hey"], "what came in one read is one piece");
    play.receive(conn, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\",\"usage\":{\"total_tokens\":7}}]}\n\ndata: [DONE]\n\n");
    assert_eq!(
        play.told(),
        ["done kimi moonshot-v1-8k 7"],
        "the end of the connection is not waited for"
    );
    assert!(play.exchanges.is_empty());

    play.chat(Chat {
        stream: true,
        ..ask(ProviderKey::Gemini, "hi")
    });
    let (conn, request) = play.served();
    assert!(request.starts_with("POST /v1beta/models/gemini-1.5-pro:streamGenerateContent?alt=sse HTTP/1.1\r\n"));
    let chunk =
        |text: &str, more: &str| format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}}{more}}}]}}"#);
    let stream = format!(
        "data: {}\r\n\r\ndata: {}\r\n\r\n",
        chunk("He", ""),
        chunk("y", r#","finishReason":"STOP""#)
    );
    play.respond(conn, 200, "Content-Type: text/event-stream\r\n", &stream);
    assert_eq!(play.told(), ["+Hey", "done gemini gemini-1.5-pro 0"]);

    play.chat(Chat {
        stream: true,
        ..ask(ProviderKey::Kimi, "hi")
    });
    let (conn, _) = play.served();
    play.respond(conn, 200, "Content-Type: application/json\r\n", KIMI_OK);
    assert_eq!(
        play.told(),
        ["+OK", "done kimi moonshot-v1-8k 9"],
        "a server without streaming answers too"
    );
}

#[test]
fn a_stream_that_breaks_is_not_asked_for_again() {
    let mut play = Play::new(settings());
    let piece = "data: {\"choices\":[{\"delta\":{\"content\":\"He\"}}]}\n\n";
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    for (rest, closed, expected) in [
        ("", GoneReason::Failed, "KimiProvider: the connection ended too early"),
        ("", GoneReason::Closed, "KimiProvider: the response ended too early"),
        (
            "data: {\"cho\n\n",
            GoneReason::Closed,
            "KimiProvider: the response cannot be read",
        ),
        (
            "data: {\"error\":{\"type\":\"engine_overloaded_error\"}}\n\n",
            GoneReason::Closed,
            "KimiProvider: too many requests",
        ),
        (
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"content_filter\"}]}\n\n",
            GoneReason::Closed,
            "KimiProvider: the content was blocked",
        ),
    ] {
        play.chat(Chat {
            stream: true,
            ..ask(ProviderKey::Kimi, "hi")
        });
        let (conn, _) = play.served();
        play.receive(conn, &format!("{head}{piece}{rest}"));
        play.exchanges.gone(play.now, conn, closed);
        play.pump();
        assert_eq!(play.told(), ["+He", expected]);
        assert!(play.providers.is_empty() && play.providers.next_deadline().is_none());
    }
}

#[test]
fn refusals_have_stable_texts_and_only_what_may_pass_is_asked_again() {
    let mut play = Play::new(settings());
    let kimi = |kind: &str| format!(r#"{{"error":{{"message":"secret words","type":"{kind}"}}}}"#);
    for (status, body, attempts, text) in [
        (
            400,
            kimi("invalid_request_error"),
            1,
            "the request was rejected (status 400)",
        ),
        (400, kimi("content_filter"), 1, "the content was blocked"),
        (401, kimi("invalid_authentication_error"), 1, "the API key was refused"),
        (403, kimi("permission_denied_error"), 1, "the API key may not do this"),
        (404, kimi("resource_not_found_error"), 1, "model not available"),
        (408, String::new(), 3, "the request was rejected (status 408)"),
        (409, String::new(), 3, "the request was rejected (status 409)"),
        (
            429,
            kimi("exceeded_current_quota_error"),
            1,
            "the account's quota is used up",
        ),
        (429, kimi("rate_limit_reached_error"), 3, "too many requests"),
        (429, kimi("engine_overloaded_error"), 3, "too many requests"),
        (500, kimi("server_error"), 3, "the provider is failing (status 500)"),
        (503, "<html>".into(), 3, "the provider is failing (status 503)"),
        (
            302,
            String::new(),
            1,
            "the server redirects (status 302), which is not followed",
        ),
        (200, "{}".into(), 1, "the response cannot be read"),
        (200, r#"{"choices":[{"mess"#.into(), 1, "the response cannot be read"),
        (
            200,
            r#"{"choices":[]}"#.into(),
            1,
            "received empty response from Moonshot API",
        ),
        (
            200,
            r#"{"choices":[{"message":{"content":""}}]}"#.into(),
            1,
            "received empty response from Moonshot API",
        ),
        (
            200,
            r#"{"choices":[{"message":{"content":null}}]}"#.into(),
            1,
            "received empty response from Moonshot API",
        ),
    ] {
        play.chat(ask(ProviderKey::Kimi, "hi"));
        let seen = play.attempts(status, "Location: http://127.0.0.1:9/\r\n", &body);
        assert_eq!(play.told(), [format!("KimiProvider: {text}")], "{status} {body}");
        assert_eq!(seen, attempts, "{status} {body}");
    }
    let bad_key = r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#;
    for (status, body, attempts, text) in [
        (400, bad_key, 1, "the API key was refused"),
        (
            400,
            r#"{"error":{"code":400,"status":"INVALID_ARGUMENT"}}"#,
            1,
            "the request was rejected (status 400)",
        ),
        (404, "", 1, "model not available"),
        (
            429,
            r#"{"error":{"status":"RESOURCE_EXHAUSTED"}}"#,
            3,
            "too many requests",
        ),
        (504, "", 3, "the provider is failing (status 504)"),
        (
            200,
            r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#,
            1,
            "the content was blocked",
        ),
        (
            200,
            r#"{"candidates":[{"finishReason":"RECITATION"}]}"#,
            1,
            "the content was blocked",
        ),
        (200, "{}", 1, "the response cannot be read"),
    ] {
        play.chat(ask(ProviderKey::Gemini, "hi"));
        assert_eq!(play.attempts(status, "", body), attempts, "{status} {body}");
        assert_eq!(play.told(), [format!("GeminiProvider: {text}")], "{status} {body}");
    }
}

#[test]
fn a_repetition_waits_as_long_as_the_server_says() {
    let mut play = Play::new(settings());
    for (fields, wait) in [
        ("retry-after-ms: 2500\r\n", 2_500),
        ("Retry-After: 3\r\n", 3_000),
        ("Retry-After: 600\r\n", 60_000),
    ] {
        play.chat(ask(ProviderKey::Kimi, "hi"));
        let (conn, _) = play.served();
        play.respond(conn, 429, fields, "");
        play.wait(wait - 1);
        assert!(play.started().is_none(), "{fields}");
        play.wait(1);
        let (conn, _) = play.served();
        play.respond(conn, 200, "", KIMI_OK);
        assert_eq!(play.told(), ["+OK", "done kimi moonshot-v1-8k 9"]);
    }
    play.chat(ask(ProviderKey::Kimi, "hi"));
    let (conn, _) = play.served();
    play.respond(conn, 500, "", "");
    play.wait(374);
    assert!(play.started().is_none(), "half a second less a quarter");
    play.wait(126);
    play.served();
}

#[test]
fn connections_that_fail_are_tried_again_and_time_is_limited() {
    let mut play = Play::new(settings());
    play.chat(ask(ProviderKey::Kimi, "hi"));
    for _ in 0..3 {
        let (effect, _) = play.started().unwrap();
        play.calls.finish(effect);
        let refused = Fault {
            kind: FaultKind::Refused,
            detail: "127.0.0.1:1 refused".into(),
        };
        play.exchanges
            .completed(play.now, &mut play.calls, effect, Err(refused));
        play.pump();
        play.wait(10_000);
    }
    assert_eq!(play.told(), ["KimiProvider: cannot connect"]);
    play.settings.kimi.retries = 0;
    play.chat(ask(ProviderKey::Kimi, "hi"));
    play.served();
    play.wait(120_000);
    assert_eq!(play.told(), ["KimiProvider: timed out"]);
    assert!(play.providers.is_empty());
}

#[test]
fn cancelled_at_any_time() {
    let mut play = Play::new(settings());
    let id = play.chat(ask(ProviderKey::Kimi, "hi"));
    play.with(|providers, cx| providers.cancel(cx, id));
    play.with(|providers, cx| providers.cancel(cx, id));
    assert_eq!(play.told(), ["KimiProvider: cancelled"]);
    while play.calls.take_output().is_some() {}
    let id = play.chat(ask(ProviderKey::Kimi, "hi"));
    let (conn, _) = play.served();
    play.respond(conn, 500, "", "");
    play.with(|providers, cx| providers.cancel(cx, id));
    assert_eq!(play.told(), ["KimiProvider: cancelled"]);
    assert!(play.providers.next_deadline().is_none() && play.exchanges.is_empty());
}

#[test]
fn a_held_chat_is_told_nothing() {
    let mut play = Play::new(settings());
    let id = play.chat(Chat {
        stream: true,
        ..ask(ProviderKey::Kimi, "hi")
    });
    let (conn, _) = play.served();
    play.receive(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    play.with(|providers, cx| providers.hold(cx.exchanges, id));
    play.receive(
        conn,
        "data: {\"choices\":[{\"delta\":{\"content\":\"He\"}}]}\n\ndata: [DONE]\n\n",
    );
    assert_eq!(play.told(), [""; 0]);
    play.with(|providers, cx| providers.proceed(cx.exchanges, id));
    assert_eq!(play.told(), ["+He", "done kimi moonshot-v1-8k 0"]);
}

#[test]
fn a_key_never_travels_in_the_clear_to_another_machine() {
    let mut play = Play::new(settings());
    for (url, ok) in [
        ("http://127.0.0.1:1/v1", true),
        ("http://[::ffff:127.0.0.1]:1/v1", true),
        ("http://localhost:1/v1", true),
        ("https://api.example.com/v1", true),
        ("http://api.example.com/v1", false),
        ("http://localhost.example.com/v1", false),
        ("http://10.0.0.1/v1", false),
    ] {
        play.settings.kimi.base_url = Url::parse(url).unwrap();
        let result = play.providers.switch(&play.settings, ProviderKey::Kimi, None);
        assert_eq!(result.is_ok(), ok, "{url}");
        if !ok {
            let text =
                "Provider \"kimi\" is not configured: its base URL must be https, because it leads to another machine";
            assert_eq!(result.unwrap_err().to_string(), text);
            play.chat(ask(ProviderKey::Kimi, "hi"));
            assert_eq!(play.told().len(), 1);
            assert!(play.started().is_none(), "nobody is dialled");
        }
    }
    play.settings.kimi.base_url = Url::parse("http://localhost:1/v1").unwrap();
    play.chat(ask(ProviderKey::Kimi, "hi"));
    let (_, what) = play.started().unwrap();
    assert!(matches!(what, Effect::Dial(_)), "localhost is not looked up: {what:?}");
    play.settings.kimi.api_key = Some(Secret::new("a\r\nX: y".into()));
    let result = play.providers.switch(&play.settings, ProviderKey::Kimi, None);
    assert!(
        result
            .unwrap_err()
            .to_string()
            .ends_with("MOONSHOT_API_KEY holds characters that no API key has")
    );
}

#[test]
fn a_switch_is_whole_or_does_not_happen() {
    let mut settings = settings();
    settings.gemini.api_key = None;
    settings.active = ProviderKey::Kimi;
    let mut providers = Providers::new(&settings);
    let error = providers.switch(&settings, ProviderKey::Gemini, Some("x")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Provider \"gemini\" is not configured: GEMINI_API_KEY is not set"
    );
    for model in [
        "",
        "a b",
        "a\n",
        "a//b",
        "../x",
        "a/..",
        "/a",
        "a/",
        "a?b",
        "a#b",
        "a%2fb",
        &"m".repeat(129),
    ] {
        let error = providers.switch(&settings, ProviderKey::Kimi, Some(model)).unwrap_err();
        assert!(error.to_string().starts_with("Invalid model \""), "{model:?}");
    }
    let active = providers.active(&settings);
    assert_eq!(
        (active.key, active.model, active.configured),
        (ProviderKey::Kimi, "moonshot-v1-8k", true)
    );

    let switched = providers.switch(&settings, ProviderKey::Kimi, Some("kimi-k2")).unwrap();
    assert_eq!(
        (switched.previous, switched.active, switched.model.as_str()),
        (ProviderKey::Kimi, ProviderKey::Kimi, "kimi-k2")
    );
    let switched = providers.switch(&settings, ProviderKey::Kimi, Some("kimi-k3")).unwrap();
    assert_eq!(switched.model, "kimi-k3", "always the model that is asked for");
    settings.gemini.api_key = Some(Secret::new("k".into()));
    providers.switch(&settings, ProviderKey::Gemini, None).unwrap();
    let switched = providers.switch(&settings, ProviderKey::Kimi, None).unwrap();
    assert_eq!(
        switched.model, "kimi-k3",
        "the model that was chosen last is remembered"
    );

    providers.reconfigure(&settings);
    assert_eq!(
        providers.active(&settings).model,
        "kimi-k3",
        "the same settings change nothing"
    );
    settings.kimi.model = "other".into();
    settings.active = ProviderKey::Gemini;
    providers.reconfigure(&settings);
    assert_eq!(providers.active(&settings).key, ProviderKey::Gemini);
    assert_eq!(
        providers.switch(&settings, ProviderKey::Kimi, None).unwrap().model,
        "other"
    );
}

#[test]
fn a_switch_does_not_touch_a_chat_under_way() {
    let mut play = Play::new(settings());
    play.settings.active = ProviderKey::Kimi;
    play.providers = Providers::new(&play.settings);
    play.chat(Chat {
        provider: None,
        ..ask(ProviderKey::Kimi, "hi")
    });
    let (conn, _) = play.served();
    play.providers
        .switch(&play.settings, ProviderKey::Kimi, Some("other"))
        .unwrap();
    play.providers
        .switch(&play.settings, ProviderKey::Gemini, None)
        .unwrap();
    play.respond(conn, 500, "", "");
    play.wait(1_000);
    let (conn, request) = play.served();
    assert!(
        request.contains("moonshot-v1-8k"),
        "its repetition is the same: {request}"
    );
    play.respond(conn, 200, "", KIMI_OK);
    assert_eq!(play.told(), ["+OK", "done kimi moonshot-v1-8k 9"]);
}

#[test]
fn health_is_checked_once_for_everybody_and_kept_for_ten_seconds() {
    let mut play = Play::new(settings());
    play.settings.gemini.api_key = None;
    let report = |ticket: u64, kimi: &str| {
        format!(
            r#"{ticket} [{{"provider":"kimi","name":"Kimi (Moonshot AI)","model":"moonshot-v1-8k","configured":true,{kimi}}},{{"provider":"gemini","name":"Gemini","model":"gemini-1.5-pro","configured":false,"ok":false,"error":"GEMINI_API_KEY is not set"}}]"#
        )
    };
    play.with(|providers, cx| providers.check_health(cx, 1));
    let (conn, request) = play.served();
    assert_eq!(
        Play::body(&request),
        r#"{"model":"moonshot-v1-8k","messages":[{"role":"user","content":"Respond with OK"}],"max_tokens":5}"#
    );
    play.wait(412);
    play.with(|providers, cx| providers.check_health(cx, 2));
    assert!(play.started().is_none(), "it joins the check under way");
    play.respond(conn, 200, "", KIMI_OK);
    let well = r#""ok":true,"latencyMs":412"#;
    assert_eq!(play.told(), [report(1, well), report(2, well)]);
    play.wait(9_999);
    play.with(|providers, cx| providers.check_health(cx, 3));
    assert_eq!(play.told(), [report(3, well)]);
    play.wait(1);
    play.with(|providers, cx| providers.check_health(cx, 4));
    let (conn, _) = play.served();
    play.respond(conn, 401, "", "{}");
    assert_eq!(
        play.told(),
        [report(
            4,
            r#""ok":false,"latencyMs":0,"error":"the API key was refused""#
        )]
    );
    play.providers
        .switch(&play.settings, ProviderKey::Kimi, Some("other"))
        .unwrap();
    play.with(|providers, cx| providers.check_health(cx, 5));
    let (conn, _) = play.served();
    play.receive(conn, "HTTP/1.1 200 OK\r\nContent-Length: 262145\r\n\r\n");
    assert!(play.told()[0].contains("the response is larger than 262144 bytes"));
}

#[test]
fn a_health_check_ends_in_time() {
    let mut play = Play::new(settings());
    play.settings.gemini.api_key = None;
    play.with(|providers, cx| providers.check_health(cx, 1));
    play.served();
    play.wait(10_000);
    assert!(play.told()[0].contains(r#""latencyMs":10000,"error":"timed out""#));
    play.wait(10_000);
    play.with(|providers, cx| providers.check_health(cx, 2));
    let (conn, _) = play.served();
    play.wait(9_000);
    play.respond(conn, 500, "", "");
    play.wait(500);
    play.served();
    play.wait(5_500);
    assert!(play.told()[0].contains(r#""latencyMs":15000,"error":"timed out""#));
    for (status, attempts) in [(400, 1), (408, 1), (429, 2), (503, 2)] {
        play.wait(10_000);
        play.with(|providers, cx| providers.check_health(cx, 3));
        let (conn, _) = play.served();
        play.respond(conn, status, "", "");
        play.wait(500);
        if attempts == 2 {
            let (conn, _) = play.served();
            play.respond(conn, status, "", "");
        }
        assert_eq!(play.told().len(), 1, "{status}");
    }
    play.wait(10_000);
    play.with(|providers, cx| providers.check_health(cx, 4));
    let (conn, _) = play.served();
    play.respond(conn, 429, "Retry-After: 30\r\n", "");
    assert_eq!(play.told().len(), 1, "a wait beyond the end is not begun");
}

#[test]
fn the_list_of_models_is_a_free_probe_and_may_be_missing() {
    let mut play = Play::new(settings());
    play.settings.health = HealthProbe::Models;
    for (status, ok) in [(200, true), (404, true), (405, true), (401, false)] {
        play.with(|providers, cx| providers.check_health(cx, 1));
        for start in ["GET /v1/models HTTP/1.1\r\n", "GET /v1beta/models HTTP/1.1\r\n"] {
            let (conn, request) = play.served();
            assert!(request.starts_with(start), "{request}");
            assert!(request.contains("sk-hunter2") && !request.contains("Content-Length"));
            play.respond(conn, status, "", "{}");
        }
        let told = play.told();
        assert_eq!(
            told[0].matches(&format!(r#""ok":{ok}"#)).count(),
            2,
            "{status}: {told:?}"
        );
        play.wait(10_000);
    }
}

#[test]
fn there_is_room_for_so_many_chats() {
    let mut play = Play::new(settings());
    for _ in 0..MAX_CHATS {
        play.chat(ask(ProviderKey::Kimi, "hi"));
    }
    play.chat(ask(ProviderKey::Kimi, "hi"));
    assert_eq!(play.told(), ["KimiProvider: too many chats at the same time"]);
    play.settings.kimi.api_key = None;
    play.providers = Providers::new(&play.settings);
    play.chat(ask(ProviderKey::Kimi, "hi"));
    assert_eq!(play.told(), ["KimiProvider: MOONSHOT_API_KEY is not set"]);
}
