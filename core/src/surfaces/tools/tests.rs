//! The tools surface alone: servers that answer when told, effects that end when told, and virtual time.

use alloc::string::ToString;
use core::time::Duration;

use super::*;
use crate::effect::{Completion, ExitStatus, Fault, FaultKind, OutputStream, Spawn};
use crate::id::ExchangeId;
use crate::machine::Output;
use crate::outbound::{ClientResponse, Exchange, ExchangeEvent};
use crate::random::Seed;
use crate::settings::{Agent, CommandTool};
use crate::store::{Op, Reply, StoreReply};

/// Servers that answer when told.
#[derive(Default)]
struct Servers {
    asked: Vec<(ExchangeId, Exchange)>,
    cancelled: Vec<ExchangeId>,
    count: u64,
}

impl Asking for Servers {
    fn start(&mut self, _: Now, _: &mut Calls, exchange: Exchange) -> ExchangeId {
        self.count += 1;
        let id = ExchangeId::new(self.count).unwrap();
        self.asked.push((id, exchange));
        id
    }

    fn cancel(&mut self, _: &mut Calls, exchange: ExchangeId) {
        self.cancelled.push(exchange);
    }
}

struct Rig {
    settings: Arc<Settings>,
    tools: Tools,
    now: Now,
    random: Random,
    calls: Calls,
    fetches: Fetches,
    servers: Servers,
    reports: Vec<Report>,
    audit: Vec<AuditRecord>,
}

fn conn(number: u64) -> ConnId {
    ConnId::new(number).unwrap()
}

fn command(name: &str) -> CommandTool {
    CommandTool {
        name: name.into(),
        description: String::new(),
        program: "/bin/tool".into(),
        args: alloc::vec!["--plain".into()],
        timeout: Duration::from_secs(5),
        max_output_bytes: 10,
        takes_action: name == "acting",
    }
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    let mut other = Agent::built_in("/other");
    other.id = "other".into();
    settings.agents.agents.push(other);
    settings.tools.max_concurrent = 2;
    settings.tools.commands = ["plain", "acting", "exec"].map(command).into();
    settings
}

impl Rig {
    fn new(settings: Settings) -> Self {
        Self {
            tools: Tools::new(&settings),
            settings: Arc::new(settings),
            now: Now {
                monotonic: Instant::from_millis(1_000),
                wall: UnixMillis(1_795_262_400_000),
            },
            random: Random::new(Seed([1; 32])),
            calls: Calls::default(),
            fetches: Fetches::default(),
            servers: Servers::default(),
            reports: Vec::new(),
            audit: Vec::new(),
        }
    }

    fn with<R>(&mut self, act: impl FnOnce(&mut Tools, &mut Context<'_>) -> R) -> R {
        let mut cx = Context {
            now: self.now,
            settings: &self.settings,
            random: &mut self.random,
            calls: &mut self.calls,
            fetches: &mut self.fetches,
            exchanges: &mut self.servers,
            reports: &mut self.reports,
            audit: &mut self.audit,
        };
        act(&mut self.tools, &mut cx)
    }

    fn invoke(&mut self, number: u64, body: &str) -> Option<HttpAnswer> {
        let call = ToolCall {
            conn: conn(number),
            client: None,
            connected_at: UnixMillis(7),
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        self.with(|tools, cx| tools.invoke(cx, &call))
    }

    /// The status and body of an answer that comes at once.
    fn ask(&mut self, body: &str) -> (u16, String) {
        let answer = self.invoke(1, body).unwrap();
        (answer.status.code(), text(&answer))
    }

    /// The server that was asked last answers with a page; `None`: it is over without one.
    fn serve(&mut self, mime: &str, body: &'static [u8]) -> Exchange {
        let (id, exchange) = self.servers.asked.pop().unwrap();
        let head = ClientResponse {
            status: 200,
            reason: "OK".into(),
            headers: alloc::vec![("content-type".into(), mime.into())],
        };
        let events = [
            ExchangeEvent::Head(head),
            ExchangeEvent::Body(Bytes::from_static(body)),
            ExchangeEvent::End,
        ];
        for event in events {
            self.with(|_, cx| {
                let (fetches, mut fetch_cx) = cx.fetching();
                fetches.exchange_event(&mut fetch_cx, id, event);
            });
        }
        self.settle();
        exchange
    }

    /// Hands the events of fetches over.
    fn settle(&mut self) {
        while let Some((asker, id, event)) = self.fetches.take_event() {
            assert_eq!(asker, FetchAsker::Tools);
            self.with(|tools, cx| tools.fetch_event(cx, id, event));
        }
    }

    fn started(&mut self) -> Option<(EffectId, Effect)> {
        loop {
            if let Output::Start { effect, what } = self.calls.take_output()? {
                return Some((effect, *what));
            }
        }
    }

    fn spawned(&mut self) -> (EffectId, Spawn) {
        match self.started() {
            Some((effect, Effect::Spawn(spawn))) => (effect, spawn),
            other => panic!("{other:?}"),
        }
    }

    fn cancelled(&mut self) -> Vec<EffectId> {
        let mut cancelled = Vec::new();
        while let Some(output) = self.calls.take_output() {
            if let Output::Cancel { effect } = output {
                cancelled.push(effect);
            }
        }
        cancelled
    }

    fn complete(&mut self, effect: EffectId, outcome: Outcome) {
        self.with(|tools, cx| tools.completed(cx, effect, outcome));
    }

    fn write(&mut self, effect: EffectId, stream: OutputStream, bytes: &str) {
        let bytes = Bytes::copy_from_slice(bytes.as_bytes());
        let progress = Progress::Output { stream, bytes };
        self.with(|tools, cx| tools.progressed(cx, effect, &progress));
    }

    fn exit(&mut self, effect: EffectId, code: i32) {
        self.complete(effect, Ok(Completion::Exited(ExitStatus::Code(code))));
    }

    fn answer(&mut self) -> Option<(u64, u16, String)> {
        let (conn, answer) = self.tools.take_answer()?;
        Some((conn.get(), answer.status.code(), text(&answer)))
    }

    fn told(&mut self) -> Vec<String> {
        let tell = |record: AuditRecord| {
            alloc::format!(
                "{:?} {:?} {}",
                record.event,
                record.outcome,
                record.reason.unwrap_or_default()
            )
        };
        self.audit.drain(..).map(tell).collect()
    }
}

fn text(answer: &HttpAnswer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

const FAILED: &str = r#"{"ok":false,"error":{"type":"tool_error","message":"tool execution failed"}}"#;
const BUSY: &str = r#"{"error":{"message":"Too many tool calls are under way","type":"service_unavailable","code":"gateway_unavailable"}}"#;

#[test]
fn the_rows_that_are_answered_at_once() {
    let mut rig = Rig::new(settings());
    for (body, status, answer) in [
        (
            "{",
            400,
            r#"{"error":{"message":"EOF while parsing an object at line 1 column 1","type":"invalid_request_error"}}"#,
        ),
        (
            "",
            400,
            r#"{"ok":false,"error":{"type":"invalid_request","message":"tools.invoke requires body.tool"}}"#,
        ),
        (
            r#"{"tool":" No\"ne "}"#,
            404,
            r#"{"ok":false,"error":{"type":"not_found","message":"Tool not available: No\"ne"}}"#,
        ),
        (
            r#"{"tool":"exec"}"#,
            404,
            r#"{"ok":false,"error":{"type":"not_found","message":"Tool not available: exec"}}"#,
        ),
        (
            r#"{"tool":"session.list","args":{"x":1}}"#,
            400,
            r#"{"ok":false,"error":{"type":"tool_error","message":"session.list params contain unknown fields"}}"#,
        ),
        (
            r#"{"tool":"session.history","args":{"agentId":"nobody"}}"#,
            400,
            r#"{"ok":false,"error":{"type":"tool_error","message":"agent not found: nobody"}}"#,
        ),
        (
            r#"{"tool":"web_fetch","args":{}}"#,
            400,
            r#"{"ok":false,"error":{"type":"tool_error","message":"url must be a string"}}"#,
        ),
        (
            r#"{"tool":"Health","dryRun":true}"#,
            200,
            r#"{"ok":true,"dryRun":true,"tool":"Health","allowed":true}"#,
        ),
        (
            r#"{"tool":"health"}"#,
            200,
            r#"{"ok":true,"result":{"status":"ok","protocol":1,"homeDir":"/","connectedAtMs":7,"serverTime":"2026-11-21T12:00:00.000Z"}}"#,
        ),
    ] {
        assert_eq!(rig.ask(body), (status, answer.to_string()), "{body}");
    }
    let (status, agents) = rig.ask(r#"{"tool":"agent.list"}"#);
    assert_eq!(status, 200);
    assert!(
        agents.starts_with(r#"{"ok":true,"result":{"agents":[{"id":"goat","displayName":"Goat","workspaceDir":"/","#)
    );
    assert!(rig.tools.is_empty() && rig.started().is_none());
    let told = rig.told();
    assert_eq!(
        told,
        [
            "ToolDenied Denied no such tool",
            "ToolDenied Denied on the deny list",
            "ToolInvoke Failed session.list: input rejected",
            "ToolInvoke Failed session.history: input rejected",
            "ToolInvoke Failed web_fetch: input rejected",
            "ToolInvoke Ok health: dry run",
            "ToolInvoke Ok health",
            "ToolInvoke Ok agent.list",
        ]
    );
}

#[test]
fn settings_change_what_is_allowed() {
    let mut settings = settings();
    settings.tools.allow = alloc::vec![" EXEC ".into()];
    settings.tools.deny = alloc::vec!["Health".into()];
    let mut rig = Rig::new(settings.clone());
    assert_eq!(rig.ask(r#"{"tool":"exec","dryRun":true}"#).0, 200);
    assert_eq!(rig.ask(r#"{"tool":"HEALTH","dryRun":true}"#).0, 404);
    settings.tools.commands.clear();
    settings.tools.strict_body = true;
    rig.tools.reconfigure(&settings);
    rig.settings = Arc::new(settings);
    assert_eq!(rig.ask(r#"{"tool":"exec","dryRun":true}"#).0, 404, "allowed, but gone");
    let strict = r#"{"ok":false,"error":{"type":"invalid_request","message":"body contains unknown members"}}"#;
    assert_eq!(rig.ask(r#"{"tool":"agent.list","x":1}"#), (400, strict.into()));
}

#[test]
fn the_agent_must_be_the_sessions() {
    let mut rig = Rig::new(settings());
    for (members, status) in [
        (r#""sessionKey":"agent:other:main","agentId":"other""#, 200),
        (r#""sessionKey":"main","agentId":"other""#, 200),
        (r#""agentId":"goat""#, 200),
        (r#""sessionKey":"agent:other:main","agentId":"goat""#, 400),
        (r#""agentId":"nobody""#, 400),
        (r#""sessionKey":"agent:nobody:main""#, 200),
    ] {
        let body = alloc::format!(r#"{{"tool":"health",{members}}}"#);
        assert_eq!(rig.ask(&body).0, status, "{members}");
    }
    let disagree = rig
        .ask(r#"{"tool":"health","sessionKey":"agent:other:x","agentId":"goat"}"#)
        .1;
    assert!(disagree.contains(r#"agentId \"goat\" does not agree with the agent \"other\" of sessionKey"#));
}

#[test]
fn sessions_are_read_like_the_operators_and_aimed_by_the_body() {
    let mut rig = Rig::new(settings());
    for (number, body, id) in [
        (1, r#"{"tool":"session.list","agentId":"other"}"#, "other\u{1f}"),
        (
            2,
            r#"{"tool":"session.history","sessionKey":"agent:other:x"}"#,
            "other\u{1f}agent:other:x",
        ),
        (
            1,
            r#"{"tool":"session.history","sessionKey":"agent:other:x","args":{"sessionRef":"main"}}"#,
            "goat\u{1f}agent:goat:main",
        ),
    ] {
        assert_eq!(rig.invoke(number, body), None);
        let Some((effect, Effect::Store(batch))) = rig.started() else {
            panic!()
        };
        let reply = match batch.ops.first() {
            Some(Op::Scan { prefix, .. }) => {
                assert_eq!(prefix, id);
                Reply::Records(Vec::new())
            }
            Some(Op::Get { key }) => {
                assert_eq!(key.id, id);
                Reply::Record(None)
            }
            other => panic!("{other:?}"),
        };
        rig.complete(effect, Ok(Completion::Stored(StoreReply::Applied(alloc::vec![reply]))));
        let (to, status, answer) = rig.answer().unwrap();
        assert_eq!((to, status), (number, 200));
        let key = id.split('\u{1f}').nth(1).unwrap();
        let expected = if key.is_empty() {
            r#"{"ok":true,"result":{"sessions":[]}}"#.to_string()
        } else {
            alloc::format!(r#"{{"ok":true,"result":{{"history":{{"sessionKey":"{key}","messages":[]}}}}}}"#)
        };
        assert_eq!(answer, expected);
    }
    assert_eq!(rig.invoke(1, r#"{"tool":"session.list"}"#), None);
    let (effect, _) = rig.started().unwrap();
    let fault = Fault {
        kind: FaultKind::Unavailable,
        detail: "disk".into(),
    };
    rig.complete(effect, Err(fault));
    assert_eq!(rig.answer(), Some((1, 500, FAILED.into())));
    assert!(rig.reports.iter().any(|report| report.to_string().contains("disk")));
    assert!(rig.tools.is_empty());
}

#[test]
fn a_program_does_not_run_for_an_agent_that_does_not_exist() {
    let mut rig = Rig::new(settings());
    let (status, answer) = rig.ask(r#"{"tool":"acting","sessionKey":"agent:nobody:main"}"#);
    assert_eq!(status, 400);
    assert!(
        answer.contains("sessionKey names an agent that does not exist"),
        "{answer}"
    );
    assert!(rig.tools.is_empty() && rig.started().is_none());
}

#[test]
fn a_program_gets_its_arguments_and_its_output_is_the_result() {
    let mut rig = Rig::new(settings());
    for (output, result) in [
        (r#" {"a": 1} "#, r#"{"a": 1}"#),
        ("not \"json", r#""not \"json""#),
        ("", r#""""#),
    ] {
        let body = r#"{"tool":"acting","action":"go","args":{"x":[1]},"agentId":"other","idempotencyKey":"k"}"#;
        assert_eq!(rig.invoke(1, body), None);
        let (effect, spawn) = rig.spawned();
        assert_eq!(
            (spawn.program.as_str(), spawn.args.as_slice()),
            ("/bin/tool", ["--plain".to_string()].as_slice())
        );
        assert_eq!(spawn.stdin, br#"{"action":"go","x":[1]}"#[..]);
        assert_eq!(spawn.dir.as_deref(), Some("/other"));
        let variable = |name: &str| spawn.env.iter().find(|(key, _)| key == name).unwrap().1.clone();
        assert_eq!(variable("PORTCULLIS_TOOL"), "acting");
        assert_eq!(variable("PORTCULLIS_SESSION_KEY"), "agent:other:main");
        assert_eq!(variable("PORTCULLIS_AGENT_ID"), "other");
        assert_eq!(
            variable("PORTCULLIS_CALL_ID").len(),
            32,
            "stable, from the idempotency key"
        );
        rig.write(effect, OutputStream::Stdout, output);
        rig.exit(effect, 0);
        assert_eq!(
            rig.answer(),
            Some((1, 200, alloc::format!(r#"{{"ok":true,"result":{result}}}"#)))
        );
    }
    let ids: BTreeSet<String> = rig
        .audit
        .iter()
        .filter_map(|record| record.request_id.clone())
        .collect();
    assert_eq!(ids.len(), 1, "the same idempotency key, the same call id");
    assert_eq!(rig.invoke(1, r#"{"tool":"plain","action":"go"}"#), None);
    assert_eq!(rig.spawned().1.stdin, b"{}"[..], "its arguments have no action");
}

#[test]
fn a_program_that_fails_tells_the_log_and_not_the_caller() {
    let mut rig = Rig::new(settings());
    let mut ends: Vec<(&str, Outcome)> = alloc::vec![
        ("exit code 3: why", Ok(Completion::Exited(ExitStatus::Code(3)))),
        ("ended by signal 9", Ok(Completion::Exited(ExitStatus::Signal(9)))),
        ("ended without a status", Ok(Completion::Done)),
    ];
    ends.push((
        "not found: /bin/tool",
        Err(Fault {
            kind: FaultKind::NotFound,
            detail: "/bin/tool".into(),
        }),
    ));
    for (detail, outcome) in ends {
        rig.invoke(1, r#"{"tool":"plain"}"#);
        let (effect, _) = rig.spawned();
        rig.write(effect, OutputStream::Stderr, "why");
        rig.complete(effect, outcome);
        assert_eq!(rig.answer(), Some((1, 500, FAILED.into())));
        let report = rig.reports.pop().unwrap().to_string();
        assert!(report.contains(detail), "{report}");
    }
    assert!(rig.told().iter().all(|told| told == "ToolInvoke Failed plain: failed"));
}

#[test]
fn a_program_is_stopped_at_its_limits() {
    let mut rig = Rig::new(settings());
    rig.invoke(1, r#"{"tool":"plain"}"#);
    let (effect, _) = rig.spawned();
    rig.write(effect, OutputStream::Stdout, "12345");
    rig.write(effect, OutputStream::Stderr, "67890");
    assert!(rig.cancelled().is_empty(), "exactly as much as it may");
    rig.write(effect, OutputStream::Stdout, "x");
    rig.write(effect, OutputStream::Stdout, "y");
    assert_eq!(rig.cancelled(), [effect], "once");
    rig.exit(effect, 0);
    assert_eq!(rig.answer(), Some((1, 500, FAILED.into())));

    rig.invoke(1, r#"{"tool":"plain"}"#);
    let (effect, _) = rig.spawned();
    let deadline = rig.now.monotonic.plus(Duration::from_secs(5));
    assert_eq!(rig.tools.next_deadline(), Some(deadline));
    rig.now.monotonic = deadline;
    rig.with(|tools, cx| tools.on_deadline(cx));
    assert_eq!(rig.cancelled(), [effect]);
    assert_eq!(rig.tools.next_deadline(), None);
    let cancelled = Fault {
        kind: FaultKind::Cancelled,
        detail: String::new(),
    };
    rig.complete(effect, Err(cancelled));
    assert_eq!(rig.answer(), Some((1, 500, FAILED.into())));
    assert!(rig.reports.pop().unwrap().to_string().contains("took too long"));
    assert!(rig.tools.is_empty());
}

#[test]
fn a_page_is_fetched_like_every_url_that_clients_name() {
    let mut rig = Rig::new(settings());
    let body = r#"{"tool":"web_fetch","args":{"url":"https://1.1.1.1/secret?q"}}"#;
    assert_eq!(rig.invoke(1, body), None);
    let exchange = rig.serve("text/html; charset=utf-8", b"<p>Hi");
    assert_eq!(exchange.request.url.target, "/secret?q");
    assert!(exchange.request.credentials.is_empty());
    let result = r#"{"ok":true,"result":{"url":"https://1.1.1.1/secret?q","status":200,"mime":"text/html","text":"Hi","truncated":false}}"#;
    assert_eq!(rig.answer(), Some((1, 200, result.into())));
    let record = rig.audit.pop().unwrap();
    assert_eq!(record.target.as_deref(), Some("https://1.1.1.1"), "never the path");
}

#[test]
fn a_page_that_may_not_be_fetched_is_the_callers_fault() {
    for (forbidden, status, kind) in [(false, 400, "tool_error"), (true, 403, "ssrf_blocked")] {
        let mut settings = settings();
        settings.fetch.answer_forbidden = forbidden;
        let mut rig = Rig::new(settings);
        rig.invoke(
            1,
            r#"{"tool":"web_fetch","args":{"url":"http://169.254.169.254/latest"}}"#,
        );
        rig.settle();
        let body = alloc::format!(
            r#"{{"ok":false,"error":{{"type":"{kind}","message":"Blocked hostname or private/internal/special-use IP address"}}}}"#
        );
        assert_eq!(rig.answer(), Some((1, status, body)));
        assert_eq!(rig.servers.count, 0, "nobody is asked");
        let events: Vec<AuditEvent> = rig.audit.iter().map(|record| record.event).collect();
        assert_eq!(events, [AuditEvent::SsrfBlocked, AuditEvent::ToolInvoke]);
        assert_eq!(rig.audit[0].request_id, rig.audit[1].request_id);
    }
    let mut rig = Rig::new(settings());
    rig.invoke(1, r#"{"tool":"web_fetch","args":{"url":"https://1.1.1.1/"}}"#);
    rig.serve("application/zip", b"PK");
    let body = r#"{"ok":false,"error":{"type":"tool_error","message":"Unsupported file MIME type: application/zip"}}"#;
    assert_eq!(rig.answer(), Some((1, 400, body.into())));
}

#[test]
fn calls_beyond_the_limit_are_refused_and_places_come_back() {
    let mut rig = Rig::new(settings());
    rig.invoke(1, r#"{"tool":"plain"}"#);
    let (first, _) = rig.spawned();
    rig.invoke(2, r#"{"tool":"web_fetch","args":{"url":"https://1.1.1.1/"}}"#);
    let refused = rig.invoke(3, r#"{"tool":"plain"}"#).unwrap();
    assert_eq!((refused.status.code(), text(&refused)), (503, BUSY.into()));
    assert_eq!(refused.retry_after, Some(Duration::from_secs(1)));
    assert_eq!(
        rig.ask(r#"{"tool":"health"}"#).0,
        200,
        "what takes no time takes no place"
    );
    rig.with(|tools, cx| tools.closed(cx, conn(2)));
    assert_eq!(rig.servers.cancelled.len(), 1);
    assert_eq!(rig.invoke(3, r#"{"tool":"plain"}"#), None);
    rig.with(|tools, cx| tools.closed(cx, conn(1)));
    assert_eq!(
        rig.tools.len(),
        2,
        "a program that is being stopped still takes its place"
    );
    rig.exit(first, 0);
    assert_eq!((rig.tools.len(), rig.answer()), (1, None), "nobody waits for it");
    assert!(rig.reports.is_empty());
}

#[test]
fn at_the_end_of_the_grace_everybody_is_answered() {
    let mut rig = Rig::new(settings());
    rig.invoke(1, r#"{"tool":"plain"}"#);
    let (effect, _) = rig.spawned();
    rig.invoke(2, r#"{"tool":"session.list"}"#);
    let (query, _) = rig.started().unwrap();
    rig.told();
    rig.with(|tools, cx| tools.stop(cx));
    let stopped = r#"{"error":{"message":"Gateway is temporarily unavailable while suspending or restarting","type":"service_unavailable","code":"gateway_unavailable"}}"#;
    assert_eq!(rig.answer(), Some((1, 503, stopped.into())));
    assert_eq!(rig.answer(), Some((2, 503, stopped.into())));
    assert_eq!(rig.cancelled(), [effect]);
    assert_eq!(rig.tools.len(), 2, "what was started is still under way");
    rig.exit(effect, 0);
    rig.complete(query, Ok(Completion::Done));
    assert_eq!((rig.tools.len(), rig.answer()), (0, None));
    assert_eq!(rig.told().len(), 2, "each call is told once");
}
