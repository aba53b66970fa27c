//! Any bytes as the body of `POST /tools/invoke`: no panic, one answer at once or one piece of work, every answer is JSON with
//! one of the statuses of the table, and a tool on the deny list is never run. The first byte chooses the settings.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portcullis_core::calls::Calls;
use portcullis_core::fetch::Fetches;
use portcullis_core::id::ConnId;
use portcullis_core::outbound::Exchanges;
use portcullis_core::random::{Random, Seed};
use portcullis_core::settings::{CommandTool, Settings};
use portcullis_core::surfaces::tools::{Context, ToolCall, Tools};
use portcullis_core::time::{Now, UnixMillis};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [choice, body @ ..] = input else { return };
    let mut settings = Settings::default();
    settings.tools.strict_body = choice & 1 == 1;
    settings.tools.commands = ["exec", "run"].map(command).into();
    let settings = Arc::new(settings);
    let mut tools = Tools::new(&settings);
    let (mut random, mut calls) = (Random::new(Seed([7; 32])), Calls::default());
    let (mut fetches, mut exchanges) = (Fetches::default(), Exchanges::default());
    let (mut reports, mut audit) = (Vec::new(), Vec::new());
    let mut cx = Context {
        now: Now::default(),
        settings: &settings,
        random: &mut random,
        calls: &mut calls,
        fetches: &mut fetches,
        exchanges: &mut exchanges,
        reports: &mut reports,
        audit: &mut audit,
    };
    let call = ToolCall {
        conn: ConnId::FIRST,
        client: None,
        connected_at: UnixMillis(0),
        body: Bytes::copy_from_slice(body),
    };
    match tools.invoke(&mut cx, &call) {
        Some(answer) => {
            assert!(matches!(answer.status.code(), 200 | 400 | 404), "{answer:?}");
            let text = std::str::from_utf8(&answer.body).expect("JSON is UTF-8");
            assert!(text.starts_with('{') && text.ends_with('}'), "{text}");
            assert!(tools.is_empty());
        }
        None => assert_eq!(tools.len(), 1),
    }
    while let Some(output) = calls.take_output() {
        let output = format!("{output:?}");
        assert!(!output.contains("PORTCULLIS_TOOL\", \"exec"), "{output}");
    }
});

fn command(name: &str) -> CommandTool {
    CommandTool {
        name: name.into(),
        description: String::new(),
        program: "/bin/tool".into(),
        args: Vec::new(),
        timeout: Duration::from_secs(1),
        max_output_bytes: 1,
        takes_action: true,
    }
}
